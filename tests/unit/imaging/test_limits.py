"""What a photo may ask for, before it is decoded."""

from __future__ import annotations

import io
import resource
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support import bombs

from taggerd import settings
from taggerd.errors import PhotoUndecodable, WorkerOverMemory
from taggerd.imaging import deadline_seconds, jpeg, limits
from taggerd.photo import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEGA = 1_000_000
WORKERS = settings.Workers()


@pytest.mark.parametrize("extension", sorted(IMAGE_EXTENSIONS))
def test_deadlines_grow_with_the_file(extension: str) -> None:
    """Ten seconds for anything small, more for more, and never beyond the setting."""
    sizes = (0, 2 * MEGA, 20 * MEGA, 60 * MEGA, 2000 * MEGA)
    seconds = [deadline_seconds(size, extension, WORKERS) for size in sizes]
    assert seconds[:2] == [10, 10]
    assert seconds == sorted(seconds)
    assert 10 < seconds[2] <= seconds[4] == WORKERS.deadline_seconds
    assert deadline_seconds(0, extension, settings.Workers(deadline_seconds=3)) == 3


def test_deadlines_know_what_is_slow_to_decode() -> None:
    """A megabyte of AVIF holds many times the pixels of a megabyte of TIFF."""
    seconds = [
        deadline_seconds(10 * MEGA, kind, WORKERS) for kind in ("tif", "heic", "jxl", "avif")
    ]
    assert seconds == sorted(set(seconds))


@pytest.fixture
def limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Limit this process's address space to so many megabytes, and to what it has already."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - not a file
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (request.param << 20), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("limit", [400], indirect=True)
def test_memory_is_asked_for_before_it_is_taken() -> None:
    """What fits is let through; what does not says what the process would need."""
    limits.reserve(300 << 20)
    with pytest.raises(WorkerOverMemory, match=r"needs about 426 MB of memory, more than is left"):
        limits.reserve(400 << 20, mapped_bytes=10 << 20)


@pytest.mark.parametrize(
    ("megabytes", "needed", "setting"),
    [(512, 448, 0), (768, 448, 0), (768, 449, 770), (3000, 2680, 0)],
)
def test_a_picture_takes_half_a_gigabyte_at_most(
    monkeypatch: pytest.MonkeyPatch, megabytes: int, needed: int, setting: int
) -> None:
    """With all that its process takes; more where the settings say so, and they are named."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (megabytes << 20, megabytes << 20))
    if not setting:
        limits.reserve(needed << 20)
        return
    words = rf"513 MB .* 512 MB that a picture may take: set workers\.slow\w+ to {setting}$"
    with pytest.raises(WorkerOverMemory, match=words):
        limits.reserve(needed << 20)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (setting << 20, setting << 20))
    limits.reserve(needed << 20)


def test_without_a_limit_everything_fits() -> None:
    """The tests, and people's own programs, are not limited."""
    limits.reserve(1 << 60)


def test_most_scans() -> None:
    """As many as libtiff allows."""
    limits.refuse_scans(100)
    with pytest.raises(PhotoUndecodable, match="101 scans is not supported"):
        limits.refuse_scans(101)


def coded(mode: str = "RGB", **saving: bool | int) -> io.BytesIO:
    """Return a JPEG of 640 × 480 pixels."""  # noqa: RUF002 - a multiplication sign
    file = io.BytesIO()
    Image.new(mode, (640, 480), 90).save(file, "JPEG", **saving)
    return file


@pytest.mark.parametrize(
    ("file", "scans", "bytes_a_pixel"),
    [
        (coded(), 1, 0),
        (coded("L"), 1, 0),
        (coded("L", progressive=True), 6, 2),
        (coded(progressive=True), 10, 3),
        (coded(progressive=True, subsampling=0), 10, 6),
        (coded("CMYK", progressive=True, subsampling=0), None, 8),
    ],
)
def test_cost_of_a_jpeg(file: io.BytesIO, scans: int | None, bytes_a_pixel: int) -> None:
    """A progressive one is held as a whole, in coefficients of two bytes."""
    cost = jpeg.cost(file)
    assert cost.memory_bytes == bytes_a_pixel * 640 * 480
    assert scans is None or cost.scans == scans
    assert file.tell() == 0


def test_scans_in_a_thumbnail_are_not_counted() -> None:
    """EXIF holds a JPEG of its own; its bytes are no part of this one."""
    inner = coded(progressive=True).getvalue()
    whole = coded(progressive=True).getvalue()
    segment = b"Exif\0\0" + inner
    data = whole[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + whole[2:]
    assert jpeg.cost(io.BytesIO(data)).scans == 10


@pytest.mark.parametrize(
    "between",
    [
        b"\xff\xfe\0\x06\xff\xd9\xff\xd9",  # the end of a picture, in a comment
        b"\xff\xff\xff",
        b"rubbish \xff\0 rubbish",
        b"\xff\xd3",
    ],
)
def test_scans_do_not_hide(tmp_path: Path, between: bytes) -> None:
    """What libjpeg skips between two scans is skipped when they are counted."""
    data = bombs.jpeg_of_many_scans(tmp_path / "a.jpg", 64, 64, 30).read_bytes()
    data = data.replace(b"\xff\xda", between + b"\xff\xda")
    assert jpeg.cost(io.BytesIO(data)).scans == 31


def test_segments_without_end() -> None:
    """They cannot hide scans behind them either: such a file is refused."""
    whole = coded(progressive=True).getvalue()
    data = whole[:2] + b"\xff\xfe\0\x02" * 20_000 + whole[2:]
    assert not jpeg.cost(io.BytesIO(data)).supported


def test_a_marker_between_two_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the file is cut into pieces, each scan counts once."""
    data = bombs.jpeg_of_many_scans(tmp_path / "a.jpg", 64, 64, 30).read_bytes()
    for size in range(1, 40):
        monkeypatch.setattr(jpeg, "_SHORT_BLOCK", size)
        monkeypatch.setattr(jpeg, "_BLOCK", size)
        assert jpeg.cost(io.BytesIO(data)).scans == 31


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xda\0",
        b"\xff" * 9000,
        b"\xff\xd8\xff\xc2\0\x04\0\0\xff\xda\0\x02",
    ],
)
def test_a_damaged_jpeg_costs_nothing_here(data: bytes) -> None:
    """The decoder will say what is wrong."""
    assert jpeg.cost(io.BytesIO(data)) == jpeg.Cost(1, 0)
