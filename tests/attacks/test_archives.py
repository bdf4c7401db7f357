"""Another user, who owns the import folder, exchanges what an archive is unpacked into."""

from __future__ import annotations

import json
import os
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.program import until
from support.racing import RACES, give, needs_root, stealing, swapping

from taggerd.arrivals import archives
from taggerd.arrivals.members import SCRATCH, UnpackRequest
from taggerd.errors import PhotoGone, StorageError, TaggerdError
from taggerd.photo import Stamp
from taggerd.settings import Arrivals

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import Program

MEMBERS = 8


def archive(path: Path) -> Path:
    """Make an archive whose members say that everybody may do everything with them."""
    with zipfile.ZipFile(path, "w") as made:
        for number in range(MEMBERS):
            info = zipfile.ZipInfo(f"DCIM/{number}.jpg")
            info.external_attr = 0o106777 << 16
            made.writestr(info, b"from the archive")
    give(path)
    path.chmod(0o777)
    return path


def unpack(path: Path, stamp: Stamp | None = None) -> Path:
    """Unpack the archive at *path* as the service does, a member at a time."""
    request = UnpackRequest(path, stamp or Stamp.of(path.lstat()), Arrivals())
    known = archives.contents(request)
    with archives.begin(request) as scratch:
        try:
            begin = 0
            while begin < known.members:
                begin = archives.unpack(request, scratch, begin, 0.0).begin
            return archives.publish(request, scratch, known.identity)
        except TaggerdError:
            with suppress(OSError):
                archives.remove(scratch)
            raise


class Outside:
    """A folder of root's, out of the import folder, with a file in it."""

    def __init__(self, folder: Path) -> None:
        """Make it."""
        self.folder = folder
        (folder / "DCIM").mkdir(parents=True)
        (folder / "secret").write_bytes(b"secret")
        for path in (folder, folder / "DCIM"):
            path.chmod(0o700)
        (folder / "secret").chmod(0o600)
        self._before = self._seen()

    def _seen(self) -> list[object]:
        kept = ("st_mode", "st_uid", "st_gid", "st_ino", "st_nlink", "st_ctime_ns")
        paths = sorted([self.folder, *self.folder.rglob("*")])
        return [(path, [getattr(path.lstat(), name) for name in kept]) for path in paths]

    def check(self) -> None:
        """Nothing has come, nothing has gone, nothing belongs to anybody else."""
        assert self._seen() == self._before


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    """Return a folder that nothing may get into."""
    return Outside(tmp_path / "outside")


@pytest.mark.parametrize("moment", ["between steps", "before it is published", "before it begins"])
def test_a_link_in_place_of_the_scratch_folder_leads_nowhere(
    inbox: Path, outside: Outside, moment: str
) -> None:
    """What is unpacked stays in the folder that was made for it, wherever that is moved to."""
    path = archive(inbox / "card.zip")
    request = UnpackRequest(path, Stamp.of(path.lstat()), Arrivals())
    known = archives.contents(request)
    if moment == "before it begins":
        (inbox / request.scratch.name).symlink_to(outside.folder)
        assert unpack(path).parent == inbox
    else:
        with archives.begin(request) as scratch:
            begin = archives.unpack(request, scratch, 0, 0.0).begin
            if moment == "before it is published":
                archives.unpack(request, scratch, begin, 60.0)
            scratch.path.rename(inbox / "away")
            scratch.path.symlink_to(outside.folder)
            with suppress(TaggerdError):
                archives.unpack(request, scratch, begin, 60.0)
            with pytest.raises(TaggerdError):
                archives.publish(request, scratch, known.identity)
    outside.check()


