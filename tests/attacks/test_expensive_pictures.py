"""Small files that ask for much: refused before they are paid for, or decoded within little memory.

Every one of them is decoded in a worker process of 512 MB.
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from samples import dng
from support import bombs, tiffs

from taggerd import settings
from taggerd.errors import PhotoUndecodable, WorkerOverMemory
from taggerd.imaging import open_photo, prepare
from taggerd.photo import IMAGE_EXTENSIONS, Picture, Stamp
from taggerd.services.pools import DECODED
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pillow_heif.register_heif_opener()
pytest.importorskip("pillow_jxl")

TERABYTES = 8 << 40
LITTLE = 512
"""Megabytes of a worker process, `workers.memory_megabytes` at its least."""


async def outcomes(*paths: Path) -> list[Picture | BaseException]:
    """Decode *paths*, one after the other, in a worker process of little memory."""
    limits = settings.Workers(processes=1, memory_megabytes=LITTLE, deadline_seconds=100)
    workers = Workers(limits, caged=True, returns=DECODED)

    async def outcome(path: Path) -> Picture:
        with open_photo(path) as file:
            return await workers.run(prepare, file, Stamp.of(file.stat()), settings.Image())

    try:
        return await asyncio.gather(*map(outcome, paths), return_exceptions=True)
    finally:
        await workers.close()


async def decoded(path: Path) -> Picture:
    """Return the picture of *path*, or raise what decoding it raised."""
    (outcome,) = await outcomes(path)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


async def refusal(path: Path) -> str:
    """Return what is said about *path*, which is given up on for good."""
    with pytest.raises(PhotoUndecodable) as refused:
        await decoded(path)
    return str(refused.value)


async def test_scans(tmp_path: Path) -> None:
    """2,000 scans in a megabyte once took half a minute a photo; now they are counted."""
    path = bombs.jpeg_of_many_scans(tmp_path / "a.jpg", 15800, 15800, 2000)
    assert path.stat().st_size < 1_700_000
    assert "2,001 scans is not supported" in await refusal(path)


async def test_scans_of_a_preview(tmp_path: Path) -> None:
    """A preview inside of a raw file counts as damaged, and the raw data is developed instead."""
    preview = bombs.jpeg_of_many_scans(tmp_path / "a.jpg", 2000, 2000, 300).read_bytes()
    pixels = np.random.default_rng(1).integers(0, 255, (128, 192, 3), np.uint8)
    path = tmp_path / "a.dng"
    path.write_bytes(dng.dng(pixels, dng.Preview(preview, 2000, 2000), (), ()))
    picture = await decoded(path)
    assert max(picture.width, picture.height) < 1000


async def test_as_many_scans_as_any_encoder_writes(tmp_path: Path) -> None:
    """The limit is far beyond them; the scans of other pictures in the file do not count."""
    path = bombs.jpeg_of_many_scans(tmp_path / "a.jpg", 640, 480, 98)
    other = bombs.jpeg_of_many_scans(tmp_path / "b.jpg", 640, 480, 98)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    assert (await decoded(path)).width == 640


async def test_sparse_files(tmp_path: Path) -> None:
    """A file of terabytes that takes one block of the disk is not read, whatever its name."""
    heads = {"jpg": b"\xff\xd8\xff\xe0", "tif": b"II*\0", "png": b"\x89PNG\r\n\x1a\n"}
    paths = [tmp_path / f"a.{extension}" for extension in sorted(IMAGE_EXTENSIONS)]
    try:
        for path in paths:
            bombs.sparse(path, heads.get(path.suffix[1:], b""), TERABYTES)
    except OSError as error:
        pytest.skip(f"the file system holds no file of 8 TB: {error}")
    for outcome in await outcomes(*paths):
        assert isinstance(outcome, PhotoUndecodable)
        assert "more than image.max_file_megabytes (2,000) allows" in str(outcome)


async def test_a_sparse_file_below_the_limit(tmp_path: Path) -> None:
    """It is known by its first bytes; not even its digest is made."""
    assert "zero bytes" in await refusal(bombs.sparse(tmp_path / "a.jpg", b"", 1_990_000_000))


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    """Its size alone decides: nothing of it is read before."""
    path = bombs.sparse(tmp_path / "a.jpg", b"\xff\xd8\xff\xe0", 90_000_000)
    before = _read_bytes()
    refused = pytest.raises(PhotoUndecodable, match=r"90 MB are more than image\.max_file")
    with open_photo(path) as file, refused:
        prepare(file, Stamp.of(file.stat()), settings.Image(max_file_megabytes=2))
    assert _read_bytes() - before < 30_000_000


def _read_bytes() -> int:
    """Return how much this process has read so far, modules that it imported included."""
    with open("/proc/self/io", encoding="ascii") as counters:  # noqa: PTH123 - not a file
        return int(re.findall(r"rchar: (\d+)", counters.read())[0])


def _deep_grey(path: Path) -> None:
    Image.fromarray(np.zeros((8000, 8000), np.uint16)).save(path, compress_level=1)


def _deflated(path: Path) -> None:
    Image.new("RGB", (9000, 8000)).save(path, compression="tiff_adobe_deflate")


def _lossy_webp(path: Path) -> None:
    Image.new("RGB", (9000, 8000), (90, 140, 60)).save(path, method=0, quality=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("alpha.png", lambda path: bombs.png(path, 9000, 8000)),
        ("deep.png", _deep_grey),
        ("deflated.tif", _deflated),
        ("lossy.webp", _lossy_webp),
        ("strips.tif", lambda path: bombs.tiff_of_many_strips(path, 300_000)),
        ("pages.tif", lambda path: bombs.tiff_of_many_directories(path, 1_000_000)),
    ],
)
async def test_decoded_within_little_memory(
    tmp_path: Path, name: str, make: Callable[[Path], Any]
) -> None:
    """A sound picture is scaled while it is read: its size costs time, not memory."""
    make(tmp_path / name)
    assert isinstance(await decoded(tmp_path / name), Picture)


def _many_pixels(path: Path) -> None:
    Image.new("RGB", (8192, 5464), (90, 140, 60)).save(path, quality=80)


def _deep_tiff(path: Path) -> None:
    """Write 100 megapixels of 16 bits a channel in one strip, which is a hole (TIFF 6.0)."""
    width, height, start = 11608, 8708, 1024
    size = width * height * 6
    fields = {256: width, 257: height, 258: 200, 259: 1, 262: 2, 273: start, 277: 3, 278: height}
    fields |= {279: size, 284: 1}
    entries = [
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, value)
        for tag, value in fields.items()
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    head = b"II*\0" + struct.pack("<I", 8) + directory
    path.write_bytes(head.ljust(200, b"\0") + struct.pack("<3H", 16, 16, 16))
    os.truncate(path, start + size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make", "most"),
    [
        ("a.jpg", _many_pixels, 120),
        ("a.tif", _deep_tiff, 400),
        ("a.heic", lambda path: bombs.heic(path, 20, 18, missing=0, edge=512), 512),
        ("a.avif", lambda path: bombs.avif(path, 14, 15, edge=512), 512),
    ],
)
async def test_the_peak_of_a_decoder(
    tmp_path: Path, name: str, make: Callable[[Path], Any], most: int
) -> None:
    """All that its process takes: 45 megapixels of JPEG, 100 of deep TIFF, and what just fits.

    Afterwards it has given the memory back, so that it need not be replaced.
    """
    make(tmp_path / name)
    workers = Workers(settings.Workers(processes=1), caged=True, returns=DECODED)
    try:
        process = await workers.run(os.getpid)
        with open_photo(tmp_path / name) as file:
            await workers.run(prepare, file, Stamp.of(file.stat()), settings.Image())
        assert await workers.run(os.getpid) == process
        assert _peak(process) <= most
    finally:
        await workers.close()


def _peak(process: int) -> float:
    """Return the most memory that a process has had, megabytes."""
    with open(f"/proc/{process}/status", encoding="ascii") as status:  # noqa: PTH123 - not a file
        (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status.read())
    return int(kilobytes) / 1024


def _jpeg_xl_header(path: Path) -> None:
    """Write a size of 15,000 pixels square (ISO/IEC 18181-1, SizeHeader), and no more."""
    bits = 0 | 2 << 1 | (15000 - 1) << 3 | 1 << 21
    path.write_bytes(b"\xff\x0a" + bits.to_bytes(14, "little"))


def _progressive_header(path: Path) -> None:
    """Write a progressive JPEG that says 15,000 pixels square."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG", progressive=True, subsampling=0)
    data = file.getvalue()
    at = data.index(b"\xff\xc2") + 5
    path.write_bytes(data[:at] + struct.pack(">HH", 15000, 15000) + data[at + 4 :])


