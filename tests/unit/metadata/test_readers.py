"""What each program shows, by its own rule: which sidecar it reads, and which property first."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support.embedded import view, write

from taggerd.metadata import Options
from taggerd.metadata.merge import merge
from taggerd.metadata.readers import NOTHING, READERS, Shown, Source, shown
from taggerd.metadata.views import View, sidecar_view
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.splice import Entry
from taggerd.photo import Photo, PhotoFile, Provenance, Stamp, Tags

BY_NAME = {reader.name: reader for reader in READERS}
RAW, JPEG = Path("/p/IMG.CR3"), Path("/p/IMG.JPG")


def said(**texts: str) -> Source:
    """Return a source that says *texts*; ``dc_title`` is ``dc:title``."""
    return Source({k.replace("_", ":"): (Entry(v),) for k, v in texts.items()})


@pytest.mark.parametrize(
    ("reader", "photo", "there", "read"),
    [
        ("Lightroom", RAW, ["IMG.xmp", "IMG.CR3.xmp"], "IMG.xmp"),
        ("Lightroom", RAW, ["IMG.CR3.xmp"], None),
        ("Lightroom", JPEG, ["IMG.xmp", "IMG.JPG.xmp"], None),
        ("darktable", JPEG, ["IMG.xmp", "IMG.JPG.xmp"], "IMG.JPG.xmp"),
        ("darktable", RAW, ["IMG.xmp"], "IMG.xmp"),
        ("digiKam", RAW, ["IMG.xmp"], None),
        ("digiKam", JPEG, ["IMG.JPG.xmp"], "IMG.JPG.xmp"),
        ("Immich", JPEG, ["IMG.xmp", "IMG.JPG.xmp"], "IMG.JPG.xmp"),
        ("Immich", JPEG, ["IMG.xmp"], "IMG.xmp"),
        ("PhotoPrism", JPEG, ["IMG.XMP"], "IMG.XMP"),
    ],
)
def test_the_sidecar_that_is_read(reader: str, photo: Path, there: list[str], read: str) -> None:
    """Each looks for names of its own; Lightroom for one beside proprietary raw files only."""
    sidecars = {photo.with_name(name): said(dc_description=name) for name in there}
    seen = shown(BY_NAME[reader], photo, said(dc_description="own"), sidecars)
    assert (seen.sidecar.name if seen.sidecar else None) == read
    assert seen.description == (read or "own")


@pytest.mark.parametrize(
    ("reader", "keywords"),
    [
        ("Lightroom", ("b/c", "a")),
        ("darktable", ("b/c",)),
        ("digiKam", ("d/e",)),
        ("Immich", ("d/e",)),
        ("PhotoPrism", ("a",)),
    ],
)
def test_the_list_that_is_read_first(reader: str, keywords: tuple[str, ...]) -> None:
    """Words in another list are not seen; of PhotoPrism's in a bag it is said since when."""
    source = said(dc_subject="a", lr_hierarchicalSubject="b|c", digiKam_TagsList="d/e")
    photo = RAW if reader == "Lightroom" else JPEG
    name = photo.with_suffix(".xmp") if reader == "Lightroom" else Path("/p/IMG.JPG.xmp")
    seen = shown(BY_NAME[reader], photo, NOTHING, {name: source})
    assert seen.keywords == keywords
    assert ("2026" in seen.note) == (reader == "PhotoPrism")
    ordered = Source(source.texts, frozenset({"dc:subject"}))
    seen = shown(BY_NAME[reader], photo, NOTHING, {name: ordered})
    assert (seen.keywords, seen.note) == (keywords, "")


def test_what_the_photo_itself_says() -> None:
    """Beside a sidecar it counts for nothing, for missing fields, or before the order of fields."""
    own = said(tiff_ImageDescription="OLYMPUS", dc_title="Own", dc_description="Own too")
    beside = {Path("/p/IMG.JPG.xmp"): said(dc_description="Ours")}
    seen = {name: shown(reader, JPEG, own, beside) for name, reader in BY_NAME.items()}
    assert [seen[n].title for n in ("digiKam", "darktable", "Immich")] == ["", "Own", None]
    assert seen["Immich"].description == "OLYMPUS"
    assert seen["digiKam"].description == seen["darktable"].description == "Ours"


