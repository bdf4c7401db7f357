"""A new sidecar starts with what the photo itself carries, so that it hides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.embedded import write

from taggerd.metadata import Options
from taggerd.metadata.undo.content import undo
from taggerd.photo import Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from pathlib import Path

PhotoOf = Callable[..., Photo]
Make = Callable[..., bytes]
Read = Callable[[bytes, str], list[str]]

_GPS = {1: "S", 2: (41.0, 13.0, 13.08), 3: "W", 4: (8.0, 30.0, 0.0), 5: b"\x00", 6: 351.25}


@pytest.fixture
def sidecar_of(
    tmp_path: Path, photo_of: PhotoOf, tags: Tags, provenance: Provenance
) -> Callable[..., tuple[bytes, tuple[str, ...]]]:
    """Tag a photo that carries the given XMP and EXIF; give its new sidecar and the notes."""

    def run(
        xmp: bytes = b"", exif: dict[int, str] | None = None, name: str = "a.jpg"
    ) -> tuple[bytes, tuple[str, ...]]:
        path = tmp_path / name
        image = Image.new("RGB", (8, 8), "red")
        block = image.getexif()
        for tag, value in (exif or {}).items():
            if tag == 0x9003:  # capture time and its offset lie in the Exif block
                block.get_ifd(0x8769)[0x9003] = value
                block.get_ifd(0x8769)[0x9011] = "+02:00"
            elif tag == 0x8825:
                block.get_ifd(0x8825).update(_GPS)
            else:
                block[tag] = value
        image.save(path, format="JPEG", exif=block, xmp=xmp)
        (made,) = write(photo_of(path), tags, provenance, Options())
        assert made.created
        return made.path.read_bytes(), made.notes

    return run


def test_words_in_the_photos_xmp_are_human(
    sidecar_of: Callable[..., tuple[bytes, tuple[str, ...]]], sidecar: Make, texts: Read
) -> None:
    """Its description and keywords are kept, spread over all lists, and joined by ours."""
    xmp = sidecar(
        '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Mine</rdf:li>'
        '<rdf:li xml:lang="fr">Le mien</rdf:li></rdf:Alt></dc:description>'
        "<dc:subject><rdf:Bag><rdf:li>Anna</rdf:li></rdf:Bag></dc:subject>"
        "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Places|Oslo</rdf:li></rdf:Bag>"
        "</lr:hierarchicalSubject>"
        "<mediapro:CatalogSets><rdf:Bag><rdf:li>Trips|2020</rdf:li></rdf:Bag>"
        "</mediapro:CatalogSets>",
        'xmp:Rating="4" xmp:Label="Red" exif:GPSLatitude="40,14.0786450N"',
    )
    data, notes = sidecar_of(xmp)
    assert texts(data, "dc:description") == ["Mine", "Le mien"]
    assert texts(data, "tiff:ImageDescription") == []
    assert texts(data, "dc:subject") == ["Anna", "Oslo", "2020", "dog", "beach", "car park"]
    assert texts(data, "digiKam:TagsList")[:3] == ["Anna", "Places/Oslo", "Trips/2020"]
    assert texts(data, "xmp:Rating") == ["4"]
    assert texts(data, "xmp:Label") == ["Red"]
    assert texts(data, "exif:GPSLatitude") == ["40,14.0786450N"]
    assert notes == ("kept dc:description: a human wrote it",)


def test_exif_is_carried(
    sidecar_of: Callable[..., tuple[bytes, tuple[str, ...]]], texts: Read
) -> None:
    """Description, creator, rights, rating, capture time with its offset, place and height."""
    exif = {0x010E: "Mine", 0x013B: "Ann\u00e9", 0x8298: "(c) A", 0x4746: 3,
            0x9003: "2020:05:01 10:11:12", 0x8825: ""}  # fmt: skip
    data, _ = sidecar_of(exif=exif)
    assert texts(data, "dc:description") == ["Mine"]
    assert texts(data, "dc:rights") == ["(c) A"]
    assert texts(data, "xmp:Rating") == ["3"]
    assert texts(data, "exif:DateTimeOriginal") == ["2020-05-01T10:11:12+02:00"]
    assert texts(data, "exif:GPSLatitude") == ["41,13.21800000S"]
    assert texts(data, "exif:GPSLongitude") == ["8,30.00000000W"]
    assert texts(data, "exif:GPSAltitude")[0].startswith("1405/4")
    assert texts(data, "exif:GPSAltitudeRef") == ["0"]


def test_camera_words_are_not_carried(
    sidecar_of: Callable[..., tuple[bytes, tuple[str, ...]]], texts: Read
) -> None:
    """Otherwise they would count as a human's and keep ours out."""
    data, _ = sidecar_of(exif={0x010E: "OLYMPUS DIGITAL CAMERA         "})
    assert b"OLYMPUS" not in data
    assert texts(data, "dc:description") == ["Two dogs run over wet sand. The sky is grey."]


