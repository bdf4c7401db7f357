"""``arrivals.release_to``: tagged photos move on, with their sidecars, once."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.hearing import Listener
from support.program import CountingBackend, Program, photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Return a program that hooks tell."""
    serving = Listener()
    yield serving
    serving.close()


@pytest.fixture
def album(taggerd: Program, tmp_path: Path) -> Path:
    """Return the folder that photos are released to."""
    folder = tmp_path / "album"
    folder.mkdir()
    taggerd.environment["TAGGERD__ARRIVALS__RELEASE_TO"] = str(folder)
    return folder


def below(folder: Path) -> list[str]:
    """Return the files below *folder*."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.long
def test_tagged_photos_move_with_their_sidecars(
    taggerd: Program, inbox: Path, album: Path, backend: CountingBackend, listener: Listener
) -> None:
    """Under the path that they had below the import folder; hooks hear of the new one."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__HOOKS__AFTER_PHOTO__URL"] = listener.url
    taggerd.environment["TAGGERD__HOOKS__AFTER_BATCH__URL"] = listener.url
    taggerd.environment["TAGGERD__HOOKS__IDLE_SECONDS"] = "1"
    daemon = taggerd.start("--input-dir", inbox)
    for number in range(3):
        photo(inbox / "2026" / f"{number}.jpg", number)
    names = [f"2026/{n}.jpg{end}" for n in range(3) for end in ("", ".xmp")]
    until(lambda: below(album) == names)
    until(lambda: listener.notices("batch.ended"))
    until(lambda: below(inbox) == [])
    for each in listener.notices("photo.tagged"):
        assert each["data"]["photo"].startswith(f"{album}/2026/")
        assert each["data"]["sidecars"] == [f"{each['data']['photo']}.xmp"]
        assert each["data"]["released_from"].startswith(f"{inbox}/2026/")
    assert set(listener.notices("batch.ended")[0]["data"]["folders"]) == {f"{album}/2026"}
    asked = backend.photo_requests
    assert taggerd.stop(daemon) == 0
    undone = taggerd("undo", album)
    assert undone.returncode == 0, undone.stderr
    assert below(album) == [f"2026/{n}.jpg" for n in range(3)]
    assert taggerd("scan", album).returncode == 0
    assert below(album) == names
    assert backend.photo_requests == asked


@pytest.mark.long
def test_a_folder_inside_the_import_folder_is_known_to_the_queue(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """No photo there is taken for a new one, nor moved again; undo is heard of."""
    done = inbox / "done"
    done.mkdir()
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__ARRIVALS__RELEASE_TO"] = str(done)
    daemon = taggerd.start("--input-dir", inbox)
    photo(inbox / "a.jpg", 1)
    until(lambda: below(inbox) == ["done/a.jpg", "done/a.jpg.xmp"])
    asked = backend.photo_requests
    photo(inbox / "b.jpg", 2)
    until(lambda: len(below(inbox)) == 4)
    assert taggerd.stop(daemon) == 0
    assert backend.photo_requests == 2 * asked
    listed = taggerd("scan", "--list", inbox)
    assert "tagged on" in listed.stdout + listed.stderr
    taggerd.start("--input-dir", inbox)
    assert taggerd("undo", done / "a.jpg").returncode == 0
    assert below(inbox) == ["done/a.jpg", "done/b.jpg", "done/b.jpg.xmp"]
    assert len(taggerd.records()) == 2


def test_a_name_that_is_taken_keeps_the_photo_where_it_is(
    taggerd: Program, inbox: Path, album: Path
) -> None:
    """Nothing is replaced; the log says what to do, once, and the photo goes when it can."""
    (album / "a.jpg").write_text("another's")
    taggerd.environment["TAGGERD__ARRIVALS__RECONCILE_MINUTES"] = "0.02"
    taggerd.start("--input-dir", inbox)
    photo(inbox / "a.jpg", 1)
    photo(inbox / "b.jpg", 2)
    until(lambda: "a.jpg is there already" in taggerd.log())
    until(lambda: below(album) == ["a.jpg", "b.jpg", "b.jpg.xmp"])
    until(lambda: below(inbox) == ["a.jpg", "a.jpg.xmp"])
    assert (album / "a.jpg").read_text() == "another's"
    (album / "a.jpg").rename(album / "other.jpg")
    until(lambda: below(inbox) == [])
    assert (album / "other.jpg").read_text() == "another's"
    assert taggerd.log().count("a.jpg is there already") == 1


@pytest.mark.long
def test_photos_that_were_tagged_before_are_released_as_well(
    taggerd: Program, inbox: Path, tmp_path: Path
) -> None:
    """At the start, and where the queue was lost: without a request."""
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
    assert taggerd("scan", inbox).returncode == 0
    album = tmp_path / "album"
    album.mkdir()
    taggerd.environment["TAGGERD__ARRIVALS__RELEASE_TO"] = str(album)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(below(album)) == 6)
    assert taggerd.stop(daemon) == 0
    for path in [*album.iterdir()]:
        path.rename(inbox / path.name)
    shutil.rmtree(taggerd.state)
    taggerd.start("--input-dir", inbox)
    until(lambda: len(below(album)) == 6)
    assert taggerd.records() == []


def test_a_scan_releases_what_lies_below_an_import_folder(
    taggerd: Program, inbox: Path, album: Path, card: Path
) -> None:
    """Photos elsewhere stay: nobody said where they would belong."""
    taggerd.environment["TAGGERD__ARRIVALS__ROOTS"] = json.dumps([str(inbox)])
    photo(inbox / "a.jpg", 9)
    done = taggerd("scan", inbox, card)
    assert done.returncode == 0, done.stderr
    assert below(album) == ["a.jpg", "a.jpg.xmp"]
    assert len(below(card)) == 10


def test_a_folder_on_another_disk(taggerd: Program, inbox: Path) -> None:
    """By copy; nothing hidden is left."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        if Path(other).stat().st_dev == inbox.stat().st_dev:
            pytest.skip("there is no other disk")
        taggerd.environment["TAGGERD__ARRIVALS__RELEASE_TO"] = other
        before = photo(inbox / "a" / "a.jpg", 1).read_bytes()
        daemon = taggerd.start("--input-dir", inbox)
        until(lambda: below(Path(other)) == ["a/a.jpg", "a/a.jpg.xmp"] and not below(inbox))
        assert (Path(other) / "a" / "a.jpg").read_bytes() == before
        assert taggerd.stop(daemon) == 0


def test_a_folder_that_is_an_import_folder_is_refused(taggerd: Program, inbox: Path) -> None:
    """Its photos would be released to where they are."""
    taggerd.environment["TAGGERD__ARRIVALS__RELEASE_TO"] = str(inbox)
    taggerd.environment["TAGGERD__ARRIVALS__ROOTS"] = json.dumps([str(inbox)])
    done = taggerd("config", "show")
    assert done.returncode == 2
    assert "release_to is an import folder" in done.stderr
