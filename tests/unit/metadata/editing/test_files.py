"""An edit in all files that hold a photo's words, or in none of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn
from xml.sax.saxutils import escape

import pytest
from support.embedded import edit, restore, view, write

from taggerd import files
from taggerd.errors import PhotosDiskError, SidecarError, SidecarRefused, SidecarUnwritable
from taggerd.metadata import Edit, Edited, Options
from taggerd.photo import Photo, PhotoFile, Provenance, Stamp, Tags

if TYPE_CHECKING:
    from pathlib import Path

PhotoOf = Callable[..., Photo]
BOTH = replace(Options(), target="both")
MINE = Edit(caption="Mine", add=("x",), drop=("dog",))


@pytest.fixture
def photo(tmp_path: Path, photo_of: PhotoOf) -> Photo:
    """A JPEG alone in a folder."""
    return photo_of(tmp_path / "a.jpg")


def again(photo: Photo, *more: Path) -> Photo:
    """Return *photo* as its files are now, with *more* of them."""
    paths = [*(file.path for file in photo.files), *more]
    return Photo(tuple(PhotoFile(path, Stamp.of(path.stat())) for path in paths))


def contents(photo: Photo) -> dict[str, bytes]:
    """Return each file beside the photo, itself and hidden ones included."""
    return {path.name: path.read_bytes() for path in photo.folder.iterdir()}


def captions(photo: Photo, options: Options) -> dict[str, tuple[str, bool]]:
    """Return the title in each sidecar and packet, and whether it is the machine's."""
    return {
        one.path.name: (words.text, words.machine)
        for one in view(photo, options).sidecars
        for words in one.texts
        if words.field == "dc:title"
    }


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("fails_at", [1, 2])
def test_on_a_full_disk_nothing_is_written(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    fails_at: int,
) -> None:
    """Neither in the first file nor in the second; the message says so, and what to do."""
    write(photo, tags, provenance, BOTH)
    photo, before = again(photo), contents(photo)
    real, calls = os.fsync, [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        # The sidecar is one file and its folder, the photo's copy comes behind them.
        if calls[0] == (1 if fails_at == 1 else 3):
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PhotosDiskError, match=r"^nothing was changed: .*a\.jpg") as caught:
        edit(photo, MINE, BOTH)
    assert os.strerror(number) in str(caught.value)
    assert calls[0] >= (1 if fails_at == 1 else 3)
    assert contents(photo) == before
    assert edit(again(photo), MINE, BOTH)


