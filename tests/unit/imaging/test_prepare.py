"""From a file of any format to the one clean JPEG: what is seen, and what must not be in it."""

from __future__ import annotations

import io
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageCms

import taggerd
from taggerd import settings
from taggerd.errors import PhotoUndecodable
from taggerd.imaging import open_photo, prepare
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable

pillow_heif.register_heif_opener()
pytest.importorskip("pillow_jxl")

RED, GREEN, BLUE, WHITE = (220, 20, 30), (20, 180, 40), (30, 40, 220), (255, 255, 255)
LOSSY = 40
"""How far a colour may be off after two lossy codings."""

TURNED = {
    # orientation: what a camera held that way stores of an upright picture
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def prepared(path: Path, **options: Any) -> Picture:  # noqa: ANN401 - settings
    """Prepare *path* as it is now."""
    with open_photo(path) as file:
        return prepare(file, Stamp.of(path.lstat()), settings.Image(**options))


def seen(picture: Picture) -> Image.Image:
    """Open what would be sent."""
    image = Image.open(io.BytesIO(picture.jpeg), formats=["JPEG"])
    assert image.mode == "RGB"
    assert image.size == (picture.width, picture.height)
    return image


def corners(image: Image.Image) -> tuple[tuple[int, ...], ...]:
    """Return the colours in the middle of the quarters: upper left, upper right, lower ones."""
    small = image.convert("RGB").resize((4, 4), Image.Resampling.BOX)
    pixels = np.asarray(small)
    return tuple(tuple(map(int, pixels[y, x])) for x, y in ((0, 0), (3, 0), (0, 3), (3, 3)))


def assert_close(found: object, expected: object) -> None:
    """Compare colours as far as lossy coding allows."""
    difference = np.abs(np.asarray(found, int) - np.asarray(expected, int))
    assert difference.max() <= LOSSY, f"{found} is not {expected}"


def quarters(width: int = 480, height: int = 320) -> Image.Image:
    """Draw a picture that shows how it is turned."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


FOUR = (RED, GREEN, BLUE, WHITE)


def exif(orientation: int) -> bytes:
    """Make EXIF with that orientation and words that must not get out."""
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    tags[ExifTags.Base.Artist] = "Secret Person"
    tags.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (47.0, 1.0, 2.0)})
    return tags.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.avif", "a.heic"])
def test_every_orientation_comes_out_upright(tmp_path: Path, name: str, orientation: int) -> None:
    """Orientation is applied once, whoever applies it: the decoder or we."""
    upright, transposition = quarters(), TURNED[orientation]
    path = tmp_path / name
    stored = upright if transposition is None else upright.transpose(transposition)
    stored.save(path, exif=exif(orientation), quality=95)
    picture = prepared(path)
    assert (picture.width, picture.height) == (480, 320)
    assert_close(corners(seen(picture)), FOUR)


def test_jpeg_xl_is_not_turned_twice(tmp_path: Path) -> None:
    """Its EXIF repeats an orientation that the decoder has applied, or that is not meant."""
    path = tmp_path / "a.jxl"
    quarters().save(path, exif=exif(6))
    assert_close(corners(seen(prepared(path))), FOUR)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_jpeg_repacked_as_jpeg_xl_is_upright(tmp_path: Path, orientation: int) -> None:
    """Of a losslessly repacked JPEG the decoder gives back the JPEG, still to be turned."""
    transposition = TURNED[orientation]
    assert transposition is not None
    quarters().transpose(transposition).save(tmp_path / "a.jpg", exif=exif(orientation), quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        image.save(tmp_path / "a.jxl", lossless_jpeg=True)
    assert_close(corners(seen(prepared(tmp_path / "a.jxl"))), FOUR)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.avif", "a.heic", "a.jxl"])
def test_nothing_but_pixels_leaves(tmp_path: Path, name: str) -> None:
    """Both results hold the structure of a JPEG and no other segment, text or thumbnail."""
    path = tmp_path / name
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    extra: dict[str, Any] = {"comment": b"Secret Comment"} if name == "a.jpg" else {}
    quarters().save(path, exif=exif(1), icc_profile=profile, xmp=b"<x>Secret</x>", **extra)
    picture = prepared(path)
    for jpeg in (picture.jpeg, picture.thumbnail):
        assert b"Secret" not in jpeg
        assert set(segments(jpeg)) == {"APP0", "DQT", "SOF0", "DHT", "SOS"}


def test_a_comment_does_not_leave(tmp_path: Path) -> None:
    """Pillow carries a JPEG's comment over into what it saves."""
    quarters().save(tmp_path / "a.jpg", comment=b"Secret")
    picture = prepared(tmp_path / "a.jpg")
    assert b"Secret" not in picture.jpeg + picture.thumbnail


def segments(jpeg: bytes) -> list[str]:
    """List the segments before the picture data; the JFIF one must be bare."""
    names = {0xE0: "APP0", 0xDB: "DQT", 0xC0: "SOF0", 0xC4: "DHT", 0xDA: "SOS"}
    found: list[str] = []
    at = 2
    assert jpeg[:2] == b"\xff\xd8"
    assert jpeg[-2:] == b"\xff\xd9"
    assert jpeg.count(b"\xff\xd9") == 1, "something follows the picture"
    while not found or found[-1] != "SOS":
        assert jpeg[at] == 0xFF
        found.append(names.get(jpeg[at + 1], f"{jpeg[at + 1]:x}"))
        length = int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if found[-1] == "APP0":
            assert jpeg[at + 4 : at + 9] == b"JFIF\0"
            assert length == 16  # no thumbnail
        at += 2 + length
    return found


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((2400, 1600), (1024, 683)),
        ((1600, 2400), (683, 1024)),
        ((1025, 10), (1024, 10)),
        ((5000, 1), (1024, 1)),
        ((1024, 768), (1024, 768)),
        ((64, 48), (64, 48)),  # never enlarged
        ((1, 1), (1, 1)),
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_long_edge(
    tmp_path: Path, name: str, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """The long edge is at most max_edge, proportions are kept, nothing is enlarged."""
    Image.new("RGB", size, GREEN).save(tmp_path / name)
    picture = prepared(tmp_path / name)
    assert (picture.width, picture.height) == expected
    thumbnail = Image.open(io.BytesIO(picture.thumbnail))
    assert max(thumbnail.size) == min(320, max(size))


def test_max_edge_and_quality_are_obeyed(tmp_path: Path) -> None:
    """A smaller edge and a lower quality make a smaller picture."""
    noise = np.random.default_rng(1).integers(0, 255, (600, 900, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    small = prepared(tmp_path / "a.png", max_edge=300)
    coarse = prepared(tmp_path / "a.png", max_edge=300, quality=40)
    assert (small.width, small.height) == (300, 200)
    assert len(coarse.jpeg) < len(small.jpeg)


def grey_steps() -> np.ndarray:
    """Four quarters from black to white, as 0 to 1."""
    steps = np.zeros((200, 200), np.float32)
    steps[:100, 100:], steps[100:, :100], steps[100:, 100:] = 0.25, 0.75, 1
    return steps


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.png", lambda s: Image.fromarray((s * 65535).astype(np.uint16))),
        ("a.tif", lambda s: Image.fromarray((s * 65535).astype(np.uint16))),
        ("a.tif", Image.fromarray),
        ("a.tif", lambda s: Image.fromarray((s * 65535).astype(np.int32))),
        ("a.tif", lambda s: Image.fromarray((s * 255).astype(np.uint8))),
        ("a.jpg", lambda s: Image.fromarray((s * 255).astype(np.uint8))),
    ],
    ids=["png16", "tiff16", "tifffloat", "tiff32", "tiff8", "jpeg8"],
)
def test_grey_of_any_depth(
    tmp_path: Path, name: str, make: Callable[[np.ndarray], Image.Image]
) -> None:
    """Deep grey is scaled to eight bits, not clipped to white."""
    make(grey_steps()).save(tmp_path / name)
    found = corners(seen(prepared(tmp_path / name)))
    assert_close(found, [(v, v, v) for v in (0, 64, 191, 255)])


def test_not_a_number_in_a_float_picture(tmp_path: Path) -> None:
    """Holes in a float TIFF are black and do not spoil the rest."""
    steps = grey_steps()
    steps[:10, :10] = np.nan
    Image.fromarray(steps).save(tmp_path / "a.tif")
    assert_close(corners(seen(prepared(tmp_path / "a.tif"))), [(v,) * 3 for v in (0, 64, 191, 255)])


def with_alpha(mode: str) -> Image.Image:
    """The right half is transparent, over black."""
    image = Image.new("RGBA", (200, 200), (*RED, 255))
    image.paste((0, 0, 0, 0), (100, 0, 200, 200))
    return image.convert(mode)


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("a.png", with_alpha("RGBA"), (RED, WHITE)),
        ("a.webp", with_alpha("RGBA"), (RED, WHITE)),
        ("a.png", with_alpha("LA"), ((81, 81, 81), WHITE)),
        ("a.png", quarters().quantize(8), (RED, GREEN)),
        ("a.png", quarters().convert("1"), ((88, 88, 88), (122, 122, 122))),
        ("a.jpg", quarters().convert("CMYK"), (RED, GREEN)),
        ("a.tif", quarters().convert("CMYK"), (RED, GREEN)),
        ("a.tif", quarters().convert("YCbCr"), (RED, GREEN)),
    ],
    ids=["rgba", "webp-rgba", "la", "palette", "bilevel", "cmyk-jpeg", "cmyk-tiff", "ycbcr"],
)
def test_modes(
    tmp_path: Path, name: str, image: Image.Image, expected: tuple[tuple[int, ...], ...]
) -> None:
    """Every kind of colour comes out as RGB; what is transparent is white."""
    image.save(tmp_path / name)
    assert_close(corners(seen(prepared(tmp_path / name)))[:2], expected)


