"""Faults of the watching: whatever is lost on the way, the disk is the truth in the end."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from support.arriving import Arriving, on_disk

from taggerd.arrivals import inotify
from taggerd.arrivals.reconciler import Reconciler
from taggerd.arrivals.settling import Settling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

INOTIFY = Path("/proc/sys/fs/inotify")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return an empty import folder."""
    path = tmp_path / "import"
    path.mkdir()
    return path


@pytest.fixture
def limit() -> Iterator[Callable[[str, int], None]]:
    """Return a function that sets a limit of inotify's, which is put back after the test."""
    before: dict[Path, str] = {}

    def set_limit(name: str, value: int) -> None:
        path = INOTIFY / name
        was = path.read_text()
        try:
            path.write_text(str(value))
        except OSError as error:
            pytest.skip(f"only root on its own kernel may set {path}: {error.strerror}")
        before.setdefault(path, was)

    try:
        yield set_limit
    finally:
        for path, value in before.items():
            path.write_text(value)


def watches_in_use() -> int:
    """Count the inotify watches of all of this user's programs."""
    count = 0
    for listed in Path("/proc").glob("[0-9]*/fdinfo/*"):
        try:
            count += listed.read_bytes().count(b"inotify wd:")
        except OSError:
            continue
    return count


def fill(top: Path, folders: int, files: int) -> None:
    """Make *folders* folders with *files* photos each."""
    for folder in range(folders):
        (top / f"{folder:03}").mkdir(parents=True)
        for number in range(files):
            (top / f"{folder:03}" / f"{number:04}.jpg").touch()


def overflow(most: int, files: list[Path]) -> None:
    """Make more events than *most*, that are not one and the same to the kernel."""
    for number in range(most + 1000):
        files[number % len(files)].open("wb").close()


