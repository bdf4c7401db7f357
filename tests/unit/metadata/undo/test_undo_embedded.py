"""What was embedded into a photo comes out again, and the photo is the file it was."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import pytest
from support import embeddable
from support.embeddable import KINDS, behind_start, change_core, jpeg, packet, replace_packet
from support.embedded import unhide_human_texts, view, write

from taggerd.metadata import Options, UndoOptions, undo_embedded
from taggerd.metadata.embedding.photo import origin, read_packet
from taggerd.photo import Keyword, Photo, Provenance, Sidecar, Stamp, Tags

if TYPE_CHECKING:
    from pathlib import Path

PhotoOf = Callable[..., Photo]
Read = Callable[[bytes, str], list[str]]
EMBED = Options(target="embed")
EVERYTHING = UndoOptions()


@dataclass
class Embedding:
    """Embeds into a photo as the pipeline does: the record has the digest of what was there."""

    photo_of: PhotoOf
    tags: Tags
    provenance: Provenance

    def __call__(self, path: Path, words: str = "", options: Options = EMBED) -> list[Sidecar]:
        """Embed, with other keywords if they are given."""
        given = self.tags
        if words:
            given = replace(given, keywords=tuple(map(Keyword, words.split(","))))
        digest = hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()
        known = replace(self.provenance, digest=origin(path) or digest)
        return list(write(self.photo_of(path), given, known, options))


@pytest.fixture
def embed(photo_of: PhotoOf, tags: Tags, provenance: Provenance) -> Embedding:
    """Return what embeds."""
    return Embedding(photo_of, tags, provenance)


def _tight() -> bytes:
    """Return a JPEG whose packet has no room and broken lines for padding."""
    padding = (b" " * 37 + b"\r\n") * 2
    return jpeg(xmp=packet("Anna").replace(b" " * 9000, padding))


def _lines() -> bytes:
    """Return a JPEG whose packet is filled up with lines, as cameras and Adobe do it."""
    return jpeg(xmp=packet("Anna").replace(b" " * 9000, (b" " * 99 + b"\n") * 80))


def _seeded() -> bytes:
    """Return a JPEG whose packet lacks the keywords that its IPTC has."""
    subject = b"<dc:subject><rdf:Bag><rdf:li>X</rdf:li></rdf:Bag></dc:subject>"
    return behind_start(jpeg(xmp=packet("X").replace(subject, b"")), embeddable.iptc("Caf\xe9"))


EXACT = {name: make for name, make in KINDS.items() if name.endswith((".jpg", ".png", ".webp"))}
EXACT |= {
    "seeded.jpg": _seeded,
    "tight.jpg": _tight,
    "lines.jpg": _lines,
    "hidden.jpg": lambda: behind_start(_lines(), embeddable.iptc("Caf\xe9")),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_photo_nobody_edited_is_the_file_it_was(
    tmp_path: Path, embed: Embedding, name: str
) -> None:
    """Byte for byte, after a retag with more words and one with fewer; a dry run says so before."""
    path = tmp_path / name
    path.write_bytes(EXACT[name]())
    before = path.read_bytes()
    for words in ("", ",".join(f"word {i}" for i in range(99)), "cat"):
        (one,) = embed(path, words)
        assert (one.written, one.embedded) == (True, True), one.notes
    tagged = path.read_bytes()
    dry = undo_embedded(path, UndoOptions(dry_run=True), EMBED)
    assert (dry.end, dry.stamp, path.read_bytes()) == ("restored", None, tagged)
    done = undo_embedded(path, EVERYTHING, EMBED)
    assert (done.end, done.untagged, done.stamp) == ("restored", True, Stamp.of(path.lstat()))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert undo_embedded(path, EVERYTHING, EMBED).end == "nothing"


@pytest.mark.parametrize("name", ["pages.tif", "camera.dng", "plain.heic"])
def test_where_bytes_cannot_come_back_it_says_so(
    tmp_path: Path, embed: Embedding, name: str
) -> None:
    """The picture is the same and nothing of taggerd's is left; it is not called the same file."""
    path = embeddable.made(tmp_path, name)
    before, pixels = path.read_bytes(), embeddable.seen(path)
    embed(path)
    done = undo_embedded(path, EVERYTHING, EMBED)
    assert done.untagged
    assert (done.end == "restored") == (path.read_bytes() == before)
    assert "byte for byte" in done.reason or done.end == "restored"
    assert not read_packet(path)
    assert embeddable.seen(path) == pixels


