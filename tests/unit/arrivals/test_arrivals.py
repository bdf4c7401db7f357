"""Arrivals on the real file system: nothing missed, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import pytest
import structlog
from support.arriving import InProcess, Records, reconcile

from taggerd import settings
from taggerd.arrivals import Arrivals, Timing
from taggerd.arrivals.filters import Filters
from taggerd.arrivals.inotify import InotifyWatcher
from taggerd.arrivals.probe import Probe
from taggerd.arrivals.root import WatchedRoot
from taggerd.arrivals.walk import walk
from taggerd.photo import Photo
from taggerd.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from taggerd.arrivals.dependencies import RootHealth

TIMING = Timing(probe=0.05, gather=0.01, hung=60, start=60, retry=Backoff(0.05, 600), rewatch=0.2)
"""Often, but a machine that is busy is not taken for a disk that hangs."""
SETTLE_SECONDS = 0.2


class Service:
    """Running arrivals, and the means to wait for what they do."""

    def __init__(
        self, *roots: Path, mode: str = "inotify", timing: Timing = TIMING, **options: object
    ) -> None:
        """Serve *roots*."""
        self.records = Records()
        self.roots = roots
        self.admitted_when_expected: list[int] = []
        """How many photos were admitted, each time that more were announced."""
        tables = [{"path": root, "mode": mode} for root in roots]
        given = {"settle_seconds": SETTLE_SECONDS, "poll_seconds": 0.05, "roots": tables}
        self.arrivals = Arrivals(
            settings.Arrivals.model_validate(given | options),
            self.records,
            InProcess(),
            admit=self.records.admit,
            expect=self._expect,
            timing=timing,
        )
        self.task: asyncio.Task[None] | None = None

    def _expect(self, settling: int) -> None:
        assert settling
        self.admitted_when_expected.append(len(self.records.admitted))

    async def __aenter__(self) -> Self:
        """Start, and wait until the watches stand."""
        self.task = asyncio.create_task(self.arrivals.run())
        await asyncio.wait_for(self.arrivals.ready.wait(), 180)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        assert self.task is not None
        assert not self.task.done()
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    @property
    def watched(self) -> WatchedRoot:
        """The first root itself."""
        return self.arrivals._roots[0]

    @property
    def health(self) -> RootHealth:
        """The first root's health."""
        return self.arrivals.health()[0]

    async def reconcile(self) -> None:
        """Have the roots walked from now on, and wait for the end of it."""
        await reconcile(self.arrivals)

    def state(self) -> str:
        """Return the first root's state."""
        return self.health.state

    async def until(self, true: Callable[[], bool], seconds: float = 180) -> None:
        """Wait until *true*."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, (self.health, self.records.admitted)
            await asyncio.sleep(0.01)

    async def until_all_known(self, at_least: int) -> None:
        """Wait until every photo on disk is known as it is, and none was admitted twice."""

        def all_known() -> bool:
            on_disk = [s.file for root in self.roots for s in walk(root, Filters())]
            return len(on_disk) >= at_least and self.records.has(on_disk)

        await self.until(all_known)
        assert set(self.records.admitted.values()) <= {1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give an empty import folder."""
    path = tmp_path / "import"
    path.mkdir()
    return path


def tree(top: Path, folders: int, files: int) -> None:
    """Make *folders* folders of *files* photos, nested by two."""
    for number in range(folders):
        folder = top / f"{number}" / "deep"
        folder.mkdir(parents=True)
        for name in range(files):
            (folder / f"{name}.jpg").write_bytes(b"x" * name)
            (folder.parent / f"{name}.jpg").write_bytes(b"x" * name)


@pytest.fixture
async def service(root: Path) -> AsyncIterator[Service]:
    """Serve the import folder with inotify."""
    async with Service(root) as running:
        yield running


async def test_before_and_after_the_start(root: Path) -> None:
    """What lies there at the start and what comes later is admitted once; what is known is not."""
    tree(root, 3, 3)
    service = Service(root)
    old = next(walk(root, Filters())).file
    service.records.on_record[old.path.parent][old.path] = old.stamp
    async with service:
        (root / "1" / "later.jpg").write_bytes(b"1")
        (root / "1" / "later.txt").write_bytes(b"1")
        await service.until_all_known(19)
        assert (old.path, old.stamp) not in service.records.admitted
        assert len(service.records.admitted) == 18
        assert service.health.state == "watching"
        assert service.health.detail == ""
        await service.until(lambda: service.health.last_reconcile is not None)
        assert service.health.directories == 7
        assert service.health.watches == 7


