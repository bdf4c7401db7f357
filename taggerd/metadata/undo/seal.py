"""What a merge leaves in a sidecar, so that an undo restores its very bytes.

The property ``taggerd:undo`` is a seal over the file as taggerd left it, in one of these forms:

``made HASH``
    taggerd made the file; HASH is that of its text with the seal empty.
``merged HASH ORIGINAL PATCH``
    ORIGINAL is the hash of the file that was merged into. PATCH (base64 of zlib of JSON) builds its
    text from this one: ``[start, length]`` is a run of bytes to keep, a string is what was there
    before taggerd changed it. Nothing else is stored, so a patch has a few hundred bytes.
``made``
    taggerd made the file, and it was edited since.

A seal that no longer fits says nothing: then only what is known as taggerd's own is taken out (see
:mod:`.undo.content`). Everything refers to the text as UTF-8 (see :mod:`.xmp.encoding`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from taggerd.metadata.xmp.document import Form
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.namespaces import TAGGERD, Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taggerd.metadata.xmp.document import Document
    from taggerd.metadata.xmp.splice import Edit

SEAL = Name(TAGGERD, "undo")
_END = b"</taggerd:undo>"


class Span(NamedTuple):
    """A run of bytes that is the same in two texts."""

    start: int
    """Offset in the newer text."""
    origin: int
    """Offset in the older text."""
    length: int


@dataclass(frozen=True, slots=True)
class Origin:
    """What a sidecar was before taggerd."""

    made: bool = False
    """There was none."""
    text: bytes | None = None
    """Its text; None: there was none, or it is lost."""
    digest: str = ""
    """Hash of its bytes."""
    spans: tuple[Span, ...] = ()
    """What of it is in the present text."""
    intact: bool = True
    """The file was not edited since taggerd wrote it."""


def origin(document: Document) -> Origin:
    """Return what *document* was before taggerd, as its seal says."""
    if not any(name.uri == TAGGERD for name in document.names):
        text = document.text
        return Origin(text=text, digest=_hash(document.data), spans=(Span(0, 0, len(text)),))
    found = document.read(SEAL)
    kind, *rest = found.text.split(" ") if found is not None else [""]
    lost = Origin(made=kind == "made", intact=False)
    if found is None or found.node is None or found.form is not Form.TEXT or not rest:
        return lost
    start, end = found.node.tag_end, found.node.close
    blank = document.text[:start] + document.text[end:]
    if rest[0] != _hash(blank):
        return lost
    if kind == "made":
        return Origin(made=True)
    built = _build(blank, rest[2]) if len(rest) == len(("hash", "original", "patch")) else None
    if built is None or _hash(document.encoding.encode(built[0])) != rest[1]:
        return lost
    spans = tuple(_shifted(built[1], start, end - start))
    return Origin(text=built[0], digest=rest[1], spans=spans)


def sealed(before: Origin, text: bytes, edits: Sequence[Edit]) -> tuple[bytes, str]:
    """Fill in the empty seal of *text*.

    Args:
        before: what the sidecar was, with its spans in the text that was edited.
        text: the new text, its seal empty.
        edits: what made it.

    Returns:
        the text with its seal, and what the seal says.
    """
    says = _hash(text)
    if before.made:
        says = f"made {says}" if before.intact else "made"
    elif before.text is not None:
        spans = joined(kept(edits), before.spans)
        says = f"merged {says} {before.digest} {_patch(before.text, spans)}"
    at = _seal_offset(edits)
    return text[:at] + says.encode() + text[at:], says


def kept(edits: Iterable[Edit]) -> list[Span]:
    """Return what *edits* leave as it is of a text of any size."""
    spans: list[Span] = []
    start = position = 0
    for edit in sorted(edits, key=lambda edit: edit[:2]):
        if edit.start > position:
            spans.append(Span(start, position, edit.start - position))
        start += edit.start - position + len(edit.new)
        position = edit.end
    return [*spans, Span(start, position, LARGEST * 4)]


def joined(newer: Sequence[Span], older: Sequence[Span]) -> list[Span]:
    """Return what is the same in the newest and the oldest of three texts, both in order."""
    spans: list[Span] = []
    first = second = 0
    while first < len(newer) and second < len(older):
        new, old = newer[first], older[second]
        low = max(new.origin, old.start)
        high = min(new.origin + new.length, old.start + old.length)
        if low < high:
            spans.append(
                Span(new.start + low - new.origin, old.origin + low - old.start, high - low)
            )
        if new.origin + new.length < old.start + old.length:
            first += 1
        else:
            second += 1
    return spans


def packed(data: bytes) -> str:
    """Return *data* as short text: base64 of zlib."""
    return base64.b64encode(zlib.compress(data, 9)).decode("ascii")


def unpacked(text: str) -> bytes | None:
    """Return what :func:`packed` packed; None where it did not make *text*."""
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(text, validate=True), LARGEST)
    except (binascii.Error, zlib.error, ValueError):
        return None
    return data if unpacking.eof else None


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _seal_offset(edits: Sequence[Edit]) -> int:
    """Return where in the new text the content of the empty seal goes."""
    moved = 0
    for edit in sorted(edits, key=lambda edit: edit[:2]):
        found = edit.new.rfind(_END)
        if found >= 0:
            return edit.start + moved + found
        moved += len(edit.new) - (edit.end - edit.start)
    message = "no seal was put into the sidecar"
    raise ValueError(message)


def _patch(text: bytes, spans: Iterable[Span]) -> str:
    """Say how to build *text* from *spans* of another one."""
    parts: list[str | tuple[int, int]] = []
    position = 0
    for span in spans:
        if span.origin > position:
            parts.append(text[position : span.origin].decode())
        parts.append((span.start, span.length))
        position = span.origin + span.length
    if position < len(text):
        parts.append(text[position:].decode())
    plain = json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()
    return packed(plain)


def _build(blank: bytes, patch: str) -> tuple[bytes, list[Span]] | None:
    """Build the older text; None if *patch* is none."""
    try:
        parts = json.loads(unpacked(patch) or b"null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(parts, list):
        return None
    built, spans, size = [], [], 0
    for part in parts:
        match part:
            case str():
                new = part.encode("utf-8", "replace")
            case [int(start), int(length)] if 0 <= start <= start + length <= len(blank):
                new = blank[start : start + length]
                spans.append(Span(start, size, length))
            case _:
                return None
        built.append(new)
        size += len(new)
        if size > LARGEST * 2:
            return None
    return b"".join(built), spans


def _shifted(spans: Iterable[Span], at: int, length: int) -> Iterable[Span]:
    """Move *spans* of the text with an empty seal to the one where *length* bytes fill it."""
    for span in spans:
        if span.start + span.length <= at:
            yield span
        else:
            # The seal is taggerd's own, so no span of the original reaches over it.
            yield span._replace(start=span.start + length)
