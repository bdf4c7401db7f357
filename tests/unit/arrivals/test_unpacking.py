"""Unpacking: what is remembered of archives, what is tried again, and when."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import threading
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from support.arriving import InProcess

from taggerd import settings
from taggerd.arrivals import archives, unpacking
from taggerd.arrivals.unpacking import Unpacking, keywords_of_archive
from taggerd.errors import StorageError, WorkerLost
from taggerd.ledger import SqliteLedger
from taggerd.photo import Keyword, Photo, PhotoFile, Stamp
from taggerd.retry import ARCHIVE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from taggerd.files import OpenFile


class Machine:
    """An import folder, a ledger, and a clock that is set."""

    def __init__(self, folder: Path, ledger: SqliteLedger) -> None:
        """Begin at the clock's zero."""
        self.folder = folder
        self.ledger = ledger
        self.workers = InProcess()
        self.now = 0.0
        self.unpacked = asyncio.Event()
        self.unpacking = self.restarted()

    def restarted(self) -> Unpacking:
        """Return another run on the same ledger."""
        return Unpacking(
            settings.Arrivals.model_validate({"unpack": True}),
            self.ledger,
            self.workers,
            unpacked=lambda _folder: self.unpacked.set(),
            clock=lambda: self.now,
        )

    def archive(self, name: str = "a.zip", data: bytes = b"1") -> PhotoFile:
        """Make an archive of one photo."""
        with zipfile.ZipFile(self.folder / name, "w") as made:
            made.writestr("x.jpg", data)
        return self.file(name)

    def file(self, name: str = "a.zip") -> PhotoFile:
        """Return an archive as it is now."""
        path = self.folder / name
        return PhotoFile(path, Stamp.of(path.lstat()))

    async def knows(self, file: PhotoFile) -> bool:
        """Say whether a walk would pass *file* over, whichever way it asks."""
        known = (await self.unpacking.known(self.folder)).get(file.path) == file.stamp
        (rows,) = await self.unpacking.stamps([self.folder])
        assert ((os.fsencode(file.path.name), *file.stamp) in rows) == known
        assert await self.unpacking.unknown([file]) == ([] if known else [file])
        return known


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """Give a machine with an empty import folder."""
    folder = tmp_path / "import"
    folder.mkdir()
    ledger = await SqliteLedger.open(tmp_path / "state")
    yield Machine(folder, ledger)
    await ledger.close()


async def test_it_is_unpacked_once_and_known_from_then_on(machine: Machine) -> None:
    """Also by the next run, also when it was touched, copied over with itself or renamed."""
    file = machine.archive()
    assert not await machine.knows(file)
    assert (await machine.unpacking.unpack(file)).folder == machine.folder / "a"
    assert await machine.knows(file)
    shutil.rmtree(machine.folder / "a")
    machine.unpacking = machine.restarted()
    assert await machine.knows(file)
    os.utime(file.path, (1, 1))
    assert not await machine.knows(machine.file())
    assert await machine.unpacking.unpack(machine.file()) == (None, "")
    assert await machine.knows(machine.file())
    file.path.rename(machine.folder / "b.zip")
    assert await machine.unpacking.unpack(machine.file("b.zip")) == (None, "")
    assert [path.name for path in machine.folder.iterdir()] == ["b.zip"]
    assert machine.workers.calls.count("unpack") == 1


