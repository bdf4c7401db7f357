"""Damaged files by the thousand: small originals of every format, each broken in many ways.

The same seed makes the same files. ``PYTHONPATH=tests:scripts python -m support.mutated FOLDER
[SEED [COUNT]]`` writes them into a folder.
"""

from __future__ import annotations

import io
import random
import re
import struct
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pillow_jxl  # noqa: F401 - Pillow saves JPEG XL with it
from PIL import PngImagePlugin
from samples import dng

from support import embeddable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COUNT = 2100
"""Photos; a few sidecars and archives come on top."""
SIDECARS = 100
ARCHIVES = 20

_PNG = b"\x89PNG\r\n\x1a\n"
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Where lengths, counts and offsets run over."""
_MARKS = re.compile(
    rb"Exif\0\0|http://ns\.adobe\.com/xap|<x:xmpmeta|<rdf:RDF|8BIM|ICC_PROFILE|iCCP|IHDR|IDAT|iTXt"
    rb"|eXIf|VP8[ LX]|XMP |EXIF|ftyp|meta|iloc|iinf|iprp|ispe|hvcC|av1C|mdat|jxl[cp]|II\*\0|MM\0\*"
    rb"|II\+\0|\xff[\xc0-\xc4\xda\xdb\xdd\xe1\xed]",
)
"""Where a format says what follows."""
_TOKENS = (
    b"\xff\xd8\xff", b"\xff\xda", b"II*\0", b"<!DOCTYPE x [<!ENTITY a 'b'>]>", b"<rdf:li>" * 50,
    b"</x:xmpmeta>", b"\0" * 64, b"\xff" * 64, b"%s%n%x", b"1e900000000", b"-1", b"\x1b]0;x\x07",
    b"\xed\xa0\x80", b"8BIM\x04\x04\0\0\xff\xff\xff\xff", b"\x1c\x02\x19\xff\xff",
)  # fmt: skip


def _saved(kind: str, **options: object) -> bytes:
    made = io.BytesIO()
    embeddable.picture().save(made, kind, **options)
    return made.getvalue()


def _tiled() -> bytes:
    """Return a TIFF in tiles of 16 pixels: Pillow writes strips only."""
    picture = np.asarray(embeddable.picture())
    tiles = [
        picture[y : y + 16, x : x + 16].tobytes()
        for y in range(0, 48, 16)
        for x in range(0, 64, 16)
    ]
    size, data_at = 16 * 16 * 3, 8
    directory_at = data_at + size * len(tiles)
    entries = [
        dng.Entry(256, dng.LONG, (64,)),
        dng.Entry(257, dng.LONG, (48,)),
        dng.Entry(258, dng.SHORT, (8, 8, 8)),
        dng.Entry(259, dng.SHORT, (1,)),
        dng.Entry(262, dng.SHORT, (2,)),
        dng.Entry(277, dng.SHORT, (3,)),
        dng.Entry(322, dng.LONG, (16,)),
        dng.Entry(323, dng.LONG, (16,)),
        dng.Entry(324, dng.LONG, [data_at + size * n for n in range(len(tiles))]),
        dng.Entry(325, dng.LONG, [size] * len(tiles)),
    ]
    head = b"II*\0" + struct.pack("<I", directory_at)
    return head + b"".join(tiles) + dng._directory(entries, directory_at)


def _canon() -> bytes:
    """Return the head of a CR2: one directory with the picture that the camera shows."""
    jpeg = embeddable.jpeg()
    entries = [
        dng.Entry(256, dng.SHORT, (64,)),
        dng.Entry(257, dng.SHORT, (48,)),
        dng.Entry(258, dng.SHORT, (8, 8, 8)),
        dng.Entry(259, dng.SHORT, (6,)),
        dng.text(271, "Canon"),
        dng.text(272, "Canon EOS R6"),
        dng.Entry(273, dng.LONG, (4096,)),
        dng.Entry(279, dng.LONG, (len(jpeg),)),
    ]
    head = b"II*\0\x10\0\0\0CR\x02\0\0\0\0\0" + dng._directory(entries, 16)
    return head.ljust(4096, b"\0") + jpeg


def _fuji() -> bytes:
    """Return the head of a RAF: a JPEG, and where it is."""
    jpeg = embeddable.jpeg()
    head = b"FUJIFILMCCD-RAW 0201FF383501X-T4".ljust(84, b"\0")
    return (head + struct.pack(">II", 148, len(jpeg))).ljust(148, b"\0") + jpeg


def _in_tiff(magic: bytes) -> bytes:
    """Return a DNG whose first bytes say that it is another maker's raw file."""
    return magic + embeddable.raw()[len(magic) :]


def _crx() -> bytes:
    """Return the head of a CR3 around a JPEG."""
    jpeg = embeddable.jpeg()
    return (
        struct.pack(">I4s4sI4s", 20, b"ftyp", b"crx ", 1, b"isom")
        + struct.pack(">I4s", 8 + len(jpeg), b"mdat")
        + jpeg
    )


def _png_packet() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", embeddable.packet("Anna").decode())
    return _saved("PNG", pnginfo=text, exif=embeddable.exif())