def test_several_languages() -> None:
    """All show x-default."""
    words = (Entry("Hund", "de"), Entry("Dog", "x-default"), Entry("Chien", "fr"))
    beside = {Path("/p/IMG.JPG.xmp"): Source({"dc:description": words})}
    seen = {n: shown(r, JPEG, NOTHING, beside).description for n, r in BY_NAME.items()}
    assert seen == {
        "Lightroom": "", "darktable": "Dog", "digiKam": "Dog", "Immich": "Dog",
        "PhotoPrism": "Dog",
    }  # fmt: skip


def _view(path: Path, tags: Tags, provenance: Provenance, *, writes: bool = True) -> View:
    photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
    if writes:
        write(photo, tags, provenance, Options())
    return view(photo, Options())


@pytest.mark.parametrize("camera", ["OLYMPUS DIGITAL CAMERA", ""])
def test_a_jpeg_is_shown_with_all_its_words(
    tmp_path: Path, tags: Tags, provenance: Provenance, camera: str
) -> None:
    """In the programs that read its sidecar: ours everywhere, whatever the camera put there."""
    path = tmp_path / "IMG.jpg"
    exif = Image.Exif()
    exif[0x010E] = camera
    Image.new("RGB", (8, 8), "red").save(path, exif=exif)
    seen = _view(path, tags, provenance)
    shows = {each.reader: each for each in seen.readers}
    for name in ("darktable", "digiKam", "Immich", "PhotoPrism"):
        assert shows[name].description == tags.description, name
    for name in ("darktable", "digiKam", "Immich"):
        assert shows[name].keywords == ("dog", "beach", "car park"), name
    assert shows["Lightroom"] == Shown("Lightroom", None, "", camera, ())
    assert not seen.sidecars[0].refused
    assert seen.sidecars[0].touched == "made by taggerd, not edited since"
    assert seen.sidecars[0].models == {"caption": "eye-2", "keywords": "eye-2"}


def test_without_a_sidecar_and_with_a_refused_one(
    tmp_path: Path, tags: Tags, provenance: Provenance
) -> None:
    """There is still something to say, and nothing is written."""
    path = tmp_path / "IMG.jpg"
    Image.new("RGB", (8, 8), "red").save(path)
    assert _view(path, tags, provenance, writes=False).sidecars == ()
    (tmp_path / "IMG.jpg.xmp").write_bytes(b"<x")
    (tmp_path / "IMG.xmp").write_bytes(b"")
    seen = _view(path, tags, provenance, writes=False)
    assert [s.path.name for s in seen.sidecars] == ["IMG.jpg.xmp", "IMG.xmp"]
    assert all(sidecar.refused for sidecar in seen.sidecars)
    assert {p.name for p in tmp_path.iterdir()} == {"IMG.jpg", "IMG.jpg.xmp", "IMG.xmp"}


def test_whose_words(tags: Tags, provenance: Provenance) -> None:
    """Human, machine, rejected and replaced words are told apart."""
    before = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:title="Mine" dc:description="Gone">'
        b"<dc:subject><rdf:Bag><rdf:li>Anna</rdf:li></rdf:Bag></dc:subject>"
        b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    data = merge(before, tags, provenance, Options(overwrite=True)).data
    data = data.replace(b"<rdf:li>dog</rdf:li>", b"", 3)
    data = merge(data, tags, provenance, Options()).data
    seen, _ = sidecar_view(Path("IMG.xmp"), Document.load(data))
    assert (seen.human, seen.machine, seen.rejected) == (("Anna",), ("beach", "car park"), ("dog",))
    assert seen.replaced == {"dc:description": "Gone"}
    whose = {words.field: words.machine for words in seen.texts}
    assert whose["dc:title"] is False
    assert whose["dc:description"] is whose["photoshop:Headline"] is True
    assert seen.touched == "merged by taggerd, edited since"
