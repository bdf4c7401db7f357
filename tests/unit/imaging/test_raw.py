"""Raw files: the best preview in them, the right way up; development where there is none."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from samples import dng

from taggerd import settings
from taggerd.errors import PhotoUndecodable
from taggerd.imaging import open_photo, prepare
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from pathlib import Path

CAMERA = (dng.text(271, "Canon"), dng.text(272, "EOS Test"), dng.text(50708, "EOS Test"))
ORIENTATION = b"\x12\x01\x03\x00\x01\x00\x00\x00%b\x00\x00\x00"
"""The entry as it lies in the file."""
EXIF = (dng.text(36867, "2024:01:02 03:04:05"),)


def jpeg(width: int, height: int, colour: str, orientation: int = 0) -> bytes:
    """Make a preview whose upper half has that colour."""
    image = Image.new("RGB", (width, height), "white")
    image.paste(colour, (0, 0, width, height // 2))
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    made = file.getvalue()
    return made[:2] + made[20:]  # without the JFIF segment, as cameras write it


def raw(preview: bytes, orientation: int = 1, size: tuple[int, int] = (160, 240)) -> bytes:
    """Make a raw file whose sensor sees green above and black below."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[: size[0] // 2] = (30, 200, 30)
    width, height = Image.open(io.BytesIO(preview)).size if preview else (1, 1)
    made = dng.dng(pixels, dng.Preview(preview, width, height), CAMERA, EXIF)
    upright = ORIENTATION % b"\x01"
    assert made.count(upright) == 1
    return made.replace(upright, ORIENTATION % bytes([orientation]))


def prepared(path: Path, data: bytes, **options: float) -> Picture:
    """Prepare *data* as a file at *path*."""
    path.write_bytes(data)
    with open_photo(path) as file:
        return prepare(file, Stamp.of(path.lstat()), settings.Image(**options))


