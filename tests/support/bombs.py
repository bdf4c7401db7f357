"""Small files that ask for much: made here, because nobody may hand them round."""

from __future__ import annotations

import io
import os
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import pillow_heif
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

MEBIBYTE = 1 << 20


def png(path: Path, width: int, height: int) -> Path:
    """Write a PNG of black, opaque-less pixels, four bytes each; some 4 kB a megapixel."""
    row = bytes(1 + 4 * width)
    packing = zlib.compressobj(6)
    pixels = b"".join((*(packing.compress(row) for _ in range(height)), packing.flush()))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def tiff_header(path: Path, width: int, height: int) -> Path:
    """Write the directory of an RGB TIFF of that size, and no pixels."""
    fields = (
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, 100),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *field) for field in fields)
    directory = struct.pack("<H", len(fields)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + bytes(200))
    return path


def tiff_of_many_strips(path: Path, strips: int) -> Path:
    """Write a grey TIFF of so many strips of one row each; all of them the same byte."""
    fields = (
        (256, 4, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, strips, 400), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, strips, 400 + 4 * strips),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *field) for field in fields)
    head = b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries
    path.write_bytes(
        head.ljust(400, b"\0") + struct.pack("<I", 300) * strips + struct.pack("<I", 1) * strips
    )
    return path


def tiff_of_many_directories(path: Path, directories: int) -> Path:
    """Write a grey TIFF of one pixel, followed by so many pages of it; some 100 bytes each."""
    fields = (
        (256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 0), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, 1, 1),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *field) for field in fields)
    size = 2 + len(entries) + 4
    pages = (
        struct.pack("<H", len(fields)) + entries + struct.pack("<I", 8 + size * number)
        for number in range(1, directories)
    )
    last = struct.pack("<H", len(fields)) + entries + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(pages) + last)
    return path


