"""What taggerd wrote can be undone, and nothing else goes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest
from support.embedded import view, write
from support.rewriting import as_sequence, rewritten

from taggerd.errors import SidecarRefused
from taggerd.metadata import Options, UndoOptions
from taggerd.metadata.merge import Merged, merge, unhidden
from taggerd.metadata.undo.content import Part, undo
from taggerd.metadata.undo.files import undo_sidecar
from taggerd.photo import Keyword, Photo, Provenance, Tags

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., Merged]
Make = Callable[..., bytes]
Read = Callable[[bytes, str], list[str]]

HUMAN = (
    '<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Mine</rdf:li></rdf:Alt></dc:description>'
)
WORDS = "<dc:subject><rdf:Bag><rdf:li>Anna</rdf:li></rdf:Bag></dc:subject>"
CHANGED = {
    "nothing": "",
    "a text": HUMAN,
    "an attribute": 'photoshop:Headline="Mine"',
    "keywords": WORDS,
    "an empty list": "<dc:subject><rdf:Bag/></dc:subject>",
    "a camera's words": "<tiff:ImageDescription>OLYMPUS DIGITAL CAMERA</tiff:ImageDescription>",
}


def _of(sidecar: Make, changed: str) -> bytes:
    return sidecar("", changed) if changed.startswith("photoshop") else sidecar(changed)


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
@pytest.mark.parametrize("overwrite", [False, True], ids=["merged", "overwritten"])
def test_untouched_it_returns_to_its_bytes(
    merged: Run, sidecar: Make, changed: str, overwrite: bool
) -> None:
    """Byte for byte, after one pass and after several with other words."""
    before = _of(sidecar, changed)
    data = merged(before, overwrite=overwrite).data
    for words, caption in (("cat,beach", "Other"), ("", "Third"), ("dog", "Fourth")):
        done = undo(data, Options())
        assert (done.end, done.data) == ("restored", before)
        data = merged(data, words, caption=caption, overwrite=overwrite).data
    assert undo(data, Options()).data == before


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("iso8859-1", b"")],
)
def test_every_encoding_returns(sidecar: Make, encoding: str, mark: bytes) -> None:
    """Also where a word of ours had to be written as a character reference, and with CRLF."""
    text = sidecar(HUMAN.replace("Mine", "Mäin")).decode().replace("\n", "\r\n")
    before = mark + (f'<?xml version="1.0" encoding="{encoding[:9]}"?>' + text).encode(encoding)
    if encoding == "utf-16-le":
        before = mark + text.encode(encoding)
    tags = Tags(caption="日本の犬", description="犬 “dog”", keywords=(Keyword("犬"),))
    provenance = Provenance(
        version="1", date=datetime.now(UTC), profile="p", models={}, digest="ab" * 32
    )
    data = merge(before, tags, provenance, Options()).data
    assert undo(data, Options()).data == before


def test_one_that_taggerd_made_goes(sidecar: Make, tags: Tags, provenance: Provenance) -> None:
    """As a whole, also what it carries of the photo; after an edit what is not ours stays."""
    made = merge(sidecar(HUMAN + WORDS), tags, provenance, Options(), made=True).data
    again = merge(made, replace(tags, caption="Other"), provenance, Options()).data
    for data in (made, again):
        done = undo(data, Options())
        assert (done.end, done.data) == ("removed", None)
    done = undo(made.replace(b"Mine", b"My own"), Options())
    assert done.end == "cleaned"
    assert done.data is not None
    assert b"My own" in done.data
    assert b"Anna" in done.data
    assert b"dog" not in done.data


def test_what_is_left_of_a_made_one_goes_too(
    sidecar: Make, tags: Tags, provenance: Provenance
) -> None:
    """One in which nobody's words are left is not left lying about."""
    made = merge(sidecar(), tags, provenance, Options(), made=True).data
    assert undo(made + b"\n", Options()).end == "removed"


def _edited(data: bytes, texts: Read) -> bytes:
    """Edit as a human would: another description, "dog" taken out, "sea" put in."""
    data = data.replace(texts(data, "dc:description")[0].encode(), b"Seen by me", 1)
    for line in (b"<rdf:li>dog</rdf:li>", b"<rdf:li>Dog</rdf:li>"):
        lists, mark, record = data.partition(b"<taggerd:version")
        data = lists.replace(line, b"") + mark + record
    return data.replace(b"<rdf:li>beach</rdf:li>", b"<rdf:li>beach</rdf:li><rdf:li>sea</rdf:li>", 1)


