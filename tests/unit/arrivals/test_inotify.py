"""The watcher: woken by what matters, by nothing else, and honest about itself."""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from watchdog.events import FileCreatedEvent
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask, WatchDescriptor

from taggerd.arrivals.dirty import Batch, Dirty
from taggerd.arrivals.filters import Filters
from taggerd.arrivals.inotify import InotifyWatcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Watched:
    """A root under a watcher, and what came of it."""

    def __init__(self, root: Path) -> None:
        """Watch *root*."""
        self.root = root
        self.woken = threading.Event()
        self.dirty = Dirty(self.woken.set)
        self.watcher = InotifyWatcher(root, Filters(), self.dirty)
        self.watcher.start()

    def until(self, enough: Callable[[Batch], bool], seconds: float = 180) -> Batch:
        """Gather what is dirty until it is *enough*."""
        end = time.monotonic() + seconds
        gathered = Batch()
        while True:
            self.woken.clear()
            batch = self.dirty.drain()
            for folder, names in batch.files.items():
                gathered.files.setdefault(folder, set()).update(names)
            gathered.trees |= batch.trees
            gathered.everything |= batch.everything
            if enough(gathered):
                return gathered
            assert self.woken.wait(end - time.monotonic()), gathered

    def until_file(self, path: Path) -> Batch:
        """Gather until the file *path* is dirty."""
        return self.until(lambda batch: path.name in batch.files.get(str(path.parent), ()))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Watch a root with one photo and one folder in it."""
    root = tmp_path / "root"
    (root / "old").mkdir(parents=True)
    (root / "old" / "photo.jpg").write_bytes(b"1")
    it = Watched(root)
    yield it
    it.watcher.stop()


def test_new_changed_and_renamed_photos_are_noticed(watched: Watched) -> None:
    """A photo that is written, or gets its final name, makes its path dirty."""
    new = watched.root / "new.jpg"
    new.write_bytes(b"1")
    watched.until_file(new)
    (watched.root / "old" / ".IMG_1.jpg.x7Kq2Z").write_bytes(b"1")
    (watched.root / "old" / ".IMG_1.jpg.x7Kq2Z").rename(watched.root / "old" / "IMG_1.jpg")
    watched.until_file(watched.root / "old" / "IMG_1.jpg")


def test_own_reading_and_writing_wakes_nobody(watched: Watched) -> None:
    """Reading photos and writing sidecars, temporaries and backups makes nothing dirty."""
    photo = watched.root / "old" / "photo.jpg"
    photo.read_bytes()
    list(os.scandir(watched.root / "old"))
    temporary = photo.with_name(".photo.jpg.xmp.tmp")
    temporary.write_bytes(b"<x/>")
    temporary.rename(photo.with_name("photo.jpg.xmp"))
    photo.with_name("photo.jpg.xmp").rename(photo.with_name("photo.jpg.xmp.orig-1"))
    last = watched.root / "last.jpg"
    last.touch()
    batch = watched.until_file(last)
    assert batch == Batch(files={str(watched.root): {"last.jpg"}})


def test_a_tree_that_comes_is_read_as_a_tree(watched: Watched, tmp_path: Path) -> None:
    """A folder made, and one moved in with its content, is to be read with all below."""
    (watched.root / "made").mkdir()
    watched.until(lambda batch: str(watched.root / "made") in batch.trees)
    (tmp_path / "away" / "deep").mkdir(parents=True)
    (tmp_path / "away").rename(watched.root / "moved")
    watched.until(lambda batch: str(watched.root / "moved") in batch.trees)
    (watched.root / "moved" / "deep" / "later.jpg").touch()
    watched.until_file(watched.root / "moved" / "deep" / "later.jpg")


def test_a_root_behind_a_link_keeps_its_name(tmp_path: Path) -> None:
    """Links are not followed by inotify: the root is watched where it leads, and named as given."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    watched = Watched(tmp_path / "link")
    try:
        (tmp_path / "real" / "a.jpg").touch()
        watched.until_file(tmp_path / "link" / "a.jpg")
    finally:
        watched.watcher.stop()


