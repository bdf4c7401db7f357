"""Damaged metadata in a photo hides no words that a human wrote there."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from support import embeddable
from support.embeddable import exif, heif, iptc, jpeg, packet, png, raw, replace_packet, tiff, webp
from support.embedded import write

from taggerd.metadata import Options
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named
from taggerd.photo import Keyword, Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROVENANCE = Provenance(
    version="1", date=embeddable.NOW, profile="default", models={}, digest="ab" * 32
)
TAGS = Tags(caption="A dog", description="A dog on a beach.", keywords=(Keyword("dog"),))
TITLE = (
    '<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/"><rdf:Alt>'
    '<rdf:li xml:lang="x-default">Mine</rdf:li></rdf:Alt></dc:title>'
)
PACKET = packet("Anna").replace(b"<dc:subject>", TITLE.encode() + b"<dc:subject>")
KINDS: dict[str, Callable[[], bytes]] = {
    "a.jpg": jpeg,
    "a.png": lambda: png(exif=exif()),
    "a.webp": lambda: webp(exif=exif()),
    "a.tif": lambda: tiff(exif=exif()),
    "a.dng": raw,
    "a.heic": lambda: heif("heic"),
    "a.avif": lambda: heif("avif"),
}
MUTATIONS = 40


def _texts(path: Path, name: str) -> list[str]:
    return list(Document.load(path.read_bytes()).texts(named(name)))


def _photo(path: Path) -> Photo:
    return Photo((PhotoFile(path, Stamp.of(path.lstat())),))


def _exif_of(data: bytes, name: str) -> range:
    """Return where EXIF's own bytes are; of a TIFF those of its Exif directory."""
    if name.endswith((".tif", ".dng")):
        order = "<" if data[:2] == b"II" else ">"
        tag = data.find(struct.pack(f"{order}HH", 0x8769, 4))
        if tag < 0:
            return range(0)
        (start,) = struct.unpack_from(f"{order}I", data, tag + 8)
        return range(start, min(start + 60, len(data)))
    maker = data.index(b"Maker")
    start = max(data.rfind(head, 0, maker) for head in (b"II*\0", b"MM\0*"))
    return range(start, data.index(b"NOTES"))


def _mutated(data: bytes, where: range) -> Iterator[bytes]:
    """Yield copies of *data* with damage in *where*: bits, runs of bytes, all of it."""
    chance = random.Random(12)  # noqa: S311 - the same ones every time
    for value in (b"\0", b"\xff", b"\x55"):
        yield data[: where.start] + value * len(where) + data[where.stop :]
    for _ in range(MUTATIONS):
        made = bytearray(data)
        for _ in range(chance.choice((1, 2, 8))):
            at = chance.choice(where)
            size = min(chance.choice((1, 2, 4, 12)), where.stop - at)
            made[at : at + size] = chance.randbytes(size)
        yield bytes(made)


@pytest.mark.parametrize("name", KINDS)
def test_words_beside_damaged_exif(tmp_path: Path, name: str) -> None:
    """Whatever bytes of EXIF are damaged: a new sidecar has the human's title and keyword."""
    path = tmp_path / name
    path.write_bytes(KINDS[name]())
    try:
        replace_packet(path, Stamp.of(path.lstat()), PACKET)
    except Exception as error:
        if "exiftool" in str(error):
            pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
        raise
    data = path.read_bytes()
    where = _exif_of(data, name)
    for made in _mutated(data, where) if where else [data]:
        path.write_bytes(made)
        (done,) = write(_photo(path), TAGS, PROVENANCE, Options())
        assert done.created, done.error
        assert _texts(done.path, "dc:title") == ["Mine"]
        assert _texts(done.path, "dc:subject") == ["Anna", "dog"]
        done.path.unlink()


def test_words_of_iptc_beside_damaged_exif(tmp_path: Path) -> None:
    """IPTC-IIM is read on its own as well."""
    path = tmp_path / "a.jpg"
    data = embeddable.behind_start(jpeg(), iptc("Anna"))
    for made in _mutated(data, _exif_of(data, "a.jpg")):
        path.write_bytes(made)
        (done,) = write(_photo(path), TAGS, PROVENANCE, Options())
        assert _texts(done.path, "dc:subject") == ["Anna", "dog"]
        done.path.unlink()


def _unreadable() -> dict[str, tuple[str, bytes]]:
    segment = b"http://ns.adobe.com/xap/1.0/\0"
    broken = embeddable.segment(0xE1, segment + PACKET.replace(b"</rdf:RDF>", b""))
    bomb = b'<!DOCTYPE x [<!ENTITY a "b">]>' + PACKET
    cut = embeddable.iptc("Anna")
    cut = embeddable.segment(0xED, cut[4:-6] + b"\x7f\xff" + cut[-4:])
    compressed = b"XML:com.adobe.xmp\0\1\0\0\0" + b"\x78\x9c" + bytes(40)
    whole = png()
    return {
        "broken XML": ("a.jpg", embeddable.behind_start(jpeg(), broken)),
        "entities": (
            "a.jpg",
            embeddable.behind_start(jpeg(), embeddable.segment(0xE1, segment + bomb)),
        ),
        "cut IPTC-IIM": ("a.jpg", embeddable.behind_start(jpeg(), cut)),
        "a damaged segment": ("a.jpg", jpeg()[:2] + b"\xff\xe1\xff\xfe" + b"\0" * 70_000),
        "compressed badly": (
            "a.png",
            whole[:33] + embeddable.chunk(b"iTXt", compressed) + whole[33:],
        ),
        "Brotli": ("a.jxl", b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14brobxml " + bytes(8)),
    }


@pytest.mark.parametrize("kind", _unreadable())
@pytest.mark.parametrize("beside", ["no sidecar", "an empty sidecar"])
def test_words_that_cannot_be_read_are_not_hidden(tmp_path: Path, kind: str, beside: str) -> None:
    """No title and no keywords are written over what nobody could read, and the record says so."""
    name, data = _unreadable()[kind]
    path = tmp_path / name
    path.write_bytes(data)
    sidecar = path.with_name(path.name + ".xmp")
    if beside == "an empty sidecar":
        empty = packet("x").partition(b"   <dc:subject>")
        sidecar.write_bytes(empty[0] + empty[2].partition(b"</dc:subject>\n")[2])
    (done,) = write(_photo(path), TAGS, PROVENANCE, Options())
    assert done.written
    assert _texts(sidecar, "dc:title") == _texts(sidecar, "photoshop:Headline") == []
    assert _texts(sidecar, "dc:subject") == _texts(sidecar, "digiKam:TagsList") == []
    assert _texts(sidecar, "dc:description") == ["A dog on a beach."]
    assert any("title and keywords" in note for note in done.notes)
    assert any(note.startswith(f"{name}: ") for note in done.notes)


def test_a_title_in_the_sidecar_hides_nothing(tmp_path: Path) -> None:
    """Where the sidecar has keywords and a title already, ours join them as ever."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_unreadable()["broken XML"][1])
    path.with_name("a.jpg.xmp").write_bytes(PACKET)
    (done,) = write(_photo(path), TAGS, PROVENANCE, Options())
    assert _texts(done.path, "dc:subject") == ["Anna", "dog"]
    assert _texts(done.path, "dc:title") == ["Mine"]
    assert "photoshop:Headline" in str(done.notes) or "title and keywords" in str(done.notes)
