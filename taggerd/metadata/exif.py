"""The dozen tags of EXIF that a sidecar needs, copied into a small TIFF of our own for Exiv2.

Exiv2 raises on what it merely logs, reads camera notes that nobody here wants (most of its holes
are there), and wants a photo whole in memory. So it gets a TIFF of three directories with the
entries that count (CIPA DC-008, TIFF 6.0): a few hundred bytes, whatever the photo is. A tag that
is damaged is missing from it, and spoils no other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.metadata.embedding.container import Source

IMAGE, PHOTO, GPS = 0, 34665, 34853
"""The first directory, and the tags in it that point to the others."""
_WANTED = {
    IMAGE: frozenset({270, 271, 272, 315, 0x4746, 33432}),
    PHOTO: frozenset({0x9003, 0x9011, 0x9204, 0x9291, 0xA402, 0xA431}),
    GPS: frozenset(range(1, 7)),
}
"""ImageDescription, Make, Model, Artist, Rating, Copyright; DateTimeOriginal, OffsetTimeOriginal,
ExposureBiasValue, SubSecTimeOriginal, ExposureMode, BodySerialNumber; GPSLatitudeRef to
GPSAltitude."""
IPTC = 33723
_BLOCKS = {700: "XMP", IPTC: "IPTC", 34377: "Photoshop"}
"""In TIFF and raw files: other metadata."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          129: 1}  # fmt: skip
"""Bytes of a value, by type."""
_POINTERS = {**_SIZES, 16: 8, 17: 8, 18: 8}
_ASCII, _UNDEFINED, _UTF_8 = 2, 7, 129
_LARGEST_VALUE = 1 << 16
_LARGEST_BLOCK = 16 << 20
_SMALL = {
    b"II*\0": "<", b"MM\0*": ">", b"IIRO": "<", b"IIRS": "<", b"MMOR": ">", b"IIU\0": "<",
}  # fmt: skip
"""TIFF, and raw files that are TIFF but for these bytes (Olympus, Panasonic)."""
_BIG = {b"II+\0": "<", b"MM\0+": ">"}
SIGNATURES = frozenset(_SMALL | _BIG)
_ENDS: dict[str, Literal["little", "big"]] = {"<": "little", ">": "big"}


class _Value(NamedTuple):
    kind: int
    values: int
    data: bytes


@dataclass(slots=True)
class Excerpt:
    """What was copied out of one or more directories."""

    order: str = ""
    """Of bytes, as `struct` writes it; empty: nothing was read yet."""
    values: dict[tuple[int, int], _Value] = field(default_factory=dict)
    """(directory, tag) → value."""
    blocks: dict[str, bytes] = field(default_factory=dict)
    """Other metadata that a TIFF holds: ``XMP``, ``IPTC``, ``Photoshop``."""
    damaged: bool = False
    """A directory or a value that is wanted is cut off."""
    lost: bool = False
    """So is the first directory, or another block of metadata in it."""
    seen: set[tuple[int, int]] = field(default_factory=set)
    """What was come across: each is copied once, however often it is listed."""

    def tiff(self) -> bytes:
        """Return the values as a TIFF; empty if there are none."""
        return tiff(self.order, self.values) if self.values else b""


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


def copy(source: Source, found: Excerpt, directory: int = IMAGE) -> None:
    """Copy what counts in *source*, which begins with the head of a TIFF; never fails.

    Args:
        source: the bytes.
        found: where they go.
        directory: what its first directory is (CR3 has a TIFF for each).
    """
    head = source.read(0, 16)
    big = head[:4] in _BIG
    order = (_BIG if big else _SMALL).get(head[:4])
    if order is None or order != (found.order or order):
        found.damaged = True
        return
    found.order = order
    layout = _Layout(order, big)
    _copy_directory(
        source, layout, _unpacked(layout.offset, head, 8 if big else 4), directory, found
    )


