"""Languages: their names for a prompt, and whether an answer is written in the letters of one.

Names and scripts come from CLDR (Babel), the script of a letter from Unicode (regex). A language
that is written in several scripts (Serbian, Uzbek) may be answered in any of them, unless its tag
names one. Languages of the same script, as French and English, are not distinguished.
"""

from __future__ import annotations

from functools import cache

import regex
from babel.core import Locale, get_global
from babel.localedata import locale_identifiers

_BRITISH = regex.compile("grey|colour", regex.IGNORECASE)
_SPELT = {
    "grey": lambda word: word.replace("e", "a").replace("E", "A"),
    "colour": lambda word: word.replace("u", "").replace("U", ""),
}
"""Of the words in prompts and in what the describer says, all that differ."""
_TOGETHER = {
    # Scripts of CLDR that are several of Unicode. Chinese characters alone are not Korean today.
    "Jpan": ("Hira", "Kana", "Hani"), "Kore": ("Hang",),
    "Hans": ("Hani", "Bopo"), "Hant": ("Hani", "Bopo"),
}  # fmt: skip
_ROMANISED = frozenset({"Deva", "Hans", "Hant", "Jpan", "Kore"})
"""Scripts of languages with a romanised form in CLDR (hi-Latn), which has to be named."""
_SYLLABLES = "Hani|Hira|Kana|Hang|Bopo"
_WEIGHT = 3
"""Letters that one Chinese, Japanese or Korean character counts for: a word has one or two."""
_LETTER = regex.compile(r"(?=\p{Letter})[^\p{Script=Common}\p{Script=Inherited}]")
_SIGN = regex.compile("[" + "".join(rf"\p{{Script={s}}}" for s in _SYLLABLES.split("|")) + "]")


def english_name(tag: str) -> str:
    """Return the English name of the language *tag* (BCP 47), ``"Portuguese (Brazil)"``."""
    return Locale.parse(tag, sep="-").get_display_name("en") or tag


def sentence(tag: str) -> str:
    """Return the sentence of a prompt that asks for an answer in the language *tag*."""
    return f"Write in {english_name(tag)}." if tag else ""


def american(text: str) -> str:
    """Return our own English *text* as Americans spell it: gray, color."""
    return _BRITISH.sub(lambda found: _SPELT[found[0].lower()](found[0]), text)


def spelt(text: str, tag: str) -> str:
    """Return our own English *text* as it is spelt in the language *tag*."""
    return american(text) if tag and _is_american(tag) else text


def _is_american(tag: str) -> bool:
    locale = Locale.parse(tag, sep="-")
    return locale.language == "en" and locale.territory == "US"


def wrong_script(text: str, tag: str) -> bool:
    """Return whether most letters of *text* are of a script that *tag* is not written in.

    Names in Latin letters within Japanese are normal, so the majority decides. An empty *tag*
    allows every script.
    """
    if not tag:
        return False
    letters = _LETTER.findall(text)
    right = _letters_of(tag)
    weights = [(_WEIGHT if _SIGN.match(c) else 1, right.match(c) is not None) for c in letters]
    good = sum(weight for weight, fits in weights if fits)
    return 2 * good < sum(weight for weight, _ in weights)


@cache
def _letters_of(tag: str) -> regex.Pattern[str]:
    """Return the pattern of one letter of the scripts that the language *tag* is written in."""
    locale = Locale.parse(tag, sep="-")
    if locale.script:
        named = {locale.script}
    else:
        likely = get_global("likely_subtags").get(locale.language, "")
        romanised = {"Latn"} if _ROMANISED & set(likely.split("_")) else set()
        kin = (name.split("_") for name in [likely, *locale_identifiers()])
        named = {
            parts[1]
            for parts in kin
            if parts[0] == locale.language and len(parts) > 1 and len(parts[1]) == _SCRIPT_LETTERS
        } - romanised
    scripts = {script for name in named or {"Latn"} for script in _TOGETHER.get(name, (name,))}
    return regex.compile("[" + "".join(rf"\p{{Script={s}}}" for s in sorted(scripts)) + "]")


_SCRIPT_LETTERS = 4
"""Letters of a script's code (ISO 15924)."""
