"""EXIF, as far as a sidecar needs it: a dozen tags of three directories (CIPA DC-008, TIFF 6.0).

Read here and not by a library, because what is damaged costs no more than itself: a tag that cannot
be read is missing, and the others are there. Every number is of a fixed size, so none is expensive.
Camera notes, thumbnails and all other directories are not looked at.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from taggerd.metadata.embedding.container import Source

_IMAGE = {
    270: "ImageDescription", 271: "Make", 272: "Model", 315: "Artist", 0x4746: "Rating",
    33432: "Copyright",
}  # fmt: skip
_PHOTO = {0x9003: "DateTimeOriginal", 0x9011: "OffsetTimeOriginal", 0x9291: "SubSecTimeOriginal"}
_GPS = {
    1: "GPSLatitudeRef", 2: "GPSLatitude", 3: "GPSLongitudeRef", 4: "GPSLongitude",
    5: "GPSAltitudeRef", 6: "GPSAltitude",
}  # fmt: skip
_DIRECTORIES = {34665: _PHOTO, 34853: _GPS}
"""Tag of the first directory that points to one → what is read there."""
_BLOCKS = {700: "XMP", 33723: "IPTC", 34377: "Photoshop"}
"""In TIFF and raw files: other metadata."""
_TEXTS = frozenset({2, 129})
"""ASCII, and the UTF-8 of Exif 3.0."""
_NUMBERS = {1: "B", 3: "H", 4: "I", 5: "II", 7: "B", 9: "i", 10: "ii"}
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8, 129: 1}  # fmt: skip
_LONGEST_TEXT = 1 << 16
_MOST_NUMBERS = 3
_LARGEST_BLOCK = 16 << 20
_SMALL = {
    b"II*\0": "<", b"MM\0*": ">", b"IIRO": "<", b"IIRS": "<", b"MMOR": ">", b"IIU\0": "<",
}  # fmt: skip
"""TIFF, and raw files that are TIFF but for these bytes (Olympus, Panasonic)."""
_BIG = {b"II+\0": "<", b"MM\0+": ">"}
SIGNATURES = frozenset(_SMALL | _BIG)

_ENDS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}
DIRECTORY = "a directory"

Number = tuple[int, int]
"""Numerator and denominator."""


@dataclass(slots=True)
class Exif:
    """What EXIF says."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, tuple[Number, ...]] = field(default_factory=dict)
    blocks: dict[str, bytes] = field(default_factory=dict)
    """Other metadata that a TIFF holds: ``XMP``, ``IPTC``, ``Photoshop``."""
    damaged: set[str] = field(default_factory=set)
    """Tags that cannot be read, and `DIRECTORY` where a whole one cannot."""
    seen: set[str] = field(default_factory=set)
    """Tags that were come across: each is read once, however often it is listed."""

    def text(self, tag: str) -> str:
        """Return a text; empty if there is none."""
        return self.texts.get(tag, "")

    def number(self, tag: str) -> int | None:
        """Return a whole number; None if there is none."""
        held = self.numbers.get(tag, ())
        return held[0][0] if len(held) == 1 and held[0][1] == 1 else None


class _Entry(NamedTuple):
    kind: int
    values: int
    at: int
    """Where its value is, or the value's offset."""


