"""Normalise the keywords of a model: one form per word, and only words that people search for.

Human keywords are never normalised.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Iterable

    import inflect

    from taggerd import settings

MOST_WORDS = 4
"""A keyword of more words is a sentence."""
LONGEST = 64
"""Characters."""
LONGEST_UNSPACED = 20
"""Characters of a keyword in Chinese, Japanese or Korean, which are written without spaces."""

_SPLIT = re.compile(r"[,;|\n\r\t、，；،؛]+")  # noqa: RUF001 - the commas of other scripts are meant
_LISTED = re.compile(r"^(?:[-*•·#>]+|\(?\d{1,2}[.)])\s+|^#+")
_ARTICLE = re.compile(r"^(?:an?|the)\s+(?=\S)", re.IGNORECASE)
_TRIMMED = " \t\"'`“”‘’«»*_.,;:!?()[]{}<>-–—"  # noqa: RUF001 - typographic quotes are meant
_COORDINATE = re.compile(r"\d\s*°|\b\d{1,3}[.,]\d{3,}\s*[NSEWO]?\b|^[NSEWO]\s?\d{1,3}[.,]\d+")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = re.compile(
    rf"^(?:{_MONTH}\.?\s+\d{{1,4}}(?:st|nd|rd|th)?(?:,?\s+\d{{2,4}})?"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}\.?(?:,?\s+\d{{2,4}})?"
    r"|\d{1,4}[-/.:]\d{1,2}[-/.:]\d{1,4}(?:[T ].*)?"
    r"|\d{1,2}:\d{2}(?::\d{2})?\s*(?:am|pm)?|\d{1,2}\s*(?:am|pm)"
    r"|\d{4}s?"
    r"|\d{1,2}\.?\s+(?:de\s+)?[^\W\d]+\.?\s+(?:de\s+)?\d{4}"  # 5 mai 2024, 5 de mayo de 2024
    r"|(?:\d+\s*[年月日년월일]\s*)+)$",
    re.IGNORECASE,
)
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_JOINERS = "\u200c\u200d"
"""Invisible, but needed between letters of Persian and Indic scripts and parts of emoji."""
_ACRONYM = re.compile(r"(?=.*[A-Z])[A-Z0-9][A-Z0-9&.-]{1,4}")
_JOINTS = re.compile("[\\s\\-_/|'\u2019.]+")
_CAPITAL_NOUNS = frozenset({"de", "gsw", "lb", "nds"})
"""Languages that write every noun with a capital."""
_DOTTED_I = frozenset({"az", "tr"})
_MIXED = re.compile(r"[a-z][A-Z]|[A-Z][a-z]+[A-Z]")

_SINGULAR = frozenset(
    {
        # Words that end like plurals and are none, or whose singular nobody searches for.
        "alps", "andes", "atlas", "barracks", "bellows", "bias", "binoculars", "canvas",
        "christmas", "clothes", "crossroads", "data", "eyeglasses", "glasses", "goggles",
        "gallows", "gas", "headphones", "headquarters", "jeans", "leggings", "lens", "media",
        "molasses", "news", "olympics", "overalls", "pajamas", "pampas", "pancreas", "pants",
        "pliers", "pyjamas", "scissors", "series", "shorts", "species", "sunglasses", "swiss",
        "tapas", "texas", "tights", "trousers", "tweezers", "underpants", "yes", "thanks",
        "mercedes", "mars", "venus", "paris", "dallas", "brussels", "athens", "naples",
        "wales", "netherlands", "philippines", "bahamas", "maldives", "seychelles", "andreas",
        "james", "charles", "thomas", "lucas", "nicholas", "hercules", "aries", "sometimes",
        "always", "perhaps", "indoors", "outdoors", "upstairs", "downstairs", "overseas",
        "rhinoceros", "asbestos", "cosmos", "chaos", "ethos", "pathos", "kudos", "thermos",
    }
)  # fmt: skip
_IRREGULAR = {
    # Where inflect returns a word that does not exist.
    "cacti": "cactus", "fungi": "fungus", "selfies": "selfie", "smoothies": "smoothie",
    "hoodies": "hoodie", "rookies": "rookie", "brownies": "brownie", "foodies": "foodie",
    "hippies": "hippie", "veggies": "veggie", "birdies": "birdie", "doggies": "doggie",
    "dies": "die", "buses": "bus", "lenses": "lens", "gases": "gas", "canvases": "canvas",
    "irises": "iris", "atlases": "atlas", "axes": "axe", "caves": "cave", "oases": "oasis",
    "crises": "crisis", "analyses": "analysis", "bases": "base",
}  # fmt: skip
_SINGULAR_ENDINGS = ("ss", "us", "is", "ics", "itis", "'s", "\u2019s")


class Normalised(NamedTuple):
    """A keyword in its normal form."""

    keyword: Keyword
    forms: tuple[str, ...]
    """How a vocabulary may have it (see :func:`folded`): as it is, singular, plural."""


def normalise(
    raw: Iterable[Keyword | tuple[str, float | None]], options: settings.Keywords, language: str
) -> tuple[Normalised, ...]:
    """Return the keywords of *raw* that are worth keeping, in their order and normal form.

    NFC; lower case but for names and acronyms; no two that differ by case, spaces or hyphens only;
    no digits, coordinates, dates, sentences or stop words. In English also: plurals made singular,
    no leading article. Words in other scripts than Latin are only trimmed. The first of two equal
    words stays, with the better score.

    Args:
        raw: words with the model's confidence, 0 to 1, or None; another number counts as None.
        options: the user's stop list.
        language: BCP 47; empty: English.
    """
    english = is_english(language)
    words = [
        (part, _score(score))
        for text, score, *_ in raw
        for part in (_trimmed(part, english=english) for part in _SPLIT.split(text))
    ]
    words = [(word, score) for word, score in words if _is_word(word)]
    named = _meaningful_capitals([word for word, _ in words], english=english)
    stopped = {alike(word, english=english) for word in options.stop}
    kept: dict[str, Keyword] = {}
    for word, score in words:
        normal = _normal_form(word, named, language)
        key = alike(normal, english=english)
        if not key or key in stopped or alike(word, english=english) in stopped:
            continue
        held = kept.get(key)
        if held is None:
            kept[key] = Keyword(normal, score)
        elif score is not None and (held.score is None or held.score < score):
            kept[key] = Keyword(held.word, score)
    return tuple(Normalised(word, _forms(word.word, english=english)) for word in kept.values())


def is_english(language: str) -> bool:
    """Say whether *language* (BCP 47) is English, the default."""
    return language.partition("-")[0].lower() in {"", "en"}


@lru_cache(maxsize=20_000)
def alike(word: str, *, english: bool = True) -> str:
    """Return *word* without what its variants differ by: case, spaces, hyphens, number, article.

    Number and article only for *english* words.
    """
    plain = " ".join(unicodedata.normalize("NFC", word).casefold().split())
    if english:
        plain = _ARTICLE.sub("", plain)
        if _is_latin(plain):
            plain = _singular(plain)
    return _JOINTS.sub("", plain) or plain


def folded(word: str) -> str:
    """Return *word* without case, spaces, hyphens and English article. Cheap: no inflection."""
    plain = _ARTICLE.sub("", " ".join(unicodedata.normalize("NFC", word).casefold().split()))
    return _JOINTS.sub("", plain) or plain


def _forms(word: str, *, english: bool) -> tuple[str, ...]:
    """Return the forms in which a vocabulary may have *word*, the nearest first."""
    forms = [word]
    if english and _is_latin(word):
        one = _singular(word.casefold())
        forms += [one, _plural(one)]
    return tuple(dict.fromkeys(map(folded, forms)))


def _score(score: float | None) -> float | None:
    """Return *score* if it is a confidence."""
    return score if score is not None and 0 <= score <= 1 else None


def _trimmed(text: str, *, english: bool) -> str:
    """Return *text* as one line without list marks, quotes and a leading English article."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(c for c in text if c.isprintable() or c.isspace() or c in _JOINERS)
    text = _LISTED.sub("", " ".join(text.replace("_", " ").split()))
    text = _balanced(text.strip(_TRIMMED))
    return _ARTICLE.sub("", text) if english else text


