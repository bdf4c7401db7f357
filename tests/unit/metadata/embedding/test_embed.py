"""Tags inside the photo: readers find them, and everything else is as it was."""

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import embeddable
from support.embeddable import (
    KINDS,
    NEEDS_EXIFTOOL,
    behind_start,
    change_core,
    chunk,
    jpeg,
    packet,
    png,
    replace_packet,
    seen,
)
from support.embedded import inspect, write

from taggerd import files
from taggerd.errors import PhotoMoved, PhotosDiskError, SidecarError, TaggerdError
from taggerd.metadata import Options
from taggerd.metadata.embedding.container import Edited, FileSource
from taggerd.metadata.embedding.packet import Parts
from taggerd.metadata.embedding.photo import origin, read_packet
from taggerd.metadata.xmp.splice import Edit
from taggerd.photo import Keyword, Photo, PhotoFile, Provenance, Sidecar, Stamp, Tags

PhotoOf = Callable[..., Photo]
Read = Callable[[bytes, str], list[str]]
EMBED = Options(target="embed")
TAGS = Tags(
    caption="Two dogs on a beach & <surf>",
    description="Two dogs run over wet sand.",
    keywords=(Keyword("dog", 0.9), Keyword("beach"), Keyword("car park")),
)
PROVENANCE = Provenance(
    version="1", date=embeddable.NOW, profile="default", models={}, digest="cd" * 32
)


@pytest.fixture
def embedded(
    photo_of: PhotoOf, tags: Tags, provenance: Provenance
) -> Callable[..., tuple[Sidecar, ...]]:
    """Write tags about a photo file with ``target = "embed"``."""

    def run(path: Path, words: str = "", options: Options = EMBED) -> tuple[Sidecar, ...]:
        given = replace(tags, keywords=tuple(map(Keyword, words.split(",")))) if words else tags
        return write(photo_of(path), given, provenance, options)

    return run


Run = Callable[..., tuple[Sidecar, ...]]