async def test_photos_are_announced_while_they_settle(service: Service, root: Path) -> None:
    """Processes are started meanwhile; nothing is announced where nothing comes."""
    assert service.admitted_when_expected == []
    (root / "a.txt").write_bytes(b"1")
    (root / "a.jpg").write_bytes(b"1")
    await service.until_all_known(1)
    assert service.admitted_when_expected[0] == 0
    await service.reconcile()
    announced = len(service.admitted_when_expected)
    await service.reconcile()
    assert len(service.admitted_when_expected) == announced


async def test_trees_that_come_at_once(service: Service, root: Path, tmp_path: Path) -> None:
    """A copied tree, a moved one, and a deep path made and filled at once are seen whole."""
    tree(tmp_path / "source", 10, 10)
    await asyncio.to_thread(shutil.copytree, tmp_path / "source", root / "copied")
    (tmp_path / "source").rename(root / "moved")
    (root / "a/b/c/d").mkdir(parents=True)
    (root / "a/b/c/d/1.jpg").touch()
    await service.until_all_known(401)
    (root / "moved").rename(root / "a/b/renamed")
    await service.until_all_known(401)
    (root / "a/b/renamed/3/deep/probe.jpg").touch()
    await service.until_all_known(402)


async def test_a_file_written_in_pieces_is_admitted_once_and_whole(root: Path) -> None:
    """A slow copy is waited for; its last byte is there when it is admitted."""
    path = root / "slow.jpg"
    async with Service(root, settle_seconds=1.0) as service:
        with path.open("wb") as file:
            for _ in range(12):
                file.write(b"x" * 1000)
                file.flush()
                await asyncio.sleep(0.1)  # far less than it settles: a machine may be busy
        await service.until_all_known(1)
        assert [stamp.size for _, stamp in service.records.admitted] == [12_000]


async def test_a_photo_of_two_files_comes_in_one_batch(root: Path) -> None:
    """RAW and JPEG of one stem are admitted together, however they are copied."""
    async with Service(root, settle_seconds=1.0) as service:
        (root / "IMG_1.JPG").touch()
        await asyncio.sleep(0.1)
        (root / "IMG_1.CR3").touch()
        await service.until_all_known(2)
        (batch,) = service.records.batches
    assert {file.path.name for file in batch} == {"IMG_1.JPG", "IMG_1.CR3"}


async def test_a_changed_file_is_admitted_again(service: Service, root: Path) -> None:
    """A photo that is replaced is another photo."""
    (root / "a.jpg").write_bytes(b"1")
    await service.until_all_known(1)
    (root / "a.jpg").write_bytes(b"12")
    await service.until_all_known(1)
    assert len(service.records.admitted) == 2


async def test_what_is_known_is_not_even_waited_for(root: Path) -> None:
    """A walk puts only what is new to settling."""
    tree(root, 2, 2)
    service = Service(root, settle_seconds=60)
    files = [seen.file for seen in walk(root, Filters())]
    for file in files[1:]:
        service.records.on_record[file.path.parent][file.path] = file.stamp
    async with service:
        await service.reconcile()
        assert len(service.watched._intake.settling) == 1


async def test_an_event_without_a_change_admits_nothing(service: Service, root: Path) -> None:
    """A photo that was opened for writing and closed as it was is not admitted again."""
    (root / "a.jpg").write_bytes(b"1")
    await service.until_all_known(1)
    with (root / "a.jpg").open("r+b"):
        pass
    await asyncio.sleep(0.05)
    (root / "b.jpg").touch()
    await service.until_all_known(2)
    assert len(service.records.admitted) == 2