def _balanced(text: str) -> str:
    """Put back a bracket that trimming took: ``"St. Mary (church"`` is no word."""
    for opening, closing in ("()", "[]"):
        if text.count(opening) > text.count(closing):
            text += closing
    return text


def _is_word(word: str) -> bool:
    """Say whether people search for *word*: no number, date, coordinate or sentence."""
    if not any(c.isalpha() for c in word) or len(word) > LONGEST:
        return False
    if len(word.split()) > MOST_WORDS or len(_UNSPACED.findall(word)) > LONGEST_UNSPACED:
        return False
    return not (_DATE.match(word) or _COORDINATE.search(word))


@cache
def _latin_letter(letter: str) -> bool:
    return "LATIN" in unicodedata.name(letter, "")


def _is_latin(word: str) -> bool:
    """Say whether all letters of *word* are Latin."""
    return all(_latin_letter(c) for c in word if c.isalpha())


def _meaningful_capitals(words: list[str], *, english: bool) -> frozenset[str]:
    """Return the words whose capitals mean something: names and acronyms.

    Capitals mean nothing where a model capitalises or shouts everything, nor in the first word of
    an answer. Where they are few, they mark names.
    """
    lower = {alike(word, english=english) for word in words if word.islower()}
    rest = words[1:]
    few = 2 * sum(map(_is_titled, rest)) < len(rest)
    shouting = len(words) > 1 and all(word.isupper() for word in words)
    first = words[0] if words else ""
    return frozenset(
        word
        for word in words
        if alike(word, english=english) not in lower
        and (
            (few and _is_titled(word) and (word != first or " " in word))
            or (not shouting and not word.islower() and not _is_titled(word))
        )
    )