def test_an_edit_is_kept_and_ours_goes(tmp_path: Path, embed: Embedding, texts: Read) -> None:
    """A text that was changed, a keyword that was added; and the padding's length is as before."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    size = path.stat().st_size
    embed(path)

    def edited(core: bytes) -> bytes:
        said = core.replace(b">Two dogs on a beach &amp; &lt;surf&gt;<", b">Mine<", 1)
        return said.replace(b"<rdf:li>Anna<", b"<rdf:li>Oslo</rdf:li><rdf:li>Anna<", 1)

    change_core(path, edited)
    done = undo_embedded(path, EVERYTHING, EMBED)
    assert (done.end, done.reason, done.untagged) == ("cleaned", "", True)
    left = read_packet(path) or b""
    assert texts(left, "dc:subject") == ["Oslo", "Anna"]
    assert b">Mine<" in left
    assert b"taggerd" not in left
    assert path.stat().st_size == size


def test_a_part_alone_and_a_day(tmp_path: Path, embed: Embedding, texts: Read) -> None:
    """``--field`` takes one thing out, ``--since`` leaves what is older; the rest then follows."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    before = path.read_bytes()
    embed(path)
    late = undo_embedded(path, UndoOptions(since=date(2025, 1, 4)), EMBED)
    day = embeddable.NOW.astimezone().date()  # here
    assert (late.end, late.untagged, late.reason) == ("nothing", False, f"tagged on {day}")
    done = undo_embedded(path, UndoOptions(parts=frozenset({"keywords"})), EMBED)
    assert (done.end, done.untagged) == ("partly", False)
    packet_now = read_packet(path) or b""
    assert texts(packet_now, "dc:subject") == ["Anna"]
    assert texts(packet_now, "photoshop:Headline") == ["Two dogs on a beach & <surf>"]
    assert undo_embedded(path, EVERYTHING, EMBED).end == "restored"
    assert path.read_bytes() == before


def test_an_edit_elsewhere_in_the_file_is_kept(tmp_path: Path, embed: Embedding) -> None:
    """The packet goes back; the file is not said to be what it was."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    plain, comment = path.read_bytes(), embeddable.segment(0xFE, b"a comment of theirs")
    embed(path)
    path.write_bytes(behind_start(path.read_bytes(), comment))
    done = undo_embedded(path, EVERYTHING, EMBED)
    assert (done.end, "byte for byte" in done.reason) == ("cleaned", True)
    assert path.read_bytes() == behind_start(plain, comment)


def test_what_is_not_ours_is_nobodys_business(tmp_path: Path, embed: Embedding) -> None:
    """Also where it is damaged; but what holds our words and cannot be read is named."""
    whole, damaged = tmp_path / "a.jpg", tmp_path / "b.jpg"
    whole.write_bytes(_lines())
    damaged.write_bytes(jpeg()[:80])
    for path in (whole, damaged, tmp_path / "gone.jpg"):
        done = undo_embedded(path, EVERYTHING, EMBED)
        assert (done.end, done.untagged) == ("nothing", True)
    embed(whole)
    whole.write_bytes(whole.read_bytes()[:-10].replace(b"</rdf:RDF>", b"</rdf:RDX>"))
    before = whole.read_bytes()
    done = undo_embedded(whole, EVERYTHING, EMBED)
    assert (done.end, done.untagged) == ("refused", False)
    assert "left unchanged" in done.reason
    assert whole.read_bytes() == before


@pytest.mark.parametrize("size", ["9" * 5000, "999999999999", "-5", "7 AAAA", "x eJw="])
def test_a_record_that_lies_does_no_harm(tmp_path: Path, embed: Embedding, size: str) -> None:
    """Neither memory nor words are lost to sizes that somebody made up."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    embed(path)
    found = read_packet(path) or b""
    start = found.index(b">", found.index(b"<taggerd:body")) + 1
    end = found.index(b"</taggerd:body>")
    body = found[start:end].split(b" ")[0] + b" " + size.encode()
    replace_packet(path, Stamp.of(path.lstat()), found[:start] + body + found[end:])
    done = undo_embedded(path, EVERYTHING, EMBED)
    assert (done.end, done.untagged) == ("cleaned", True)
    assert b"Anna" in (read_packet(path) or b"")