@pytest.mark.parametrize("told", ["everything", "tree", "folder", "file"])
async def test_every_hint_is_followed(service: Service, root: Path, told: str) -> None:
    """A hint of any size makes the files there be looked at; here they are known no more."""
    (root / "sub").mkdir()
    path = root / "sub" / "a.jpg"
    path.touch()
    await service.until_all_known(1)
    await service.reconcile()
    await service.until(lambda: not service.watched._reconciler.pending)
    service.records.on_record.clear()
    service.records.admitted.clear()
    dirty = service.watched.dirty
    if told == "everything":
        dirty.everything()
    elif told == "tree":
        dirty.tree(str(path.parent))
    elif told == "folder":
        for number in range(600):
            dirty.file(str(path.parent / f"{number}.jpg"))
    else:
        file = next(walk(root, Filters())).file
        service.arrivals.check_again(Photo((file,)))
    await service.until_all_known(1)


async def test_an_event_from_a_folder_that_is_not_there(service: Service, root: Path) -> None:
    """An event under a path that is not there shows a watch that lost track: it is replaced."""
    watcher = service.watched._watch._watcher
    service.watched.dirty.file(str(root / "nowhere" / "a.jpg"))
    await service.until(lambda: service.watched._watch._watcher not in {watcher, None})
    (root / "a.jpg").touch()
    await service.until_all_known(1)


async def test_more_files_than_may_wait(service: Service, root: Path) -> None:
    """Files there was no room for are found by a walk once the others are through."""
    service.watched._intake.settling._limit = 3
    for number in range(10):
        (root / f"{number}.jpg").touch()
    await service.until_all_known(10)