def _lossless_webp(path: Path) -> None:
    """Write the header of a lossless WebP of 15,000 pixels square (RFC 9649, 3.4)."""
    size = (15000 - 1) | (15000 - 1) << 14
    stream = b"\x2f" + struct.pack("<I", size) + bytes(15)
    chunk = b"VP8L" + struct.pack("<I", len(stream)) + stream
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk)


def _interlaced(path: Path) -> None:
    """Write a PNG of 15,000 pixels square that comes in seven passes, of which none is there."""
    bombs.png(path, 15000, 1)
    data = bytearray(path.read_bytes())
    data[20:24], data[28] = struct.pack(">I", 15000), 1
    data[29:33] = struct.pack(">I", bombs.crc(bytes(data[12:29])))
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.jxl", _jpeg_xl_header),
        ("a.jpg", _progressive_header),
        ("a.png", _interlaced),
        ("a.heic", lambda path: bombs.heic(path, 24, 16, missing=0, edge=512)),
        ("a.avif", lambda path: bombs.avif(path, 24, 16, edge=512)),
        ("a.webp", _lossless_webp),
    ],
)
async def test_what_does_not_fit_says_what_it_needs(
    tmp_path: Path, name: str, make: Callable[[Path], Any]
) -> None:
    """Formats that are decoded as a whole are refused before that, with the memory they want."""
    make(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 300_000
    with pytest.raises(WorkerOverMemory) as lost:
        await decoded(tmp_path / name)
    words = r"^needs about ([\d,]+) MB of memory, more than the 512 MB that a picture may take: set"
    found = re.search(words, str(lost.value))
    assert found, lost.value
    assert int(found[1].replace(",", "")) > LITTLE / 2


async def test_what_does_not_fit_ends_no_process(tmp_path: Path) -> None:
    """A header that asks for too much costs a look at it: the process goes on with the next."""
    paths = [tmp_path / f"{number}.jxl" for number in range(5)]
    for path in paths:
        _jpeg_xl_header(path)
    processes = set()
    limits = settings.Workers(processes=1, memory_megabytes=LITTLE)
    workers = Workers(limits, caged=True, returns=DECODED)
    try:
        for path in paths:
            with open_photo(path) as file, pytest.raises(WorkerOverMemory):
                await workers.run(prepare, file, Stamp.of(file.stat()), settings.Image())
            processes.add(await workers.run(os.getpid))
    finally:
        await workers.close()
    assert len(processes) == 1


@pytest.mark.parametrize("kind", ["heic", "avif"])
async def test_a_grid_that_fits(tmp_path: Path, kind: str) -> None:
    """The refusals above are about memory alone."""
    path = tmp_path / f"a.{kind}"
    make = bombs.heic if kind == "heic" else bombs.avif
    make(path, 8, 6, edge=512)
    assert (await decoded(path)).width == 1024


def test_tiffs_that_ask_for_all_at_once(tmp_path: Path) -> None:
    """One strip for the whole picture is sound; libtiff's limit of 50 MB is not its fault."""
    pixels = np.random.default_rng(1).integers(0, 255, (4500, 4500, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={278: 4500})
    with open_photo(tmp_path / "a.tif") as file:
        picture = prepare(file, Stamp.of(file.stat()), settings.Image())
    assert picture.width == 1024


@pytest.mark.parametrize("compression", [34712, 50002, 65000])
async def test_a_sound_form_that_is_not_supported(tmp_path: Path, compression: int) -> None:
    """It is called so; nobody is told to copy the file again: that changes nothing."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    said = await refusal(tiffs.write(tmp_path / "a.tif", pixels, compression=compression))
    assert "not supported" in said
    assert "copy it again" not in said
    assert "damaged" not in said


def _marked(at: int, value: int) -> bytes:
    """Return a JPEG whose frame header (T.81, B.2.2) has another byte there."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "JPEG")
    data = bytearray(file.getvalue())
    data[data.index(b"\xff\xc0") + at] = value
    return bytes(data)


@pytest.mark.parametrize(
    "data", [*(_marked(1, marker) for marker in (0xC5, 0xC7, 0xCB, 0xCF)), _marked(4, 12)]
)
async def test_a_jpeg_coded_as_hardly_any(tmp_path: Path, data: bytes) -> None:
    """Hierarchical, lossless, of 12 bits: forms of the standard that no decoder here knows."""
    (tmp_path / "a.jpg").write_bytes(data)
    said = await refusal(tmp_path / "a.jpg")
    assert "not supported" in said
    assert "copy it again" not in said


@pytest.mark.parametrize("bits", [10, 14])
async def test_samples_of_odd_depths(tmp_path: Path, bits: int) -> None:
    """A TIFF of 10 or 14 bits is what scanners and scientists write, not damage."""
    pixels = np.zeros((64, 128, 1), np.uint8)
    path = tiffs.write(tmp_path / "a.tif", pixels, photometric=1, bits=bits)
    said = await refusal(path)
    assert "not supported" in said
    assert "copy it again" not in said


async def test_a_heif_of_more_parts_than_its_decoder_allows(tmp_path: Path) -> None:
    """A limit of the decoder is no damage either."""
    said = await refusal(bombs.heic(tmp_path / "a.heic", 40, 40))
    assert "not supported" in said
    assert "copy it again" not in said


def test_the_attacks_are_small(tmp_path: Path) -> None:
    """What makes them attacks: they cost their sender nothing."""
    assert bombs.avif(tmp_path / "a.avif", 24, 16, edge=512).stat().st_size < 30_000
    assert bombs.sparse(tmp_path / "a.jpg", b"", 1 << 40).stat().st_blocks < 100