def test_damaged_xmp_in_a_photo_is_a_note(
    sidecar_of: Callable[..., tuple[bytes, tuple[str, ...]]], texts: Read
) -> None:
    """The photo is described all the same; a title and keywords might hide its own."""
    data, notes = sidecar_of(b"<x:xmpmeta><broken")
    assert texts(data, "dc:description") == ["Two dogs run over wet sand. The sky is grey."]
    assert texts(data, "dc:subject") == []
    assert any("cannot be read" in note for note in notes)


def test_a_file_that_is_no_picture_is_a_note(
    tmp_path: Path, photo_of: PhotoOf, tags: Tags, provenance: Provenance
) -> None:
    """It is tagged all the same, but for what might hide words in it."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"nothing")
    (made,) = write(photo_of(path), tags, provenance, Options())
    assert made.written
    assert "its own metadata cannot be read" in made.notes[0]


def test_a_name_that_is_not_utf8(
    sidecar_of: Callable[..., tuple[bytes, tuple[str, ...]]], texts: Read
) -> None:
    """The very bytes of the name are opened."""
    data, notes = sidecar_of(exif={0x010E: "Mine"}, name="b\udcff \N{DOG}.jpg")
    assert texts(data, "dc:description") == ["Mine"]
    assert notes == ("kept dc:description: a human wrote it",)


_SAYS = {
    "description": '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">In the photo</rdf:li>'
    "</rdf:Alt></dc:description>",
    "words": "<dc:subject><rdf:Bag><rdf:li>Anna</rdf:li></rdf:Bag></dc:subject>",
}


def _beside(tmp_path: Path, sidecar: Make, body: str) -> tuple[Photo, Path]:
    """Make a photo that says something itself, and a sidecar with *body* beside it."""
    path = tmp_path / "IMG.jpg"
    Image.new("RGB", (8, 8), "red").save(path, xmp=sidecar("".join(_SAYS.values())))
    beside = tmp_path / "IMG.jpg.xmp"
    beside.write_bytes(sidecar(body))
    return Photo((PhotoFile(path, Stamp.of(path.lstat())),)), beside


def test_a_sidecar_that_lacks_a_field_gets_the_photos_own(
    tmp_path: Path, sidecar: Make, tags: Tags, provenance: Provenance, texts: Read
) -> None:
    """Machine words do not hide a human's in the photo; an undo gives the bytes back."""
    photo, beside = _beside(tmp_path, sidecar, "")
    before = beside.read_bytes()
    (done,) = write(photo, tags, provenance, Options())
    assert not done.error
    data = beside.read_bytes()
    assert texts(data, "dc:description") == ["In the photo"]
    assert texts(data, "tiff:ImageDescription") == []
    for name in ("dc:subject", "digiKam:TagsList"):
        assert texts(data, name) == ["Anna", "dog", "beach", "car park"]
    assert texts(data, "dc:title") == [tags.caption]
    write(photo, replace(tags, description="Other"), provenance, Options())
    data = beside.read_bytes()
    assert texts(data, "dc:description") == ["In the photo"]
    assert undo(data, Options()).data == before


def test_what_the_sidecar_says_is_not_replaced_by_the_photos_own(
    tmp_path: Path, sidecar: Make, tags: Tags, provenance: Provenance, texts: Read
) -> None:
    """Nor are keywords brought back that somebody took out of it."""
    body = _SAYS["description"].replace("In the photo", "Beside") + _SAYS["words"]
    photo, beside = _beside(tmp_path, sidecar, body.replace("Anna", "Oslo"))
    write(photo, tags, provenance, Options())
    data = beside.read_bytes()
    assert texts(data, "dc:description") == ["Beside"]
    assert texts(data, "dc:subject") == ["Oslo", "dog", "beach", "car park"]
    emptied = data
    for name in (b"dc:subject", b"digiKam:TagsList", b"lr:hierarchicalSubject"):
        head, _, rest = emptied.partition(b"<" + name)
        emptied = head + rest.partition(b"</" + name + b">")[2]
    beside.write_bytes(emptied)
    write(photo, tags, provenance, Options())
    assert "Anna" not in texts(beside.read_bytes(), "dc:subject")