async def test_a_root_that_cannot_be_watched_is_polled(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without inotify the root is degraded, says why, and its files are found all the same."""

    def refuse(_self: InotifyWatcher) -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    monkeypatch.setattr(InotifyWatcher, "start", refuse)
    timing = Timing(probe=0.05, gather=0.01, retry=Backoff(60, 600))
    async with Service(root, timing=timing) as service:
        await service.reconcile()
        assert service.health.state == "degraded"
        assert "inotify instance limit reached" in service.health.detail
        await service.until(lambda: service.watched._watch._retry_at > 0)
        await service.reconcile()
        (root / "a.jpg").touch()
        await service.until_all_known(1)


async def test_the_start_waits_as_long_as_more_folders_are_watched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large tree may take minutes; one whose file system does not answer is not waited for."""
    asked, growing, answered = 0, True, threading.Event()

    def registered(_self: InotifyWatcher) -> int:
        nonlocal asked
        asked += growing
        return asked

    def start(_self: InotifyWatcher) -> None:
        answered.wait(180)

    monkeypatch.setattr(InotifyWatcher, "registered", registered)
    monkeypatch.setattr(InotifyWatcher, "start", start)
    service = Service(root, timing=replace(TIMING, start=0.01))
    arriving = asyncio.create_task(service.arrivals.run())
    await service.until(lambda: asked > 5)
    assert not service.arrivals.ready.is_set()
    growing = False
    await asyncio.wait_for(service.arrivals.ready.wait(), 180)
    answered.set()
    arriving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await arriving


async def test_a_root_that_is_missing_at_the_start(tmp_path: Path) -> None:
    """A missing root is offline, holds up nothing, and is served when it comes."""
    root = tmp_path / "later"
    async with Service(root) as service:
        assert service.state() == "offline"
        assert "does not exist" in service.health.detail
        await asyncio.wait_for(service.reconcile(), 180)
        root.mkdir()
        (root / "a.jpg").touch()
        await service.until_all_known(1)
        assert service.state() == "watching"
        (root / "b.jpg").touch()
        await service.until_all_known(2)


async def test_a_root_renamed_and_back(service: Service, root: Path, tmp_path: Path) -> None:
    """A root that goes is offline; what changed while it was away is found when it returns."""
    (root / "a.jpg").touch()
    await service.until_all_known(1)
    os.rename(root, tmp_path / "away")  # noqa: PTH104 - ASYNC240 asks for it
    await service.until(lambda: service.health.state == "offline")
    (tmp_path / "away" / "b.jpg").touch()
    (tmp_path / "away").rename(root)
    await service.until_all_known(2)
    await service.until(lambda: service.health.state == "watching")
    (root / "c.jpg").touch()
    await service.until_all_known(3)


@pytest.mark.parametrize("noticed", [True, False], ids=["slowly", "at once"])
async def test_a_root_deleted_and_made_again(
    service: Service,
    root: Path,
    noticed: bool,
) -> None:
    """A root made again is served, also if it got the old one's inode before anybody looked."""
    (root / "a.jpg").touch()
    await service.until_all_known(1)
    shutil.rmtree(root)
    if noticed:
        await service.until(lambda: service.health.state == "offline")
    (root / "new").mkdir(parents=True)
    (root / "new" / "b.jpg").touch()
    await service.until_all_known(1)
    await service.until(lambda: service.health.state == "watching")
    (root / "new" / "c.jpg").touch()
    await service.until_all_known(2)


async def mounted(point: Path) -> None:
    """Mount an empty file system at *point*, or skip the test."""
    mount = ["mount", "-t", "tmpfs", "taggerd-test", os.fspath(point)]
    done = await asyncio.to_thread(subprocess.run, mount, check=False, capture_output=True)
    if done.returncode:
        pytest.skip("mounting needs root: " + done.stderr.decode().strip())


async def unmounted(point: Path) -> None:
    """Take it away again."""
    await asyncio.to_thread(subprocess.run, ["umount", "-l", os.fspath(point)], check=True)


async def test_a_mount_over_the_root(service: Service, root: Path) -> None:
    """An empty file system in the root's place is not the root emptied; a filled one is served."""
    (root / "a.jpg").touch()
    await service.until_all_known(1)
    await mounted(root)
    try:
        await service.until(lambda: service.health.state == "offline")
        assert "mounted" in service.health.detail
        (root / "on-the-card.jpg").touch()
        await service.until_all_known(1)
        assert service.health.state == "watching"
    finally:
        await unmounted(root)
    (root / "b.jpg").touch()
    await service.until_all_known(2)
    await service.until(lambda: service.health.state == "watching")


async def test_polling(root: Path) -> None:
    """A polled root finds the same files without any watch, and waits for them too."""
    tree(root, 2, 2)
    async with Service(root, mode="poll") as service:
        await service.until_all_known(8)
        (root / "0" / "new").mkdir()
        (root / "0" / "new" / "a.jpg").touch()
        await service.until_all_known(9)
        assert (service.health.mode, service.health.state) == ("poll", "polling")
        assert service.health.watches == 0


async def test_how_long_until_the_next_walk(root: Path) -> None:
    """Polling pauses ten times as long as a walk took; a watched root is walked at random times."""
    polled = Service(root, mode="poll", poll_seconds=3).arrivals._roots[0]
    assert polled._interval() == 3
    polled._walk_seconds = 7
    assert polled._interval() == 70
    watched = Service(root, reconcile_minutes=10).arrivals._roots[0]
    times = [watched._interval() for _ in range(50)]
    assert 540 <= min(times) < max(times) <= 660


async def test_polling_measures_its_walks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time a walk takes decides the pause after it."""
    pauses: list[float] = []
    interval = WatchedRoot._interval

    def noted(self: WatchedRoot) -> float:
        pauses.append(self._walk_seconds)
        return interval(self)

    monkeypatch.setattr(WatchedRoot, "_interval", noted)
    async with Service(root, mode="poll") as service:
        await service.until(lambda: len(pauses) > 3)
        assert 0 < max(pauses) < 30


async def test_not_recursive(root: Path) -> None:
    """Without recursion the folders below are left alone, at the start and later."""
    tree(root, 1, 1)
    async with Service(root, recursive=False) as service:
        (root / "0" / "b.jpg").touch()
        (root / "new").mkdir()
        (root / "new" / "c.jpg").touch()
        (root / "a.jpg").touch()
        await service.until(lambda: bool(service.records.batches))
        await service.reconcile()
        assert {path.name for path, _ in service.records.admitted} == {"a.jpg"}


async def test_a_watch_that_was_lost_is_found_out(service: Service, root: Path) -> None:
    """A folder the kernel no longer watches is noticed by its list, and watched again."""
    (root / "deaf").mkdir()
    (root / "deaf" / "a.jpg").touch()
    await service.until_all_known(1)
    watcher = service.watched._watch._watcher
    assert watcher is not None
    observer = watcher._observer
    assert observer is not None
    inode = (root / "deaf").stat().st_ino
    for descriptor, watch in list(observer.inotify._watch_for_wd.items()):
        if watch._initial_creation_path.endswith(b"deaf"):
            observer.inotify.remove_callbacks([(descriptor, key) for key in watch.callbacks])
    assert inode not in watcher.watched()
    (root / "deaf" / "b.jpg").touch()
    await service.reconcile()
    await service.until_all_known(2)
    await service.until(lambda: service.watched._watch._watcher is not watcher)
    await service.until(lambda: service.health.state == "watching")
    (root / "deaf" / "c.jpg").touch()
    await service.until_all_known(3)


async def test_a_dead_thread_is_replaced(service: Service, root: Path) -> None:
    """When a thread of the watch dies, another takes over and what was missed is found."""
    watcher = service.watched._watch._watcher
    assert watcher is not None
    assert watcher._observer is not None
    watcher._observer.inotify.handle_event = None  # type: ignore[assignment, method-assign]  # the injected fault
    (root / "a.jpg").touch()
    await service.until_all_known(1)
    await service.until(lambda: service.health.state == "watching")
    (root / "b.jpg").touch()
    await service.until_all_known(2)


async def test_a_queue_that_fails_loses_nothing(service: Service, root: Path) -> None:
    """When files cannot be admitted the task starts again and admits them then."""
    service.records.failures = [OSError(28, "No space left on device") for _ in range(2)]
    (root / "a.jpg").touch()
    await service.until(lambda: service.health.state == "degraded")
    assert "No space left" in service.health.detail
    await service.until_all_known(1)
    await service.until(lambda: service.health.state == "watching")


async def test_a_file_system_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A root that does not answer is offline, and neither the start nor the others wait for it."""
    hung, good = tmp_path / "hung", tmp_path / "good"
    hung.mkdir()
    good.mkdir()
    (hung / "a.jpg").touch()
    release = threading.Event()
    probe = Probe.at

    def hanging(path: Path, filters: Filters) -> object:
        if path == hung:
            release.wait(180)
        return probe(path, filters)

    monkeypatch.setattr(Probe, "at", hanging)
    async with Service(hung, good, timing=replace(TIMING, hung=0.3, start=0.5)) as service:
        (good / "b.jpg").touch()
        await service.until(lambda: bool(service.records.batches))
        await service.until(lambda: service.health.state == "offline")
        assert "not answered" in service.health.detail
        release.set()
        await service.until_all_known(2)


async def test_a_whole_walk_can_be_asked_for_by_any_thread(service: Service) -> None:
    """The inotify thread asks for one when the kernel dropped events."""
    await service.reconcile()
    walked, walks = service.health.last_reconcile, service.health.reconciles
    await asyncio.to_thread(service.watched.dirty.everything)
    await service.until(lambda: service.health.last_reconcile != walked)
    assert service.health.reconciles == walks + 1


async def test_overflows_are_counted_over_new_watches(service: Service) -> None:
    """A watch that is installed again begins at zero; the count does not."""
    await service.reconcile()
    watch = service.watched._watch
    for expected in (1, 2):
        assert watch._watcher is not None
        watch._watcher._overflowed()
        assert service.health.overflows == expected
        await watch.install()
        assert service.health.overflows == expected


async def test_a_root_in_another_is_served_once_by_its_own_settings(tmp_path: Path) -> None:
    """What lies in an inner import folder is the inner one's alone, seen by walk or by event."""
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "a.jpg").touch()
    async with Service(outer, inner) as service:
        await service.until_all_known(1)
        (inner / "b.jpg").touch()
        (outer / "c.jpg").touch()
        await service.until_all_known(3)
        await service.reconcile()
        of_outer, of_inner = service.arrivals._roots
        assert of_outer.filters.verdict(inner / "a.jpg", outer) == "an import folder of its own"
        assert of_inner.filters.verdict(inner / "a.jpg", inner) == ""
        assert (of_outer.health().directories, of_inner.health().directories) == (1, 1)