@pytest.mark.parametrize("retag", [False, True], ids=["at once", "after a retag"])
def test_human_edits_stay(merged: Run, sidecar: Make, texts: Read, retag: bool) -> None:
    """Of an edited one only ours goes: texts, keywords in every list, the record."""
    data = _edited(merged(sidecar(WORDS)).data, texts)
    if retag:
        data = merged(data, "cat,dog,beach", caption="Another", description="Another.").data
        assert "dog" not in texts(data, "dc:subject"), "a rejected word came back"
        assert "sea" in texts(data, "digiKam:TagsList")
    done = undo(data, Options())
    assert done.end == "cleaned"
    assert done.data is not None
    assert texts(done.data, "dc:description") == ["Seen by me"]
    assert texts(done.data, "dc:subject") == ["Anna", "sea"]
    for gone in ("dc:title", "photoshop:Headline", "tiff:ImageDescription", "digiKam:TagsList",
                 "lr:hierarchicalSubject", "taggerd:version", "taggerd:undo"):  # fmt: skip
        assert texts(done.data, gone) == [], gone


@pytest.mark.parametrize("retag", [False, True], ids=["at once", "after a retag"])
def test_a_sidecar_that_darktable_rewrote(
    merged: Run, sidecar: Make, texts: Read, tmp_path: Path, retag: bool
) -> None:
    """Ours are still known as ours in attributes and in a sequence, and only they go."""
    before = sidecar(HUMAN + WORDS, 'photoshop:Headline="Mine too"')
    data = as_sequence(rewritten(tmp_path, merged(before).data))
    assert b"<rdf:Seq>" in data.partition(b"<dc:subject>")[2].partition(b"</dc:subject>")[0]
    assert b'taggerd:version="0.1.0"' in data
    if retag:
        data = merged(data, "cat,beach", caption="Another").data
        assert texts(data, "dc:title") == ["Another"]
        assert texts(data, "dc:subject") == ["Anna", "beach", "cat"]
        assert texts(data, "photoshop:Headline") == ["Mine too"]
    done = undo(data, Options())
    assert done.end == "cleaned"
    assert done.data is not None
    assert texts(done.data, "dc:subject") == ["Anna"]
    assert texts(done.data, "dc:description") == ["Mine"]
    assert texts(done.data, "photoshop:Headline") == ["Mine too"]
    assert texts(done.data, "dc:title") == []
    assert b"darktable:xmp_version" in done.data
    assert b"taggerd:" not in done.data.replace(b"xmlns:taggerd", b"")


def test_words_that_gave_way_come_back(
    merged: Run, sidecar: Make, texts: Read, tmp_path: Path
) -> None:
    """What was overwritten, also after darktable and a retag; but not over newer words."""
    before = sidecar(HUMAN, 'photoshop:Headline="Mine  too"')
    data = merged(before, overwrite=True).data
    assert texts(data, "dc:description") != ["Mine"]
    data = rewritten(tmp_path, data)
    data = merged(data, "cat", caption="Another", overwrite=True).data
    edited = data.replace(b"Two dogs run over wet sand. The sky is grey.", b"Newer")
    done = undo(data, Options())
    assert done.data is not None
    assert texts(done.data, "dc:description") == ["Mine"]
    assert texts(done.data, "photoshop:Headline") == ["Mine  too"]
    done = undo(edited, Options())
    assert done.data is not None
    assert texts(done.data, "dc:description") == ["Newer"]


def test_parts_by_themselves(merged: Run, sidecar: Make, texts: Read) -> None:
    """One part at a time leaves the others and the way back; the last one is the whole way."""
    before = sidecar(HUMAN.replace("description", "title") + WORDS)
    data = merged(before).data
    steps: list[tuple[Part, str]] = [("keywords", ">dog<"), ("caption", ">Two dogs on")]
    for part, word in steps:
        done = undo(data, Options(), UndoOptions(parts=frozenset({part})))
        assert done.end == "partly"
        assert not done.untagged
        assert done.data is not None
        assert word.encode() in data
        assert word.encode() not in done.data
        assert b"Two dogs run" in done.data
        assert undo(done.data, Options(), UndoOptions(parts=frozenset({part}))).end == "nothing"
        assert undo(done.data, Options()).data == before
        data = done.data
    assert texts(data, "dc:subject") == ["Anna"]
    done = undo(data, Options(), UndoOptions(parts=frozenset({"description"})))
    assert (done.end, done.data) == ("restored", before)


