"""What a camera or a scanner wrote by itself is not taken for a human's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.embedded import unhide_human_texts, write

from taggerd.metadata.camera import Camera, is_camera_text
from taggerd.metadata.options import Options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.photo import Photo, Provenance, Tags

DESCRIPTION = "Two dogs run over wet sand. The sky is grey."
NIKON = Camera("NIKON CORPORATION", "NIKON D70")


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA         ", "SONY DSC", "MINOLTA DIGITAL CAMERA", "DCF 1.0",
        "KODAK Digital Still Camera", "EPSON DSC picture", "EPSON DSC Picture", "SAMSUNG", "null",
        "(null)", "NULL", "MOULTRIE DIGITAL GAME CAMERA", "<KENOX S1050  / Samsung S1050>",
        "MEDION DIGITAL CAMERA", "My beautiful picture", "HELLOMOTO", "_cuva", "bsh",
        "DCIM\\100MEDIA\\DJI_0001.JPG", "Exif_JPEG_PICTURE", "charset=Ascii", "", " \0 ",
    ],
)  # fmt: skip
def test_the_list(text: str) -> None:
    """Texts that other programs ignore, too, whatever the camera."""
    assert is_camera_text(text)


@pytest.mark.parametrize(
    ("text", "camera"),
    [
        ("NIKON D70", NIKON),
        ("Nikon", NIKON),
        ("nikon corporation", NIKON),
        ("Picture taken with a NIKON D70", NIKON),
        ("DSC-W55", Camera("SONY", "DSC-W55")),
        ("LEICA CAMERA AG M8 Digital Camera", Camera("Leica Camera AG", "M8 Digital Camera")),
        ("EPSON scanner image", Camera("EPSON", "Perfection V600")),
        ("FinePix S5600 ", Camera("FUJIFILM", "FinePix S5600")),
    ],
)
def test_make_and_model(text: str, camera: Camera) -> None:
    """A text that says nothing but which camera it was is the camera's."""
    assert is_camera_text(text, camera)
    assert not is_camera_text(text), "without the camera nothing shows that"


@pytest.mark.parametrize(
    "text",
    ["My first picture with the Nikon D70: Anna", "Nikon museum, Tokyo", "D70 on the table",
     "Digital camera test in Rome", "A camera", "Anna", "picture", "70", "1.0"],
)  # fmt: skip
def test_a_human_text_that_names_the_camera(text: str) -> None:
    """One word more than cameras write makes it a human's."""
    assert not is_camera_text(text, NIKON)


@pytest.fixture
def photo(tmp_path: Path, photo_of: Callable[..., Photo]) -> Callable[..., Photo]:
    """Make a photo by a Nikon D70 with a text in its EXIF."""

    def make(text: str) -> Photo:
        image = Image.new("RGB", (8, 8), "red")
        exif = image.getexif()
        exif[0x010E], exif[0x010F], exif[0x0110] = text, NIKON.make, NIKON.model
        image.save(tmp_path / "a.jpg", exif=exif)
        return photo_of(tmp_path / "a.jpg")

    return make


def test_a_new_sidecar(
    photo: Callable[..., Photo],
    tags: Tags,
    provenance: Provenance,
    texts: Callable[[bytes, str], list[str]],
) -> None:
    """The description is ours, and the photo keeps what its camera wrote."""
    given = photo("NIKON D70")
    before = given.primary.path.read_bytes()
    (made,) = write(given, tags, provenance, Options())
    data = made.path.read_bytes()
    assert texts(data, "dc:description") == [DESCRIPTION]
    assert texts(data, "tiff:ImageDescription") == [DESCRIPTION]
    assert given.primary.path.read_bytes() == before


def test_an_existing_sidecar(
    photo: Callable[..., Photo],
    sidecar: Callable[..., bytes],
    tags: Tags,
    provenance: Provenance,
    texts: Callable[[bytes, str], list[str]],
) -> None:
    """Make and model are looked up in the photo where the sidecar does not say them."""
    given = photo("NIKON D70")
    beside = given.primary.path.with_name("a.jpg.xmp")
    camera = (
        '<tiff:ImageDescription><rdf:Alt><rdf:li xml:lang="x-default">NIKON D70</rdf:li>'
        "</rdf:Alt></tiff:ImageDescription>"
    )
    beside.write_bytes(sidecar(camera))
    (made,) = write(given, tags, provenance, Options())
    assert texts(beside.read_bytes(), "dc:description") == [DESCRIPTION]
    assert texts(beside.read_bytes(), "tiff:ImageDescription") == [DESCRIPTION]
    assert "replaced tiff:ImageDescription, which a camera filled: NIKON D70" in made.notes


def test_embedding(
    photo: Callable[..., Photo],
    tags: Tags,
    provenance: Provenance,
    texts: Callable[[bytes, str], list[str]],
) -> None:
    """An embedded description is ours, too, and a later look takes nothing of it away."""
    given = photo("NIKON D70")
    (made,) = write(given, tags, provenance, Options(target="embed"))
    assert made.embedded
    data = given.primary.path.read_bytes()
    start, end = data.index(b"<x:xmpmeta"), data.index(b"</x:xmpmeta>") + 12
    assert texts(data[start:end], "dc:description") == [DESCRIPTION]
    assert b"NIKON D70" in data


def test_a_camera_text_hides_nothing_later(
    photo: Callable[..., Photo],
    tags: Tags,
    provenance: Provenance,
    texts: Callable[[bytes, str], list[str]],
) -> None:
    """A camera's text in a field that is not written does not cost the description its twin."""
    given = photo("NIKON D70")
    beside = given.primary.path.with_name("a.jpg.xmp")
    write(given, tags, provenance, Options())
    data = beside.read_bytes()
    start = data.index(b"<tiff:ImageDescription")
    twin = data[start:].replace(DESCRIPTION.encode(), b"NIKON D70", 1)
    beside.write_bytes(data[:start] + twin)
    unhide_human_texts(given, Options())
    assert texts(beside.read_bytes(), "dc:description") == [DESCRIPTION]