@dataclass
class Journey:
    """Every kind of file as it was made, embedded into, tagged again, and put back."""

    folders: dict[str, Path]
    done: dict[str, dict[str, Sidecar]]
    shown: dict[str, dict[str, tuple[dict[str, Any], dict[str, Any]]]]

    def path(self, stage: str, name: str) -> Path:
        """Return a file at one stage, or skip."""
        path = self.folders[stage] / name
        if not path.exists():
            pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
        return path

    def exiftool(self, stage: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what exiftool finds at one stage, or skip: the XMP, and all else."""
        self.path(stage, name)
        return self.shown[stage][name]


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Take every kind of file through all stages, and read them with exiftool, once a stage."""
    top = tmp_path_factory.mktemp("journey")
    files.work_below(top)
    stages = ("made", "embedded", "again", "retagged", "put back")
    trip = Journey({stage: top / stage for stage in stages}, {}, {})
    work = top / "work"
    for folder in (*trip.folders.values(), work):
        folder.mkdir()
    words = tuple(Keyword(f"word {i}") for i in range(250))
    tags = {"embedded": TAGS, "again": TAGS, "retagged": Tags(keywords=words)}
    for name in KINDS:
        if name in NEEDS_EXIFTOOL and shutil.which("exiftool") is None:
            continue
        path = work / name
        path.write_bytes(KINDS[name]())
        shutil.copy2(path, trip.folders["made"])
        packet = read_packet(path)
        for stage, said in tags.items():
            photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
            (trip.done.setdefault(name, {})[stage],) = write(photo, said, PROVENANCE, EMBED)
            shutil.copy2(path, trip.folders[stage])
        replace_packet(path, Stamp.of(path.lstat()), packet)
        assert read_packet(path) == packet
        shutil.copy2(path, trip.folders["put back"])
    assert {p.name for p in work.iterdir()} == set(trip.done), "no sidecar, nothing left behind"
    for stage, folder in trip.folders.items():
        trip.shown[stage] = embeddable.exiftool(folder)
    return trip


def _besides_iptc(shown: dict[str, Any]) -> dict[str, Any]:
    """Return what exiftool shows without the datasets that follow XMP: see test_iim.py."""
    follow = ("Keywords", "Caption-Abstract", "Headline", "CodedCharacterSet", "IPTCDigest")
    return {key: value for key, value in shown.items() if not key.endswith(follow)}


@pytest.mark.parametrize("name", KINDS)
def test_only_the_xmp_of_a_photo_changes(journey: Journey, name: str) -> None:
    """Frames, profile, and all that another reader finds are the same; the words are there."""
    old, new = journey.path("made", name), journey.path("embedded", name)
    done = journey.done[name]["embedded"]
    assert (done.embedded, done.written, done.error) == (True, True, "")
    assert seen(new) == seen(old)
    xmp, rest = journey.exiftool("embedded", name)
    assert _besides_iptc(rest) == _besides_iptc(journey.exiftool("made", name)[1])
    assert {"dog", "beach", "car park"} <= set(xmp["XMP-dc:Subject"])
    assert xmp["XMP-photoshop:Headline"] == "Two dogs on a beach & <surf>"
    if name == "xmp.jpg":
        assert xmp["XMP-dc:Subject"] == ["Anna", "dog", "beach", "car park"]
        assert xmp["XMP-mine:Odd"] == journey.exiftool("made", name)[0]["XMP-mine:Odd"]


@pytest.mark.parametrize("name", KINDS)
def test_a_second_pass_changes_nothing_and_a_retag_only_xmp(journey: Journey, name: str) -> None:
    """The file is known by the digest it had; other words take the place of the old ones."""
    first, second = journey.path("embedded", name), journey.path("again", name)
    assert second.read_bytes() == first.read_bytes()
    assert not journey.done[name]["again"].written
    last = journey.path("retagged", name)
    assert seen(last) == seen(first)
    xmp, rest = journey.exiftool("retagged", name)
    assert _besides_iptc(rest) == _besides_iptc(journey.exiftool("made", name)[1])
    assert "word 249" in xmp["XMP-dc:Subject"]
    assert "dog" not in xmp["XMP-dc:Subject"]
    for path in (first, last):
        files.work_below(path.parent)
        assert origin(path) == PROVENANCE.digest
        photo = Photo((PhotoFile(path, Stamp.of(path.lstat())),))
        assert inspect(photo, EMBED).tagged == PROVENANCE.digest
    stamp = journey.done[name]["embedded"].stamp
    assert stamp is not None
    assert stamp.size == first.stat().st_size


@pytest.mark.parametrize("name", KINDS)
def test_a_packet_can_be_put_back(journey: Journey, name: str) -> None:
    """What was read with `read_packet` stands there again; the picture is the same."""
    old, new = journey.path("made", name), journey.path("put back", name)
    assert seen(new) == seen(old)
    assert journey.exiftool("put back", name) == journey.exiftool("made", name)
    if name.endswith((".jpg", ".png", ".webp")):
        assert new.read_bytes() == old.read_bytes(), "byte for byte what it was"


def test_a_tiff_only_grows_at_its_end(tmp_path: Path, embedded: Run) -> None:
    """No byte moves, but for the head's pointer to the first directory."""
    path = embeddable.made(tmp_path, "pages.tif")
    old = path.read_bytes()
    embedded(path)
    new = path.read_bytes()
    assert new[:4] == old[:4]
    assert new[8 : len(old)] == old[8:]
    embedded(path, "cat")
    assert path.read_bytes()[8 : len(old)] == old[8:]


def test_offsets_from_mpf_and_from_the_end_stay_true(tmp_path: Path, embedded: Run) -> None:
    """``size - MPF`` and the trailer are the same."""
    path = embeddable.made(tmp_path, "pictures.jpg")
    old = path.read_bytes()
    embedded(path)
    new = path.read_bytes()
    assert len(new) - new.index(b"MPF\0") == len(old) - old.index(b"MPF\0")
    assert new[new.index(b"MPF\0") :] == old[old.index(b"MPF\0") :]
    motion = embeddable.made(tmp_path, "motion.jpg")
    embedded(motion)
    assert motion.read_bytes().endswith(b"\xff\xd9" + embeddable.VIDEO)


def test_words_in_iptc_are_not_hidden(tmp_path: Path, embedded: Run, texts: Read) -> None:
    """They are human words in the new packet; IPTC that cannot follow stays, with a note."""
    path = embeddable.made(tmp_path, "iptc.jpg")
    other = embeddable.segment(0xED, b"Photoshop 3.0\0")
    path.write_bytes(behind_start(path.read_bytes(), other))
    (done,) = embedded(path)
    assert embeddable.iptc("Caf\xe9") in path.read_bytes()
    assert "iptc.jpg: its IPTC-IIM was left unchanged" in done.notes
    found = read_packet(path)
    assert found is not None
    assert texts(found, "dc:subject")[0] == "Caf\xe9"
    assert texts(found, "taggerd:keywords") == ["dog", "beach", "car park"]


def test_words_elsewhere_are_not_hidden_by_a_packet_without_them(
    tmp_path: Path, embedded: Run, texts: Read
) -> None:
    """Once: what somebody takes out of XMP later does not come back from IPTC or EXIF."""
    path = tmp_path / "a.jpg"
    subject = b"<dc:subject><rdf:Bag><rdf:li>X</rdf:li></rdf:Bag></dc:subject>"
    bare = packet("X").replace(subject, b"")
    artist = embeddable.exif()
    artist[0x013B] = "Anna"
    made = io.BytesIO()
    embeddable.picture().save(made, "JPEG", exif=artist, xmp=bare)
    path.write_bytes(behind_start(made.getvalue(), embeddable.iptc("Caf\xe9")))
    embedded(path)
    found = read_packet(path) or b""
    assert texts(found, "dc:subject") == ["Caf\xe9", "dog", "beach", "car park"]
    assert texts(found, "dc:creator") == ["Anna"]
    start, end = found.index(b"<dc:creator"), found.index(b"</dc:creator>") + len("</dc:creator>")
    replace_packet(path, Stamp.of(path.lstat()), found[:start] + found[end:])
    embedded(path, "cat")
    assert not texts(read_packet(path) or b"", "dc:creator")


def test_a_packet_with_room_keeps_its_length(tmp_path: Path, embedded: Run) -> None:
    """Padding is used up, so that nothing behind it moves."""
    path = embeddable.made(tmp_path, "xmp.jpg")
    size = path.stat().st_size
    (done,) = embedded(path)
    assert done.written
    assert path.stat().st_size == size
    assert b'mine:odd="1.50"' in path.read_bytes()


@pytest.mark.parametrize(
    ("data", "core", "size", "expected"),
    [
        (b'<a/>    <?xpacket end="w"?>', b"<a/>", 25, b'<a/>  <?xpacket end="w"?>'),
        (b'<a/> <?xpacket end="w"?>', b"<a/>", 26, b'<a/>   <?xpacket end="w"?>'),
        (b'<a/>   <?xpacket end="w"?>', b"<bb/>", 26, b'<bb/>  <?xpacket end="w"?>'),
        (b'<a/>   <?xpacket end="w"?>', b"<a/>", 22, b'<a/>   <?xpacket end="w"?>'),
        (b'<a/> <?xpacket end="w"?>\n\0\0', b"<a/>", 27, b'<a/> <?xpacket end="w"?>\n\0\0'),
        (b"<a/>\0\0", b"<bb/>", 6, b"<bb/>\0\0"),
    ],
)
def test_padding(data: bytes, core: bytes, size: int, expected: bytes) -> None:
    """It shrinks and grows to the wanted size; where it cannot, it stays."""
    parts = Parts.of(data)
    assert parts.core + parts.tail == data
    assert parts.fitted(core, size) == expected


@pytest.mark.parametrize("name", ["xmp.jpg", "tight.jpg", "plain.png"])
def test_what_is_taken_out_leaves_the_file_as_it_was(
    tmp_path: Path, embedded: Run, name: str
) -> None:
    """Also where the packet had to grow: the record knows the length that it had."""
    path = tmp_path / name
    small = packet("Anna").replace(b" " * 9000, b"  ")
    path.write_bytes(jpeg(xmp=small) if name == "tight.jpg" else KINDS[name]())
    before, old = path.read_bytes(), read_packet(path)
    embedded(path)
    embedded(path, ",".join(f"word {i}" for i in range(99)))
    if old:
        change_core(path, lambda _core: Parts.of(old).core)
    else:
        replace_packet(path, Stamp.of(path.lstat()), None)
    # Of the padding only the length is known, not how it was broken into lines.
    assert path.read_bytes().replace(b"\n", b" ") == before.replace(b"\n", b" ")


def _c2pa_jpeg() -> bytes:
    return behind_start(jpeg(), embeddable.segment(0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumb\0jumdc2pa"))


def _c2pa_png() -> bytes:
    data = png()
    return data[:33] + chunk(b"caBX", b"jumb") + data[33:]


def _c2pa_webp() -> bytes:
    data = embeddable.webp(icc_profile=embeddable.icc()) + struct.pack("<4sI", b"C2PA", 4) + b"jumb"
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def _c2pa_tiff() -> bytes:
    made = io.BytesIO()
    embeddable.picture().save(made, "TIFF", tiffinfo={0xCD41: b"jumb"})
    return made.getvalue()


def _c2pa_heic() -> bytes:
    box = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + b"\0\0\0\0manifest\0"
    return embeddable.heif("heic") + struct.pack(">I4s", len(box) + 8, b"uuid") + box


def _preview_counted_from_exif() -> bytes:
    """A camera's notes that say where, from the Exif header on, a preview lies behind the end."""
    data = jpeg()
    base = data.index(b"Exif\0\0") + 6
    told = struct.pack(">I", len(data) - base)
    data = data.replace(b"NOTES" + bytes(range(200)), b"NOTES" + told + bytes(range(196)))
    return data + jpeg()


def _xmp_behind_mpf() -> bytes:
    data = embeddable.mpf()
    at = data.index(b"MPF\0") - 4
    end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
    small = packet("Anna").replace(b" " * 9000, b"")
    xmp = embeddable.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + small)
    return data[:end] + xmp + data[end:]


def _extended() -> bytes:
    extended = packet("Eve")
    head = (
        b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", len(extended), 0)
    )
    return behind_start(jpeg(), embeddable.segment(0xE1, head + extended))


def _two_packets() -> bytes:
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + packet("Anna")
    return behind_start(jpeg(), embeddable.segment(0xE1, xmp), embeddable.segment(0xE1, xmp))


REFUSED = {
    "credentials.jpg": (_c2pa_jpeg, "C2PA"),
    "credentials.png": (_c2pa_png, "C2PA"),
    "credentials.webp": (_c2pa_webp, "C2PA"),
    "credentials.tif": (_c2pa_tiff, "C2PA"),
    "credentials.heic": (_c2pa_heic, "C2PA"),
    "counted.jpg": (_preview_counted_from_exif, "offsets to data after the picture"),
    "behind.jpg": (_xmp_behind_mpf, "MPF"),
    "extended.jpg": (_extended, "extended XMP"),
    "two.jpg": (_two_packets, "more than one XMP packet"),
    "broken.jpg": (lambda: jpeg(xmp=b"<x:xmpmeta"), "XML"),
    "cut.jpg": (lambda: jpeg()[:300], "cut off"),
    "cut.png": (lambda: png()[:-20], "damaged"),
    "big.tif": (lambda: embeddable.tiff(big_tiff=True), "BigTIFF"),
    "cut.tif": (lambda: embeddable.tiff()[: 8 + 64], "cut off"),
    "short.tif": (lambda: embeddable.tiff()[:-50], "beyond its end"),
    "provenance.jpg": (
        lambda: jpeg(
            xmp=packet("A", ' xmlns:t="http://purl.org/dc/terms/" t:provenance="https://c2pa"')
        ),
        "C2PA",
    ),
    "really.jpg": (lambda: b"GIF89a" + bytes(40), "format"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_harmed_gets_a_sidecar(tmp_path: Path, embedded: Run, name: str) -> None:
    """The photo stays byte for byte, its sidecar is written, and the notes say why."""
    make, reason = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(make())
    before, times = path.read_bytes(), path.stat().st_mtime_ns
    (done,) = embedded(path)
    assert (done.path.name, done.embedded, done.written) == (name + ".xmp", False, True)
    assert f"{name} was not embedded into: it " in done.notes[0]
    assert reason in done.notes[0]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, times)
    assert {p.name for p in tmp_path.iterdir()} == {name, name + ".xmp"}


def test_raw_is_never_written_to(tmp_path: Path, photo_of: PhotoOf) -> None:
    """A JPEG is embedded into, the raw beside it gets a sidecar, without a note."""
    raw, rendered = tmp_path / "a.CR3", tmp_path / "a.JPG"
    raw.write_bytes(embeddable.tiff())
    rendered.write_bytes(jpeg())
    before = raw.read_bytes()
    photo = photo_of(rendered, raw)
    done = write(photo, Tags(caption="x"), PROVENANCE, EMBED)
    assert [(d.path.name, d.embedded) for d in done] == [("a.JPG", True), ("a.xmp", False)]
    assert not any("embedded" in note for d in done for note in d.notes)
    assert raw.read_bytes() == before
    again = photo_of(rendered, raw)
    assert inspect(again, EMBED).tagged == PROVENANCE.digest
    # A raw under a harmless name is no TIFF to be written to either.
    posing = tmp_path / "b.nef"
    posing.write_bytes(jpeg())
    with pytest.raises(SidecarError, match="proprietary"):
        read_packet(posing)


def test_without_exiftool_heic_gets_a_sidecar(
    tmp_path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The note says what to install."""
    path = tmp_path / "a.heic"
    path.write_bytes(KINDS["plain.heic"]())
    monkeypatch.setenv("PATH", str(tmp_path))
    (done,) = embedded(path)
    assert done.path.name == "a.heic.xmp"
    assert "apt install libimage-exiftool-perl" in done.notes[0]


def test_what_exiftool_makes_is_not_trusted(
    tmp_path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy whose picture differs by one byte does not take the photo's place."""
    path = tmp_path / "a.heic"
    path.write_bytes(KINDS["plain.heic"]())
    before = path.read_bytes()
    real = shutil.which("exiftool")
    if real is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    (bin_ := tmp_path / "bin").mkdir()
    liar = bin_ / "exiftool"
    program = (
        "import subprocess, sys\n"
        f"made = bytearray(subprocess.run([{real!r}, *sys.argv[1:]], stdin=0,"
        " capture_output=True, close_fds=False).stdout)\n"
        "made[made.index(b'<?xpacket end=') + 60] ^= 1\nsys.stdout.buffer.write(made)\n"
    )
    liar.write_text(f"#!{sys.executable}\n{program}")
    liar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    (done,) = embedded(path)
    assert not done.embedded
    assert "could not be verified: something besides XMP" in done.notes[0]
    assert path.read_bytes() == before


def test_exiftool_on_a_full_disk_is_no_refusal(
    tmp_path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photo waits for room, as every other does; it gets no sidecar instead for ever."""
    path = tmp_path / "a.heic"
    path.write_bytes(KINDS["plain.heic"]())
    before = path.read_bytes()
    (bin_ := tmp_path / "bin").mkdir()
    (bin_ / "exiftool").write_text("#!/bin/sh\necho 'Error writing output file' >&2\nexit 1\n")
    (bin_ / "exiftool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    (done,) = embedded(path)
    assert not done.embedded
    (tmp_path / "a.heic.xmp").unlink()

    def full(_descriptor: int, _offset: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(PhotosDiskError, match="No space left on device"):
        embedded(path)
    assert path.read_bytes() == before
    assert {found.name for found in tmp_path.iterdir()} == {"a.heic", "bin"}


@pytest.mark.parametrize("name", [b"-delete_original.heic", b"a\nb\xff %d.heic", b"-@ x.jpg"])
def test_odd_names(tmp_path: Path, embedded: Run, name: bytes) -> None:
    """A name is never an option, a format or a second line to anybody."""
    kind = "plain.heic" if name.endswith(b"heic") else "plain.jpg"
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    embeddable.made(tmp_path, kind).rename(path)
    (done,) = embedded(path)
    assert done.embedded
    assert [os.fsencode(p.name) for p in tmp_path.iterdir()] == [name]


def test_an_existing_sidecar_is_written_too(
    tmp_path: Path, embedded: Run, sidecar: Callable[..., bytes], texts: Read
) -> None:
    """Readers that find a sidecar look there alone."""
    path = embeddable.made(tmp_path, "plain.jpg")
    beside = tmp_path / "plain.jpg.xmp"
    beside.write_bytes(sidecar("<xmp:Rating>4</xmp:Rating>"))
    embed, side = embedded(path)
    assert (embed.embedded, embed.written, side.written) == (True, True, True)
    assert "dog" in texts(beside.read_bytes(), "dc:subject")
    assert texts(beside.read_bytes(), "xmp:Rating") == ["4"]


def test_both(tmp_path: Path, embedded: Run, texts: Read) -> None:
    """The photo and a new sidecar; in neither are our words taken for a human's."""
    path = embeddable.made(tmp_path, "xmp.jpg")
    for words in ("dog", "cat"):
        done = embedded(path, words, Options(target="both"))
        assert [d.path.name for d in done] == ["xmp.jpg", "xmp.jpg.xmp"]
        for data in (read_packet(path), (tmp_path / "xmp.jpg.xmp").read_bytes()):
            assert data is not None
            assert texts(data, "dc:subject") == ["Anna", words]


def test_a_sidecar_made_later_does_not_take_embedded_words_for_human(
    tmp_path: Path, embedded: Run, texts: Read
) -> None:
    """Of what the photo carries only the human words start the new sidecar."""
    path = embeddable.made(tmp_path, "xmp.jpg")
    embedded(path, "dog")
    embedded(path, "cat", Options())
    data = (tmp_path / "xmp.jpg.xmp").read_bytes()
    assert texts(data, "dc:subject") == ["Anna", "cat"]
    assert texts(data, "taggerd:keywords") == ["cat"]


def test_a_hierarchy_of_ours_is_not_human_either(
    tmp_path: Path, photo_of: PhotoOf, texts: Read
) -> None:
    """Keywords with a place in the vocabulary, and those below a root of their own."""
    path = embeddable.made(tmp_path, "xmp.jpg")
    placed = Tags(keywords=(Keyword("dog", path=("animals",)),))
    write(photo_of(path), placed, PROVENANCE, Options(target="embed", root="AI"))
    assert "AI|animals|dog" in texts(read_packet(path) or b"", "lr:hierarchicalSubject")
    write(photo_of(path), Tags(keywords=(Keyword("cat"),)), PROVENANCE, Options())
    data = (tmp_path / "xmp.jpg.xmp").read_bytes()
    assert texts(data, "lr:hierarchicalSubject") == ["Anna", "cat"]
    assert texts(data, "digiKam:TagsList") == ["Anna", "cat"]


def test_a_photo_edited_since_is_another_one(tmp_path: Path, embedded: Run) -> None:
    """XMP may change and it is the same photo; a changed picture is not."""
    path = embeddable.made(tmp_path, "plain.jpg")
    embedded(path)
    known = origin(path)
    found = read_packet(path)
    assert found is not None
    replace_packet(path, Stamp.of(path.lstat()), found.replace(b"beach", b"shore and sea"))
    assert origin(path) == known
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    assert origin(path) == ""


@pytest.mark.parametrize("name", sorted(set(KINDS) - NEEDS_EXIFTOOL))
def test_any_bytes(tmp_path: Path, name: str) -> None:
    """A damaged file is refused in our own words, or written to and found equal: nothing else."""
    random = np.random.default_rng(len(name))
    data = KINDS[name]()
    path = tmp_path / name
    for _ in range(25):
        broken = bytearray(data)
        for at in random.integers(0, min(len(data), 4000), 3):
            broken[at] = random.integers(0, 255)
        path.write_bytes(broken[: random.integers(len(data) // 2, len(data) + 1)])
        try:
            replace_packet(path, Stamp.of(path.lstat()), packet("Bob"))
        except (SidecarError, PhotoMoved):
            continue
        assert b"Bob" in (read_packet(path) or b"")


def test_hostile_heif(tmp_path: Path) -> None:
    """Likewise for reading the lists of a HEIF file."""
    random = np.random.default_rng(5)
    data = KINDS["plain.heic"]()
    path = tmp_path / "a.heic"
    for _ in range(150):
        broken = bytearray(data)
        for at in random.integers(0, min(len(data), 700), 3):
            broken[at] = random.integers(0, 255)
        path.write_bytes(broken)
        assert origin(path) == ""
        try:
            read_packet(path)
        except TaggerdError:
            continue


def test_an_edited_source_reads_like_the_file_it_would_make(tmp_path: Path) -> None:
    """At every offset and length."""
    path = tmp_path / "a"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        edited = Edited(
            FileSource(file.fileno()), [Edit(2, 4, b"abc"), Edit(10, 10, b"z"), Edit(0, 0, b"y")]
        )
        whole = b"y01abc456789z"
        assert edited.size == len(whole)
        for start in range(14):
            for length in range(14):
                assert edited.read(start, length) == whole[start : start + length]
        with pytest.raises(ValueError, match="overlap"):
            Edited(FileSource(file.fileno()), [Edit(2, 5, b""), Edit(4, 6, b"")])
