"""Releasing a photo: what moves where, that nothing is replaced, and any interruption."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from taggerd import files
from taggerd.arrivals import release
from taggerd.arrivals.release import NotReleased, carry_out, plan, prepare, target_of

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = ("IMG_1.xmp", "IMG_1.JPG.xmp", "IMG_1.JPG", "IMG_1.CR3")
ROOT, ALBUM = Path("/srv/import"), Path("/srv/album")


class Died(BaseException):
    """The program was killed here."""


def fill(folder: Path) -> Path:
    """Make the files of a photo."""
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).write_bytes(f"content of {name}".encode() * 1000)
        os.utime(folder / name, ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    return folder


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """Return a folder with a raw file, its JPEG and their sidecars."""
    return fill(tmp_path / "import" / "2026" / "06")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Return the folder to release to."""
    folder = tmp_path / "album"
    folder.mkdir()
    return folder


def moves_of(inbox: Path, album: Path) -> list[release.Move]:
    """Return the moves of that photo."""
    sidecars, photos = [inbox / n for n in NAMES[:2]], [inbox / n for n in NAMES[2:]]
    return plan(photos, sidecars, album / "2026" / "06")


def state(inbox: Path, album: Path) -> tuple[set[str], set[str]]:
    """Return the names in both folders, each with its own bytes."""
    found = []
    for folder in (inbox, album / "2026" / "06"):
        there = list(folder.iterdir()) if folder.exists() else []
        for path in there:
            if not path.name.startswith("."):
                assert path.read_bytes() == f"content of {path.name}".encode() * 1000, path
        found.append({path.name for path in there})
    return found[0], found[1]