def colours(picture: Picture) -> tuple[tuple[int, ...], ...]:
    """Return the colour in the middle of the upper, left, right and lower edge."""
    image = Image.open(io.BytesIO(picture.jpeg))
    width, height = image.size
    points = ((width // 2, 4), (4, height // 2), (width - 5, height // 2), (width // 2, height - 5))
    pixels = np.asarray(image)
    return tuple(tuple(map(int, pixels[y, x])) for x, y in points)


def is_blue(colour: tuple[int, ...]) -> bool:
    """Say whether it is the preview's colour."""
    return colour[2] > 180 and colour[0] < 80


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the raw file is."""
    return tmp_path / "a.dng"


def test_the_preview_is_taken(path: Path) -> None:
    """A preview that is large enough is shown; the sensor's data are not touched."""
    picture = prepared(path, raw(jpeg(1200, 800, "blue")))
    assert (picture.width, picture.height) == (1024, 683)
    assert is_blue(colours(picture)[0])
    assert picture.notes == ()


def test_half_the_edge_is_enough_and_is_not_enlarged(path: Path) -> None:
    """Half of max_edge will do, as it is."""
    picture = prepared(path, raw(jpeg(600, 400, "blue")), max_edge=1024)
    assert (picture.width, picture.height) == (600, 400)


def test_development_where_the_preview_is_small(path: Path) -> None:
    """A thumbnail is not shown where the sensor's data give more."""
    picture = prepared(path, raw(jpeg(60, 40, "blue"), size=(800, 1200)))
    assert (picture.width, picture.height) == (600, 400)
    upper, *_, lower = colours(picture)
    assert upper[1] > 100 > upper[2]
    assert max(lower) < 60


def test_a_small_preview_is_better_than_nothing(path: Path) -> None:
    """Without the sensor's data the small preview is shown, and the record says so."""
    whole = raw(jpeg(60, 40, "blue"), size=(800, 1200))
    picture = prepared(path, whole[: len(whole) - 800 * 1200 * 2])
    assert (picture.width, picture.height) == (60, 40)
    assert "small preview (60 × 40)" in picture.notes[0]  # noqa: RUF001 - as it is printed


def test_a_damaged_preview_leads_to_development(path: Path) -> None:
    """Where the preview should be there is nothing: the sensor's data are taken."""
    preview = jpeg(1200, 800, "blue")
    damaged = bytes(len(preview))
    picture = prepared(path, raw(preview, size=(800, 1200)).replace(preview, damaged))
    assert (picture.width, picture.height) == (600, 400)


@pytest.mark.parametrize(
    ("orientation", "edge"),
    [(1, 0), (3, 3), (6, 2), (8, 1)],  # where the preview's upper edge comes to lie
)
def test_orientation_of_a_preview_that_lies(path: Path, orientation: int, edge: int) -> None:
    """A preview stored as the sensor lies is turned as the raw file says."""
    picture = prepared(path, raw(jpeg(900, 600, "blue"), orientation))
    expected = (900, 600) if orientation < 5 else (600, 900)
    assert (picture.width, picture.height) == expected
    assert is_blue(colours(picture)[edge])


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_preview_that_stands_is_left_standing(path: Path, orientation: int) -> None:
    """A preview that was turned by the camera is not turned again."""
    picture = prepared(path, raw(jpeg(600, 900, "blue"), orientation))
    assert (picture.width, picture.height) == (600, 900)
    assert is_blue(colours(picture)[0])


def test_the_previews_own_exif_goes_first(path: Path) -> None:
    """If preview and raw file differ by 180°, the EXIF of the preview is right."""
    picture = prepared(path, raw(jpeg(900, 600, "blue", orientation=3), 1))
    assert is_blue(colours(picture)[3])


@pytest.mark.parametrize(("orientation", "edge"), [(1, 0), (3, 3), (6, 2), (8, 1)])
def test_orientation_of_a_development(path: Path, orientation: int, edge: int) -> None:
    """LibRaw turns what it develops; we do not turn it again."""
    picture = prepared(path, raw(b"", orientation, size=(800, 1200)))
    assert max(picture.width, picture.height) == 600
    assert colours(picture)[edge][1] > 100


def test_a_file_that_libraw_cannot_open_still_has_its_preview(path: Path) -> None:
    """The preview is found by its bytes where the raw format is not known."""
    data = b"FUJIFILMCCD-RAW unheard of" + bytes(100) + jpeg(900, 600, "blue", orientation=6)
    picture = prepared(path, data + bytes(100))
    assert (picture.width, picture.height) == (600, 900)


def test_tiles_are_not_previews(path: Path) -> None:
    """Many JPEGs of one size are the tiles of a lossy DNG."""
    tile = jpeg(800, 800, "red")
    data = b"FUJIFILMCCD-RAW unheard of" + tile * 6 + jpeg(600, 400, "blue")
    picture = prepared(path, data)
    assert (picture.width, picture.height) == (600, 400)


def test_nothing_in_it(path: Path) -> None:
    """A raw file with neither is one clear line."""
    whole = raw(b"", size=(800, 1200))
    with pytest.raises(PhotoUndecodable, match=r"^no preview in this raw file.*$"):
        prepared(path, whole[: len(whole) - 800 * 1200 * 2])


def test_a_sensor_without_data_is_not_a_black_picture(path: Path) -> None:
    """Raw data that were never written come out as one colour; that is no picture."""
    whole = raw(b"", size=(800, 1200))
    with pytest.raises(PhotoUndecodable, match="raw data is missing"):
        prepared(path, whole[: -800 * 1200 * 2] + bytes(800 * 1200 * 2))


def test_huge_sensors_are_refused_from_the_header(path: Path) -> None:
    """The sensor's size counts before anything is decoded."""
    with pytest.raises(PhotoUndecodable, match="max_megapixels"):
        prepared(path, raw(b"", size=(800, 1200)), max_megapixels=0.9)