def test_a_root_named_twice_is_refused(tmp_path: Path) -> None:
    """The same folder twice is a mistake that is named, however it is written."""
    with pytest.raises(ValueError, match="listed twice"):
        settings.Arrivals.model_validate({"roots": [tmp_path, f"{tmp_path}/x/.."]})


async def test_taggerd_s_own_pictures_are_no_photos(root: Path) -> None:
    """A state directory below an import folder does not feed its thumbnails back."""
    state = root / "state"
    (state / "thumbnails").mkdir(parents=True)
    (state / "thumbnails" / "old.jpg").touch()
    service = Service(root)
    service.arrivals = Arrivals(
        settings.Arrivals(roots=[settings.Root(path=root)], settle_seconds=SETTLE_SECONDS),
        service.records,
        InProcess(),
        admit=service.records.admit,
        timing=TIMING,
        own_folders=[state],
    )
    async with service:
        (state / "thumbnails" / "new.jpg").touch()
        (root / "a.jpg").touch()
        await service.until(lambda: bool(service.records.admitted))
        await service.reconcile()
        await asyncio.sleep(2 * SETTLE_SECONDS)
        assert {path.name for path, _ in service.records.admitted} == {"a.jpg"}


async def test_a_card_mounted_below_the_root(service: Service, root: Path) -> None:
    """A mount below the root makes no event; it is noticed, read and watched all the same."""
    card = root / "card"
    card.mkdir()
    await service.until(lambda: service.health.watches == 2)
    await mounted(card)
    try:
        await service.until(lambda: service.health.watches == 2)
        (card / "a.jpg").touch()
        await service.until_all_known(1)
        (card / "b.jpg").touch()
        await service.until_all_known(2)
    finally:
        await unmounted(card)
    (card / "c.jpg").touch()
    await service.until_all_known(1)


