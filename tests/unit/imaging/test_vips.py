"""PNG, TIFF and WebP through libvips: the same picture as through Pillow, and layouts beyond it."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms
from support import tiffs

from taggerd import settings
from taggerd.errors import PhotoUndecodable
from taggerd.imaging import colour, decode, formats, tiff

if TYPE_CHECKING:
    from pathlib import Path

OPTIONS = settings.Image(max_edge=128)
SIZE = (1003, 761)
"""No multiple of anything: the last blocks of pixels are partly outside of the picture."""
KINDS = {"png": formats.PNG, "tif": formats.TIFF, "webp": formats.WEBP}


def drawn(mode: str = "RGB") -> Image.Image:
    """Draw gradients, an edge and noise."""
    width, height = SIZE
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    noise = np.random.default_rng(1).normal(0, 6, (height, width, 3))
    planes = np.stack([255 * x, 255 * y, 255 * (x > y)], axis=2) * 0.9 + noise
    image = Image.fromarray(np.clip(planes, 0, 255).astype(np.uint8))
    if mode in ("RGBA", "LA"):
        alpha = Image.fromarray((255 * np.hypot(x - 0.5, y - 0.5).clip(0, 1)).astype(np.uint8))
        image = image.convert(mode)
        image.putalpha(alpha)
    return image.convert(mode) if mode != "P" else image.quantize(64)


def by_vips(path: Path) -> Image.Image:
    """Return the picture as it is sent, before it is encoded."""
    with path.open("rb") as file:
        image, notes = decode.picture(file, KINDS[path.suffix[1:]], OPTIONS)
    assert notes == []
    return image


def by_pillow(path: Path) -> Image.Image:
    """Return the same by Pillow: decoded as a whole, and scaled afterwards."""
    with Image.open(path) as image:
        image.load()
        info = image.info
        orientation = decode.orientation_of(image)
        whole = colour.eight_bit(image)
        whole.info = info
        return decode.finish(whole, orientation, OPTIONS.edge)[0]


def difference(first: Image.Image, second: Image.Image) -> tuple[float, int]:
    """Return the mean and the largest difference of two pictures."""
    assert first.size == second.size
    found = np.abs(np.asarray(first, int) - np.asarray(second, int))
    return float(found.mean()), int(found.max())


def swapped_profile() -> bytes:
    """Return a profile in which the first channel is blue and the third is red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def orientation(value: int) -> bytes:
    """Make EXIF that says so."""
    exif = Image.Exif()
    exif[0x112] = value
    return exif.tobytes()


@pytest.mark.parametrize(
    ("name", "mode", "saving"),
    [
        ("a.png", "RGB", {}),
        ("a.png", "RGBA", {}),
        ("a.png", "L", {}),
        ("a.png", "LA", {}),
        ("a.png", "P", {}),
        ("a.png", "P", {"transparency": 3}),
        ("a.png", "1", {}),
        ("a.png", "RGB", {"icc_profile": swapped_profile()}),
        ("a.png", "RGB", {"exif": orientation(6)}),
        ("a.tif", "RGB", {}),
        ("a.tif", "RGBA", {}),
        ("a.tif", "L", {"compression": "tiff_lzw"}),
        ("a.tif", "LA", {"compression": "tiff_adobe_deflate"}),
        ("a.tif", "P", {}),
        ("a.tif", "1", {"compression": "group4"}),
        ("a.tif", "CMYK", {}),
        ("a.tif", "YCbCr", {}),
        ("a.tif", "LAB", {}),
        ("a.tif", "RGB", {"compression": "jpeg", "quality": 95}),
        ("a.tif", "RGB", {"compression": "packbits", "icc_profile": swapped_profile()}),
        ("a.tif", "RGB", {"compression": "zstd"}),
        ("a.tif", "RGB", {"compression": "lzma"}),
        ("a.tif", "RGB", {"exif": orientation(8)}),
        ("a.webp", "RGB", {"quality": 95}),
        ("a.webp", "RGBA", {"lossless": True, "method": 0}),
        ("a.webp", "RGB", {"quality": 95, "exif": orientation(3)}),
        ("a.webp", "RGB", {"quality": 95, "icc_profile": swapped_profile()}),
    ],
)
def test_the_same_picture_as_by_pillow(
    tmp_path: Path, name: str, mode: str, saving: dict[str, Any]
) -> None:
    """Colours, transparency, profile and orientation: whoever decodes."""
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(drawn(), srgb, lab, outputMode="LAB")
        assert image is not None
    else:
        image = drawn(mode)
    image.save(tmp_path / name, **saving)
    mean, most = difference(by_vips(tmp_path / name), by_pillow(tmp_path / name))
    assert mean < 2, (mean, most)
    assert most < 40, (mean, most)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_deep_grey_is_the_same(tmp_path: Path, name: str) -> None:
    """16 bits of grey are scaled, not clipped."""
    deep = np.asarray(drawn("L"), np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / name)
    assert difference(by_vips(tmp_path / name), by_pillow(tmp_path / name))[0] < 1


