"""Where the metadata of a photo file lies: EXIF, IPTC-IIM and the XMP packet, each on its own.

What is damaged spoils nothing else: an EXIF block that no library can read hides no packet. Where
the file's own structure is damaged before a packet was found, its bytes are searched for one.
Nothing is read but heads and the blocks themselves; the picture is passed over.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taggerd.errors import SidecarRefused
from taggerd.metadata import exif
from taggerd.metadata.embedding import iim, jpeg, png
from taggerd.metadata.embedding.container import Part, Span, exactly
from taggerd.metadata.embedding.heif import Heif, boxes, is_heif
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.encoding import LARGEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.metadata.embedding.container import Source
    from taggerd.metadata.embedding.heif import Box

_EXIF_HEAD = b"Exif\0"
_JXL = b"\0\0\0\x0cJXL \r\n\x87\n"
_NAKED_JXL = b"\xff\x0a"
_RAF = b"FUJIFILMCCD-RAW "
_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_CANON_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_CANON_DIRECTORIES = {b"CMT1": exif.IMAGE, b"CMT2": exif.PHOTO, b"CMT4": exif.GPS}
_MOST_SEGMENTS = 10_000
_MOST_PARTS = 256
"""Segments of Photoshop's data, 64 KB each."""
_MOST_CHUNKS = 200_000
_MOST_TEXTS = 32
_SEARCHED = 32 << 20
"""Bytes of a damaged file that are searched for a packet."""
_BEGIN, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_PICTURES = frozenset({b"IDAT", b"fdAT", b"VP8 ", b"VP8L", b"ALPH", b"ANMF"})
"""Chunks of picture data: a file that ends within one hides nothing."""
_MARKER = re.compile(rb"\xff[^\x00\xff]")
"""ISO 10918-1, B.1.1.2."""
_LONGEST_NAME = 79
"""Of a text in PNG."""


@dataclass(slots=True)
class Blocks:
    """The metadata that was found in a photo file."""

    packet: bytes | None = None
    """The XMP packet; None: there is none, or it cannot be reached."""
    exif: exif.Excerpt = field(default_factory=exif.Excerpt)
    iptc: bytes = b""
    """IPTC-IIM."""
    damaged: str = ""
    """Why the file could not be looked through to the end of its metadata."""

    def add_exif(self, source: Source) -> None:
        """Read *source*, an EXIF block, if it is the first."""
        if not self.exif.order:
            exif.copy(source, self.exif)

    def add_packet(self, packet: bytes) -> None:
        """Take *packet*, if it is the first that holds anything."""
        if self.packet is None and packet.strip(b" \t\r\n\0"):
            self.packet = packet


def blocks_of(source: Source) -> Blocks:
    """Return the metadata in *source*, whatever format it is. What is damaged is missing.

    Raises:
        OSError: it cannot be read.
    """
    found = Blocks()
    try:
        _find(source, found)
    except SidecarRefused as refusal:
        found.damaged = f"it {refusal}"
    if found.damaged and found.packet is None:
        found.packet = _searched(source)
    return found


def _find(source: Source, found: Blocks) -> None:
    head = source.read(0, 16)
    if head.startswith(jpeg.SIGNATURE):
        _find_in_jpeg(source, found)
    elif head.startswith(png.SIGNATURE):
        _find_in_png(source, found)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        _find_in_webp(source, found)
    elif head[:4] in exif.SIGNATURES:
        _find_in_tiff(source, found)
    elif head == _RAF:
        start, length = (int.from_bytes(exactly(source, at, 4)) for at in (84, 88))
        _find_in_jpeg(Part(source, Span(start, start + length)), found)
    elif head.startswith(_JXL):
        _find_in_jxl(source, found)
    elif is_heif(head):
        (_find_in_cr3 if head[8:12] == b"crx " else _find_in_heif)(source, found)
    elif not head.startswith(_NAKED_JXL):
        refuse("is of no kind that is known")