def test_a_sidecar_that_is_read_only_keeps_all_as_they_are(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """The message names it; the photo's packet is not edited either."""
    write(photo, tags, provenance, BOTH)
    (photo.folder / "a.jpg.xmp").chmod(0o444)
    before = contents(photo)
    with pytest.raises(SidecarUnwritable, match=r"a\.jpg\.xmp is read-only; nothing was changed"):
        edit(again(photo), MINE, BOTH)
    assert contents(photo) == before


@pytest.mark.parametrize("tagged", [True, False])
def test_a_folder_that_is_read_only_keeps_all_as_they_are(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    monkeypatch: pytest.MonkeyPatch,
    *,
    tagged: bool,
) -> None:
    """Whether there is a sidecar or not; the message names what cannot be written."""
    if tagged:
        write(photo, tags, provenance, Options())
    before = contents(photo)

    def refuse(path: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(files, "new_file", refuse)
    with pytest.raises(SidecarUnwritable, match=r"a\.jpg\.xmp .*Permission denied; nothing was"):
        edit(photo, MINE, Options())
    assert contents(photo) == before


def test_a_damaged_sidecar_keeps_all_as_they_are(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """The other one would say something else from then on."""
    write(photo, tags, provenance, Options())
    (photo.folder / "a.xmp").write_text("<x:xmpmeta")
    before = contents(photo)
    with pytest.raises(SidecarRefused, match=r"a\.xmp .*; nothing was changed: repair it"):
        edit(photo, MINE, Options())
    assert contents(photo) == before


def test_two_sidecars_are_both_edited(photo: Photo, tags: Tags, provenance: Provenance) -> None:
    """And both are restored, byte for byte."""
    for name in ("a.jpg.xmp", "a.xmp"):
        (photo.folder / name).write_text(
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
            '"http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
        )
    write(photo, tags, provenance, Options())
    before = contents(photo)
    done = edit(photo, MINE, Options())
    assert isinstance(done, Edited)
    assert captions(photo, Options()) == {"a.jpg.xmp": ("Mine", False), "a.xmp": ("Mine", False)}
    restore(photo, done.undo, Options())
    assert contents(photo) == before


def test_other_words_of_a_humans_in_the_second_sidecar_stay(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """They were not what the person saw and replaced; a note says so."""
    write(photo, tags, provenance, Options())
    first = photo.folder / "a.jpg.xmp"
    (photo.folder / "a.xmp").write_bytes(
        first.read_bytes().replace(escape(tags.caption).encode(), b"Theirs")
    )
    done = edit(photo, Edit(caption="Mine"), Options())
    assert isinstance(done, Edited)
    assert captions(photo, Options()) == {"a.jpg.xmp": ("Mine", False), "a.xmp": ("Theirs", False)}
    assert any("kept dc:title: other words stand there" in note for note in done.notes)


def test_a_raw_and_its_jpeg_say_the_same(photo: Photo, tags: Tags, provenance: Provenance) -> None:
    """The sidecar of each, or the JPEG itself and the sidecar of the raw that nobody writes to."""
    raw = photo.folder / "a.CR3"
    raw.write_bytes(b"\0\0\0\x18ftypcrx \0\0\0\1crx isom")
    for target in ("sidecar", "embed", "both"):
        options = replace(Options(), target=target)
        pair = again(photo, raw)
        write(pair, tags, provenance, options)
        before = contents(photo)
        done = edit(again(photo, raw), MINE, options)
        assert isinstance(done, Edited)
        said = captions(again(photo, raw), options)
        assert set(said.values()) == {("Mine", False)}
        assert len(said) == (3 if target == "both" else 2)
        assert raw.read_bytes() == before["a.CR3"]
        restore(again(photo, raw), done.undo, options)
        assert contents(photo) == before
        for path in photo.folder.glob("*.xmp"):
            path.unlink()


@pytest.mark.parametrize(
    "text",
    [
        "w" * 65_536,
        "שָׁלוֹם עֲלֵיכֶם \u202e",
        "a\r\n\tb\x00\x0b\ufffe",
        "\U0001f415 é e\u0301",
        "]]> <!-- &amp; -->",
    ],
    ids=["64 KB", "right to left", "controls", "composed", "markup"],
)
def test_any_text_comes_out_as_it_can_be_written(
    photo: Photo, tags: Tags, provenance: Provenance, text: str
) -> None:
    """Whole where the field takes it, and the same once more."""
    write(photo, tags, provenance, Options())
    done = edit(photo, Edit(description=text), Options())
    assert isinstance(done, Edited)
    (change,) = done.changes
    (one,) = view(photo, Options()).sidecars
    said = {words.field: words.text for words in one.texts}
    assert said["dc:description"] == change.after
    assert len(change.after) > len(text) - 5
    assert edit(photo, Edit(description=text), Options()) == Edited()


def test_a_text_that_does_not_fit_into_the_photo_is_refused_whole(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """A packet of JPEG has 64 KB: neither it nor the sidecar changes, and the message says why."""
    write(photo, tags, provenance, BOTH)
    before = contents(photo)
    with pytest.raises(SidecarError, match=r"a\.jpg .*nothing was changed"):
        edit(again(photo), Edit(description="w" * 65_536), BOTH)
    assert contents(photo) == before