def test_a_scratch_folder_that_is_stolen_as_it_is_made_is_a_fault_of_its_folder(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive, which is still there, is not taken for gone: it is reported and tried again."""
    path = archive(inbox / "card.zip")
    make = os.mkdir

    def stolen(name: str, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        os.rename(name, "away", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", stolen)
    with pytest.raises(StorageError, match="another program moved what was unpacked"):
        unpack(path)
    (inbox / "away").rmdir()

    def gone(name: str, mode: int, *, dir_fd: int) -> None:
        path.unlink()
        stolen(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", gone)
    with pytest.raises(PhotoGone):
        unpack(path)


def test_a_leftover_that_is_somebody_else_s_is_not_removed(inbox: Path) -> None:
    """Whoever gives another's folder the name of a leftover does not have it deleted by us."""
    needs_root()
    path = archive(inbox / "card.zip")
    request = UnpackRequest(path, Stamp.of(path.lstat()), Arrivals())
    theirs = request.scratch
    theirs.mkdir()
    (theirs / "photo.jpg").write_bytes(b"precious")
    give(theirs, theirs / "photo.jpg")
    archives.clear(theirs)
    assert unpack(path) == inbox / "card"
    assert (theirs / "photo.jpg").read_bytes() == b"precious"


def test_owner_and_mode_are_the_folder_s(inbox: Path) -> None:
    """Not the archive's, and not what its members claim."""
    needs_root()
    os.chown(inbox, 12, 34)
    inbox.chmod(0o2750)
    folder = unpack(archive(inbox / "card.zip"))
    for path, mode in ((folder, 0o2750), (folder / "DCIM", 0o2750), (folder / "DCIM/0.jpg", 0o640)):
        status = path.lstat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12, 34, mode)


@pytest.mark.parametrize(
    "races", [20, pytest.param(RACES, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_the_scratch_folder_is_stolen_while_an_archive_is_unpacked(
    inbox: Path, outside: Outside, races: int
) -> None:
    """Nothing outside the import folder gets another owner, another mode or another file."""
    needs_root()
    give(inbox)
    inbox.chmod(0o777)
    with stealing(inbox, SCRATCH, outside.folder):
        for number in range(races):
            path = archive(inbox / f"{number}.zip")
            with suppress(TaggerdError):
                unpack(path)
            outside.check()
    assert any(inbox.glob("stolen-*")), "the attack never came in time"


@pytest.mark.parametrize(
    "races", [20, pytest.param(RACES, marks=pytest.mark.long)], ids=["few", "many"]
)
def test_the_archive_s_own_folder_is_swapped_while_it_is_unpacked(
    inbox: Path, outside: Outside, races: int
) -> None:
    """An archive below a folder that becomes a link is unpacked in its own folder or not at all."""
    needs_root()
    sub, link = inbox / "sub", inbox / "link"
    (sub / "DCIM").mkdir(parents=True)
    link.symlink_to(outside.folder)
    give(inbox, sub)
    held = os.open(sub / "DCIM", os.O_RDONLY)
    with swapping(sub, link):
        for number in range(races):
            name = f"{number}.zip"
            os.rename(archive(inbox / name), name, dst_dir_fd=held)
            stamp = Stamp.of(os.stat(name, dir_fd=held))
            with suppress(TaggerdError):
                unpack(sub / "DCIM" / name, stamp)
            outside.check()
    os.close(held)


def test_the_service_gives_nobody_a_folder(taggerd: Program, inbox: Path, outside: Outside) -> None:
    """The same against the whole program, as root: it says what it could not do, and goes on."""
    needs_root()
    give(inbox)
    taggerd.environment |= {
        "TAGGERD__ARRIVALS__ROOTS": json.dumps([os.fspath(inbox)]),
        "TAGGERD__ARRIVALS__UNPACK": "true",
    }
    daemon = taggerd.start()
    with stealing(inbox, SCRATCH, outside.folder):
        for number in range(3):
            archive(inbox / f"{number}.zip")
        said = ("archive cannot be unpacked yet", "archive unpacked")
        until(lambda: sum(map(taggerd.log().count, said)) >= 3)
    assert taggerd.stop(daemon) == 0
    outside.check()