def test_lost_events_make_everything_dirty(watched: Watched) -> None:
    """On overflow watchdog drops events and tells no handler; ours hears of it."""
    observer = watched.watcher._observer
    assert observer is not None
    mask = Mask(InotifyConstants.IN_Q_OVERFLOW)
    observer.inotify.handle_event(InotifyEvent(WatchDescriptor(-1), mask, 0, b""))
    assert watched.until(lambda batch: batch.everything)
    assert watched.watcher.overflows == 1


def test_an_event_that_cannot_be_read_kills_no_thread(watched: Watched) -> None:
    """An error in the handler is survived, and the root is read as a whole instead."""
    hints = watched.watcher._hints
    good, hints._filters = hints._filters, None  # type: ignore[assignment]  # the injected fault
    hints.dispatch(FileCreatedEvent(str(watched.root / "a.jpg")))
    assert watched.dirty.drain().everything
    hints._filters = good
    assert watched.watcher.fault() == ""
    (watched.root / "b.jpg").touch()
    watched.until_file(watched.root / "b.jpg")


@pytest.mark.parametrize("victim", ["inotify", "emitter", "root"])
def test_a_dead_part_is_a_fault(watched: Watched, victim: str) -> None:
    """The death of any thread, and the loss of the root's own watch, is found by asking."""
    observer = watched.watcher._observer
    assert observer is not None
    assert watched.watcher.fault() == ""
    if victim == "inotify":

        def broken(_event: InotifyEvent) -> None:
            message = "injected"
            raise RuntimeError(message)

        observer.inotify.handle_event = broken  # type: ignore[method-assign, assignment]  # the injected fault
        (watched.root / "a.jpg").touch()
        observer.inotify.join(180)
    elif victim == "emitter":
        (emitter,) = observer.emitters
        emitter.stop()
        emitter.join(180)
    else:
        (emitter,) = observer.emitters
        (watched.root / "old" / "photo.jpg").unlink()
        (watched.root / "old").rmdir()
        watched.root.rmdir()
        emitter.join(180)
    assert watched.watcher.fault() != ""


def test_the_kernel_s_list_is_what_is_told(watched: Watched) -> None:
    """The inodes on the kernel's list are those of the folders, each once."""
    folders = [watched.root, watched.root / "old"]
    assert watched.watcher.watched() == {folder.stat().st_ino for folder in folders}
    assert watched.watcher.registered() == 2


def test_stopping_leaves_nothing_behind(tmp_path: Path) -> None:
    """After a stop, also after a death, no thread and no descriptor is left."""

    def broken() -> bool:
        raise OSError(errno.EIO, "injected")

    threads = set(threading.enumerate())
    descriptors = set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone
    for dies in (False, True):
        watched = Watched(tmp_path)
        assert watched.watcher._observer is not None
        if dies:
            watched.watcher._observer.inotify._check_inotify_fd = broken  # type: ignore[method-assign]  # the injected fault
            (tmp_path / "a.jpg").touch()
            watched.watcher._observer.inotify.join(180)
        watched.watcher.stop()
    # What an earlier test has left may have ended meanwhile.
    assert set(threading.enumerate()) <= threads
    assert set(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208


def test_a_root_that_cannot_be_watched(tmp_path: Path) -> None:
    """A root that is not there is an error of the system's, and leaves nothing behind."""
    threads = threading.active_count()
    watcher = InotifyWatcher(tmp_path / "missing", Filters(), Dirty(lambda: None))
    with pytest.raises(OSError, match="No such file"):
        watcher.start()
    watcher.stop()
    end = time.monotonic() + 60
    while threading.active_count() > threads:
        assert time.monotonic() < end