async def test_what_is_said_once(service: Service) -> None:
    """A change of health is logged once, and not again because a number in it moved."""
    await service.reconcile()  # its end would be the end of a failure
    with structlog.testing.capture_logs() as lines:
        for missing in (3, 4, 5):
            service.watched._failure = f"{missing} of 40 folders are not watched"
            probe = service.watched._next_probe
            await service.until(lambda probe=probe: service.watched._next_probe != probe)  # type: ignore[misc]  # mypy infers no default
    assert [line["event"] for line in lines if line["event"] == "degraded"] == ["degraded"]


async def test_stopping_ends_all_threads(root: Path) -> None:
    """After the stop no thread of arrivals is left."""
    before = set(threading.enumerate())
    async with Service(root) as service:
        await service.reconcile()
        assert len(set(threading.enumerate()) - before) >= 4
    end = time.monotonic() + 60
    while {t for t in threading.enumerate() if "asyncio" not in t.name} - before:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("ticks", range(5))
async def test_a_stop_that_comes_with_an_event_is_heard(root: Path, ticks: int) -> None:
    """However close a wake-up comes before it: a root that goes on would hold up the service."""
    service = Service(root, timing=replace(TIMING, probe=30, gather=0))
    async with service:
        await service.until(lambda: service.health.last_reconcile is not None)
        await asyncio.sleep(0.05)  # it rests
        service.watched._awake.set()
        for _ in range(ticks):
            await asyncio.sleep(0)
        assert service.task is not None
        service.task.cancel()
        ended, _ = await asyncio.wait({service.task}, timeout=30)
        assert ended
        service.task = asyncio.create_task(asyncio.sleep(9))


async def test_a_root_that_another_host_watches_is_left_alone(tmp_path: Path) -> None:
    """Nothing is admitted from it; once it is this host's, what came meanwhile is found."""
    service = Service(tmp_path)
    service.arrivals.leave_to_others({tmp_path: "nas watches it"})
    (tmp_path / "before.jpg").write_bytes(b"1")
    async with service:
        assert (service.state(), service.health.detail) == ("elsewhere", "nas watches it")
        assert service.health.watches == 0
        service.arrivals.leave_to_others({})
        await service.until(lambda: len(service.records.admitted) == 1)
        assert service.state() == "watching"
        service.arrivals.leave_to_others({tmp_path: "nas watches it again"})
        await service.until(lambda: service.health.watches == 0)
        (tmp_path / "meanwhile.jpg").write_bytes(b"2")
        await asyncio.sleep(0)
        assert len(service.records.admitted) == 1
        service.arrivals.leave_to_others({})
        await service.until(lambda: len(service.records.admitted) == 2)
        (tmp_path / "after.jpg").write_bytes(b"3")
        await service.until(lambda: len(service.records.admitted) == 3)
