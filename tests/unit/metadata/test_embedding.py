"""Tags inside the photo: readers find them, and everything else is as it was."""

from __future__ import annotations

import os
import shutil
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import embedding
from embedding import KINDS, NEEDS_EXIFTOOL, behind_start, chunk, exiftool, jpeg, packet, png, seen

from taggerd.errors import PhotoMoved, SidecarError, TaggerdError
from taggerd.metadata import Options, origin, read_packet, replace_packet, tagged_digest, write
from taggerd.metadata.embed_packet import fitted
from taggerd.metadata.embed_source import Edit, Edited, FileSource
from taggerd.photo import Keyword, Photo, Provenance, Sidecar, Stamp, Tags

PhotoOf = Callable[..., Photo]
Read = Callable[[bytes, str], list[str]]
EMBED = Options(target="embed")


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


@pytest.mark.parametrize("name", KINDS)
def test_only_the_xmp_of_a_photo_changes(tmp_path: Path, embedded: Run, name: str) -> None:
    """Frames, profile, and all that another reader finds are the same; the words are there."""
    path = embedding.made(tmp_path, name)
    before, pictures = exiftool(path), seen(path)
    (done,) = embedded(path)
    assert (done.path, done.embedded, done.written, done.error) == (path, True, True, "")
    assert [p.name for p in tmp_path.iterdir()] == [name], "no sidecar, nothing left behind"
    assert seen(path) == pictures
    xmp, rest = exiftool(path)
    assert rest == before[1]
    assert {"dog", "beach", "car park"} <= set(xmp["XMP-dc:Subject"])
    assert xmp["XMP-photoshop:Headline"] == "Two dogs on a beach & <surf>"
    if name == "xmp.jpg":
        assert xmp["XMP-dc:Subject"] == ["Anna", "dog", "beach", "car park"]
        assert xmp["XMP-mine:Odd"] == before[0]["XMP-mine:Odd"]


@pytest.mark.parametrize("name", KINDS)
def test_a_second_pass_changes_nothing_and_a_retag_only_xmp(
    tmp_path: Path, embedded: Run, photo_of: PhotoOf, provenance: Provenance, name: str
) -> None:
    """The file is known by the digest it had; other words take the place of the old ones."""
    path = embedding.made(tmp_path, name)
    pictures = seen(path)
    (first,) = embedded(path)
    assert first.stamp == Stamp.of(path.lstat())
    data = path.read_bytes()
    assert origin(path) == provenance.digest
    assert tagged_digest(photo_of(path), EMBED) == provenance.digest
    (second,) = embedded(path)
    assert not second.written
    assert path.read_bytes() == data
    (third,) = embedded(path, "cat," + ",".join(f"word {i}" for i in range(250)))
    assert third.written, third.notes
    assert seen(path) == pictures
    assert {"cat", "word 249"} <= set(exiftool(path)[0]["XMP-dc:Subject"])
    assert "dog" not in exiftool(path)[0]["XMP-dc:Subject"]
    assert origin(path) == provenance.digest


@pytest.mark.parametrize("name", KINDS)
def test_a_packet_can_be_put_back(tmp_path: Path, embedded: Run, name: str) -> None:
    """What was read with `read_packet` stands there again; the picture is the same."""
    path = embedding.made(tmp_path, name)
    data, pictures, old = path.read_bytes(), seen(path), read_packet(path)
    embedded(path)
    stamp = replace_packet(path, Stamp.of(path.lstat()), old)
    assert stamp == Stamp.of(path.lstat())
    assert read_packet(path) == old
    assert seen(path) == pictures
    assert exiftool(path)[1] == exiftool(_copy(data, path))[1]
    if name.endswith((".jpg", ".png", ".webp")):
        assert path.read_bytes() == data, "byte for byte what it was"


def _copy(data: bytes, beside: Path) -> Path:
    (folder := beside.parent / "before").mkdir(exist_ok=True)
    (copy := folder / beside.name).write_bytes(data)
    return copy


def test_a_tiff_only_grows_at_its_end(tmp_path: Path, embedded: Run) -> None:
    """No byte moves, but for the head's pointer to the first directory."""
    path = embedding.made(tmp_path, "pages.tif")
    old = path.read_bytes()
    embedded(path)
    new = path.read_bytes()
    assert new[:4] == old[:4]
    assert new[8 : len(old)] == old[8:]
    embedded(path, "cat")
    assert path.read_bytes()[8 : len(old)] == old[8:]


