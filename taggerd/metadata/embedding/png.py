"""XMP in PNG: one ``iTXt`` chunk named ``XML:com.adobe.xmp`` (XMP part 3, clause 1.1.5)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

from taggerd.metadata.embedding.container import (
    C2PA,
    Container,
    Span,
    exactly,
)
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.splice import Edit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.metadata.embedding.container import Source

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEYWORD = b"XML:com.adobe.xmp\0"
_OLD = b"Raw profile type xmp\0"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})


class _Chunk(NamedTuple):
    kind: bytes
    span: Span
    """From its length to its checksum, both included."""


class Png(Container):
    """A parsed PNG."""

    def __init__(self, source: Source) -> None:
        """Read the chunks' heads; raises SidecarRefused for one that is damaged."""
        super().__init__(source)
        self._chunks = list(_chunks(source))
        if any(chunk.kind == b"caBX" for chunk in self._chunks):
            refuse(C2PA)
        for chunk in self._chunks:
            if chunk.kind in _TEXTS:
                self._read_text(chunk)

    def edits(self, packet: bytes | None) -> list[Edit]:
        """See :class:`Container`."""
        span = self.span or Span(self._chunks[0].span.end, self._chunks[0].span.end)
        new = b""
        if packet is not None:
            # Not compressed, no language, no translated keyword.
            body = b"iTXt" + _KEYWORD + b"\0\0\0\0" + packet
            checksum = struct.pack(">I", zlib.crc32(body))
            new = struct.pack(">I", len(body) - 4) + body + checksum
        return [Edit(span.start, span.end, new)]

    def _read_text(self, chunk: _Chunk) -> None:
        """Take the packet if *chunk* is one."""
        start, end = chunk.span.start + 8, chunk.span.end - 4
        name = self._source.read(start, len(_OLD))
        if name == _OLD:
            refuse("keeps its XMP in an old form (a raw profile)")
        if chunk.kind != b"iTXt" or not name.startswith(_KEYWORD):
            return
        self._take_packet(Span(start + len(_KEYWORD), end), chunk.span)
        data = self.packet or b""
        packet = data[2:].partition(b"\0")[2].partition(b"\0")[2]  # behind two texts that end so
        self.packet = inflated(packet) if data[:1] == b"\1" else packet


def _chunks(source: Source) -> Iterator[_Chunk]:
    """Yield the chunks up to ``IEND``."""
    if source.read(0, 8) != SIGNATURE:
        refuse("contains no PNG")
    position, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", exactly(source, position, 8))
        end = position + 12 + length
        if end > source.size or (position == 8) != (kind == b"IHDR"):  # noqa: PLR2004 - the first chunk
            refuse("has a damaged chunk")
        yield _Chunk(kind, Span(position, end))
        position = end


def inflated(data: bytes) -> bytes:
    """Unpack a compressed packet."""
    inflating = zlib.decompressobj()
    try:
        packet = inflating.decompress(data, LARGEST)
    except zlib.error:
        packet = b""
    if not inflating.eof:
        refuse("has a compressed XMP packet that is damaged or too large")
    return packet