@pytest.fixture(params=["rename", "link", "copy", "check"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the file systems be able to do more or less: from one to another, without links, FAT."""
    means: str = request.param
    real = files.rename_new
    if means == "link":
        monkeypatch.setattr(files, "rename_new", lambda _path, _new: False)
    if means in {"copy", "check"}:

        def within(path: Path, new: Path) -> bool:
            same = path.parent == new.parent and means == "copy"
            return real(path, new) if same else False

        def nothing(_path: Path, new: Path) -> bool:
            if files.exists(new):
                raise FileExistsError
            return False

        monkeypatch.setattr(files, "rename_new", within)
        monkeypatch.setattr(files, "link", nothing)
    return means


@pytest.mark.parametrize(
    ("path", "to", "target"),
    [
        ("/srv/import/a/1.jpg", "/srv/album", "/srv/album/a/1.jpg"),
        ("/srv/import/a/1.jpg", "/srv/import/done", "/srv/import/done/a/1.jpg"),
        ("/srv/import/done/a/1.jpg", "/srv/import/done", None),
        ("/srv/import/a/1.jpg", "/srv", "/srv/a/1.jpg"),
        ("/srv/import/phone/1.jpg", "/srv/album", "/srv/album/1.jpg"),
        ("/elsewhere/1.jpg", "/srv/album", None),
        ("/srv/importance/1.jpg", "/srv/album", None),
    ],
)
def test_a_photo_keeps_its_path_below_its_import_folder(
    path: str, to: str, target: str | None
) -> None:
    """The innermost one; what lies there already, or below none, stays."""
    roots = [Path("/srv/import"), Path("/srv/import/phone")]
    found = target_of(Path(path), roots, Path(to))
    assert found == (Path(target) if target else None)


def test_all_files_of_a_photo_move_as_they_are(inbox: Path, album: Path, disk: str) -> None:
    """Bytes, time and mode; nothing else is left, whatever the disks can do."""
    (inbox / "IMG_1.JPG").chmod(0o640)
    inbox.chmod(0o750)
    moves = moves_of(inbox, album)
    prepare(moves, album)
    carry_out(moves)
    assert state(inbox, album) == (set(), set(NAMES)), disk
    photo = (album / "2026" / "06" / "IMG_1.JPG").stat()
    assert photo.st_mtime_ns == 1_700_000_000_123_456_789
    assert photo.st_mode & 0o777 == 0o640
    assert photo.st_nlink == 1
    assert (album / "2026" / "06").stat().st_mode & 0o777 == 0o750


def test_it_is_killed_at_every_step_and_nothing_is_lost_or_twice(
    tmp_path: Path, disk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each call that changes something: and no photo is ever without its sidecars."""
    steps = ("rename_new", "link", "rename", "unlink", "new_file", "copy_owner", "fsync_folder")
    left = 0

    def dying(name: str) -> Callable[..., object]:
        real = getattr(files, name)

        def call(*args: object, **more: object) -> object:
            nonlocal left
            if left < 0:
                raise Died  # nothing is cleared up after a kill
            done = real(*args, **more)
            left -= 1
            if left < 0:
                raise Died
            return done

        return call

    for name in steps:
        monkeypatch.setattr(files, name, dying(name))
    for kill in range(200):
        inbox, album = tmp_path / str(kill) / "inbox", tmp_path / str(kill) / "album"
        fill(inbox)
        album.mkdir()
        moves = moves_of(inbox, album)
        left = 1000
        prepare(moves, album)
        left = kill
        died = False
        try:
            carry_out(moves)
        except Died:
            died = True
        here, there = state(inbox, album)
        assert {*NAMES} <= here | there, kill
        for side in (here, there):
            has_photo = not side.isdisjoint(NAMES[2:])
            assert not has_photo or side.issuperset(NAMES[:2]), f"{disk}: {kill}: {side}"
        left = 1000
        carry_out(moves)
        assert state(inbox, album) == (set(), set(NAMES)), kill
        if not died:
            break
    assert kill >= 8


@pytest.mark.parametrize("taken", [*NAMES, "IMG_1.CR3.xmp", "IMG_1.XMP"])
def test_nothing_is_replaced(inbox: Path, album: Path, taken: str) -> None:
    """Also no sidecar that a program would take for the photo's: the photo stays, all of it."""
    there = album / "2026" / "06" / taken
    there.parent.mkdir(parents=True)
    there.write_text("another's")
    with pytest.raises(NotReleased, match="is there already: move or rename one of the two"):
        prepare(moves_of(inbox, album), album)
    assert there.read_text() == "another's"
    assert {path.name for path in inbox.iterdir()} == {*NAMES}


@pytest.mark.parametrize("taken", NAMES)
def test_a_name_that_is_taken_meanwhile_puts_everything_back(
    inbox: Path, album: Path, taken: str, disk: str
) -> None:
    """Another program was faster: the photo is at one place, whole."""
    moves = moves_of(inbox, album)
    prepare(moves, album)
    there = album / "2026" / "06" / taken
    there.write_text("another's")
    with pytest.raises(NotReleased, match="is there already"):
        carry_out(moves)
    assert there.read_text() == "another's"
    assert {path.name for path in there.parent.iterdir()} == {taken}, disk
    assert {path.name for path in inbox.iterdir()} == {*NAMES}


def test_a_folder_that_is_a_link_is_refused_before_anything_is_noted(
    inbox: Path, album: Path, tmp_path: Path
) -> None:
    """A move that is noted and can never be carried out would keep all other photos waiting."""
    (tmp_path / "elsewhere").mkdir()
    (album / "2026").mkdir()
    (album / "2026" / "06").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
        prepare(moves_of(inbox, album), album)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_takes_no_file_puts_everything_back(
    inbox: Path, album: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """Full or read-only: the photo stays as a whole, and others are not kept waiting by it."""
    real = files.copy_owner

    def full(descriptor: int, status: os.stat_result, mode: int) -> None:
        if status.st_size == (inbox / "IMG_1.JPG").stat().st_size:
            raise OSError(fault, os.strerror(fault))
        real(descriptor, status, mode)

    monkeypatch.setattr(files, "rename_new", lambda _path, _new: False)
    monkeypatch.setattr(files, "link", lambda _path, _new: False)
    moves = moves_of(inbox, album)
    prepare(moves, album)
    monkeypatch.setattr(files, "copy_owner", full)
    with pytest.raises(NotReleased, match=os.strerror(fault)):
        carry_out(moves)
    assert state(inbox, album) == (set(NAMES), set())


def test_a_sidecar_that_is_changed_while_it_moves_is_kept(inbox: Path, album: Path) -> None:
    """Killed in between, and the user wrote meanwhile: both are there, nothing is lost."""
    moves = moves_of(inbox, album)
    prepare(moves, album)
    release._publish(moves[0])
    changed = inbox / "new"
    changed.write_text("by the user")
    changed.replace(inbox / "IMG_1.xmp")
    with pytest.raises(NotReleased, match=r"IMG_1\.xmp is there already"):
        carry_out(moves)
    assert (inbox / "IMG_1.xmp").read_text() == "by the user"
    assert (inbox / "IMG_1.JPG").exists()


def test_a_folder_that_is_not_there_is_not_made(inbox: Path, tmp_path: Path) -> None:
    """It may be a disk that is not mounted: photos would go where nobody looks."""
    with pytest.raises(NotReleased, match="is not there: mount or create it"):
        prepare(moves_of(inbox, tmp_path / "gone"), tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_a_link_in_the_way_is_not_followed(inbox: Path, album: Path, tmp_path: Path) -> None:
    """Whoever may write to the album leads no photo elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (album / "2026").symlink_to(elsewhere)
    with pytest.raises((NotReleased, OSError)):
        prepare(moves_of(inbox, album), album)
    assert not list(elsewhere.iterdir())
