"""The forms in which models give keywords: arrays, objects, lines, commas; scored or not."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import TYPE_CHECKING

from taggerd.inference.completion import one_line, unlabelled, unquoted, visible
from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MOST_KEYWORDS = 200
"""Keywords taken from one answer, before any of the user's rules."""
LONGEST_KEYWORD = 100
"""Characters; longer ones are dropped."""
_LONGEST_SCORED = 200
"""Characters of a keyword with its score; the time to find one grows with their square."""
_MOST_LINES = 2 * MOST_KEYWORDS
"""Lines with anything in them that are looked at; each costs several patterns."""
_MOST_PARTS = 5 * MOST_KEYWORDS
"""Between commas, likewise."""
_LONGEST_IN_PROSE = 5
"""Words; in a list without JSON, more are a sentence."""

_LISTS = ("keywords", "keyword", "tags", "labels", "words", "terms")
_WORD = ("keyword", "word", "tag", "label", "name", "term", "text", "value")
_SCORE = ("score", "confidence", "probability", "weight", "relevance")
_LIST_LABELS = ("keywords", "keyword", "tags", "labels", "key words")
_MARK = re.compile(r"^\s*(?:[-*•·–+]+|\(?\d{1,3}[.):])?\s*")  # noqa: RUF001 - a dash
_SCORED = re.compile(
    r"^(?P<word>.*?\D)\s*(?:[(\[:=–—-]\s*(?P<marked>\d*\.?\d+\s*%?)\s*[)\]]?"  # noqa: RUF001 - dashes
    r"|\s(?P<bare>0?\.\d+|1\.0+))$"
)
_HTML = re.compile(r"</?(?:ul|ol|li|p|br|div)\b[^<>]*>", re.IGNORECASE)
_HASHTAGS = re.compile(r"#(\w+)")
_NESTING = 4
"""Levels of lists in objects that are followed."""


def keywords_in_json(found: object) -> tuple[Keyword, ...] | None:
    """Return the keywords in a JSON answer in their order; None if there is no list in it."""
    if not isinstance(found, list | dict):
        return None
    given = list(_walk(found, 0))
    if (
        not given
        and isinstance(found, dict)
        and not any(isinstance(value, list | dict) for value in found.values())
    ):
        return None
    return _distinct(given)


def keywords_in_prose(text: str) -> tuple[Keyword, ...] | None:
    """Return the keywords of a bullet list, a comma list or hashtags; None if it is a sentence."""
    text = _HTML.sub("\n", text)
    quoted = _quoted_words(text)
    if quoted:
        return _distinct(Keyword(_clean(word)) for word in quoted)
    if text.count("#") > 1 and (tags := _HASHTAGS.findall(text)):
        return _distinct(Keyword(_clean(tag.replace("_", " "))) for tag in tags)
    lines = (line for line in text.split("\n") if line and not line.isspace())
    split = (part for line in islice(lines, _MOST_LINES) for part in _split(line))
    parts = list(islice(split, _MOST_PARTS))
    if not parts:
        return ()
    short = [part for part in parts if len(part.split()) <= _LONGEST_IN_PROSE]
    if len(short) * 2 <= len(parts) or (len(parts) == 1 and text.rstrip().endswith((".", "!"))):
        return None
    return _distinct(_scored(part) for part in short)


def _walk(found: object, depth: int) -> Iterator[Keyword]:
    """Yield the keywords in one value of a JSON answer."""
    if isinstance(found, str):
        yield from (_scored(part) for part in _split(found))
    elif isinstance(found, list) and depth < _NESTING:
        if depth and (pair := _pair(found)) is not None:
            yield pair
            return
        for item in found:
            # An item of a list is one keyword even with a comma in it: "Paris, Texas".
            if isinstance(item, str):
                yield _scored(item)
            else:
                yield from _walk(item, depth + 1)
    elif isinstance(found, dict) and depth < _NESTING:
        yield from _walk_object(found, depth)


