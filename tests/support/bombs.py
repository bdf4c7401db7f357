"""Small files that ask for much: made here, because nobody may hand them round."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

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


def heic(path: Path, columns: int, rows: int, *, missing: int) -> Path:
    """Write a HEIC as phones do, a grid of tiles, of which the last *missing* are not in the file.

    As in a copy that broke off: the boxes name every tile, and point past the end of the file.
    The tiles are 64 pixels square, and all of them the same HEVC picture.
    """
    tile, configuration = _hevc_tile()
    tiles = columns * rows
    items = range(2, 2 + tiles)
    start = _box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    data_at = len(start) + 8
    ends = b"".join(_full(b"infe", 2, struct.pack(">HH4sx", n, 0, b"hvc1")) for n in items)
    grid_item = _full(b"infe", 2, struct.pack(">HH4sx", 1, 0, b"grid"))
    derived = struct.pack(">HH", 1, tiles) + struct.pack(f">{tiles}H", *items)
    properties = (
        configuration,
        _full(b"ispe", 0, struct.pack(">II", 64, 64)),
        _full(b"ispe", 0, struct.pack(">II", 64 * columns, 64 * rows)),
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
        _box(b"idat", struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, 64 * columns, 64 * rows)),
    )
    path.write_bytes(start + _box(b"mdat", tile) + _full(b"meta", 0, b"".join(meta)))
    return path


def _located(item: int, method: int, offset: int, length: int) -> bytes:
    return struct.pack(">HHHHII", item, method, 0, 1, offset, length)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, version: int, content: bytes) -> bytes:
    return _box(kind, bytes((version, 0, 0, 0)) + content)


def _hevc_tile() -> tuple[bytes, bytes]:
    """Return the coded bytes of one picture, and the box that says how it is coded."""
    file = io.BytesIO()
    pillow_heif.register_heif_opener()
    Image.new("RGB", (64, 64), (90, 140, 60)).save(file, "HEIF", quality=50)
    made = file.getvalue()
    at = made.index(b"hvcC") - 4
    configuration = made[at : at + int.from_bytes(made[at : at + 4], "big")]
    at = made.index(b"mdat") - 4
    return made[at + 8 : at + int.from_bytes(made[at : at + 4], "big")], configuration
