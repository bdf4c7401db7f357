"""Taking off what models wrap around an answer: thoughts, fences, labels, quotes, markdown."""

from __future__ import annotations

import json
import re
import unicodedata

_THOUGHT_MARK = re.compile(
    r"<(?P<end>/)?(?:think|thinking|thought|reasoning)\b[^<>]{0,40}>?|◁(?P<end2>/)?think▷",
    re.IGNORECASE,
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\s*(?:<\|constrain\|>\w*\s*)?<\|message\|>")
_TEMPLATE_TOKEN = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?(?:s|bos|eos|answer|end_of_turn|start_of_turn)>", re.IGNORECASE
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n`]*$", re.MULTILINE)
_ONE_LINE_FENCE = re.compile(r"```(?:json\b)?([^`\n]*)```")
_LEAD = re.compile(
    # "Sure!", "Here is a caption for the photo:"; but not "Great grey owl: hunting at dusk".
    r"^(?:(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great)\s*[!,.:]\s+)?"
    r"(?:(?:here|this|below)\b[^\n:]{0,60}\b(?:captions?|descriptions?|titles?|answers?|keywords?|tags)"
    r"\b[^\n:]{0,60}:\s*)?",
    re.IGNORECASE,
)
_LABEL = r"^[\s#>*_-]*(?:(?:photo|image|picture|suggested)\s+)?(?:{names})[\s*_]*[:：][\s*_]*"  # noqa: RUF001 - CJK colon
_MARKDOWN = re.compile(r"(\*\*|__|\*|`)(?=\S)(.{1,1000}?)(?<=\S)\1")
_BULLET = re.compile(r"^\s*(?:[-*•·–+]|\#{1,6}|>|\(?\d{1,3}[.)])\s+")  # noqa: RUF001 - a dash
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "`": "`"}  # noqa: RUF001 - quotes of several languages
_INVISIBLE = {0x00AD, 0x200B, 0x2060, 0xFEFF, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_MOST_MARKS = 30
"""Combining marks on one letter, as in Unicode's Stream-Safe Text Format (UAX #15, 13): composing
takes time that grows with the square of them."""
_MOST_TRIES = 64
"""Places in an answer at which JSON is looked for."""


def say(text: str, limit: int = 120) -> str:
    """Return *text* as one quoted line of at most about *limit* characters, for a message."""
    line = one_line(visible(text[: 20 * limit]))
    return repr(line if len(line) <= limit else line[: limit - 1] + "…")


def visible(text: str) -> str:
    """Return *text* without what cannot be seen and what XML cannot hold; line ends are LF.

    Joiners (U+200C, U+200D) stay: emoji and several scripts need them.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    kept = "".join(c for c in text if c == "\n" or not _unseen(c))
    if unicodedata.is_normalized("NFC", kept):
        return kept
    return unicodedata.normalize("NFC", _stream_safe(kept))


def _stream_safe(text: str) -> str:
    """Return *text* without marks that nobody could see under so many others."""
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def _unseen(char: str) -> bool:
    """Say whether *char* is a control, a surrogate, a non-character or a direction mark."""
    point = ord(char)
    if unicodedata.category(char) in {"Cc", "Cs"} or point in _INVISIBLE:
        return True
    return 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE  # noqa: PLR2004 - Unicode's own


def one_line(text: str) -> str:
    """Return *text* with every run of white space as one space."""
    return " ".join(text.split())


def unthought(text: str) -> str:
    """Return *text* without thoughts, closed or not, and without tokens of chat templates."""
    if final := list(_FINAL_CHANNEL.finditer(text)):
        text = text[final[-1].end() :]
    elif "<|channel|>analysis" in text:
        return ""
    kept: list[str] = []
    position, thinking = 0, False
    for mark in _THOUGHT_MARK.finditer(text):
        ends = mark["end"] or mark["end2"]
        if ends and not thinking:
            # A template that opens the thought itself leaves only its end in the answer.
            kept.clear()
        elif not thinking:
            kept.append(text[position : mark.start()])
        position, thinking = mark.end(), not ends
    text = "".join(kept) + ("" if thinking else text[position:])
    return _TEMPLATE_TOKEN.sub("", text)


def bare(text: str) -> str:
    """Return *text* visible, without code fences and without quotes around the whole."""
    text = _ONE_LINE_FENCE.sub(r"\1", visible(text))
    return unquoted(_FENCE.sub("", text).strip())


def unquoted(text: str) -> str:
    """Take off quotes that stand around the whole of *text*, as often as they do."""
    text = text.strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def unlabelled(text: str, *names: str) -> str:
    """Take off a lead ("Sure, here is a caption:"), a label ("Caption:"), markdown and quotes."""
    known = "|".join(
        map(re.escape, (*names, "caption", "description", "title", "answer", "alt text"))
    )
    text = _LEAD.sub("", text.strip(), count=1)
    text = re.sub(_LABEL.format(names=known), "", text, count=1, flags=re.IGNORECASE)
    lines = (_BULLET.sub("", line).strip() for line in text.split("\n"))
    text = "\n".join(line for line in lines if line)
    return unquoted(_MARKDOWN.sub(r"\2", text))


def find_json(text: str) -> object | None:
    """Return the first JSON object or array in *text*, prose around it or not; None without one.

    An empty object or array counts only if there is no fuller one after it.
    """
    decoder = json.JSONDecoder()
    empty: object | None = None
    position, tries = 0, 0
    while tries < _MOST_TRIES and (start := _opening(text, position)) >= 0:
        tries += 1
        try:
            found, position = decoder.raw_decode(text, start)
            found = _visible_json(found)
        except (ValueError, RecursionError):
            # Numbers of thousands of digits and towers of brackets come here too.
            position = start + 1
            continue
        if found:
            return found
        empty = found
    return empty


def _opening(text: str, position: int) -> int:
    """Return where the next brace or bracket opens, -1 if none does."""
    places = [p for p in (text.find("{", position), text.find("[", position)) if p >= 0]
    return min(places, default=-1)


def _visible_json(value: object) -> object:
    """Return *value* with every text in it made visible: JSON can spell out any character."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_visible_json(item) for item in value]
    if isinstance(value, dict):
        return {visible(key): _visible_json(item) for key, item in value.items()}
    return value
