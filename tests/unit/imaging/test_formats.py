"""What a file is: known by its bytes, named to people when it is nothing that is read."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest
from PIL import Image

import taggerd
from taggerd import settings
from taggerd.errors import PhotoUndecodable
from taggerd.imaging import formats, jxl, open_photo, prepare
from taggerd.photo import Stamp

pytest.importorskip("pillow_jxl")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "empty file"),
        (b"hello, this is\r\n\ta text", "a text file"),
        ("größer als nichts".encode(), "a text file"),
        (b"GIF89a\x01\x00\x01\x00", "a GIF picture"),
        (b"<!doctype HTML><title>x</title>", "an HTML text"),
        (b"\0" * 5000, "nothing but zero bytes"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video"),
        (b"8BPS\0\x01", "a Photoshop file"),
        (b"\x01\x02\x03\x04\x05", "not a known picture format"),
    ],
)
@pytest.mark.parametrize("name", ["a.jpg", "a.NEF"])
def test_what_it_is_instead(tmp_path: Path, name: str, head: bytes, words: str) -> None:
    """A file that is no picture is refused with a line that says what it is."""
    path = tmp_path / name
    path.write_bytes(head)
    if name == "a.NEF" and words == "not a known picture format":
        words = "no preview in this raw file"  # LibRaw was asked
    with open_photo(path) as file, pytest.raises(PhotoUndecodable, match=words):
        prepare(file, Stamp.of(path.lstat()), settings.Image())


TIFF_WITH_TAG = b"II*\0\x08\0\0\0\x01\0" + b"%b\x04\0\x01\0\0\0\x01\0\0\0" + bytes(4)


@pytest.mark.parametrize(
    ("head", "named_raw", "expected"),
    [
        (b"\xff\xd8\xff\xe1", True, formats.JPEG),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1miaf", False, formats.AVIF),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", False, formats.AVIF),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", False, formats.HEIF),
        (b"\0\0\0\x18ftypheix\0\0\0\0mif1heix", False, formats.HEIF),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", False, formats.RAW),
        (b"FUJIFILMCCD-RAW 0201", False, formats.RAW),
        (b"IIU\0\x18\0\0\0", False, formats.RAW),
        (b"IIRO\x08\0\0\0", False, formats.RAW),
        (b"II*\0\x10\0\0\0CR\x02\0", False, formats.RAW),
        (TIFF_WITH_TAG % b"\x12\xc6", False, formats.RAW),  # DNGVersion
        (TIFF_WITH_TAG % b"\xfe\x00", False, formats.RAW),  # a reduced picture comes first
        (TIFF_WITH_TAG % b"\x00\x01", False, formats.TIFF),
        (TIFF_WITH_TAG % b"\x00\x01", True, formats.RAW),
        (b"MM\0*\xff\xff\xff\xff", False, formats.TIFF),
        (b"RIFF\0\0\0\0WEBPVP8 ", False, formats.WEBP),
    ],
)
def test_what_it_is(head: bytes, *, named_raw: bool, expected: formats.Format) -> None:
    """The first bytes tell, also of raw files under other names."""
    assert formats.format_of(io.BytesIO(head), named_raw=named_raw) is expected


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize(
    "size",
    [(8, 8), (256, 256), (264, 256), (3, 1), (400, 300), (300, 200), (640, 360), (513, 700),
     (1250, 1000), (9000, 2)],
)  # fmt: skip
def test_size_of_jpeg_xl(size: tuple[int, int], *, container: bool) -> None:
    """The header gives the size in each of its forms: small, by ratio, and written out."""
    file = io.BytesIO()
    Image.new("L", size).save(file, "JXL", use_container=container)
    assert jxl.size_of(file) == size
    assert file.tell() == 0


@pytest.mark.parametrize(
    "data", [b"", b"\xff\x0a", b"\xff\x0a\x12", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0" * 64]
)
def test_cut_jpeg_xl(data: bytes) -> None:
    """A header that is not there ends in an error, not in a loop."""
    with pytest.raises(ValueError, match="codestream"):
        jxl.size_of(io.BytesIO(data))


def test_pillow_never_guesses() -> None:
    """Wherever Pillow opens bytes, the format is given: none of its other decoders ever runs."""
    package = Path(taggerd.__file__).parent
    found = 0
    for module in package.rglob("*.py"):
        for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("Image.open"):
                found += 1
                named = [word.value for word in call.keywords if word.arg == "formats"]
                assert named, f"{module.name}:{call.lineno}"
                assert isinstance(named[0], ast.List), f"{module.name}:{call.lineno}"
    assert found >= 2


@pytest.mark.parametrize(
    "kind", ["GIF", "BMP", "PPM", "TGA", "PCX", "ICO", "EPS", "PSD", "JPEG2000"]
)
def test_formats_that_pillow_could_read_and_nobody_needs(tmp_path: Path, kind: str) -> None:
    """A picture of another format, called JPEG, meets no decoder."""
    path = tmp_path / "a.jpg"
    if kind == "PSD":
        path.write_bytes(b"8BPS\0\1" + bytes(60))
    else:
        Image.new("RGB", (8, 8)).save(path, kind)
    with open_photo(path) as file, pytest.raises(PhotoUndecodable, match="nothing to decode"):
        prepare(file, Stamp.of(path.lstat()), settings.Image())