def _find_in_jpeg(source: Source, found: Blocks) -> None:
    photoshop: list[bytes] = []
    position = 2
    try:
        for _ in range(_MOST_SEGMENTS):
            position = _marker_from(source, position)
            marker = exactly(source, position, 1)[0]
            if marker in {jpeg.START_OF_SCAN, jpeg.END}:
                return
            length = int.from_bytes(exactly(source, position + 1, 2))
            start, end = position + 3, position + 1 + max(2, length)
            if marker in {jpeg.APP1, jpeg.APP13}:
                _find_in_segment(Part(source, Span(start, end)), marker, found, photoshop)
            position = end
        refuse("has too many segments")
    finally:
        if photoshop:
            found.iptc = iim.iptc_in(b"".join(photoshop))


def _marker_from(source: Source, position: int) -> int:
    """Return where the next marker's second byte is; decoders, too, pass over what is between."""
    found = _MARKER.match(source.read(position, 2)) or _MARKER.search(
        source.read(position, 1 << 16)
    )
    if found is None:
        refuse("is damaged before the picture begins")
    return position + found.start() + 1


def _find_in_segment(source: Source, marker: int, found: Blocks, photoshop: list[bytes]) -> None:
    data = source.read(0, source.size)
    if marker == jpeg.APP13 and data.startswith(iim.PHOTOSHOP) and len(photoshop) < _MOST_PARTS:
        photoshop.append(data[len(iim.PHOTOSHOP) :])
    elif marker == jpeg.APP1 and data.startswith(_EXIF_HEAD):
        found.add_exif(Part(source, Span(len(_EXIF_HEAD) + 1, source.size)))
    elif marker == jpeg.APP1 and data.startswith(jpeg.XMP):
        found.add_packet(data[len(jpeg.XMP) :])


def _find_in_png(source: Source, found: Blocks) -> None:
    position, texts = len(png.SIGNATURE), 0
    for _ in range(_MOST_CHUNKS):
        head = source.read(position, 8)
        length, kind = int.from_bytes(head[:4]), head[4:]
        start, end = position + 8, position + 8 + length
        if len(head) < 8 or kind == b"IEND" or (end > source.size and kind in _PICTURES):  # noqa: PLR2004 - a head
            return
        if end > source.size:
            refuse("is cut off or damaged")
        if kind == b"eXIf":
            found.add_exif(_without_head(source, Span(start, end)))
        elif kind in _TEXTS and texts < _MOST_TEXTS:
            try:
                texts += _find_in_text(source, kind, Span(start, end), found)
            except SidecarRefused as refusal:
                texts, found.damaged = texts + 1, f"it {refusal}"
        position = end + 4
    refuse("has too many chunks")


def _find_in_text(source: Source, kind: bytes, span: Span, found: Blocks) -> bool:
    """Take metadata out of a text of PNG: an ``iTXt`` of XMP, or what ImageMagick writes as hex.

    Returns:
        False if it is another text.
    """
    name = source.read(span.start, min(span.size, _LONGEST_NAME + 1)).partition(b"\0")[0]
    profile = name.removeprefix(b"Raw profile type ")
    if name != b"XML:com.adobe.xmp" and profile == name:
        return False
    if span.size > LARGEST:
        refuse("has a text that is too large")
    data = source.read(span.start + len(name) + 1, span.size - len(name) - 1)
    compressed = kind == b"zTXt"
    if kind == b"iTXt":
        compressed = data[:1] == b"\1"
        data = data[2:].partition(b"\0")[2].partition(b"\0")[2]
    elif compressed:
        data = data[1:]
    if compressed:
        data = png.inflated(data)
    if profile == name:
        found.add_packet(data)
    else:
        _find_in_profile(profile, data, found)
    return True


def _find_in_profile(profile: bytes, data: bytes, found: Blocks) -> None:
    """Take metadata out of a profile: an empty line, its name, its length, and hex."""
    try:
        raw = binascii.unhexlify(b"".join(data.split(b"\n", 3)[3:]).replace(b"\n", b"").strip())
    except binascii.Error:
        refuse("has a damaged profile")
    if raw.startswith(jpeg.XMP):
        found.add_packet(raw[len(jpeg.XMP) :])
    elif profile in {b"exif", b"APP1"}:
        found.add_exif(Held(raw.removeprefix(_EXIF_HEAD + b"\0")))
    elif profile == b"xmp":
        found.add_packet(raw)
    elif profile in {b"iptc", b"8bim"}:
        found.iptc = iim.iptc_in(raw) if raw.startswith(b"8BIM") else raw


