"""What sidecars and files say of a photo's taking."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.embedded import inspect, write

from taggerd.metadata import Circumstances, Options

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.photo import Photo, Provenance, Tags
    from taggerd.settings import ContextWord

PhotoOf = Callable[..., "Photo"]
Make = Callable[..., bytes]
ALL: tuple[ContextWord, ...] = ("place", "date", "keywords")
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>rock arch</rdf:li>'
    "</rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.fixture
def taken(tmp_path: Path) -> Path:
    """A JPEG with a position, a capture time and a keyword of a human's."""
    image = Image.new("RGB", (8, 8), "red")
    exif = image.getexif()
    exif.get_ifd(0x8825).update({1: "S", 2: (41.0, 30.0, 36.0), 3: "W", 4: (8.0, 15.0, 0.0)})
    exif.get_ifd(0x8769)[0x9003] = "2024:06:30 23:59:59"
    path = tmp_path / "a.jpg"
    image.save(path, exif=exif, xmp=XMP.encode())
    return path


def test_the_file_tells_where_when_and_what(taken: Path, photo_of: PhotoOf) -> None:
    """South and west are negative; the month is the camera's own; what is not asked is not told."""
    photo = photo_of(taken)
    assert inspect(photo, Options(), ALL).circumstances == Circumstances(
        position=(-41.51, -8.25), month=(2024, 6), keywords=("rock arch",)
    )
    assert inspect(photo, Options(), ["date"]).circumstances == Circumstances(month=(2024, 6))


def test_the_sidecar_comes_first_and_the_machines_words_are_no_humans(
    taken: Path, photo_of: PhotoOf, tags: Tags, provenance: Provenance
) -> None:
    """A corrected place counts; of keywords only those that taggerd did not write."""
    photo = photo_of(taken)
    write(photo, tags, provenance, Options())
    sidecar = taken.with_name("a.jpg.xmp")
    text = sidecar.read_text()
    assert "car park" in text
    assert inspect(photo, Options(), ALL).circumstances.keywords == ("rock arch",)
    sidecar.write_text(text.replace("41,30.60000000S", "41,30,36N"))
    assert inspect(photo, Options(), ALL).circumstances.position == (41.51, -8.25)


@pytest.mark.parametrize(
    ("body", "known"),
    [
        (
            (
                "<exif:GPSLatitude>38,58.02N</exif:GPSLatitude>"
                "<exif:GPSLongitude>109,42.6W</exif:GPSLongitude>"
            ),
            Circumstances(position=(38.967, -109.71)),
        ),
        ("<exif:GPSLatitude>38,58.02N</exif:GPSLatitude>", Circumstances()),
        (
            (
                "<exif:GPSLatitude>98,58.02N</exif:GPSLatitude>"
                "<exif:GPSLongitude>109,42.6W</exif:GPSLongitude>"
            ),
            Circumstances(),
        ),
        (
            (
                "<exif:GPSLatitude>38,58.02E</exif:GPSLatitude>"
                "<exif:GPSLongitude>north</exif:GPSLongitude>"
            ),
            Circumstances(),
        ),
        (
            "<photoshop:DateCreated>1975</photoshop:DateCreated>",
            Circumstances(month=(1975, 0)),
        ),
        (
            (
                "<exif:DateTimeOriginal>0000-00-00T00:00:00</exif:DateTimeOriginal>"
                "<photoshop:DateCreated>1998-12-24</photoshop:DateCreated>"
            ),
            Circumstances(month=(1998, 12)),
        ),
        (
            "<exif:DateTimeOriginal>1998-77-01</exif:DateTimeOriginal>",
            Circumstances(month=(1998, 0)),
        ),
        ("<exif:DateTimeOriginal>yesterday</exif:DateTimeOriginal>", Circumstances()),
        (
            (
                "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Land|Utah</rdf:li><rdf:li>arch</rdf:li>"
                "</rdf:Bag></lr:hierarchicalSubject><digiKam:TagsList><rdf:Seq>"
                "<rdf:li>_Digikam_Internal_Tags_/Version</rdf:li><rdf:li>Land/UTAH</rdf:li></rdf:Seq>"
                "</digiKam:TagsList>"
            ),
            Circumstances(keywords=("Utah", "arch")),
        ),
    ],
)
def test_sidecars_in_many_forms(
    tmp_path: Path, photo_of: PhotoOf, sidecar: Make, body: str, known: Circumstances
) -> None:
    """Angles, dates and keyword lists as programs write them; what makes no sense is not known."""
    path = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8), "red").save(path)
    path.with_name("a.jpg.xmp").write_bytes(sidecar(body))
    found = inspect(photo_of(path), Options(), ALL).circumstances
    if found.position:
        found = Circumstances(position=tuple(round(d, 6) for d in found.position))  # type: ignore[arg-type]  # two
    assert found == known


def test_what_cannot_be_read_is_not_known(tmp_path: Path, photo_of: PhotoOf) -> None:
    """A file that is no picture and a sidecar that is no XML tell nothing, and nothing fails."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe1 nothing of a picture")
    path.with_name("a.jpg.xmp").write_bytes(b"<x")
    assert inspect(photo_of(path), Options(), ALL).circumstances == Circumstances()
