"""XMP in WebP: the ``XMP `` chunk behind the picture, announced by a bit in ``VP8X``.

A simple file (one ``VP8 `` or ``VP8L`` chunk) gets a ``VP8X`` chunk with the picture's own size.
https://developers.google.com/speed/webp/docs/riff_container
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from taggerd.metadata.embedding.container import C2PA, Container, Span, digest_of, exactly
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.splice import Edit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.metadata.embedding.container import Fingerprint, Source

_HAS_XMP = 0x04
_HAS_ALPHA = 0x10
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F
_LARGEST_RIFF = (1 << 32) - 10


class _Chunk(NamedTuple):
    kind: bytes
    span: Span
    """From its name to its end, without the padding byte."""

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.span.end + self.span.size % 2


class Webp(Container):
    """A parsed WebP."""

    def __init__(self, source: Source) -> None:
        """Read the chunks' heads; raises SidecarRefused for a file that is damaged."""
        super().__init__(source)
        self._end, self._chunks = _chunks(source)
        kinds = [chunk.kind for chunk in self._chunks]
        if b"C2PA" in kinds:
            refuse(C2PA)
        self._head = exactly(source, 20, 10) if kinds[0] == b"VP8X" else b""
        for chunk in self._chunks:
            if chunk.kind == b"XMP ":
                start, end = chunk.span
                self._take_packet(Span(start + 8, end), Span(start, chunk.end))

    def edits(self, packet: bytes | None) -> list[Edit]:
        """See :class:`Container`."""
        edits: list[Edit] = []
        new = b""
        if packet is not None:
            new = struct.pack("<4sI", b"XMP ", len(packet)) + packet + b"\0" * (len(packet) % 2)
        if self.span is not None:
            edits.append(Edit(self.span.start, self.span.end, new))
        elif new:
            edits.append(Edit(self._end, self._end, new))
        if packet is not None or self._head:
            edits += self._announced(_HAS_XMP if packet is not None else 0)
        growth = sum(len(edit.new) - (edit.end - edit.start) for edit in edits)
        size = self._end - 8 + growth
        if size > _LARGEST_RIFF:
            refuse("is too large for another chunk")
        return [*edits, Edit(4, 8, struct.pack("<I", size))]

    def _announced(self, flag: int) -> list[Edit]:
        """Return the edits on ``VP8X`` that say whether there is XMP."""
        simple = [c.kind for c in self._chunks if c.kind != b"XMP "]
        if self._head:
            flags = self._head[0] & ~_HAS_XMP | flag
            if not flags & ~_HAS_ALPHA and simple in ([b"VP8X", b"VP8 "], [b"VP8X", b"VP8L"]):
                # It came as a simple file, and becomes one again.
                return [Edit(12, 30, b"")]
            return [Edit(20, 21, bytes([flags]))]
        return [Edit(12, 12, struct.pack("<4sI", b"VP8X", 10) + self._made_head(flag))]

    def _made_head(self, flag: int) -> bytes:
        """Return the content of a ``VP8X`` for a simple file."""
        first = self._chunks[0]
        data = exactly(self._source, first.span.start + 8, 10)
        if first.kind == b"VP8 " and data[3:6] == _LOSSY_START:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 6))
        elif first.kind == b"VP8L" and data[0] == _LOSSLESS_START:
            (bits,) = struct.unpack_from("<I", data, 1)
            width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
            flag |= _HAS_ALPHA if bits >> 28 & 1 else 0
        else:
            refuse("has a picture of an unknown kind")
        sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        return bytes([flag, 0, 0, 0]) + sides

    def fingerprint(self) -> Fingerprint:
        """See :class:`Container`."""
        head = self._head or self._made_head(0)
        chunks = tuple(
            (chunk.kind, digest_of(self._source, chunk.span))
            for chunk in self._chunks
            if chunk.kind not in {b"XMP ", b"VP8X"}
        )
        trailer = digest_of(self._source, Span(self._end, self._source.size))
        return (head[0] & ~_HAS_XMP, head[1:], chunks, trailer)


def _chunks(source: Source) -> tuple[int, list[_Chunk]]:
    """Return where the RIFF ends, and its chunks."""
    riff, size, kind = struct.unpack("<4sI4s", exactly(source, 0, 12))
    if (riff, kind) != (b"RIFF", b"WEBP"):
        refuse("contains no WebP")
    end = size + 8
    chunks = list(_walk(source, end))
    if not chunks or end > source.size or chunks[-1].end != end:
        refuse("is cut off or damaged")
    return end, chunks


def _walk(source: Source, end: int) -> Iterator[_Chunk]:
    position = 12
    while position < end:
        kind, length = struct.unpack("<4sI", exactly(source, position, 8))
        chunk = _Chunk(kind, Span(position, position + 8 + length))
        yield chunk
        position = chunk.end
