"""What writing would change, said beforehand: it must be what writing then does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from taggerd.files import open_file
from taggerd.metadata import Options, preview, read_embedded, view, write
from taggerd.photo import FieldChange, Keyword, PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.metadata import Said
    from taggerd.photo import Photo, Provenance, Tags

HUMAN = (
    "<dc:title><rdf:Alt><rdf:li xml:lang='x-default'>Our dogs</rdf:li></rdf:Alt></dc:title>"
    "<dc:subject><rdf:Bag><rdf:li>Rex</rdf:li></rdf:Bag></dc:subject>"
)


def said_by(photo: Photo) -> Said:
    """Return what the files of *photo* say themselves."""
    said = {}
    for file in photo.files:
        with open_file(file.path) as opened:
            said[file.path] = read_embedded(opened)
    return said


def now(photo: Photo) -> Photo:
    """Return *photo* as its files are now."""
    files = (PhotoFile(file.path, Stamp.of(file.path.lstat())) for file in photo.files)
    return replace(photo, files=tuple(files))


def words(photo: Photo, options: Options) -> dict[str, set[str]]:
    """Return all words in the sidecars and packets of *photo*, by field."""
    found: dict[str, set[str]] = {}
    for each in view(photo, options, said_by(photo)[photo.primary.path]).sidecars:
        for text in each.texts:
            found.setdefault(text.field, set()).add(text.text)
        if each.machine or each.human:
            found.setdefault("keywords", set()).update(each.machine, each.human)
    return found


@pytest.mark.parametrize("target", ["sidecar", "embed", "both"])
@pytest.mark.parametrize("body", ["", HUMAN])
def test_what_is_previewed_is_what_is_written(
    target: str,
    body: str,
    tmp_path: Path,
    photo_of: Callable[..., Photo],
    tags: Tags,
    provenance: Provenance,
    sidecar: Callable[..., bytes],
) -> None:
    """For new and edited sidecars and for embedded words; and nothing is written meanwhile."""
    photo = photo_of(tmp_path / "IMG.jpg")
    if body:
        (tmp_path / "IMG.jpg.xmp").write_bytes(sidecar(body))
    options = Options(target=target)  # type: ignore[arg-type]  # one of the three
    for given in (
        tags,
        replace(tags, caption="One dog", keywords=(Keyword("dog"), Keyword("sea"))),
    ):
        photo = now(photo)
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        told = preview(photo, given, provenance, options, said_by(photo))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
        done = write(photo, given, provenance, options, said_by(photo))
        assert not any(each.error for each in done)
        photo = now(photo)
        found = words(photo, options)
        assert told.changes
        for change in told.changes:
            assert set(change.after) <= found[change.field], change
            assert set(change.before) != set(change.after)
        again = preview(photo, given, provenance, options, said_by(photo))
        assert again.changes == ()


def test_a_humans_words_are_said_to_be_kept(
    tmp_path: Path,
    photo_of: Callable[..., Photo],
    tags: Tags,
    provenance: Provenance,
    sidecar: Callable[..., bytes],
) -> None:
    """The note names the field; keywords are shown with those that stay."""
    photo = photo_of(tmp_path / "IMG.jpg")
    (tmp_path / "IMG.jpg.xmp").write_bytes(sidecar(HUMAN))
    told = preview(photo, tags, provenance, Options(), said_by(photo))
    assert "kept dc:title: a human wrote it" in told.notes
    assert "dc:title" not in {change.field for change in told.changes}
    (keywords,) = [change for change in told.changes if change.field == "keywords"]
    assert keywords == FieldChange("keywords", ("Rex",), ("Rex", "dog", "beach", "car park"))


def test_a_sidecar_that_would_be_refused_is_named(
    tmp_path: Path, photo_of: Callable[..., Photo], tags: Tags, provenance: Provenance
) -> None:
    """Whoever looks before writing learns that nothing would come of it, and why."""
    photo = photo_of(tmp_path / "IMG.jpg")
    (tmp_path / "IMG.jpg.xmp").write_bytes(b"<not xmp")
    told = preview(photo, tags, provenance, Options(), said_by(photo))
    assert told.changes == ()
    assert "IMG.jpg.xmp would be left unchanged" in told.notes[0]
