"""Paid answers as the database keeps them: all that is held of one content in one short value.

A million photos have three million answers, so their words are most of the ledger. The first byte
names the form of the rest, for ever: a form is never changed, a new one is added beside it.

Form 1: a raw DEFLATE stream (RFC 1951) primed with ``dictionaries/1.txt``. In it, answer after
answer: question, milliseconds since the answer before (the first: since the epoch), flags, prompt
tokens, completion tokens, milliseconds it took; then text, raw, and the keywords with their scores,
each left out where a flag says that it follows from what is there. Numbers are varints of 7 bits,
the least first, signed ones in zigzag; texts are UTF-8 (lone surrogates as three bytes) behind
their length.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_FORM = b"\x01"
_RAW_IS_TEXT = 1
_KEYWORDS_APART = 2
_KEYWORDS_OF_RAW = 4
_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One answer; its role, question and model are those of the row ``question``."""

    question: int
    at: float
    """Seconds since the epoch; kept to the millisecond, rounded up."""
    text: str
    raw: str
    keywords: tuple[Keyword, ...]
    """As a model gives them: word and score; their place in a vocabulary is not kept."""
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    """Kept to the millisecond."""


def pack(answers: Iterable[Packed]) -> bytes:
    """Return *answers* in the newest form."""
    plain = bytearray()
    before = 0
    for answer in answers:
        # Upwards: an answer must not seem older than the wish that it fulfils.
        at = round(answer.at * _MILLISECONDS)
        at += at / _MILLISECONDS < answer.at
        _put_answer(plain, answer, at - before)
        before = at
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, _dictionary())
    return _FORM + deflate.compress(plain) + deflate.flush()


def unpack(packed: bytes) -> list[Packed]:
    """Return what was packed, in any form there ever was.

    Raises:
        ValueError: it is damaged, or a newer taggerd's.
    """
    if packed[:1] != _FORM:
        message = f"answers in an unknown form ({packed[:1].hex() or 'empty'})"
        raise ValueError(message)
    try:
        inflate = zlib.decompressobj(-15, _dictionary())
        plain = inflate.decompress(packed[1:]) + inflate.flush()
        return list(_answers(_Reader(plain)))
    except (zlib.error, IndexError, UnicodeDecodeError) as error:
        message = f"damaged answers: {error}"
        raise ValueError(message) from error


@cache
def _dictionary() -> bytes:
    return (files(__package__) / "dictionaries" / "1.txt").read_bytes()


def _put_answer(plain: bytearray, answer: Packed, since: int) -> None:
    flags = _RAW_IS_TEXT if answer.raw == answer.text else 0
    if answer.keywords:
        derived = _keywords_of(answer.raw) == answer.keywords
        flags |= _KEYWORDS_OF_RAW if derived else _KEYWORDS_APART
    _put_number(plain, answer.question)
    _put_signed(plain, since)
    _put_number(plain, flags)
    _put_signed(plain, answer.prompt_tokens)
    _put_signed(plain, answer.completion_tokens)
    _put_signed(plain, round(answer.seconds * _MILLISECONDS))
    _put_text(plain, answer.text)
    if not flags & _RAW_IS_TEXT:
        _put_text(plain, answer.raw)
    if flags & _KEYWORDS_APART:
        _put_number(plain, len(answer.keywords))
        for keyword in answer.keywords:
            _put_text(plain, keyword.word)
            _put_text(plain, "" if keyword.score is None else repr(float(keyword.score)))


def _answers(plain: _Reader) -> Iterator[Packed]:
    at = 0
    while plain:
        question = plain.number()
        at += plain.signed()
        flags = plain.number()
        prompt, completion, milliseconds = plain.signed(), plain.signed(), plain.signed()
        text = plain.text()
        raw = text if flags & _RAW_IS_TEXT else plain.text()
        keywords = _keywords_of(raw) if flags & _KEYWORDS_OF_RAW else ()
        if flags & _KEYWORDS_APART:
            keywords = tuple(plain.keyword() for _ in range(plain.number()))
        yield Packed(
            question=question,
            at=at / _MILLISECONDS,
            text=text,
            raw=raw,
            keywords=keywords,
            prompt_tokens=prompt,
            completion_tokens=completion,
            seconds=milliseconds / _MILLISECONDS,
        )


def _keywords_of(raw: str) -> tuple[Keyword, ...]:
    """Read the keywords of a tidy answer: JSON, a list of words or of objects, or word to score.

    Part of form 1, and as unchangeable; where it gives other keywords than those that were taken
    from the answer, they are kept apart.
    """
    try:
        found = json.loads(raw)
        if isinstance(found, dict) and found.keys() == {"keywords"}:
            found = found["keywords"]
        pairs = found.items() if isinstance(found, dict) else map(_pair, found)
        return tuple(Keyword(word, None if s is None else float(s)) for word, s in pairs)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return ()


def _pair(item: str | dict[str, Any]) -> tuple[str, float | None]:
    return (item, None) if isinstance(item, str) else (item["keyword"], item["score"])


def _put_number(plain: bytearray, number: int) -> None:
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        plain.append(number & 0x7F | 0x80)
        number >>= 7
    plain.append(number)


def _put_signed(plain: bytearray, number: int) -> None:
    _put_number(plain, number << 1 if number >= 0 else (-number << 1) - 1)


def _put_text(plain: bytearray, text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    _put_number(plain, len(data))
    plain += data


class _Reader:
    """Reads what the functions above put."""

    def __init__(self, plain: bytes) -> None:
        self._plain = plain
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._plain)

    def number(self) -> int:
        number = shift = 0
        while True:
            byte = self._plain[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last one
                return number
            shift += 7

    def signed(self) -> int:
        number = self.number()
        return (number + 1) // -2 if number & 1 else number >> 1

    def text(self) -> str:
        end = self.number() + self._at
        if end > len(self._plain):
            message = "cut"
            raise IndexError(message)
        data, self._at = self._plain[self._at : end], end
        return data.decode("utf-8", "surrogatepass")

    def keyword(self) -> Keyword:
        word, score = self.text(), self.text()
        return Keyword(word, float(score) if score else None)