class Held:
    """Bytes in memory, as a source."""

    def __init__(self, data: bytes) -> None:
        """Read *data*."""
        self._data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer at the end."""
        return self._data[offset : offset + length]


def _without_head(source: Source, span: Span) -> Part:
    """Return EXIF from its TIFF head on: some writers put JPEG's before it."""
    has_head = source.read(span.start, len(_EXIF_HEAD)) == _EXIF_HEAD
    return Part(source, Span(span.start + (len(_EXIF_HEAD) + 1 if has_head else 0), span.end))


def _find_in_webp(source: Source, found: Blocks) -> None:
    position = 12
    for _ in range(_MOST_CHUNKS):
        if position + 8 > source.size:
            return
        head = exactly(source, position, 8)
        start = position + 8
        end = start + int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            found.add_exif(_without_head(source, Span(start, end)))
        elif head[:4] == b"XMP ":
            found.add_packet(_packet_at(source, Span(start, end)))
        if end > source.size:
            if head[:4] in _PICTURES:
                return
            refuse("is cut off or damaged")
        position = end + end % 2
    refuse("has too many chunks")


def _find_in_tiff(source: Source, found: Blocks) -> None:
    exif.copy(source, found.exif)
    held = found.exif.blocks
    found.add_packet(held.get("XMP", b""))
    found.iptc = held.get("IPTC") or iim.iptc_in(held.get("Photoshop", b""))
    if found.exif.lost:
        refuse("is cut off or damaged")


def _find_in_heif(source: Source, found: Blocks) -> None:
    heif = Heif(source, to_write=False)
    if heif.exif is not None:
        found.add_exif(Part(source, heif.exif))
    found.add_packet(heif.packet or b"")


def _find_in_jxl(source: Source, found: Blocks) -> None:
    for box in boxes(source, 0, source.size):
        if box.kind == b"Exif":
            start = box.body + 4 + int.from_bytes(exactly(source, box.body, 4))
            found.add_exif(Part(source, Span(start, box.end)))
        elif box.kind == b"xml ":
            found.add_packet(_packet_at(source, Span(box.body, box.end)))
        elif box.kind == b"brob" and source.read(box.body, 4) == b"xml ":
            refuse("has its XMP compressed (Brotli), which taggerd does not read")


def _find_in_cr3(source: Source, found: Blocks) -> None:
    for box in boxes(source, 0, source.size):
        if _is_uuid(source, box, _CANON_XMP):
            found.add_packet(_packet_at(source, Span(box.body + 16, box.end)))
        elif box.kind == b"moov":
            for inner in boxes(source, box.body, box.end):
                if _is_uuid(source, inner, _CANON):
                    parts = {p.kind: p for p in boxes(source, inner.body + 16, inner.end)}
                    for kind, directory in _CANON_DIRECTORIES.items():
                        if part := parts.get(kind):
                            block = Part(source, Span(part.body, part.end))
                            exif.copy(block, found.exif, directory)
                    break


def _is_uuid(source: Source, box: Box, uuid: bytes) -> bool:
    return box.kind == b"uuid" and source.read(box.body, 16) == uuid


def _packet_at(source: Source, span: Span) -> bytes:
    if span.size > LARGEST:
        refuse("has an XMP packet that is too large")
    return exactly(source, span.start, span.size)


def _searched(source: Source) -> bytes | None:
    """Return the first packet that stands as text among the first bytes of *source*."""
    start = next(_found_at(source, _BEGIN, 0), None)
    if start is None:
        return None
    end = next(_found_at(source, _END, start), None)
    if end is None or end - start > LARGEST:
        return None
    return source.read(start, end + len(_END) - start)


def _found_at(source: Source, wanted: bytes, start: int) -> Iterator[int]:
    """Yield where *wanted* stands from *start* on, as far as is searched."""
    step, overlap = 1 << 20, len(wanted) - 1
    while start < min(source.size, _SEARCHED):
        data = source.read(start, step + overlap)
        if (at := data.find(wanted)) >= 0:
            yield start + at
        start += step
