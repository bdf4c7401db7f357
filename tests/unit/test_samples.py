"""The demo's photos: real files in many formats, as cameras write them, the same every time."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rawpy
from PIL import ExifTags, Image
from samples.photos import SAMPLES, make_samples
from support.program import REPOSITORY

from taggerd import files, settings
from taggerd.imaging import open_photo, prepare
from taggerd.photo import PhotoFile, Picture, Stamp, group

WIDTH = 320


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small samples, made once."""
    card = tmp_path_factory.mktemp("card")
    files.work_below(card)
    return make_samples(card / "DCIM", width=WIDTH)


def prepared(path: Path) -> Picture:
    """Prepare *path*, at its full size."""
    with open_photo(path) as file:
        return prepare(file, Stamp.of(path.lstat()), settings.Image(max_edge=WIDTH))


def test_all_are_made_and_can_be_read(samples: list[Path]) -> None:
    """Every sample is a photo with something on it."""
    assert {path.name for path in samples} <= {sample.name for sample in SAMPLES}
    assert len(samples) >= 11
    assert samples == sorted(samples)
    for path in samples:
        image = np.asarray(Image.open(io.BytesIO(prepared(path).jpeg)))
        assert image.std() > 10, f"{path.name} shows nothing"


def test_they_differ(samples: list[Path]) -> None:
    """No two samples show the same, but the raw file and its JPEG."""
    small = {
        path.name: np.asarray(Image.open(io.BytesIO(prepared(path).jpeg)).resize((8, 8)), np.int16)
        for path in samples
    }
    for one, a in small.items():
        for other, b in small.items():
            alike = np.abs(a - b).mean() < 8
            assert alike == (Path(one).stem == Path(other).stem), f"{one} and {other}"


def test_raw_and_jpeg_are_one_photo(samples: list[Path]) -> None:
    """A raw file lies beside its JPEG: together they are one photo."""
    photos = group(PhotoFile(path, Stamp.of(path.lstat())) for path in samples)
    assert len(photos) == len(samples) - 1


def test_exif_as_a_camera_writes_it(samples: list[Path]) -> None:
    """Make, date and lens are in every JPEG; two have a position, one was held upright."""
    positions = sideways = 0
    for path in samples:
        if path.suffix.lower() != ".jpg":
            continue
        exif = Image.open(path).getexif()
        details = exif.get_ifd(ExifTags.IFD.Exif)
        assert exif[ExifTags.Base.Make]
        assert details[ExifTags.Base.DateTimeOriginal][4] == ":"
        assert details[ExifTags.Base.LensModel]
        positions += bool(exif.get_ifd(ExifTags.IFD.GPSInfo))
        if exif[ExifTags.Base.Orientation] == 6:
            sideways += 1
            picture = prepared(path)
            assert picture.height > picture.width
    assert (positions, sideways) == (2, 1)


def test_a_human_has_been_there(samples: list[Path]) -> None:
    """One sample carries a title, keywords and a rating of its photographer."""
    data = b"".join(path.read_bytes() for path in samples if path.name == "DSC_1031.JPG")
    for word in (b"Morning above Zermatt", b"<rdf:li>Alps</rdf:li>", b'xmp:Rating="5"'):
        assert word in data


def test_the_raw_file_is_one(samples: list[Path]) -> None:
    """LibRaw finds a preview in it and can also develop it."""
    path = next(path for path in samples if path.suffix == ".DNG")
    with rawpy.imread(str(path)) as raw:
        preview = raw.extract_thumb()
        assert preview.format == rawpy.ThumbFormat.JPEG
        developed = raw.postprocess(no_auto_bright=True, output_bps=8)
    shown = Image.open(io.BytesIO(bytes(preview.data))).resize((16, 10))
    difference = np.asarray(shown, int) - np.asarray(
        Image.fromarray(developed).resize((16, 10)), int
    )
    assert np.abs(difference).mean() < 12


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    """A demo can be repeated; another seed gives other pictures."""
    first, again, other = (
        make_samples(tmp_path / name, seed, width=96)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    for one, two, three in zip(first, again, other, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes() != three.read_bytes()


def test_command(tmp_path: Path) -> None:
    """Without a folder the program says how it is used."""
    found = subprocess.run(
        [sys.executable, "-m", "samples"],
        capture_output=True,
        check=False,
        text=True,
        cwd=REPOSITORY / "scripts",
    )
    assert found.returncode == 2
    assert "FOLDER" in found.stderr
    assert not list(tmp_path.iterdir())