def _pair(found: list[object]) -> Keyword | None:
    """Return the keyword of ``["lake", 0.9]``; None for any other list."""
    if len(found) != 2 or not isinstance(found[0], str):  # noqa: PLR2004 - a word and its score
        return None
    score = _score(found[1])
    return None if score is None else Keyword(_clean(found[0]), score)


def _walk_object(found: dict[str, object], depth: int) -> Iterator[Keyword]:
    """Yield the keywords in an object: an entry, a wrapper, word to score, or groups of lists."""
    folded = {key.casefold().strip(): value for key, value in found.items()}
    for key in _LISTS:
        if isinstance(inner := folded.get(key), list | dict) or (
            isinstance(inner, str) and not _score_of(folded)
        ):
            yield from _walk(inner, depth + 1)
            return
    word = next((w for key in _WORD if isinstance(w := folded.get(key), str)), None)
    if word is not None and not any(isinstance(v, list | dict) for v in found.values()):
        yield Keyword(_clean(word), _score_of(folded))
        return
    if found and all(_score(value) is not None for value in found.values()):
        yield from (Keyword(_clean(key), _score(value)) for key, value in found.items())
        return
    for value in found.values():
        if isinstance(value, list | dict):
            yield from _walk(value, depth + 1)


def _score_of(entry: dict[str, object]) -> float | None:
    """Return the score of an entry."""
    return next((s for key in _SCORE if (s := _score(entry.get(key))) is not None), None)


def _score(value: object) -> float | None:
    """Return a score from 0 to 1 of a number, a text or a percentage; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value.strip().rstrip("%")) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return None
    # From 1 to 100 is a percentage without its sign.
    if (isinstance(value, str) and value.rstrip().endswith("%")) or 1 < number <= 100:  # noqa: PLR2004 - see above
        number /= 100
    return round(number, 4) if math.isfinite(number) and 0 <= number <= 1 else None


def _quoted_words(text: str) -> list[str]:
    """Return the quoted words of damaged JSON: single quotes, missing commas."""
    opening = re.search(r"[\[{]", text)
    if not opening:
        return []
    quoted = re.findall(r"""(["'])([^"'\n]{1,100})\1(\s*:)?""", text[opening.start() :])
    words = [word for _, word, colon in quoted if not colon]
    return words if len(words) > 1 else []


def _split(line: str) -> list[str]:
    """Split one line into keywords."""
    line = unlabelled(_MARK.sub("", line, count=1), *_LIST_LABELS)
    if not line or line.endswith(":"):
        return []
    return [part for part in re.split(r"[,;|、，؛،]", line) if part.strip()]  # noqa: RUF001 - commas of other scripts


def _scored(part: str) -> Keyword:
    """Read ``dog (0.9)``, ``dog: 0.9`` or ``dog - 90%``; anything else is a word as a whole."""
    part = one_line(part)
    match = _SCORED.match(part) if len(part) <= _LONGEST_SCORED else None
    given = (match["marked"] or match["bare"]) if match else ""
    score = _score(given) if "." in given or "%" in given else None
    if match and score is not None:
        return Keyword(_clean(match["word"]), score)
    return Keyword(_clean(part))


def _clean(word: str) -> str:
    """Return one keyword without bullets, quotes and closing punctuation."""
    word = one_line(unquoted(_MARK.sub("", word, count=1)))
    return visible(unquoted(word.strip(" \t*_`#.,;:!"))).strip()


def _distinct(given: Iterable[Keyword]) -> tuple[Keyword, ...]:
    """Keep each word once, as it came first; drop what is empty or far too long."""
    kept: dict[str, Keyword] = {}
    for keyword in given:
        if keyword.word and len(keyword.word) <= LONGEST_KEYWORD:
            kept.setdefault(keyword.word.casefold(), keyword)
        if len(kept) == MOST_KEYWORDS:
            break
    return tuple(kept.values())
