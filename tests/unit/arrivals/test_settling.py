"""When a file counts as complete."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from taggerd import files
from taggerd.arrivals.settling import Settling, confirm
from taggerd.arrivals.walk import Seen, see
from taggerd.errors import PhotoChanged, PhotoGone
from taggerd.photo import Photo, PhotoFile, Stamp

WALL = 1_800_000_000.0


class Disk:
    """Files that change as a test says."""

    def __init__(self) -> None:
        """Start empty."""
        self.files: dict[Path, os.stat_result] = {}
        self.fails = False

    def put(
        self, name: str, size: int, mtime: float = WALL, ctime: float = WALL, inode: int = 5
    ) -> Seen:
        """Write a file and see it."""
        path = Path("/root/import") / name
        mode = 0o100644
        whole = (mode, inode, 1, 1, 0, 0, size, 0, int(mtime), int(ctime))
        times = (0.0, mtime, ctime, 0, int(mtime * 1e9), int(ctime * 1e9))
        self.files[path] = os.stat_result((*whole, *times))
        return self.see(name)

    def see(self, name: str) -> Seen:
        """Look at a file as a walk would."""
        path = Path("/root/import") / name
        status = self.files[path]
        return Seen(PhotoFile(path, Stamp.of(status)), status.st_ctime_ns)

    def lstat(self, path: Path) -> os.stat_result:
        """Answer like `os.lstat`."""
        if self.fails:
            raise OSError(5, "Input/output error")
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Give an empty disk, and a wall clock that stands still."""
    disk = Disk()
    monkeypatch.setattr(files, "lstat", disk.lstat)
    monkeypatch.setattr(time, "time", lambda: WALL)
    return disk


@pytest.fixture
def settling(disk: Disk) -> Settling:
    """Wait five seconds on *disk*."""
    assert not disk.files
    return Settling(5)


def due(settling: Settling, now: float) -> list[tuple[str, int]]:
    """Return name and size of what is settled at *now*."""
    return [(file.path.name, file.stamp.size) for file in settling.due(now)]


def test_settles_once_after_the_wait(disk: Disk, settling: Settling) -> None:
    """A file is released once, when nothing happened to it for the whole wait."""
    settling.observe(disk.put("a.jpg", 10), 100)
    assert settling.next_due() == 105
    assert due(settling, 104.9) == []
    assert due(settling, 105) == [("a.jpg", 10)]
    assert due(settling, 200) == []
    assert len(settling) == 0
    assert settling.next_due() is None


def test_an_event_starts_the_wait_again(disk: Disk, settling: Settling) -> None:
    """Each event on a file puts its release off."""
    for second in range(20):
        settling.observe(disk.put("a.jpg", second), 100 + second)
        assert due(settling, 100 + second) == []
    assert due(settling, 123.9) == []
    assert due(settling, 124) == [("a.jpg", 19)]


@pytest.mark.parametrize(
    "change",
    [{"size": 11}, {"mtime": WALL + 1}, {"mtime": 631_152_000.0}, {"inode": 6}],
    ids=["grew", "mtime", "mtime in 1990", "replaced"],
)
def test_a_change_without_an_event_is_noticed(
    disk: Disk, settling: Settling, change: dict[str, int]
) -> None:
    """A change without an event is seen when the time has come, and the file waits again."""
    settling.observe(disk.put("a.jpg", 10), 100)
    disk.put("a.jpg", **{"size": 10, **change})
    assert due(settling, 105) == []
    assert due(settling, 109.9) == []
    assert len(due(settling, 110)) == 1


def test_never_gives_up(disk: Disk, settling: Settling) -> None:
    """A file that grows for hours is asked about once, whole."""
    settling.observe(disk.put("a.jpg", 0), 0)
    now = 0.0
    for size in range(1, 2_000):
        now += 5
        disk.put("a.jpg", size)
        assert due(settling, now) == []
    assert due(settling, now + 5) == [("a.jpg", 1999)]


def test_files_of_one_stem_wait_for_each_other(disk: Disk, settling: Settling) -> None:
    """RAW and JPEG are released together, with the later of the two; others are not held up."""
    settling.observe(disk.put("IMG_1.JPG", 10), 100)
    settling.observe(disk.put("IMG_2.JPG", 30), 100)
    settling.observe(disk.put("IMG_1.CR3", 20), 104)
    assert due(settling, 105) == [("IMG_2.JPG", 30)]
    disk.put("IMG_1.CR3", 21)
    assert due(settling, 109) == []
    assert sorted(due(settling, 114)) == [("IMG_1.CR3", 21), ("IMG_1.JPG", 10)]


