"""XMP in JPEG: one APP1 segment (XMP part 3, clause 1.1.3), put in or replaced by a splice.

Offsets that are stored elsewhere must stay true. Those of a multi-picture file (MPF: gain maps,
second pictures) count from inside its APP2 segment, and the packet always lies before that. A
motion photo counts from the end. A camera's notes may count from the Exif header or the start of
the file to a preview behind the picture: where such a number is found, a packet may only be
replaced by one of the same length.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import SidecarRefused
from taggerd.metadata.embedding.container import (
    C2PA,
    Container,
    Fingerprint,
    Span,
    blocks,
    digest_without,
    exactly,
)
from taggerd.metadata.embedding.iim import PHOTOSHOP, iim_of, rest_of, segment_with
from taggerd.metadata.keywords.fields import WRITTEN
from taggerd.metadata.texts import TEXT_FIELDS
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.namespaces import TAGGERD, named
from taggerd.metadata.xmp.splice import Edit
from taggerd.metadata.xmp.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.metadata.embedding.container import Source
    from taggerd.metadata.embedding.iim import Iim
    from taggerd.metadata.xmp.tree import Node

SIGNATURE = b"\xff\xd8\xff"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF = b"Exif\0"
_MPF = b"MPF\0"
_LARGEST_PACKET = 65502
"""Bytes (XMP part 3, 1.1.3.1)."""
_APP0, APP1, _APP2, _APP11, APP13, _APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEF
START_OF_SCAN, END = 0xDA, 0xD9
_EXTENSION_HEAD = len(_EXTENSION) + 32 + 8
_FILE_END_NOTES = (b"AXS!", b"AXS*")
"""Marks of AFCP 12 bytes before the end: it keeps offsets from the start of the file."""
_TOUCHED = frozenset({TAGGERD, *(named(field).uri for field in (*TEXT_FIELDS, *WRITTEN))})
"""Namespaces that a merge writes into."""


class _Segment(NamedTuple):
    marker: int
    span: Span
    """From its 0xFF to its end."""
    data: bytes


class Jpeg(Container):
    """A parsed JPEG."""

    def __init__(self, source: Source) -> None:
        """Read the segments before the picture; raises SidecarRefused for one that is damaged."""
        super().__init__(source)
        self._segments = list(_segments(source))
        if any(s.marker == _APP11 and b"c2pa" in s.data for s in self._segments):
            refuse(C2PA)
        for segment in self._applications(APP1):
            if segment.data.startswith(XMP):
                end = segment.span.end
                start = end - len(segment.data) + len(XMP)
                self._take_packet(Span(start, end), segment.span)
        self._photoshop = [s for s in self._applications(APP13) if s.data.startswith(PHOTOSHOP)]
        if len(self._photoshop) == 1:  # of several, one may go on in the next
            self.iim = iim_of(self._photoshop[0].data)

    def edits(self, packet: bytes | None) -> list[Edit]:
        """See :class:`Container`."""
        self._check_extension()
        new = b""
        if packet is not None:
            if len(packet) > _LARGEST_PACKET:
                refuse(f"cannot hold an XMP packet of {len(packet)} bytes")
            body = XMP + packet
            new = struct.pack(">BBH", 0xFF, APP1, len(body) + 2) + body
        span = self.span or self._new_span()
        if len(new) != span.size:
            self._check_offsets(span)
        return [Edit(span.start, span.end, new)]

    def iim_edits(self, iim: Iim | None) -> list[Edit]:
        """See :class:`Container`."""
        if iim is None or iim == self.iim:
            return super().iim_edits(iim)
        segment = self._photoshop[0]
        try:
            body = segment_with(segment.data, iim)
        except ValueError as error:
            raise SidecarRefused(str(error)) from error
        if len(body) != len(segment.data):
            self._check_offsets(segment.span)
        new = struct.pack(">BBH", 0xFF, APP13, len(body) + 2) + body
        return [Edit(segment.span.start, segment.span.end, new)]

    def fingerprint(self) -> Fingerprint:
        """See :class:`Container`."""
        if self.iim is None:
            return super().fingerprint()
        segment = self._photoshop[0]
        spans = [segment.span, *([self.span] if self.span else [])]
        rest = hashlib.blake2b(rest_of(segment.data), digest_size=32).hexdigest()
        return digest_without(self._source, spans), rest

    def _applications(self, marker: int) -> list[_Segment]:
        return [s for s in self._segments if s.marker == marker]

    def _new_span(self) -> Span:
        """Return where a new packet goes: behind Exif, else behind APP0, before all others."""
        at = len(SIGNATURE) - 1
        for segment in self._segments:
            is_exif = segment.marker == APP1 and segment.data.startswith(_EXIF)
            if segment.span.start == at and segment.marker == _APP0:
                at = segment.span.end
            if is_exif and not self._mpf_before(segment):
                at = segment.span.end
        return Span(at, at)

    def _mpf_before(self, segment: _Segment) -> bool:
        return any(
            s.data.startswith(_MPF) and s.span.start < segment.span.start
            for s in self._applications(_APP2)
        )

    def _check_extension(self) -> None:
        """Refuse an extended packet with fields that a merge would have to know."""
        parts: dict[bytes, dict[int, bytes]] = {}
        for segment in self._applications(APP1):
            if segment.data.startswith(_EXTENSION):
                if len(segment.data) < _EXTENSION_HEAD:
                    refuse(_EXTENDED)
                guid = segment.data[len(_EXTENSION) : len(_EXTENSION) + 32]
                (offset,) = struct.unpack_from(">I", segment.data, _EXTENSION_HEAD - 4)
                parts.setdefault(guid, {})[offset] = segment.data[_EXTENSION_HEAD:]
        for pieces in parts.values():
            extended = b"".join(piece for _, piece in sorted(pieces.items()))
            if len(extended) > LARGEST or _TOUCHED & _namespaces(Tree(extended).root):
                refuse(_EXTENDED)

    def _check_offsets(self, span: Span) -> None:
        """Refuse where an offset counts across *span*, whose length is to change."""
        if any(
            s.data.startswith(_MPF) and s.span.start < span.start for s in self._applications(_APP2)
        ):
            refuse("has its XMP after its list of pictures (MPF), whose offsets would become wrong")
        if self._source.read(max(0, self._source.size - 12), 4) in _FILE_END_NOTES:
            refuse(_COUNTED)
        exif = [s for s in self._applications(APP1) if s.data.startswith(_EXIF)]
        if not exif:
            return
        begin = self._segments[-1].span.end
        starts = list(_pictures_from(self._source, begin))
        for segment in exif:
            base = segment.span.start + 10
            for start in starts:
                for number in (start, start - base):
                    packed = (struct.pack("<I", number), struct.pack(">I", number))
                    if any(bytes_ in segment.data for bytes_ in packed):
                        refuse(_COUNTED)


_EXTENDED = "has an extended XMP packet that cannot be merged safely"
_COUNTED = "contains offsets to data after the picture, which would become wrong"
_FURTHEST = 1 << 32


def _segments(source: Source) -> Iterator[_Segment]:
    """Yield the segments before the first scan, and the scan's own head as the last."""
    if source.read(0, 3) != SIGNATURE:
        refuse("contains no JPEG")
    position = 2
    while True:
        start = position
        while (head := exactly(source, position, 2)) == b"\xff\xff":
            position += 1  # fill bytes
        marker = head[1]
        if head[0] != 0xFF or marker in {0x00, 0x01, END, 0xD8} or 0xD0 <= marker <= 0xD7:  # noqa: PLR2004 - markers of ISO 10918-1, table B.1
            refuse("is damaged before the picture begins")
        (length,) = struct.unpack(">H", exactly(source, position + 2, 2))
        if length < 2:  # noqa: PLR2004 - it counts itself
            refuse("has a damaged segment")
        keep = _APP0 <= marker <= _APP15
        data = exactly(source, position + 4, length - 2)
        position += 2 + length
        yield _Segment(marker, Span(start, position), data if keep else b"")
        if marker == START_OF_SCAN:
            return


def _pictures_from(source: Source, start: int) -> Iterator[int]:
    """Yield where behind *start* a JPEG begins (cannot happen within compressed data)."""
    if source.size >= _FURTHEST:
        refuse(_COUNTED)
    position, tail = start, b""
    for block in blocks(source, Span(start, source.size)):
        data = tail + block
        base = position - len(tail)
        found = data.find(SIGNATURE)
        while found >= 0:
            yield base + found
            found = data.find(SIGNATURE, found + 1)
        position += len(block)
        tail = data[-2:]


def _namespaces(root: Node) -> set[str]:
    waiting, found = [root], set[str]()
    while waiting:
        node = waiting.pop()
        found |= {node.name.uri, *(name.uri for name in node.attributes)}
        waiting += node.children
    return found