def test_words_that_no_longer_fit_leave_no_old_ones(tmp_path: Path, embed: Embedding) -> None:
    """A packet over JPEG's 65,502 bytes: the sidecar has the new words, the photo none."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    before = path.read_bytes()
    embed(path)
    done = embed(path, ",".join(f"a long keyword number {i}" for i in range(900)))
    inside, sidecar = done
    assert (inside.path, inside.emptied, inside.stamp) == (path, True, Stamp.of(path.lstat()))
    assert (sidecar.path.name, sidecar.error) == ("a.jpg.xmp", "")
    assert "tags embedded earlier were removed" in sidecar.notes[0]
    assert path.read_bytes() == before


def test_words_that_cannot_be_taken_out_are_spoken_of(tmp_path: Path, embed: Embedding) -> None:
    """A photo that became read-only keeps its old words: the note says so."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    embed(path)
    path.chmod(0o444)
    (sidecar,) = embed(path, "cat")
    assert sidecar.path.name == "a.jpg.xmp"
    assert "tags embedded earlier are still in it" in sidecar.notes[0]


def test_a_human_title_is_not_hidden_in_the_photo_either(
    tmp_path: Path, embed: Embedding, photo_of: PhotoOf, texts: Read
) -> None:
    """Where a human changed one of two fields that mean one thing, ours in the other goes."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    embed(path)
    assert unhide_human_texts(photo_of(path), EMBED) == ()

    def edited(core: bytes) -> bytes:
        start = core.index(b"<dc:description")
        end = core.index(b"</dc:description>")
        mine = core[start:end].replace(b"Two dogs run over wet sand. The sky is grey.", b"Mine")
        return core[:start] + mine + core[end:]

    change_core(path, edited)
    (changed,) = unhide_human_texts(photo_of(path), EMBED)
    assert changed.stamp == Stamp.of(path.lstat())
    left = read_packet(path) or b""
    assert texts(left, "dc:description") == ["Mine"]
    assert texts(left, "tiff:ImageDescription") == []


@pytest.mark.parametrize("when", ["tagged again", "found tagged", "undone"])
def test_what_a_killed_process_left_is_removed_next_time(
    tmp_path: Path, embed: Embedding, photo_of: PhotoOf, when: str
) -> None:
    """Also where there is nothing to write."""
    path = tmp_path / "a.jpg"
    path.write_bytes(_lines())
    embed(path)
    left = tmp_path / ".a.jpg.taggerd-tmp"
    left.write_bytes(b"half a photo")
    if when == "tagged again":
        assert not embed(path)[0].written
    elif when == "found tagged":
        unhide_human_texts(photo_of(path), EMBED)
    else:
        undo_embedded(path, EVERYTHING, EMBED)
        assert not left.exists()
        left.write_bytes(b"the photo as it was tagged")
        assert undo_embedded(path, EVERYTHING, EMBED).end == "nothing"
    assert not left.exists()


def test_show_tells_whose_words_are_in_the_photo(
    tmp_path: Path, embed: Embedding, photo_of: PhotoOf
) -> None:
    """Ours and theirs told apart; each reader shows what it finds in XMP, IPTC and EXIF."""
    path = tmp_path / "a.jpg"
    path.write_bytes(behind_start(_lines(), embeddable.iptc("Caf\xe9")))
    bare = {each.reader: each for each in view(photo_of(path), EMBED).readers}
    assert bare["Immich"].keywords == ("Caf\xe9",)
    assert bare["digiKam"].keywords == ("Anna",)
    embed(path)
    seen = view(photo_of(path), EMBED)
    (inside,) = seen.sidecars
    assert (inside.path, inside.touched) == (path, "merged by taggerd, not edited since")
    assert (inside.human, inside.machine) == (("Anna",), ("dog", "beach", "car park"))
    assert all(words.machine for words in inside.texts)
    assert (seen.own, seen.own_keywords) == ((), ("Caf\xe9",))
    for shown in seen.readers:
        assert shown.sidecar is None
        assert shown.description.startswith("Two dogs run"), shown.reader
        assert {"Anna", "dog", "beach", "car park"} <= set(shown.keywords), shown.reader