class _Layout(NamedTuple):
    order: str
    big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def length(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        return f"{self.order}HH{'Q' if self.big else 'I'}"


def read(source: Source) -> Exif:
    """Read *source*, which begins with the head of a TIFF; never fails."""
    found = Exif()
    head = source.read(0, 16)
    big = head[:4] in _BIG
    order = (_BIG if big else _SMALL).get(head[:4])
    if order is None:
        found.damaged.add(DIRECTORY)
        return found
    layout = _Layout(order, big)
    first = _unpacked(layout.offset, head, 8 if big else 4)
    _read_directory(source, layout, first, _IMAGE, found)
    return found


def read_one(source: Source, directory: str, found: Exif) -> None:
    """Add to *found* what *source* says, a TIFF with a single *directory* (CR3 splits EXIF so)."""
    head = source.read(0, 8)
    order = _SMALL.get(head[:4])
    tags = {"Image": _IMAGE, "Photo": _PHOTO, "GPS": _GPS}[directory]
    if order is None:
        found.damaged.add(DIRECTORY)
    else:
        layout = _Layout(order, big=False)
        _read_directory(source, layout, _unpacked(layout.offset, head, 4), tags, found)


def _read_directory(
    source: Source, layout: _Layout, at: int, tags: Mapping[int, str], found: Exif
) -> None:
    first = tags is _IMAGE
    below: dict[int, int] = {}
    for tag, *entry in _entries(source, layout, at, found):
        if tag in tags:
            _read_value(source, layout, tags[tag], _Entry(*entry), found)
        elif first and tag in _DIRECTORIES and tag not in below:
            data = _bytes(source, layout, _Entry(*entry), 8) or b""
            below[tag] = int.from_bytes(data, _ENDS[layout.order])
        elif first and tag in _BLOCKS and _BLOCKS[tag] not in found.seen:
            found.seen.add(_BLOCKS[tag])
            block = _bytes(source, layout, _Entry(*entry), _LARGEST_BLOCK)
            if block is None:
                found.damaged.add(_BLOCKS[tag])
            else:
                found.blocks[_BLOCKS[tag]] = block
    for tag, offset in below.items():
        _read_directory(source, layout, offset, _DIRECTORIES[tag], found)


def _entries(
    source: Source, layout: _Layout, at: int, found: Exif
) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, number of values and offset of the value field of each entry."""
    head_size, size = (8, 20) if layout.big else (2, 12)
    head = source.read(at, head_size) if at else b""
    count = _unpacked(layout.length, head, 0) if len(head) == head_size else -1
    if not 0 <= count <= 0xFFFF:  # noqa: PLR2004 - what 16 bits hold
        found.damaged.add(DIRECTORY)
        return
    table = source.read(at + head_size, count * size)
    if len(table) < count * size:
        found.damaged.add(DIRECTORY)
    value = size - (8 if layout.big else 4)
    for start in range(0, len(table) - size + 1, size):
        tag, kind, values = struct.unpack_from(layout.entry, table, start)
        yield tag, kind, values, at + head_size + start + value


def _inline(source: Source, layout: _Layout, at: int) -> bytes:
    return source.read(at, 8 if layout.big else 4)


def _bytes(source: Source, layout: _Layout, entry: _Entry, most: int) -> bytes | None:
    """Return the bytes of a value; None if they are not there, or more than *most*."""
    kind, count, at = entry
    size = _SIZES.get(kind, 0) * count
    inline = 8 if layout.big else 4
    if not size or size > most:
        return None
    if size > inline:
        at = _unpacked(layout.offset, _inline(source, layout, at), 0)
    data = source.read(at, size) if at < source.size else b""
    return data if len(data) == size else None


def _read_value(source: Source, layout: _Layout, name: str, entry: _Entry, found: Exif) -> None:
    kind, count, _ = entry
    if name in found.seen or not count:
        return
    found.seen.add(name)
    if kind in _TEXTS:
        data = _bytes(source, layout, entry, _LONGEST_TEXT)
        if data is None:
            found.damaged.add(name)
        elif text := decoded(_ended(name, data)):
            found.texts[name] = text
        return
    form = _NUMBERS.get(kind)
    if form is None or count > _MOST_NUMBERS:
        return
    data = _bytes(source, layout, entry, _SIZES[kind] * _MOST_NUMBERS)
    if data is None:
        found.damaged.add(name)
        return
    said = struct.unpack(f"{layout.order}{form * count}", data)
    found.numbers[name] = (
        tuple(zip(said[::2], said[1::2], strict=True))
        if len(form) == 2  # noqa: PLR2004 - a fraction
        else tuple((number, 1) for number in said)
    )


def _ended(name: str, data: bytes) -> bytes:
    """Return a text up to its end; Copyright has the editor's behind the photographer's."""
    return data.rstrip(b"\0") if name == "Copyright" else data.partition(b"\0")[0]


def decoded(data: bytes) -> str:
    """Return a text: UTF-8, else Latin-1, in which EXIF and IPTC were written for decades."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _unpacked(form: str, data: bytes, at: int) -> int:
    """Return one number; 0 where *data* is too short."""
    if len(data) < at + struct.calcsize(form):
        return 0
    number: int = struct.unpack_from(form, data, at)[0]
    return number