ORIGINALS: dict[str, Callable[[], bytes]] = {
    **embeddable.KINDS,
    "baseline.jpg": lambda: _saved("JPEG", restart_marker_blocks=2, exif=embeddable.exif()),
    "grey.jpg": lambda: embeddable.jpeg(mode="L"),
    "packet.png": _png_packet,
    "palette.png": lambda: embeddable.png("P"),
    "packet.webp": lambda: embeddable.webp(xmp=embeddable.packet("Anna"), exif=embeddable.exif()),
    "big.tif": lambda: embeddable.tiff(big_tiff=True),
    "tiles.tif": _tiled,
    "lzw.tif": lambda: embeddable.tiff(compression="tiff_lzw"),
    "jpeg.tif": lambda: embeddable.tiff(compression="jpeg"),
    "lossy.jxl": lambda: _saved("JXL", quality=80),
    "lossless.jxl": lambda: _saved("JXL", lossless=True, exif=embeddable.exif().tobytes()),
    "nikon.nef": embeddable.raw,
    "canon.cr2": _canon,
    "canon.cr3": _crx,
    "fuji.raf": _fuji,
    "olympus.orf": lambda: _in_tiff(b"IIRO"),
    "panasonic.rw2": lambda: _in_tiff(b"IIU\0"),
}  # fmt: skip
"""Name of a small sound file → what makes it."""


def mutated(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return *data* damaged in one to four places; never empty, never as it was."""
    damaged = data
    marks = [match.start() for match in _MARKS.finditer(data)]
    for _ in range(chance.choice((1, 1, 1, 2, 2, 4))):
        damaged = _damaged(damaged, marks, others, chance) or data[:1]
    if damaged.startswith(_PNG) and chance.random() < 0.7:
        damaged = _with_right_sums(damaged)
    return damaged if damaged != data else data + b"\0"


def _with_right_sums(png: bytes) -> bytes:
    """Return a PNG whose checksums fit: what comes behind them is read as well."""
    at, parts = len(_PNG), [_PNG]
    while at + 12 <= len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if at + 12 + length > len(png):
            break
        body = png[at + 4 : at + 8 + length]
        parts += [png[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at += 12 + length
    return b"".join((*parts, png[at:]))


def _damaged(  # noqa: PLR0911 - a table
    data: bytes, marks: list[int], others: list[bytes], chance: random.Random
) -> bytes:
    at = chance.randrange(len(data))
    if marks and chance.random() < 0.5:  # pixels seldom break a reader
        at = min(chance.choice(marks) + chance.randrange(40), len(data) - 1)
    length = chance.choice((1, 2, 4, 8, 64, 512))
    match chance.randrange(9):
        case 0:  # a bit
            return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        case 1 | 2:  # a number
            number = chance.choice((*_NUMBERS, len(data), len(data) - at))
            form = chance.choice("<>") + chance.choice("BHI")
            value = struct.pack(form, number & (1 << 8 * struct.calcsize(form)) - 1)
            return data[:at] + value + data[at + len(value) :]
        case 3:  # bytes are lost
            return data[:at] + data[at + length :]
        case 4:  # the end is lost
            return data[: max(at, 1)]
        case 5:  # bytes are there twice
            return data[: at + length] + data[at:]
        case 6:  # something slips in
            return data[:at] + chance.choice(_TOKENS) + data[at:]
        case 7:  # noise
            return data[:at] + chance.randbytes(length) + data[at + length :]
        case _:  # it goes on as another file
            other = chance.choice(others)
            start = chance.randrange(len(other))
            return data[:at] + other[start : start + length * 16] + data[at:]


def photos(seed: int, count: int = COUNT) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of *count* damaged photos, of each format about as many."""
    chance = random.Random(seed)  # noqa: S311 - the same again next time
    originals = {name: make() for name, make in ORIGINALS.items()}
    others = list(originals.values())
    names = list(originals)
    for number in range(count):
        stem, _, extension = names[number % len(names)].partition(".")
        data = mutated(originals[f"{stem}.{extension}"], others, chance)
        yield f"{stem}-{number:05}.{extension}", data


def sidecars(seed: int, count: int = SIDECARS) -> Iterator[bytes]:
    """Yield damaged sidecars."""
    chance = random.Random(seed)  # noqa: S311 - likewise
    packets = [embeddable.packet(word) for word in ("Anna", "Jos\u00e9", "")]
    for number in range(count):
        yield mutated(packets[number % len(packets)], packets, chance)


def archives(seed: int, count: int = ARCHIVES) -> Iterator[bytes]:
    """Yield damaged ZIP archives, with two photos each."""
    chance = random.Random(seed)  # noqa: S311 - likewise
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("DCIM/a.jpg", embeddable.jpeg())
        archive.writestr("b.png", embeddable.png())
    sound = made.getvalue()
    for _ in range(count):
        yield mutated(sound, [sound], chance)


def write(folder: Path, seed: int, count: int = COUNT) -> list[Path]:
    """Write the photos into subfolders of *folder*, a hundred each, and return them."""
    paths = []
    for number, (name, data) in enumerate(photos(seed, count)):
        path = folder / f"{number // 100:03}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        paths.append(path)
    return paths


if __name__ == "__main__":
    folder, *numbers = sys.argv[1:]
    write(Path(folder), *map(int, numbers or ("1",)))