async def shell(command: str, cwd: Path) -> None:
    """Run a line of shell."""
    done = await asyncio.to_thread(
        subprocess.run, ["sh", "-euc", command], cwd=cwd, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
async def test_a_burst_that_overflows_the_kernel_s_queue(root: Path, tmp_path: Path) -> None:
    """Of 20,000 files in 200 folders each is queued once, though nobody was told of a folder."""
    most = int((INOTIFY / "max_queued_events").read_text())
    if most > 200_000:
        pytest.skip(f"the kernel's queue holds {most} events: lower fs.inotify.max_queued_events")
    noise = [root / "one.txt", root / "two.txt"]
    async with Arriving(tmp_path / "state", root) as service:
        watching = service.root._watch._watcher
        assert watching is not None
        assert watching._observer is not None
        inotify, may_read = watching._observer.inotify, threading.Event()
        check = inotify._check_inotify_fd

        def late() -> bool:
            may_read.wait(180)
            return check()

        inotify._check_inotify_fd = late  # type: ignore[method-assign]  # a thread that is late
        await asyncio.to_thread(overflow, most, noise)
        await asyncio.to_thread(fill, root, 200, 100)
        may_read.set()
        await service.until(lambda: watching.overflows > 0)
        await service.until(lambda: len(service.admitted) >= 20_000, 300)
        assert await service.missed() == set()
        assert (await service.ledger.counts()).queued == 20_000
        assert (len(service.admitted), service.admitted.total()) == (20_000, 20_000)


@pytest.mark.alone
async def test_half_of_the_watches_are_missing(
    root: Path, tmp_path: Path, limit: Callable[[str, int], None]
) -> None:
    """With watches for half of the folders the root is degraded, says why, and misses nothing."""
    folders = 400
    fill(root, folders, 1)
    in_use = watches_in_use()
    limit("max_user_watches", in_use + folders // 2)
    async with Arriving(tmp_path / "state", root) as service:
        await service.until_none_is_missed()
        await service.until(lambda: service.health.state == "degraded")
        assert "raise fs.inotify.max_user_watches" in service.health.detail
        for folder in range(folders):
            (root / f"{folder:03}" / "later.jpg").touch()
        (root / "new" / "deep").mkdir(parents=True)
        (root / "new" / "deep" / "later.jpg").touch()
        await service.until_none_is_missed()
        assert set(service.admitted.values()) == {1}
        assert service.health.state == "degraded"
        limit("max_user_watches", in_use + 10 * folders)
        await service.until(lambda: service.health.state == "watching")


BURSTS = {
    "deep folders": "for n in $(seq 60); do mkdir -p $n/b/c && cp -r ../source/0 $n/b/c; done",
    "cp -r": "cp -r ../source copied",
    "cp -pr": "cp -pr ../source copied",
    "tar": "tar -C .. -c source | tar -x",
    "mv": "mv ../source moved && mkdir -p x/y && mv moved x/y/again",
}


@pytest.mark.parametrize(
    "burst",
    [
        pytest.param(burst, id=name, marks=() if name == "cp -r" else pytest.mark.long)
        for name, burst in BURSTS.items()
    ],
)
async def test_trees_that_come_at_once(root: Path, tmp_path: Path, burst: str) -> None:
    """Of 3,000 files in trees made, copied, unpacked or moved in, none is missed or doubled."""
    for folder in range(60):
        (tmp_path / "source" / str(folder)).mkdir(parents=True)
        for number in range(50):
            (tmp_path / "source" / str(folder) / f"{number}.jpg").write_bytes(b"x" * number)
    # A busy machine may let a copier wait in the middle of a file.
    async with Arriving(tmp_path / "state", root, settle_seconds=2.0) as service:
        await shell(burst, root)
        await service.until(lambda: len({path for path, _ in service.admitted}) >= 3_000)
        await service.until_none_is_missed()
        here = on_disk(root)
        of_these = [n for (path, _), n in service.admitted.items() if path in here]
        assert (len(of_these), set(of_these)) == (3_000, {1})
        assert (await service.ledger.counts()).queued == 3_000


COPIERS = {
    ".part": "cp {0} a.jpg.part; sleep 0.6; mv a.jpg.part a.jpg",
    ".tmp": "cp {0} a.tmp; sleep 0.6; mv a.tmp a.jpg",
    "dot file": "cp {0} .a.jpg; sleep 0.6; mv .a.jpg a.jpg",
    "rapid photo downloader": (
        "mkdir rpd-tmp-4j2k; cp -p {0} rpd-tmp-4j2k/8f31.jpg; sleep 0.6;"
        "mkdir 2026; mv rpd-tmp-4j2k/8f31.jpg 2026/a.jpg; rmdir rpd-tmp-4j2k"
    ),
    "gphoto2": "cp {0} tmpfile8aZ3kQ; sleep 0.6; mv tmpfile8aZ3kQ a.jpg",
    "rsync": "rsync -a --bwlimit=2M {0} ./a.jpg",
    "rsync's name": "cp {0} .a.jpg.x7Kq2Z; touch -d 1999-01-01 .a.jpg.x7Kq2Z; sleep 0.6;"
    "mv .a.jpg.x7Kq2Z a.jpg",
    "syncthing": "cp {0} .syncthing.a.jpg.tmp; sleep 0.6; mv .syncthing.a.jpg.tmp a.jpg",
    "lightroom": (  # copies straight to the name, with pauses, and sets the time at the end
        "head -c 1000000 {0} > a.jpg; sleep 0.2; tail -c +1000001 {0} >> a.jpg;touch -r {0} a.jpg"
    ),
    "cp -p": "cp -p {0} a.jpg",
}


STRAIGHT = COPIERS["lightroom"], COPIERS["cp -p"]
"""Each step of these is seen. On a busy machine it takes a while until the next one begins."""


@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
async def test_importers(root: Path, tmp_path: Path, copier: str) -> None:
    """What an importer copies is seen once, under its last name, when it is whole."""
    if copier.startswith("rsync") and shutil.which("rsync") is None:
        pytest.skip("rsync is not installed: apt-get install rsync")
    whole = tmp_path / "whole.jpg"
    whole.write_bytes(bytes(3_000_000))
    os.utime(whole, (631_152_000, 631_152_000))
    settle = 3.0 if copier in STRAIGHT else 0.3
    async with Arriving(tmp_path / "state", root, settle_seconds=settle) as service:
        await shell(copier.format(whole), root)
        await service.until(lambda: bool(service.admitted))
        await asyncio.sleep(2 * settle)  # anything else would come by now
        await service.reconcile()
        (((path, stamp), times),) = service.admitted.items()
        assert (path.name, stamp.size, times) == ("a.jpg", 3_000_000, 1)
        assert await service.missed() == set()


async def test_what_is_known_is_not_admitted_again(root: Path, tmp_path: Path) -> None:
    """Neither by an event without a change, nor by walks, nor after a restart."""
    fill(root, 3, 3)
    async with Arriving(tmp_path / "state", root) as service:
        await service.until_none_is_missed()
        for path in on_disk(root):
            with path.open("r+b"):
                pass
        await asyncio.sleep(0.6)  # twice the time to settle: they would come by now
        await service.reconcile()
        assert service.admitted.total() == 9
    async with Arriving(tmp_path / "state", root) as service:
        await service.reconcile()
        (root / "new.jpg").touch()
        await service.until_none_is_missed()
        assert {path.name for path, _ in service.admitted} == {"new.jpg"}


@pytest.mark.parametrize("at", ["start", "later"])
async def test_names_that_lead_astray(root: Path, tmp_path: Path, at: str) -> None:
    """Links are not followed, what is no file is left alone, odd names are handled or named."""

    def make() -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret.jpg").touch()
        (root / "deep").mkdir()
        (root / "deep" / "loop").symlink_to(root)
        (root / "escape").symlink_to(outside)
        (root / "escape.jpg").symlink_to(outside / "secret.jpg")
        (root / "dangling.jpg").symlink_to(tmp_path / "nothing")
        (root / ".hidden.jpg").touch()
        (root / "one.jpg").touch()
        (root / "two.jpg").hardlink_to(root / "one.jpg")
        os.mkfifo(root / "fifo.jpg")
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(root / "socket.jpg"))
        Path(os.fsdecode(os.fsencode(root) + b"/r\xe9union \xff.jpg")).touch()
        folder = os.open(root, os.O_RDONLY)
        for _ in range(25):  # 5,000 characters in all: deeper than a path may be long
            os.mkdir("d" * 200, dir_fd=folder)
            below = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
        os.close(os.open("deep.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        os.close(folder)

    if at == "start":
        make()
    try:
        async with Arriving(tmp_path / "state", root) as service:
            if at == "later":
                make()
            await service.until(lambda: len(service.admitted) == 3)
            await asyncio.wait_for(service.reconcile(), 180)
            names = {os.fsencode(path.name) for path, _ in service.admitted}
            assert names == {b"one.jpg", b"two.jpg", b"r\xe9union \xff.jpg"}
            assert set(service.admitted.values()) == {1}
            await service.until(lambda: "too long for this system" in service.health.detail)
            (root / "after.jpg").touch()
            await service.until(lambda: len(service.admitted) == 4)
    finally:
        await shell("rm -rf import", tmp_path)  # pytest's own cleaning cannot go so deep


def _killed(*_: object, **__: object) -> NoReturn:
    message = "injected"
    raise MemoryError(message)


@pytest.mark.parametrize(
    ("victim", "method", "by"),
    [
        (inotify._Hints, "_note", "an event"),
        (inotify._Hints, "dispatch", "an event"),
        (inotify._Inotify, "handle_event", "an event"),
        (Reconciler, "_next_of_the_whole", "a walk"),
        (Settling, "due", "an event"),
        (Settling, "_unchanged", "an event"),
        (Settling, "observe", "an event"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.filterwarnings("ignore:Exception in thread")
async def test_a_thread_killed_by_an_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: type, method: str, by: str
) -> None:
    """It is restarted, that is reported, and what came meanwhile and later is not lost."""
    fill(root, 5, 5)
    async with Arriving(tmp_path / "state", root) as service:
        await service.until_none_is_missed()
        with monkeypatch.context() as fault:
            died = asyncio.Event()
            loop = asyncio.get_running_loop()

            def killed(*_: object, **__: object) -> NoReturn:
                loop.call_soon_threadsafe(died.set)
                _killed()

            fault.setattr(victim, method, killed)
            (root / "during.jpg").touch()
            (root / "000" / "during.jpg").touch()
            if by == "a walk":
                service.root.dirty.everything()
            await asyncio.wait_for(died.wait(), 180)
            if method != "_note":  # the one that cannot raise: nothing is to be restarted
                await service.until(lambda: service.health.state == "degraded")
        await service.until_none_is_missed()
        await service.until(lambda: service.health.state == "watching")
        (root / "000" / "later.jpg").touch()
        await service.until_none_is_missed()
        assert set(service.admitted.values()) == {1}


async def test_a_walk_cut_short_does_not_count_as_done(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for a walk that an error ends is answered by the next one, which is whole."""
    fill(root, 300, 1)
    async with Arriving(tmp_path / "state", root) as service:
        await service.until_none_is_missed()
        step, calls = Reconciler._next_of_the_whole, 0

        def fails_halfway(self: Reconciler) -> object:
            nonlocal calls
            calls += 1
            if calls == 150:
                assert self._whole_walk is not None
                self._whole_walk.close()  # type: ignore[attr-defined]  # as an error in it would
                _killed()
            return step(self)

        monkeypatch.setattr(Reconciler, "_next_of_the_whole", fails_halfway)
        await asyncio.wait_for(service.reconcile(), 180)
        assert calls >= 150 + 300