def test_the_users_hierarchy_and_languages_go_too(
    sidecar: Make, tags: Tags, provenance: Provenance, texts: Read
) -> None:
    """Of an edited one: parents, the root, and our words in another language; a human's stay."""
    kept = "<lr:hierarchicalSubject><rdf:Bag><rdf:li>Animals|Cat</rdf:li></rdf:Bag>"
    before = sidecar(WORDS + kept + "</lr:hierarchicalSubject>")
    words = (Keyword("dog", None, ("Animals",), ("Animals",)), Keyword("sea"))
    options = Options(language="de", root="AI")
    data = merge(before, replace(tags, keywords=words), provenance, options).data
    assert "AI|Animals|dog" in texts(data, "lr:hierarchicalSubject")
    assert len(texts(data, "dc:description")) > 1
    done = undo(data + b"\n", Options())
    assert done.data is not None
    assert texts(done.data, "dc:subject") == ["Anna"]
    assert texts(done.data, "lr:hierarchicalSubject") == ["Animals|Cat"]
    for name in ("digiKam:TagsList", "dc:description", "dc:title"):
        assert texts(done.data, name) == []


def test_since_looks_at_the_local_day(sidecar: Make, tags: Tags, provenance: Provenance) -> None:
    """Tagged on that day or later; one that does not say when is left."""
    now = datetime(2025, 1, 2, 12, 0, tzinfo=UTC).astimezone()
    data = merge(sidecar(), tags, replace(provenance, date=now), Options()).data
    assert undo(data, Options(), UndoOptions(since=now.date())).end == "restored"
    done = undo(data, Options(), UndoOptions(since=now.date() + timedelta(days=1)))
    assert (done.end, done.data, done.reason) == ("nothing", data, "tagged on 2025-01-02")
    undated = data.replace(b"taggerd:date>", b"taggerd:day>")
    assert undo(undated, Options(), UndoOptions(since=date(2000, 1, 1))).end == "nothing"


def test_keywords_that_a_program_copied_go_too(merged: Run, sidecar: Make, texts: Read) -> None:
    """Programs write what they read into lists of its own: our words in them are still ours."""
    name = "MicrosoftPhoto:LastKeywordXMP"
    list_of = f"<{name}><rdf:Bag>{{}}</rdf:Bag></{name}>"
    data = merged(sidecar(WORDS)).data
    copied = list_of.format("<rdf:li>Anna</rdf:li><rdf:li>dog</rdf:li>").encode()
    data = data.replace(b"</rdf:Description>", copied + b"</rdf:Description>")
    done = undo(data, Options())
    assert done.data is not None
    assert texts(done.data, "MicrosoftPhoto:LastKeywordXMP") == ["Anna"]


def test_the_last_copy_of_a_humans_word_stays(merged: Run, sidecar: Make, texts: Read) -> None:
    """A copy that taggerd made goes, but not where the word it copied is gone meanwhile."""
    data = merged(sidecar(WORDS.replace("dc:subject", "digiKam:TagsList"))).data
    done = undo(data + b"\n", Options())
    assert done.data is not None
    assert texts(done.data, "dc:subject") == []
    lost = data.replace(b"digiKam:TagsList>", b"digiKam:Lost>")
    done = undo(lost, Options())
    assert done.data is not None
    assert texts(done.data, "dc:subject") == ["Anna"]


@pytest.mark.parametrize(
    "seal",
    [
        "", "made", "merged", "merged x", "merged {hash} {hash} {patch}x",
        "merged {hash} 00 {patch}",
        "merged {hash} {hash} eJyLNtQx1DHUMdYx0TGNBQAVpwMm", "nonsense 1 2 3",
    ],
)  # fmt: skip
def test_a_seal_that_does_not_fit_says_nothing(
    merged: Run, sidecar: Make, texts: Read, seal: str
) -> None:
    """Whatever became of it: what is known as ours goes, and nothing else."""
    data = merged(sidecar(HUMAN + WORDS)).data
    (said,) = texts(data, "taggerd:undo")
    _, own, _, patch = said.split(" ")
    data = data.replace(said.encode(), seal.format(hash=own, patch=patch).encode())
    done = undo(data, Options())
    assert done.end == "cleaned"
    assert done.data is not None
    assert texts(done.data, "dc:description") == ["Mine"]
    assert texts(done.data, "dc:subject") == ["Anna"]


def test_what_is_not_taggerds_is_left(merged: Run, sidecar: Make) -> None:
    """A sidecar without our record stays; one with it that is not understood is refused."""
    foreign = sidecar(HUMAN).replace(b"taggerd.org", b"example.org")
    for data in (sidecar(HUMAN), foreign[:-20], b""):
        done = undo(data, Options())
        assert (done.end, done.data, done.untagged) == ("nothing", data, True)
    with pytest.raises(SidecarRefused, match="not well-formed"):
        undo(merged(sidecar(HUMAN)).data[:-20], Options())