async def test_a_reload_does_not_lock_an_archive_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is cancelled while a slow disk opens it leaves no lock behind: nobody would end that."""
    file, lock = machine.archive(), unpacking._lock
    begun, go_on, locked = threading.Event(), threading.Event(), threading.Event()

    def slow(path: Path) -> tuple[OpenFile | None, bool]:
        begun.set()
        go_on.wait(180)
        try:
            return lock(path)
        finally:
            locked.set()

    monkeypatch.setattr(unpacking, "_lock", slow)
    cancelled = asyncio.create_task(machine.unpacking.unpack(file))
    await asyncio.to_thread(begun.wait, 180)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    go_on.set()
    await asyncio.to_thread(locked.wait, 180)
    monkeypatch.setattr(unpacking, "_lock", lock)
    async with asyncio.timeout(180):
        while (done := await machine.restarted().unpack(file)).reason:
            pass  # the thread's end is not known here yet
    assert done.folder == machine.folder / "a"


async def test_photos_and_archives_are_known_together(machine: Machine) -> None:
    """A walk compares both at once; where nothing is unpacked, photos alone are looked up."""
    archive = machine.archive()
    (machine.folder / "a.jpg").touch()
    (machine.folder / "new.jpg").touch()
    photo, new = machine.file("a.jpg"), machine.file("new.jpg")
    await machine.ledger.admit([photo])
    assert await machine.unpacking.unknown([photo, archive, new]) == [new, archive]
    await machine.unpacking.unpack(archive)
    assert await machine.unpacking.unknown([photo, archive, new]) == [new]
    expected = {photo.path: photo.stamp, archive.path: archive.stamp}
    assert await machine.unpacking.known(machine.folder) == expected
    (rows,) = await machine.unpacking.stamps([machine.folder])
    assert rows == {(os.fsencode(path.name), *stamp) for path, stamp in expected.items()}
    off = Unpacking(settings.Arrivals(), machine.ledger, machine.workers)
    assert await off.known(machine.folder) == {photo.path: photo.stamp}
    assert await off.stamps([machine.folder]) == await machine.ledger.stamps([machine.folder])


async def test_another_content_or_another_archive_is_unpacked(machine: Machine) -> None:
    """A replaced one into a free name; a copy that lies beside it into its own."""
    await machine.unpacking.unpack(machine.archive())
    assert (
        await machine.unpacking.unpack(machine.archive(data=b"22"))
    ).folder == machine.folder / "a-2"
    shutil.copy(machine.folder / "a.zip", machine.folder / "copy.zip")
    copied = await machine.unpacking.unpack(machine.file("copy.zip"))
    assert copied.folder == machine.folder / "copy"


async def test_a_disk_without_room_is_tried_again_later(machine: Machine) -> None:
    """Not at every walk, and not never; a restart tries at once. Nothing is left behind."""
    file = machine.archive()
    machine.workers.failure = StorageError("no room")
    assert await machine.unpacking.unpack(file) == (None, "no room")
    assert await machine.knows(file)
    machine.now = ARCHIVE_SECONDS - 1
    assert await machine.knows(file)
    machine.now = ARCHIVE_SECONDS + 1
    assert not await machine.knows(file)
    machine.workers.failure = None
    assert (await machine.unpacking.unpack(file)).folder is not None


async def test_an_archive_that_kills_its_process_is_refused_for_good(machine: Machine) -> None:
    """Its bytes are at fault; others bytes under its name get another try."""
    file = machine.archive()
    machine.workers.failure = WorkerLost("it swelled")
    assert await machine.unpacking.unpack(file) == (None, "it swelled")
    machine.workers.failure = None
    machine.unpacking = machine.restarted()
    assert await machine.knows(file)
    assert await machine.unpacking.unpack(file) == (None, "it swelled")
    assert (
        await machine.unpacking.unpack(machine.archive(data=b"22"))
    ).folder == machine.folder / "a"


async def test_what_fails_half_way_leaves_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hidden folder goes with the failure."""
    file = machine.archive()

    def fails(_request: object, _scratch: object, _identity: str) -> Path:
        message = "cannot be renamed"
        raise StorageError(message)

    monkeypatch.setattr(archives, "publish", fails)
    fails.__name__ = "publish"
    assert (await machine.unpacking.unpack(file)).reason == "cannot be renamed"
    assert [path.name for path in machine.folder.iterdir()] == ["a.zip"]


async def test_one_that_another_taggerd_is_at_is_left_to_it(machine: Machine) -> None:
    """Two at once would make two folders."""
    file = machine.archive()
    with file.path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        done = await machine.unpacking.unpack(file)
    assert done == (None, "another taggerd is unpacking it")
    assert machine.workers.calls == []
    assert (await machine.unpacking.unpack(file)).folder is not None


async def test_no_archive_ends_the_service(machine: Machine) -> None:
    """Whatever one of them does, the next one is unpacked; waiting ones are known."""
    first, second = machine.archive("first.zip"), machine.archive("second.zip")
    machine.workers.failure = RuntimeError("unheard of")
    machine.unpacking.put([first])
    assert await machine.knows(first)
    running = asyncio.create_task(machine.unpacking.run())
    await asyncio.wait_for(machine.workers.called.wait(), 180)
    machine.workers.failure = None
    machine.unpacking.put([second])
    await asyncio.wait_for(machine.unpacked.wait(), 180)
    assert (machine.folder / "second").is_dir()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert await machine.knows(first)


async def test_own_keywords_are_trimmed_and_nothing_else(machine: Machine) -> None:
    """Spelled as the user spells them, each once, and only for what came out of an archive."""
    arrivals = settings.Arrivals.model_validate(
        {
            "archive_keywords": [
                " The Smiths' Weddings ",
                "{archive}",
                "",
                "a",
                "The Smiths' Weddings",
            ]
        }
    )
    await machine.unpacking.unpack(machine.archive("2025 {x}.zip"))
    inside = Photo((machine.file("2025 {x}/x.jpg"),))
    words = await keywords_of_archive(inside, arrivals)
    assert words == (Keyword("The Smiths' Weddings"), Keyword("2025 {x}"), Keyword("a"))
    (machine.folder / "y.jpg").touch()
    assert await keywords_of_archive(Photo((machine.file("y.jpg"),)), arrivals) == ()
    assert await keywords_of_archive(inside, settings.Arrivals()) == ()