def _is_titled(word: str) -> bool:
    """Say whether *word* has capitals only at the start of words, as in a heading."""
    return word[:1].isupper() and not word.isupper() and not _MIXED.search(word)


def _normal_form(word: str, named: frozenset[str], language: str) -> str:
    """Return *word* in its normal form."""
    if not _is_latin(word):
        return word
    if word in named and _is_titled(word):
        return word
    first = language.partition("-")[0].lower()
    if first in _CAPITAL_NOUNS:
        return word
    parts = word.split(" ")
    kept = [part if word in named and _keeps_case(part) else _lower(part, first) for part in parts]
    normal = " ".join(kept)
    return _singular(normal) if is_english(language) else normal


def _lower(word: str, language: str) -> str:
    """Return *word* in lower case; Turkish has two letters of the form I."""
    if language in _DOTTED_I:
        word = word.replace("\u0130", "i").replace("I", "\u0131")
    return word.lower()


def _keeps_case(part: str) -> bool:
    """Say whether one word of a keyword is an acronym or a name like iPhone."""
    return bool(_ACRONYM.fullmatch(part)) or bool(_MIXED.search(part))


@lru_cache(maxsize=20_000)
def _singular(word: str) -> str:
    """Return the singular of an English *word* or phrase; leave what does not look English."""
    head, space, last = word.rpartition(" ")
    if not last.isascii() or not last.islower() or len(last) < 3:  # noqa: PLR2004 - "is", "us"
        return word
    before, hyphen, last = last.rpartition("-")
    if last in _IRREGULAR:
        one = _IRREGULAR[last]
    elif last in _SINGULAR or last.endswith(_SINGULAR_ENDINGS) or not last.isalpha():
        one = last
    else:
        one = _inflect().singular_noun(last) or last
    return f"{head}{space}{before}{hyphen}{one}"


@lru_cache(maxsize=20_000)
def _plural(word: str) -> str:
    """Return the plural of an English *word* or phrase."""
    head, space, last = word.rpartition(" ")
    before, hyphen, last = last.rpartition("-")
    if not last.isascii() or not last.isalpha():
        return word
    return f"{head}{space}{before}{hyphen}{_inflect().plural_noun(last) or last}"


def load_rules() -> None:
    """Load the rules of English plurals now: whoever is forked from here has them."""
    _inflect().singular_noun("dogs")
    _inflect().plural_noun("dog")


@cache
def _inflect() -> inflect.engine:
    """Return the engine, made when first needed."""
    import inflect  # noqa: PLC0415 - 0.2 to 1.2 s that a program which only reads should not pay

    return inflect.engine()