def _copy_directory(
    source: Source, layout: _Layout, at: int, directory: int, found: Excerpt
) -> None:
    below: dict[int, int] = {}
    entries, is_whole = _entries(source, layout, at)
    found.damaged = found.damaged or not is_whole
    found.lost = found.lost or (not is_whole and directory == IMAGE)
    for tag, kind, count, value_at in entries:
        if (directory, tag) in found.seen:
            continue
        if tag in _WANTED[directory] and kind in _SIZES and count:
            found.seen.add((directory, tag))
            data = _bytes(source, layout, (kind, count, value_at), _LARGEST_VALUE)
            if data is not None:
                known = _ASCII if kind == _UTF_8 else kind  # a type of Exif 3.0, new to Exiv2
                found.values[directory, tag] = _Value(known, count, data)
            found.damaged = found.damaged or data is None
        elif directory == IMAGE and tag in {PHOTO, GPS}:
            found.seen.add((directory, tag))
            pointer = _bytes(source, layout, (kind, count, value_at), 8) or b""
            below[tag] = int.from_bytes(pointer, _ENDS[layout.order])
        elif directory == IMAGE and tag in _BLOCKS:
            found.seen.add((directory, tag))
            block = _bytes(source, layout, (kind, count, value_at), _LARGEST_BLOCK)
            found.lost = found.lost or block is None
            if block is not None:
                found.blocks[_BLOCKS[tag]] = block
    for tag, offset in below.items():
        _copy_directory(source, layout, offset, tag, found)


def _entries(
    source: Source, layout: _Layout, at: int
) -> tuple[Iterator[tuple[int, int, int, int]], bool]:
    """Return each entry's tag, type, number of values and their offset; and if all are there."""
    head_size, size = (8, 20) if layout.big else (2, 12)
    head = source.read(at, head_size) if at else b""
    count = _unpacked(layout.length, head, 0) if len(head) == head_size else -1
    if not 0 <= count <= 0xFFFF:  # noqa: PLR2004 - what 16 bits hold
        return iter(()), False
    table = source.read(at + head_size, count * size)
    begin = at + head_size + size - (8 if layout.big else 4)
    entries = (
        (*struct.unpack_from(layout.entry, table, start), begin + start)
        for start in range(0, len(table) - size + 1, size)
    )
    return entries, len(table) == count * size


def _bytes(source: Source, layout: _Layout, entry: tuple[int, int, int], most: int) -> bytes | None:
    """Return the bytes of a value; None if they are not there, or more than *most*."""
    kind, count, at = entry
    size = _POINTERS.get(kind, 0) * count
    inline = 8 if layout.big else 4
    if size > most or kind not in _POINTERS:
        return None
    if size > inline:
        at = _unpacked(layout.offset, source.read(at, inline), 0)
    data = source.read(at, size) if at < source.size else b""
    return data if len(data) == size else None


def _unpacked(form: str, data: bytes, at: int) -> int:
    """Return one number; 0 where *data* is too short."""
    if len(data) < at + struct.calcsize(form):
        return 0
    number: int = struct.unpack_from(form, data, at)[0]
    return number


def tiff(order: str, values: dict[tuple[int, int], _Value]) -> bytes:
    """Return a TIFF with *values* by directory and tag."""
    tables = {d: {t: v for (of, t), v in values.items() if of == d} for d in (IMAGE, PHOTO, GPS)}
    tables = {d: table for d, table in tables.items() if table or d == IMAGE}
    below = [d for d in tables if d != IMAGE]
    starts, end = {}, 8
    for directory, table in tables.items():
        starts[directory] = end
        end += 2 + 12 * (len(table) + (len(below) if directory == IMAGE else 0)) + 4
    for directory in below:
        tables[IMAGE][directory] = _Value(4, 1, struct.pack(f"{order}I", starts[directory]))
    made = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    rest = b""
    for table in tables.values():
        made += struct.pack(f"{order}H", len(table))
        for tag, (kind, count, data) in sorted(table.items()):
            made += struct.pack(f"{order}HHI", tag, kind, count)
            if len(data) <= 4:  # noqa: PLR2004 - it fits into the entry
                made += data.ljust(4, b"\0")
            else:
                made += struct.pack(f"{order}I", end + len(rest))
                rest += data + b"\0" * (len(data) % 2)
        made += bytes(4)
    return made + rest


def tiff_of_iptc(data: bytes) -> bytes:
    """Return a TIFF with IPTC-IIM and nothing else."""
    return tiff("<", {(IMAGE, IPTC): _Value(_UNDEFINED, len(data), data)})
