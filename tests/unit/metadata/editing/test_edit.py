"""A person's edit: in every sidecar and packet, or in none; and nothing foreign changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from support.embedded import edit, inspect, restore, view, write

from taggerd.metadata import Edit, Edited, Options, Stale
from taggerd.photo import Keyword, Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.metadata import SidecarView

PhotoOf = Callable[..., Photo]
MINE = "My own <words> & nobody's"


@pytest.fixture
def photo(tmp_path: Path, photo_of: PhotoOf) -> Photo:
    """A JPEG alone in a folder."""
    return photo_of(tmp_path / "a.jpg")


def again(photo: Photo) -> Photo:
    """Return *photo* as its files are now."""
    paths = [file.path for file in photo.files]
    return Photo(tuple(PhotoFile(path, Stamp.of(path.stat())) for path in paths))


def made(photo: Photo, wanted: Edit, options: Options) -> Edited:
    """Edit, and expect that nobody else has."""
    done = edit(again(photo), wanted, options)
    assert isinstance(done, Edited)
    return done


def seen(photo: Photo, options: Options) -> SidecarView:
    """Return the words of the photo's only sidecar, or of its packet."""
    (one,) = view(again(photo), options).sidecars
    assert not one.refused
    return one


def said(one: SidecarView) -> dict[str, tuple[str, bool]]:
    """Return each text, and whether it is the machine's."""
    return {words.field: (words.text, words.machine) for words in one.texts}


OTHER = Tags(
    caption="A cat", description="A cat sleeps.", keywords=(Keyword("cat"), Keyword("dog"))
)


@pytest.mark.parametrize("target", ["sidecar", "embed"])
def test_an_edit_is_the_humans_from_then_on(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    target: Literal["sidecar", "embed"],
) -> None:
    """Later passes keep it, whatever they are told to overwrite, and write the rest."""
    options = replace(Options(), target=target)
    write(photo, tags, provenance, options)
    done = made(photo, Edit(caption=MINE, drop=("dog",), add=("Sopot",)), options)
    assert [(c.kind, c.before, c.after, c.model) for c in done.changes] == [
        ("edited", tags.caption, MINE, "eye-2"),
        ("dropped", "dog", "", "eye-2"),
        ("added", "", "Sopot", ""),
    ]
    for pass_options in (options, replace(options, overwrite=True)):
        write(again(photo), OTHER, provenance, pass_options)
        now = seen(photo, options)
        assert {text for text, machine in said(now).values() if not machine} == {MINE}
        assert said(now)["dc:description"] == ("A cat sleeps.", True)
        assert (now.machine, now.human, now.rejected) == (("cat",), ("Sopot",), ("dog",))
        assert inspect(again(photo), options).tagged == provenance.digest


def test_a_stale_text_is_not_replaced(photo: Photo, tags: Tags, provenance: Provenance) -> None:
    """Whoever saves second learns what the first wrote; nothing is written."""
    write(photo, tags, provenance, Options())
    assert made(photo, Edit(caption=MINE, seen={"caption": tags.caption}), Options()).changes
    before = (photo.folder / "a.jpg.xmp").read_bytes()
    late = Edit(caption="Another", add=("x",), seen={"caption": tags.caption})
    assert edit(photo, late, Options()) == Stale("caption", tags.caption, MINE)
    assert (photo.folder / "a.jpg.xmp").read_bytes() == before
    assert made(photo, replace(late, caption=MINE), Options()).changes  # both want the same


def test_rejected_words_never_come_back_and_others_do(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """Not by the same answers again; by other answers the photo has words again."""
    write(photo, tags, provenance, Options())
    made(photo, Edit(add=("Sopot",)), Options())
    made(photo, Edit(reject=True), Options())
    write(photo, tags, provenance, Options())
    now = seen(photo, Options())
    assert (said(now), now.machine, now.human) == ({}, (), ("Sopot",))
    write(photo, OTHER, provenance, Options())
    now = seen(photo, Options())
    assert (said(now)["dc:title"], now.machine) == (("A cat", True), ("cat",))


def test_a_photo_without_a_sidecar_gets_one(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """It is not tagged by that, and a pass leaves the words in it alone."""
    made(photo, Edit(description="First\nsecond", add=("Places|Beach",)), Options())
    assert inspect(photo, Options()).tagged == ""
    write(photo, tags, provenance, Options())
    now = seen(photo, Options())
    assert said(now)["dc:description"] == ("First\nsecond", False)
    assert (now.human, said(now)["dc:title"]) == (("Places/Beach",), (tags.caption, True))


def test_words_that_wait_to_be_written_are_edited_like_others(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """They are in no sidecar yet: what a person makes of them is honoured when they are written."""
    mine = Edit(caption=MINE, drop=("dog",), seen={"caption": tags.caption}, waiting=("dog",))
    assert made(photo, mine, Options()).changes
    write(photo, tags, provenance, Options())
    now = seen(photo, Options())
    assert said(now)["dc:title"] == (MINE, False)
    assert said(now)["dc:description"] == (tags.description, True)
    assert (now.machine, now.rejected) == (("beach", "car park"), ("dog",))


def test_a_text_that_was_taken_out_meanwhile_is_stale(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """Whether by an edit or by a rejection: nobody's decision is lost."""
    late = Edit(caption=MINE, seen={"caption": tags.caption})
    for first in (Edit(caption=""), Edit(reject=True)):
        write(photo, tags, provenance, Options())
        done = made(photo, first, Options())
        assert edit(photo, late, Options()) == Stale("caption", tags.caption, "")
        restore(photo, done.undo, Options())


LISTED = "<{0}><rdf:Bag>{1}</rdf:Bag></{0}>"
LEVELS = LISTED.format("lr:hierarchicalSubject", "<rdf:li>A|b</rdf:li><rdf:li>C|b</rdf:li>")
SLASH = LISTED.format("digiKam:TagsList", "<rdf:li>AC-DC</rdf:li>")


@pytest.mark.parametrize(
    ("attributes", "body", "drop", "left"),
    [
        ("dc:subject='a, b'", "", "a, b", ("Sopot",)),
        ("", "<dc:subject>a, b</dc:subject>", "a, b", ("Sopot",)),
        ("", LEVELS + LISTED.format("dc:subject", "<rdf:li>b</rdf:li>"), "A/b", ("C/b", "Sopot")),
        ("", SLASH + LISTED.format("dc:subject", "<rdf:li>AC/DC</rdf:li>"), "AC/DC", ("Sopot",)),
    ],
    ids=["attribute", "text", "levels", "a slash"],
)
def test_a_humans_keyword_is_dropped_from_every_list(
    photo: Photo,
    sidecar: Callable[..., bytes],
    attributes: str,
    body: str,
    drop: str,
    left: tuple[str, ...],
) -> None:
    """In whatever form it stands; another keyword with the same last level stays."""
    (photo.folder / "a.jpg.xmp").write_bytes(sidecar(body, attributes))
    assert drop in seen(photo, Options()).human
    made(photo, Edit(drop=(drop,), add=("Sopot",)), Options())
    assert set(seen(photo, Options()).human) == set(left)