def test_a_transparent_palette_is_white(tmp_path: Path) -> None:
    """A palette's transparent entry shows the ground."""
    image = quarters().quantize(8)
    image.save(tmp_path / "a.png", transparency=image.getpixel((5, 5)))
    assert_close(corners(seen(prepared(tmp_path / "a.png")))[:2], (WHITE, GREEN))


def test_lab(tmp_path: Path) -> None:
    """A TIFF in CIELAB has its colours."""
    lab = ImageCms.createProfile("LAB")
    srgb = ImageCms.createProfile("sRGB")
    image = ImageCms.profileToProfile(quarters(), srgb, lab, outputMode="LAB")
    assert image is not None
    image.save(tmp_path / "a.tif")
    assert_close(corners(seen(prepared(tmp_path / "a.tif"))), FOUR)


def swapped_profile() -> bytes:
    """Return a profile in which the first channel is blue and the third is red."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.avif", "a.heic", "a.tif"])
def test_colours_follow_the_profile(tmp_path: Path, name: str) -> None:
    """The embedded profile is applied, in every format that can carry one."""
    quarters().save(tmp_path / name, icc_profile=swapped_profile(), quality=95)
    found = corners(seen(prepared(tmp_path / name)))
    assert found[0][2] > 150 > found[0][0], "red was to become blue"
    assert found[2][0] > 150 > found[2][2], "blue was to become red"


@pytest.mark.parametrize("profile", [b"no profile at all", swapped_profile()[:300]])
def test_a_damaged_profile_is_only_noted(tmp_path: Path, profile: bytes) -> None:
    """Without a usable profile the colours are taken for sRGB, and the record says so."""
    quarters().save(tmp_path / "a.jpg", icc_profile=profile)
    picture = prepared(tmp_path / "a.jpg")
    assert_close(corners(seen(picture)), FOUR)
    assert "profile" in picture.notes[0]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    """A picture with nonsense for EXIF is shown as it lies."""
    quarters().save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xfe" * 40)
    assert_close(corners(seen(prepared(tmp_path / "a.jpg"))), FOUR)


@pytest.mark.parametrize("name", ["a.webp", "a.png", "a.tif"])
def test_first_of_many_frames(tmp_path: Path, name: str) -> None:
    """Of an animation or a TIFF of several pages, the first picture is taken."""
    other = Image.new("RGB", (480, 320), BLUE)
    quarters().save(tmp_path / name, save_all=True, append_images=[other, other])
    assert_close(corners(seen(prepared(tmp_path / name))), FOUR)


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    """A PNG called .jpg and a JPEG called .dng are what they are."""
    quarters().save(tmp_path / "a.jpg", "PNG")
    quarters().save(tmp_path / "a.dng", "JPEG")
    for name in ("a.jpg", "a.dng"):
        assert_close(corners(seen(prepared(tmp_path / name))), FOUR)


@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpeg(tmp_path: Path, *, progressive: bool) -> None:
    """A cut JPEG is refused with a line that says so, and how much of it is there."""
    noise = np.random.default_rng(1).integers(90, 255, (640, 640, 3), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "JPEG", progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(whole.getvalue()[: len(whole.getvalue()) * 2 // 5])
    words = "truncated: too little" if progressive else "truncated: (3.|4.) %"
    with pytest.raises(PhotoUndecodable, match=words):
        prepared(tmp_path / "a.jpg")


def _cut_off(path: Path, share: float, mode: str = "RGB") -> None:
    """Write a JPEG of even noise that ends after a *share* of its data."""
    bands = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    noise = np.random.default_rng(1).integers(0, 255, (2000, 1600, *bands), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(whole, "JPEG")
    path.write_bytes(whole.getvalue()[: int(len(whole.getvalue()) * share)])


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    ("share", "accept", "tagged"),
    [(0.98, "auto", True), (0.93, "auto", False), (0.93, True, True), (0.85, True, False),
     (0.999, False, False)],
)  # fmt: skip
def test_a_jpeg_without_its_last_rows(
    tmp_path: Path, mode: str, share: float, accept: Literal["auto"] | bool, *, tagged: bool
) -> None:
    """It is tagged by what is there, with a note, where the setting wants that; else refused."""
    path = tmp_path / "a.jpg"
    _cut_off(path, share, mode)
    if not tagged:
        with pytest.raises(
            PhotoUndecodable, match=r"^truncated: (8|9)\d % of the picture is there"
        ):
            prepared(path, accept_truncated=accept)
        return
    picture = prepared(path, accept_truncated=accept)
    found = re.fullmatch(
        r"the file is cut off: tagged by the (\d+) % of its rows .*", picture.notes[0]
    )
    assert found
    assert abs(int(found[1]) - 100 * share) <= 2
    assert picture.height / picture.width == pytest.approx(1.25 * int(found[1]) / 100, abs=0.02)


def test_a_dark_picture_without_its_last_rows(tmp_path: Path) -> None:
    """Black rows count as rows: what counts is what the decoder wrote."""
    whole = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 255, (1000, 800, 3), np.uint8)
    noise[600:, 4:] = 0
    Image.fromarray(noise).save(whole, "JPEG", quality=100, subsampling=0)
    data = whole.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[:-100])
    assert "cut off: tagged by the 9" in prepared(tmp_path / "a.jpg").notes[0]


def test_a_hollow_jpeg_is_noted(tmp_path: Path) -> None:
    """A JPEG whose second half is zero bytes was not copied completely; padding is no matter."""
    noise = np.random.default_rng(1).integers(90, 255, (640, 640, 3), np.uint8)
    whole = io.BytesIO()
    Image.fromarray(noise).save(whole, "JPEG")
    data = whole.getvalue()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2] + bytes(len(data) // 2))
    assert "zero bytes" in prepared(tmp_path / "a.jpg").notes[0]
    for padded in (data, data + bytes(5000), data + bytes(5000) + b"trailer"):
        (tmp_path / "a.jpg").write_bytes(padded)
        assert prepared(tmp_path / "a.jpg").notes == ()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.avif", "a.heic", "a.jxl"])
def test_truncated_others(tmp_path: Path, name: str) -> None:
    """A cut file of any format is one clear line."""
    noise = np.random.default_rng(1).integers(0, 255, (320, 320, 3), np.uint8)
    path = tmp_path / name
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(PhotoUndecodable, match=r"^(truncated|damaged)[^\n]+$"):
        prepared(path)


def test_huge_pictures_are_refused_from_their_header(tmp_path: Path) -> None:
    """A header that promises too many pixels is enough; the message names the setting."""
    Image.new("L", (1200, 1000)).save(tmp_path / "a.png")
    assert prepared(tmp_path / "a.png", max_megapixels=1.2)
    header = (tmp_path / "a.png").read_bytes()[:60]  # the picture's data are not needed
    (tmp_path / "a.png").write_bytes(header)
    with pytest.raises(PhotoUndecodable, match=r"image\.max_megapixels \(1\.1\)"):
        prepared(tmp_path / "a.png", max_megapixels=1.1)


def test_a_damaged_length_does_not_ask_for_more_memory(tmp_path: Path) -> None:
    """A small PNG that announces a chunk of two gigabytes is damaged: no setting will help."""
    path = tmp_path / "a.png"
    quarters().save(path)
    data = path.read_bytes()
    at = data.index(b"IDAT") - 4
    path.write_bytes(data[:at] + b"\x80\0\0\x64" + data[at + 4 :])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1536 << 20, limits[1]))
    try:
        with pytest.raises(PhotoUndecodable, match="damaged PNG"):
            prepared(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_huge_jpeg_xl_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Its decoder decodes all at once, so the size is read from the header."""
    quarters().save(tmp_path / "a.jxl")
    head = (tmp_path / "a.jxl").read_bytes()[:16]
    (tmp_path / "a.jxl").write_bytes(head)
    with pytest.raises(PhotoUndecodable, match=r"480 × 320"):  # noqa: RUF001 - as it is printed
        prepared(tmp_path / "a.jxl", max_megapixels=0.1)


def test_importing_the_package_is_cheap() -> None:
    """The daemon's own process never loads a decoder."""
    program = (
        "import sys, taggerd.imaging; "
        "print([m for m in ('PIL', 'numpy', 'rawpy', 'pillow_heif', 'pyvips') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        text=True,
        cwd=Path(taggerd.__file__).parent.parent,
    )
    assert found.stdout == "[]\n"