def test_offsets_from_mpf_and_from_the_end_stay_true(tmp_path: Path, embedded: Run) -> None:
    """``size − MPF`` and the trailer are the same."""
    path = embedding.made(tmp_path, "pictures.jpg")
    old = path.read_bytes()
    embedded(path)
    new = path.read_bytes()
    assert len(new) - new.index(b"MPF\0") == len(old) - old.index(b"MPF\0")
    assert new[new.index(b"MPF\0") :] == old[old.index(b"MPF\0") :]
    motion = embedding.made(tmp_path, "motion.jpg")
    embedded(motion)
    assert motion.read_bytes().endswith(b"\xff\xd9" + embedding.VIDEO)


def test_words_in_iptc_are_not_hidden(tmp_path: Path, embedded: Run, texts: Read) -> None:
    """They are taken over into the new packet as human words; IPTC itself stays, and a note says so."""
    path = embedding.made(tmp_path, "iptc.jpg")
    (done,) = embedded(path)
    assert embedding.iptc("Caf\xe9") in path.read_bytes()
    assert "iptc.jpg: its IPTC-IIM is left as it was" in done.notes
    found = read_packet(path)
    assert found is not None
    assert texts(found, "dc:subject")[0] == "Caf\xe9"
    assert texts(found, "taggerd:keywords") == ["dog", "beach", "car park"]


def test_a_packet_with_room_keeps_its_length(tmp_path: Path, embedded: Run) -> None:
    """Padding is used up, so that nothing behind it moves."""
    path = embedding.made(tmp_path, "xmp.jpg")
    size = path.stat().st_size
    (done,) = embedded(path)
    assert done.written
    assert path.stat().st_size == size
    assert b'mine:odd="1.50"' in path.read_bytes()


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [
        (b'<a/>    <?xpacket end="w"?>', 25, b'<a/>  <?xpacket end="w"?>'),
        (b'<a/> <?xpacket end="w"?>', 26, b'<a/>   <?xpacket end="w"?>'),
        (b'<a/>   <?xpacket end="w"?>', 22, b'<a/>   <?xpacket end="w"?>'),
        (b"<a/>", 9, b"<a/>"),
    ],
)
def test_padding(data: bytes, size: int, expected: bytes) -> None:
    """It shrinks and grows to the wanted size; where it cannot, it stays."""
    assert fitted(data, size) == expected


def _c2pa_jpeg() -> bytes:
    return behind_start(jpeg(), embedding.segment(0xEB, b"JP\0\1\0\0\0\1\0\0\0\x20jumb\0jumdc2pa"))


def _c2pa_png() -> bytes:
    data = png()
    return data[:33] + chunk(b"caBX", b"jumb") + data[33:]


def _c2pa_webp() -> bytes:
    data = embedding.webp(icc_profile=embedding.icc()) + struct.pack("<4sI", b"C2PA", 4) + b"jumb"
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def _c2pa_tiff() -> bytes:
    made = embedding.io.BytesIO()
    embedding.picture().save(made, "TIFF", tiffinfo={0xCD41: b"jumb"})
    return made.getvalue()


def _c2pa_heic() -> bytes:
    box = bytes.fromhex("d8fec3d61b0e483c92975828877ec481") + b"\0\0\0\0manifest\0"
    return embedding.heif("heic") + struct.pack(">I4s", len(box) + 8, b"uuid") + box


def _preview_counted_from_exif() -> bytes:
    """A camera's notes that say where, from the Exif header on, a preview lies behind the end."""
    data = jpeg()
    base = data.index(b"Exif\0\0") + 6
    told = struct.pack(">I", len(data) - base)
    data = data.replace(b"NOTES" + bytes(range(200)), b"NOTES" + told + bytes(range(196)))
    return data + jpeg()


def _xmp_behind_mpf() -> bytes:
    data = embedding.mpf()
    at = data.index(b"MPF\0") - 4
    end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
    small = packet("Anna").replace(b" " * 9000, b"")
    xmp = embedding.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + small)
    return data[:end] + xmp + data[end:]


def _extended() -> bytes:
    extended = packet("Eve")
    head = (
        b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", len(extended), 0)
    )
    return behind_start(jpeg(), embedding.segment(0xE1, head + extended))


def _two_packets() -> bytes:
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + packet("Anna")
    return behind_start(jpeg(), embedding.segment(0xE1, xmp), embedding.segment(0xE1, xmp))


