"""Undoing an edit: the old bytes where nobody wrote since, else the old words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pytest
from support.embedded import edit, restore, view, write

from taggerd.metadata import Edit, Edited, Options
from taggerd.photo import Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from pathlib import Path

PhotoOf = Callable[..., Photo]

EDITS = [
    Edit(caption="Mine"),
    Edit(caption="", description="Two\nlines"),
    Edit(drop=("dog", "Sopot")),
    Edit(add=("Places|Sea", "x")),
    Edit(rename={"dog": "Hund", "Sopot": "Gdynia"}),
    Edit(reject=True),
    Edit(caption="Mine", description="", add=("y",), drop=("beach",)),
]


def again(photo: Photo) -> Photo:
    """Return *photo* as its files are now."""
    paths = [file.path for file in photo.files]
    return Photo(tuple(PhotoFile(path, Stamp.of(path.stat())) for path in paths))


def made(photo: Photo, wanted: Edit, options: Options) -> Edited:
    """Edit, and expect that nobody else has."""
    done = edit(again(photo), wanted, options)
    assert isinstance(done, Edited)
    assert done.changes
    return done


def contents(photo: Photo) -> dict[str, bytes]:
    """Return each file beside the photo, itself included, but for hidden ones."""
    return {path.name: path.read_bytes() for path in photo.folder.iterdir()}


@pytest.fixture
def photo(tmp_path: Path, photo_of: PhotoOf) -> Photo:
    """A JPEG alone in a folder."""
    return photo_of(tmp_path / "a.jpg")


@pytest.mark.parametrize("target", ["sidecar", "embed", "both"])
@pytest.mark.parametrize("wanted", EDITS, ids=range(len(EDITS)))
def test_the_old_bytes_come_back(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    wanted: Edit,
    target: Literal["sidecar", "embed", "both"],
) -> None:
    """Of every file, where nobody wrote since; also after an edit before it."""
    options = replace(Options(), target=target)
    write(photo, tags, provenance, options)
    made(photo, Edit(add=("Sopot",)), options)
    before = contents(photo)
    done = made(photo, wanted, options)
    assert contents(photo) != before
    restore(again(photo), done.undo, options)
    assert contents(photo) == before


def test_what_an_edit_made_goes_with_it(photo: Photo) -> None:
    """The sidecar, and the packet in a photo that had none."""
    for target in ("sidecar", "embed", "both"):
        options = replace(Options(), target=target)
        before = contents(photo)
        done = made(photo, Edit(caption="Mine", add=("x",)), options)
        restore(again(photo), done.undo, options)
        assert contents(photo) == before


@pytest.mark.parametrize("wanted", EDITS, ids=range(len(EDITS)))
def test_in_a_sidecar_that_changed_since_the_words_come_back(
    photo: Photo, tags: Tags, provenance: Provenance, wanted: Edit
) -> None:
    """Whose they are, too; and what was written since stays."""
    path = photo.folder / "a.jpg.xmp"
    write(photo, tags, provenance, Options())
    made(photo, Edit(add=("Sopot",)), Options())
    (before,) = view(photo, Options()).sidecars
    done = made(photo, wanted, Options())
    rating = b"<xmp:Rating>4</xmp:Rating>"
    path.write_bytes(path.read_bytes().replace(b"<taggerd:version>", rating + b"<taggerd:version>"))
    restore(photo, done.undo, Options())
    (after,) = view(photo, Options()).sidecars
    assert (set(after.texts), set(after.machine), set(after.human), set(after.rejected)) == (
        set(before.texts),
        set(before.machine),
        set(before.human),
        set(before.rejected),
    )
    assert rating in path.read_bytes()
    write(photo, replace(tags, caption="Another"), provenance, Options())
    (after,) = view(photo, Options()).sidecars
    assert "Another" in {words.text for words in after.texts if words.machine}


def test_words_that_somebody_wrote_since_stay(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """An undo takes nobody's later words with it."""
    write(photo, tags, provenance, Options())
    first = made(photo, Edit(caption="First", add=("x",)), Options())
    made(photo, Edit(caption="Second"), Options())
    restore(photo, first.undo, Options())
    (after,) = view(photo, Options()).sidecars
    assert "Second" in {words.text for words in after.texts}
    assert after.human == ()