def test_another_language_that_is_ours_goes(merged: Run, sidecar: Make, texts: Read) -> None:
    """Also where a human has since written in the language that is shown."""
    data = merged(sidecar()).data
    (ours,) = texts(data, "dc:description")
    second = f'<rdf:li xml:lang="en">{ours}</rdf:li></rdf:Alt>'.encode()
    head, mark, tail = data.partition(b"<dc:description>")
    for said, left in ((ours, []), ("Mine", ["Mine"])):
        body = tail.replace(b"</rdf:Alt>", second, 1).replace(ours.encode(), said.encode(), 1)
        done = undo(head + mark + body, Options())
        assert done.data is not None
        assert texts(done.data, "dc:description") == left


def test_a_machine_text_yields_to_the_humans_in_its_twin(
    merged: Run, sidecar: Make, texts: Read
) -> None:
    """After an edit of dc:description ours in tiff:ImageDescription, which Immich prefers, goes."""
    data = merged(sidecar()).data
    assert unhidden(data) == data
    first = texts(data, "dc:description")[0].encode()
    after = unhidden(data.replace(first, b"Mine", 1))
    assert texts(after, "dc:description") == ["Mine"]
    assert texts(after, "tiff:ImageDescription") == []
    assert unhidden(after) == after
    done = undo(after, Options())
    assert done.data is not None
    assert texts(done.data, "dc:description") == ["Mine"]


COPIED = (
    '<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt></dc:title>'
    "<dc:subject><rdf:Bag><rdf:li>Anna</rdf:li><rdf:li>dog</rdf:li><rdf:li>beach</rdf:li>"
    "</rdf:Bag></dc:subject><dc:creator>Somebody</dc:creator>"
)


@pytest.mark.parametrize("name", ["IMG.CR3.xmp", "img.DNG.XMP"])
def test_what_another_program_copied_is_undone_too(
    tmp_path: Path, tags: Tags, sidecar: Make, texts: Read, photo_of: Callable[..., Photo],
    provenance: Provenance, name: str,
) -> None:  # fmt: skip
    """As darktable does, from IMG.xmp into IMG.CR3.xmp: a later pass and an undo know it.

    A keyword that it left out counts as taken out by a human, as in any sidecar.
    """
    full = tmp_path / name
    photo = photo_of(full.with_suffix(""))
    stem = photo.primary.path.with_suffix(".xmp")
    write(photo, tags, provenance, Options(naming="stem"))
    full.write_bytes(sidecar(COPIED.format(escape(tags.caption))))
    seen = view(photo, Options())
    copy = next(each for each in seen.sidecars if each.path == full)
    assert (copy.human, copy.machine) == (("Anna",), ("dog", "beach"))
    done = undo_sidecar(full, UndoOptions(dry_run=True), Options())
    assert (done.end, done.parts) == ("cleaned", ("dc:title", "2 keywords"))

    other = replace(tags, caption="Other", keywords=(Keyword("cat"), Keyword("car park")))
    write(photo, other, provenance, Options())
    data = full.read_bytes()
    assert texts(data, "dc:title") == ["Other"]
    assert texts(data, "dc:subject") == ["Anna", "cat"]
    assert texts(stem.read_bytes(), "dc:subject") == ["car park", "cat"]
    assert undo_sidecar(full, UndoOptions(), Options()).end == "cleaned"
    data = full.read_bytes()
    assert (texts(data, "dc:title"), texts(data, "dc:subject")) == ([], ["Anna"])
    assert texts(data, "dc:creator") == ["Somebody"]


@pytest.mark.parametrize("caption", ["My own", ""])
def test_a_sidecar_that_is_no_copy_stays_a_humans(
    tmp_path: Path, tags: Tags, sidecar: Make, photo_of: Callable[..., Photo],
    provenance: Provenance, caption: str,
) -> None:  # fmt: skip
    """The same keywords, but no text of ours: a human may have written them."""
    full = tmp_path / "IMG.CR3.xmp"
    photo = photo_of(full.with_suffix(""))
    write(photo, tags, provenance, Options(naming="stem"))
    before = sidecar(COPIED.format(caption))
    full.write_bytes(before)
    assert undo_sidecar(full, UndoOptions(), Options()).end == "nothing"
    write(photo, tags, provenance, Options())
    assert full.read_bytes() != before
    assert undo_sidecar(full, UndoOptions(), Options()).end == "restored"
    assert full.read_bytes() == before