def test_what_is_gone_is_dropped(disk: Disk, settling: Settling) -> None:
    """A file that went is forgotten; the other of its stem still settles."""
    settling.observe(disk.put("a.jpg", 10), 100)
    settling.observe(disk.put("b.jpg", 10), 100)
    settling.observe(disk.put("b.cr3", 10), 100)
    disk.files.clear()
    disk.put("b.cr3", 10)
    assert due(settling, 105) == [("b.cr3", 10)]
    assert len(settling) == 0


def test_a_share_that_stumbles_drops_nothing(disk: Disk) -> None:
    """An I/O error is no proof that a file is gone."""
    settling = Settling(0)
    settling.observe(disk.put("a.jpg", 10), 100)
    disk.fails = True
    assert due(settling, 100) == []
    assert due(settling, 101) == []
    disk.fails = False
    assert due(settling, 102) == [("a.jpg", 10)]


@pytest.mark.parametrize(
    ("mtime", "ctime", "at_once"),
    [
        (WALL - 6, WALL - 6, True),
        (631_152_000.0, WALL - 6, True),
        (631_152_000.0, WALL - 1, False),
        (WALL - 1, WALL - 60, False),
        (WALL - 60, WALL - 4, False),
        (3_786_912_000.0, WALL - 60, False),
        (WALL - 60, WALL + 60, False),
    ],
    ids=[
        "old", "mtime 1990, old", "cp -p just now", "written just now",
        "not long enough", "mtime in 2090", "ctime in the future",
    ],
)  # fmt: skip
def test_old_files_found_by_a_walk_are_due_at_once(
    disk: Disk,
    settling: Settling,
    mtime: float,
    ctime: float,
    at_once: bool,
) -> None:
    """Only mtime and ctime together prove that a file has been lying there for long enough."""
    settling.observe(disk.put("a.jpg", 10, mtime, ctime), 100, event=False)
    assert bool(due(settling, 100)) is at_once
    assert bool(due(settling, 105)) is not at_once


def test_an_event_is_never_due_at_once(disk: Disk, settling: Settling) -> None:
    """Old times prove nothing about a file that something has just happened to."""
    settling.observe(disk.put("a.jpg", 10, WALL - 60, WALL - 60), 100)
    assert due(settling, 104) == []


def test_clocks_of_other_machines_prove_nothing(disk: Disk) -> None:
    """On a network share even old times are waited for."""
    settling = Settling(5, trust_times=False)
    settling.observe(disk.put("a.jpg", 10, WALL - 60, WALL - 60), 100, event=False)
    assert due(settling, 104) == []
    assert len(due(settling, 105)) == 1


def test_a_walk_does_not_put_a_release_off(disk: Disk, settling: Settling) -> None:
    """Polling faster than files settle must not keep them waiting for ever."""
    for second in range(5):
        settling.observe(disk.put("a.jpg", 10), 100 + second, event=False)
    assert due(settling, 105) == [("a.jpg", 10)]


def test_memory_is_bounded(disk: Disk) -> None:
    """Past its limit it says so instead of growing; a million events on one file are one entry."""
    settling = Settling(5, limit=4)
    assert all(settling.observe(disk.put(f"{n}.jpg", 1), 100) for n in range(4))
    assert not settling.observe(disk.put("5.jpg", 1), 100)
    assert not settling.roomy
    for _ in range(1_000):
        assert settling.observe(disk.see("0.jpg"), 100)
    assert len(settling) == len(settling._heap) == 4
    assert len(due(settling, 105)) == 4
    assert settling.roomy


async def test_confirm(tmp_path: Path) -> None:
    """Just before the sidecar is written, change and absence are told apart."""
    path = tmp_path / "a.jpg"
    path.write_bytes(b"1")
    seen = see(path)
    assert isinstance(seen, Seen)
    photo = Photo((seen.file,))
    await confirm(photo)
    path.write_bytes(b"12")
    with pytest.raises(PhotoChanged, match=r"a\.jpg"):
        await confirm(photo)
    path.unlink()
    with pytest.raises(PhotoGone, match=r"a\.jpg"):
        await confirm(photo)