REFUSED = {
    "credentials.jpg": (_c2pa_jpeg, "C2PA"),
    "credentials.png": (_c2pa_png, "C2PA"),
    "credentials.webp": (_c2pa_webp, "C2PA"),
    "credentials.tif": (_c2pa_tiff, "C2PA"),
    "credentials.heic": (_c2pa_heic, "C2PA"),
    "counted.jpg": (_preview_counted_from_exif, "offsets to what lies behind"),
    "behind.jpg": (_xmp_behind_mpf, "MPF"),
    "extended.jpg": (_extended, "extended XMP"),
    "two.jpg": (_two_packets, "more than one XMP packet"),
    "broken.jpg": (lambda: jpeg(xmp=b"<x:xmpmeta"), "XML"),
    "cut.jpg": (lambda: jpeg()[:300], "cut off"),
    "cut.png": (lambda: png()[:-20], "damaged"),
    "big.tif": (lambda: embedding.tiff(big_tiff=True), "BigTIFF"),
    "cut.tif": (lambda: embedding.tiff()[: 8 + 64], "cut off"),
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
    assert f"{name} is not embedded into: it " in done.notes[0]
    assert reason in done.notes[0]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, times)
    assert {p.name for p in tmp_path.iterdir()} == {name, name + ".xmp"}


def test_raw_is_never_written_to(tmp_path: Path, embedded: Run, photo_of: PhotoOf) -> None:
    """A JPEG is embedded into, the raw beside it gets a sidecar, without a note."""
    raw, rendered = tmp_path / "a.CR3", tmp_path / "a.JPG"
    raw.write_bytes(embedding.tiff())
    rendered.write_bytes(jpeg())
    before = raw.read_bytes()
    photo = photo_of(rendered, raw)
    done = write(photo, Tags(caption="x"), _PROVENANCE, EMBED)
    assert [(d.path.name, d.embedded) for d in done] == [("a.JPG", True), ("a.xmp", False)]
    assert not any("embedded" in note for d in done for note in d.notes)
    assert raw.read_bytes() == before
    again = photo_of(rendered, raw)
    assert tagged_digest(again, EMBED) == _PROVENANCE.digest
    # A raw under a harmless name is no TIFF to be written to either.
    posing = tmp_path / "b.nef"
    posing.write_bytes(jpeg())
    with pytest.raises(SidecarError, match="proprietary"):
        read_packet(posing)


_PROVENANCE = Provenance(
    version="1", date=embedding.NOW, profile="default", models={}, digest="cd" * 32
)


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
        "made[-40] ^= 1\nsys.stdout.buffer.write(made)\n"
    )
    liar.write_text(f"#!{sys.executable}\n{program}")
    liar.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    (done,) = embedded(path)
    assert not done.embedded
    assert "could not be verified" in done.notes[0]
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", [b"-delete_original.heic", b"a\nb\xff %d.heic", b"-@ x.jpg"])
def test_odd_names(tmp_path: Path, embedded: Run, name: bytes) -> None:
    """A name is never an option, a format or a second line to anybody."""
    kind = "plain.heic" if name.endswith(b"heic") else "plain.jpg"
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    embedding.made(tmp_path, kind).rename(path)
    (done,) = embedded(path)
    assert done.embedded
    assert os.listdir(os.fsencode(tmp_path)) == [name]


def test_an_existing_sidecar_is_written_too(
    tmp_path: Path, embedded: Run, sidecar: Callable[..., bytes], texts: Read
) -> None:
    """Readers that find a sidecar look there alone."""
    path = embedding.made(tmp_path, "plain.jpg")
    beside = tmp_path / "plain.jpg.xmp"
    beside.write_bytes(sidecar("<xmp:Rating>4</xmp:Rating>"))
    embed, side = embedded(path)
    assert (embed.embedded, embed.written, side.written) == (True, True, True)
    assert "dog" in texts(beside.read_bytes(), "dc:subject")
    assert texts(beside.read_bytes(), "xmp:Rating") == ["4"]


def test_both(tmp_path: Path, embedded: Run, texts: Read) -> None:
    """The photo and a new sidecar; in neither are our words taken for a human's."""
    path = embedding.made(tmp_path, "xmp.jpg")
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
    path = embedding.made(tmp_path, "xmp.jpg")
    embedded(path, "dog")
    embedded(path, "cat", Options())
    data = (tmp_path / "xmp.jpg.xmp").read_bytes()
    assert texts(data, "dc:subject") == ["Anna", "cat"]
    assert texts(data, "taggerd:keywords") == ["cat"]


def test_a_photo_edited_since_is_another_one(tmp_path: Path, embedded: Run) -> None:
    """XMP may change and it is the same photo; a changed picture is not."""
    path = embedding.made(tmp_path, "plain.jpg")
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
    random = embedding.np.random.default_rng(len(name))
    data = KINDS[name]()
    path = tmp_path / name
    for _ in range(60):
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
    random = embedding.np.random.default_rng(5)
    data = KINDS["plain.heic"]()
    path = tmp_path / "a.heic"
    for _ in range(400):
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
