"""Numbers and dates that take for ever, or overflow: in EXIF, in the photo's XMP, in a sidecar.

``Fraction("1e900000000")`` computes a number of 300 MB, and never ends.
"""

from __future__ import annotations

import os
import struct
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from support import embeddable
from support.embedded import adopt, inspect, view, write

from taggerd.metadata import Adoption, Options, UndoOptions, embedded, undo_sidecar
from taggerd.metadata.blocks import Held
from taggerd.metadata.exif import Excerpt, copy
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named
from taggerd.photo import Keyword, Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = (
    "1e900000000", "-1e900000000", "1e-900000000", "9" * 5000, "1/" + "9" * 5000, "0/0", "1/0",
    "1_000_000_000_000", "0x" + "f" * 5000, "NaN", "inf", "-inf", "1e999", "٣" * 3000, "²",
    "1e900000000 1e900000000 1e900000000", "41/1 13/1 1e900000000", "1e900000000,13.2N",
    "41,1e900000000N", "41," + "9" * 5000 + "N", "9999-12-31T23:59:59-14:00", "0001-01-01",
    "0001-01-01T00:00:00+14:00", "99999999999-01-01", "2020:01:02 03:04:1e900000000",
)  # fmt: skip
NUMBERS = ("exif:GPSLatitude", "exif:GPSLongitude", "exif:GPSAltitude", "exif:DateTimeOriginal",
           "photoshop:DateCreated", "xmp:Rating", "xmp:MetadataDate", "taggerd:date",
           "taggerd:body")  # fmt: skip
TAGS = Tags(caption="A dog", description="A dog on a beach.", keywords=(Keyword("dog"),))
PROVENANCE = Provenance(
    version="1", date=embeddable.NOW, profile="default", models={}, digest="ab" * 32
)


def _exif(text: str) -> bytes:
    """Return EXIF in which every number that is looked for is this *text*, as ASCII."""
    value = text.encode() + b"\0"
    tables = {
        0: [270, 0x4746, 34665, 34853], 34665: [0x9003, 0x9011, 0x9291], 34853: [1, 2, 3, 4, 5, 6],
    }  # fmt: skip
    starts, at = {}, 8
    for table, tags in tables.items():
        starts[table] = at
        at += 2 + 12 * len(tags) + 4
    made = b"MM\0*" + struct.pack(">I", 8)
    for tags in tables.values():
        made += struct.pack(">H", len(tags))
        for tag in tags:
            if tag in starts:
                made += struct.pack(">HHII", tag, 4, 1, starts[tag])
            else:
                made += struct.pack(">HHII", tag, 2, len(value), at)
        made += bytes(4)
    return made + value


def _sidecar(text: str) -> bytes:
    """Return a sidecar in which every number is this *text*."""
    says = "".join(f' {name}="{text}"' for name in NUMBERS)
    spaces = {
        "exif": "http://ns.adobe.com/exif/1.0/", "xmp": "http://ns.adobe.com/xap/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "taggerd": "http://taggerd.org/ns/1.0/",
    }  # fmt: skip
    declared = "".join(f' xmlns:{prefix}="{uri}"' for prefix, uri in spaces.items())
    return embeddable.packet("Anna", declared + says)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record what fractions are made of."""
    made: list[object] = []

    def counting(*numbers: object) -> Fraction:
        made.extend(numbers)
        assert all(isinstance(number, int) and abs(number) < 1 << 32 for number in numbers)
        fraction: Fraction = Fraction(*numbers)  # type: ignore[call-overload]
        return fraction

    monkeypatch.setattr(embedded, "Fraction", counting)
    return made


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:20])
@pytest.mark.parametrize("where", ["EXIF", "XMP", "sidecar"])
def test_numbers_from_outside(tmp_path: Path, text: str, where: str) -> None:
    """No number of any length is computed, nothing is raised, and no such number is passed on."""
    path = tmp_path / "a.jpg"
    data = embeddable.picture_without_metadata()
    if where == "EXIF":
        data = embeddable.behind_start(data, embeddable.segment(0xE1, b"Exif\0\0" + _exif(text)))
    elif where == "XMP":
        data = embeddable.behind_start(
            data, embeddable.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _sidecar(text))
        )
    path.write_bytes(data)
    sidecar = path.with_name("a.jpg.xmp")
    if where == "sidecar":
        sidecar.write_bytes(_sidecar(text))
    photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
    found = inspect(photo, Options(), ["place", "date", "keywords"])
    assert found.circumstances.position is None
    view(photo, Options())
    adopt(photo, Adoption(before=date(2000, 1, 1), now=embeddable.NOW, dry_run=True), Options())
    undo_sidecar(sidecar, UndoOptions(since=date(2000, 1, 1), dry_run=True), Options())
    (done,) = write(photo, TAGS, PROVENANCE, Options())
    assert not done.error
    if where == "EXIF":
        written = Document.load(sidecar.read_bytes())
        assert not any(written.texts(named(name)) for name in NUMBERS if "GPS" in name)
        assert written.texts(named("xmp:Rating")) == ()


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 2**40])
def test_times_of_files(tmp_path: Path, seconds: int) -> None:
    """A sidecar from a year that there is not is adopted as one of no known day."""
    path = tmp_path / "a.jpg"
    path.write_bytes(embeddable.picture_without_metadata())
    sidecar = path.with_name("a.jpg.xmp")
    sidecar.write_bytes(embeddable.packet("Anna"))
    try:
        os.utime(sidecar, (seconds, seconds))
    except OverflowError:
        pytest.skip("this file system stores no such time")
    photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
    adoption = Adoption(before=date(2000, 1, 1), now=embeddable.NOW)
    assert not any(done.error for done in adopt(photo, adoption, Options()))


class Counting(Held):
    """EXIF that counts how often, and how much of it, is read."""

    def __init__(self, data: bytes) -> None:
        """Count nothing yet."""
        super().__init__(data)
        self.calls = self.bytes = 0

    def read(self, offset: int, length: int) -> bytes:
        """Read and count."""
        data = super().read(offset, length)
        self.calls, self.bytes = self.calls + 1, self.bytes + len(data)
        return data


@pytest.mark.parametrize("tag", [270, 700, 34665])
def test_a_directory_that_lists_one_tag_over_and_over(tag: int) -> None:
    """Each is read once: 65,535 times the same megabyte would take minutes."""
    kind = 4 if tag == 34665 else 1 if tag == 700 else 2
    size = 1 if kind == 4 else 60_000
    entry = struct.pack(">HHII", tag, kind, size, 8)
    data = b"MM\0*" + struct.pack(">IH", 8, 0xFFFF) + entry * 0xFFFF + bytes(70_000)
    source = Counting(data)
    copy(source, Excerpt())
    assert source.calls < 20
    assert source.bytes < 3 * len(data)