RGB, GREY, SEPARATED = 2, 1, 5


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_layouts_of_tiff(
    tmp_path: Path, dtype: str, order: Literal["<", ">"], *, planar: bool, big: bool
) -> None:
    """BigTIFF, planes and 16 bits in either byte order: Pillow refuses half of these."""
    eight = np.asarray(drawn())
    pixels = eight if dtype == "u1" else eight.astype(np.uint16) * 257
    path = tiffs.write(tmp_path / "a.tif", pixels, planar=planar, big=big, order=order)
    Image.fromarray(eight).save(tmp_path / "b.tif")
    assert difference(by_vips(path), by_pillow(tmp_path / "b.tif"))[0] < 1


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
@pytest.mark.parametrize("dtype", ["f4", "u4", "i4"])
def test_numbers_of_any_type_in_a_grey_tiff(tmp_path: Path, dtype: str, white: float) -> None:
    """White is guessed from the largest value; holes that are no number are black."""
    eight = np.asarray(drawn("L"), np.float64)
    eight[0, 0] = 255
    pixels = (eight / 255 * white).astype(dtype)[:, :, None]
    if pixels.dtype.kind == "f":
        pixels[5:9, 5:9] = np.nan
    elif white == 1:
        pytest.skip("whole numbers of 0 and 1 are two colours")
    path = tiffs.write(tmp_path / "a.tif", pixels, photometric=GREY)
    Image.fromarray(eight.astype(np.uint8)).save(tmp_path / "b.png")
    assert difference(by_vips(path), by_pillow(tmp_path / "b.png"))[0] < 3


def test_linear_light(tmp_path: Path) -> None:
    """Three floating channels are linear, as raw developers write them: half of it is 188."""
    pixels = np.full((40, 60, 3), 0.5, np.float32)
    image = by_vips(tiffs.write(tmp_path / "a.tif", pixels))
    assert np.abs(np.asarray(image, int) - 188).max() <= 1


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ((0,), (200, 60, 20)),
        ((2,), (255, 255, 255)),
        ((), (200, 60, 20)),
        ((999,), (255, 255, 255)),
    ],
)
def test_a_fourth_channel_is_transparency_only_if_it_says_so(
    tmp_path: Path, extra: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    """A mask that a program keeps there must not make the picture white."""
    pixels = np.zeros((400, 600, 4), np.uint8)
    pixels[:, :, :3] = 200, 60, 20
    image = by_vips(tiffs.write(tmp_path / "a.tif", pixels, extra=extra))
    assert image.getpixel((60, 40)) == expected


def test_ink(tmp_path: Path) -> None:
    """Sixteen bits of CMYK, which Pillow refuses, come out as eight do."""
    eight = np.asarray(drawn("CMYK"))
    path = tiffs.write(tmp_path / "a.tif", eight.astype(np.uint16) * 257, photometric=SEPARATED)
    drawn("CMYK").save(tmp_path / "b.tif")
    assert difference(by_vips(path), by_vips(tmp_path / "b.tif"))[0] < 1


@pytest.mark.parametrize("dtype", ["f8", "c8"])
def test_numbers_that_neither_library_reads(tmp_path: Path, dtype: str) -> None:
    """They are called not supported: the file is sound."""
    path = tiffs.write(tmp_path / "a.tif", np.ones((40, 60, 1), dtype), photometric=GREY)
    with path.open("rb") as file, pytest.raises(PhotoUndecodable, match="TIFF is not supported"):
        decode.picture(file, formats.TIFF, OPTIONS)


def test_exif_behind_the_picture(tmp_path: Path) -> None:
    """A PNG may carry it after its pixels (PNG 3, 11.3.4.5): it is upright all the same."""
    drawn().save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    chunk = b"eXIf" + orientation(6)[6:]
    late = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(whole[:-12] + late + whole[-12:])
    assert by_vips(tmp_path / "a.png").size == (97, 128)
    assert by_pillow(tmp_path / "a.png").size == (97, 128)


def test_no_other_loader_can_be_reached() -> None:
    """The library reads what is asked for here: no JPEG, no SVG, no format of its own."""
    file = io.BytesIO()
    drawn().save(file, "JPEG")
    with pytest.raises(pyvips.Error, match=r"blocked|not in a known"):
        pyvips.Image.new_from_buffer(file.getvalue(), "").avg()


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_first_directory(tmp_path: Path, order: Literal["<", ">"], *, big: bool) -> None:
    """The first value of each field, wherever it lies."""
    pixels = np.zeros((40, 60, 4), np.uint8)
    path = tiffs.write(tmp_path / "a.tif", pixels, extra=(2,), big=big, order=order)
    with path.open("rb") as file:
        tags = tiff.first_directory(file)
        assert not tiff.has_many_pages(file)
    assert (tags[256], tags[257], tags[258], tags[tiff.EXTRA_SAMPLES]) == (60, 40, 8, 2)


@pytest.mark.parametrize("data", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II+\0" + b"\xff" * 60])
def test_a_damaged_directory_says_nothing(data: bytes) -> None:
    """The decoder will say what is wrong."""
    assert tiff.first_directory(io.BytesIO(data)) == {}
    assert not tiff.has_many_pages(io.BytesIO(data))