def jpeg_of_many_scans(path: Path, width: int, height: int, scans: int) -> Path:
    """Write a progressive grey JPEG in which every scan passes over all blocks and changes none.

    Each costs some 7 bytes a megapixel: runs of blocks that end at once (T.81, G.1.2.2, EOBn).
    """

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    def packed(bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        data = int(bits, 2).to_bytes(len(bits) // 8, "big")
        return data.replace(b"\xff", b"\xff\0")

    blocks = -(-width // 8) * -(-height // 8)
    # The only code, one bit long, is EOB14: 16,384 blocks, and as many more as 14 bits say. What
    # the last run has too many is nobody's: the scan ends.
    runs = ("0" + "1" * 14) * -(-blocks // 32767)
    one_code = bytes([1, *[0] * 15])
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + packed("0" * blocks)
    other = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + packed(runs)
    path.write_bytes(
        b"\xff\xd8"
        + segment(0xDB, bytes([0, *[1] * 64]))
        + segment(0xC2, struct.pack(">BHHBBBB", 8, height, width, 1, 1, 0x11, 0))
        + segment(0xC4, b"\0" + one_code + b"\0")
        + segment(0xC4, b"\x10" + one_code + b"\xe0")
        + first
        + other * scans
        + b"\xff\xd9"
    )
    return path


def sparse(path: Path, head: bytes, size: int) -> Path:
    """Write a *head* and then nothing up to that *size*: it takes a few blocks of the disk."""
    path.write_bytes(head)
    os.truncate(path, size)
    return path


def gif(path: Path, frames: int) -> Path:
    """Write a GIF of so many frames."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    path.write_bytes(screen + frame * frames + b";")
    return path


def deep_sidecar(path: Path, levels: int) -> Path:
    """Write a sidecar with a property that nests so many levels deep."""
    opening, closing = b"<t:a>" * levels, b"</t:a>" * levels
    path.write_bytes(_sidecar(b'xmlns:t="urn:deep"', opening + closing))
    return path


def long_sidecar(path: Path, size: int) -> Path:
    """Write a sidecar whose keywords alone take *size* bytes."""
    item = b"<rdf:li>keyword %07d</rdf:li>"
    items = b"".join(item % n for n in range(size // len(item % 0)))
    subject = b"<dc:subject><rdf:Bag>" + items + b"</rdf:Bag></dc:subject>"
    path.write_bytes(_sidecar(b'xmlns:dc="http://purl.org/dc/elements/1.1/"', subject))
    return path


def _sidecar(namespace: bytes, properties: bytes) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" %s>%s</rdf:Description></rdf:RDF></x:xmpmeta>'
    ) % (namespace, properties)


def crc(chunk: bytes) -> int:
    """Return the checksum of a PNG's *chunk*: its kind and its data."""
    return zlib.crc32(chunk)


def avif(path: Path, columns: int, rows: int, *, edge: int = 64) -> Path:
    """Write an AVIF that is a grid of tiles, all of them the same AV1 picture."""
    return _grid(path, _Coded("AVIF", b"avif", b"av01", b"av1C", edge), columns, rows, 0)


def heic(path: Path, columns: int, rows: int, *, missing: int = 0, edge: int = 64) -> Path:
    """Write a HEIC as phones do, a grid of tiles, of which the last *missing* are not in the file.

    As in a copy that broke off: the boxes name every tile, and point past the end of the file.
    The tiles are square, and all of them the same HEVC picture.
    """
    return _grid(path, _Coded("HEIF", b"heic", b"hvc1", b"hvcC", edge), columns, rows, missing)


class _Coded(NamedTuple):
    """How the tiles of a grid are coded."""

    pillow: str
    brand: bytes
    item: bytes
    configuration: bytes
    edge: int
    """Pixels."""


def _grid(path: Path, coded: _Coded, columns: int, rows: int, missing: int) -> Path:
    tile, configuration = _tile(coded)
    edge, width, height = coded.edge, coded.edge * columns, coded.edge * rows
    tiles = columns * rows
    items = range(2, 2 + tiles)
    start = _box(b"ftyp", coded.brand + bytes(4) + b"mif1" + coded.brand)
    data_at = len(start) + 8
    ends = b"".join(_full(b"infe", 2, struct.pack(">HH4sx", n, 0, coded.item)) for n in items)
    grid_item = _full(b"infe", 2, struct.pack(">HH4sx", 1, 0, b"grid"))
    derived = struct.pack(">HH", 1, tiles) + struct.pack(f">{tiles}H", *items)
    properties = (
        configuration,
        _full(b"ispe", 0, struct.pack(">II", edge, edge)),
        _full(b"ispe", 0, struct.pack(">II", width, height)),
    )
    of_tiles = b"".join(struct.pack(">HBBB", n, 2, 0x81, 2) for n in items)
    locations = b"".join(
        _located(n, 0, data_at if n < 2 + tiles - missing else 1 << 30, len(tile)) for n in items
    )
    meta = (
        _full(b"hdlr", 0, bytes(4) + b"pict" + bytes(13)),
        _full(b"pitm", 0, struct.pack(">H", 1)),
        _full(b"iinf", 0, struct.pack(">H", 1 + tiles) + grid_item + ends),
        _full(b"iref", 0, _box(b"dimg", derived)),
        _box(
            b"iprp",
            _box(b"ipco", b"".join(properties))
            + _full(b"ipma", 0, struct.pack(">IHBB", 1 + tiles, 1, 1, 3) + of_tiles),
        ),
        _full(
            b"iloc", 1, struct.pack(">BBH", 0x44, 0, 1 + tiles) + _located(1, 1, 0, 8) + locations
        ),
        _box(b"idat", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)),
    )
    path.write_bytes(start + _box(b"mdat", tile) + _full(b"meta", 0, b"".join(meta)))
    return path


def _located(item: int, method: int, offset: int, length: int) -> bytes:
    return struct.pack(">HHHHII", item, method, 0, 1, offset, length)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, version: int, content: bytes) -> bytes:
    return _box(kind, bytes((version, 0, 0, 0)) + content)


def _tile(coded: _Coded) -> tuple[bytes, bytes]:
    """Return the coded bytes of one picture, and the box that says how it is coded."""
    file = io.BytesIO()
    pillow_heif.register_heif_opener()
    image = Image.new("RGB", (coded.edge, coded.edge), (90, 140, 60))
    image.save(file, coded.pillow, quality=50)
    made = file.getvalue()
    at = made.index(coded.configuration) - 4
    configuration = made[at : at + int.from_bytes(made[at : at + 4], "big")]
    at = made.index(b"mdat") - 4
    return made[at + 8 : at + int.from_bytes(made[at : at + 4], "big")], configuration
