"""A completion: what came back from a chat request, and the text without its wrapping.

Models wrap what was asked for in thoughts, code fences, labels, quotes and markdown.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass

THINKING_MARKS = ("<think", "</think", "<|channel|>analysis", "◁think▷")
"""Beginnings of a thought that a server left in the content."""

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
"""Combining marks on one letter, as in Unicode's Stream-Safe Text Format (UAX #15, 13). The time
to compose them grows with the square of their number."""
LONGEST_CONTENT = 65536
"""Characters of an answer that are read; a model that says more is stuck."""
LONGEST_NAME = 200
"""Characters of a model's name. It is kept with every answer: three photos whose backend gave
itself a name of megabytes made 94 MB of state."""
_LONGEST_REFUSAL = 2000
_MOST_TRIES = 64
"""Positions in an answer at which JSON may begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One choice of a chat completion."""

    content: str
    """The message's content alone, never its reasoning."""
    finish_reason: str = ""
    refusal: str = ""
    """The refusal field, where the server has one and filled it."""
    thought: bool = False
    """Whether the model thought before it spoke."""
    model: str = ""
    """The model that says it answered."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Tokens of the prompt that the server had read before, where it tells."""
    completion_tokens: int = 0
    seconds: float = 0.0


def read_completion(body: object, seconds: float = 0.0) -> Completion | None:
    """Return the first choice in the JSON *body* of a reply; None if it is no completion.

    A list of choices that is empty is a completion without content.
    """
    if not isinstance(body, dict) or not isinstance(choices := body.get("choices"), list):
        return None
    choice = choices[0] if choices else {"message": {}}
    if not isinstance(choice, dict) or not isinstance(message := choice.get("message"), dict):
        return None
    content = _joined(message.get("content"))
    reasoning = _joined(message.get("reasoning_content")) or _joined(message.get("reasoning"))
    usage = body.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    details = counts.get("prompt_tokens_details")
    return Completion(
        content=content,
        finish_reason=_joined(choice.get("finish_reason"))[:LONGEST_NAME],
        refusal=_joined(message.get("refusal"))[:_LONGEST_REFUSAL],
        thought=bool(reasoning.strip()) or any(mark in content for mark in THINKING_MARKS),
        model=_joined(body.get("model"))[:LONGEST_NAME],
        prompt_tokens=_count(counts.get("prompt_tokens")),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else 0,
        completion_tokens=_count(counts.get("completion_tokens")),
        seconds=seconds,
    )


def _joined(value: object) -> str:
    """Return a text, or the joined texts of a list of content parts, or nothing."""
    if isinstance(value, list):
        texts = (part.get("text") for part in value if isinstance(part, dict))
        return "".join(text for text in texts if isinstance(text, str))[:LONGEST_CONTENT]
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    """Return a number of tokens, 0 for anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value < 2**40 else 0  # type: ignore[operator, return-value]


def quoted(text: str, limit: int = 120) -> str:
    """Return *text* as one quoted line of at most about *limit* characters, for a message."""
    line = one_line(visible(text[: 20 * limit]))
    return repr(line if len(line) <= limit else line[: limit - 1] + "…")


def visible(text: str) -> str:
    """Return *text* without what is invisible and what XML cannot hold; line ends are LF.

    Joiners (U+200C, U+200D) stay: emoji and several scripts need them.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    if text.isascii() and text.replace("\n", "").isprintable():
        return text  # most are, and going through them costs a millisecond a photo
    kept = "".join(c for c in text if c == "\n" or not _invisible(c))
    if unicodedata.is_normalized("NFC", kept):
        return kept
    return unicodedata.normalize("NFC", _stream_safe(kept))


def _stream_safe(text: str) -> str:
    """Return *text* with so few combining marks on a letter that somebody could see them."""
    kept: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MOST_MARKS:
            kept.append(char)
    return "".join(kept)


def _invisible(char: str) -> bool:
    """Return whether *char* is a control, a surrogate, a non-character or a direction mark."""
    point = ord(char)
    if unicodedata.category(char) in {"Cc", "Cs"} or point in _INVISIBLE:
        return True
    return 0xFDD0 <= point <= 0xFDEF or point & 0xFFFE == 0xFFFE  # noqa: PLR2004 - Unicode's own


def one_line(text: str) -> str:
    """Return *text* with every run of white space as one space."""
    return " ".join(text.split())


def without_thoughts(text: str) -> str:
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


def unfenced(text: str) -> str:
    """Return *text* visible, without code fences and without quotes around the whole."""
    text = _ONE_LINE_FENCE.sub(r"\1", visible(text))
    return unquoted(_FENCE.sub("", text).strip())


def unquoted(text: str) -> str:
    """Return *text* without quotes around the whole of it, however many pairs there are."""
    text = text.strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text


def unlabelled(text: str, *names: str) -> str:
    """Remove a lead ("Sure, here is a caption:"), a label ("Caption:"), markdown and quotes."""
    known = "|".join(
        map(re.escape, (*names, "caption", "description", "title", "answer", "alt text"))
    )
    text = _LEAD.sub("", text.strip(), count=1)
    text = re.sub(_LABEL.format(names=known), "", text, count=1, flags=re.IGNORECASE)
    lines = (_BULLET.sub("", line).strip() for line in text.split("\n"))
    text = "\n".join(line for line in lines if line)
    return unquoted(_MARKDOWN.sub(r"\2", text))


def find_json(text: str) -> object | None:
    """Return the first JSON object or array in *text*, in prose or alone; None without one.

    An empty one counts only if no other follows.
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
            # Also numbers of thousands of digits, and brackets nested without end.
            position = start + 1
            continue
        if found:
            return found
        empty = found
    return empty


def _opening(text: str, position: int) -> int:
    """Return the position of the next opening brace or bracket, -1 without one."""
    found = [p for p in (text.find("{", position), text.find("[", position)) if p >= 0]
    return min(found, default=-1)


def _visible_json(value: object) -> object:
    """Return *value* with every text made visible: JSON escapes can name any character."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_visible_json(item) for item in value]
    if isinstance(value, dict):
        return {visible(key): _visible_json(item) for key, item in value.items()}
    return value
