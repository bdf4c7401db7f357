"""inotify through watchdog: hints of where to look, and whether they can still be relied on."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyFD

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.observers.inotify_c import (
        CallbackId,
        InotifyEvent,
        Mask,
        WatchCallback,
        WatchDescriptor,
    )

    from taggerd.arrivals.dirty import Dirty
    from taggerd.arrivals.filters import Filters

log = structlog.get_logger(__name__)

# It writes two lines for each overflow, hundreds in a burst; what matters is said by our own.
logging.getLogger("watchdog").setLevel(logging.CRITICAL)

_TAKEN: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""Opened and closed-without-write are our own reading. What is deleted is noticed by whoever looks
for it next; to be woken for each of its files would help nobody."""

_INODE = re.compile(rb"^inotify .*?\bino:([0-9a-f]+)", re.MULTILINE)


class Watcher:
    """The watches on one root, from :meth:`start` to :meth:`stop`; made anew to begin again.

    Both block, as does :meth:`watched`: call them from a thread that may wait.
    """

    def __init__(self, root: Path, filters: Filters, dirty: Dirty) -> None:
        """Put what happens below *root* to a name that *filters* take into *dirty*."""
        # inotify is told not to follow links, so a root that is one is watched where it leads.
        self._real = Path(os.path.realpath(root))
        self._hints = _Hints(root, self._real, filters, dirty)
        self._recursive = filters.recursive
        self._dirty = dirty
        self._observer: _Observer | None = None
        self.overflows = 0
        """How often the kernel dropped events because they came faster than they were read."""

    def start(self) -> None:
        """Install the watches.

        Raises:
            OSError: the root cannot be watched, or inotify instances are used up.

        """
        observer = _Observer(_Inotify(self._overflowed))
        try:
            observer.inotify.start()
            observer.schedule(
                self._hints, str(self._real), recursive=self._recursive, event_filter=_TAKEN
            )
            observer.start()
        except BaseException:
            observer.inotify.stop()
            raise
        self._observer = observer

    def stop(self) -> None:
        """Take the watches away and end the threads."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def fault(self) -> str:
        """Say which part of the watching has died; ``""`` while all is well. Does not block."""
        observer = self._observer
        if observer is None:
            return "no watch is installed"
        if not observer.inotify.is_alive():
            return "the thread that reads inotify died"
        if not observer.emitters or not all(emitter.is_alive() for emitter in observer.emitters):
            return "the root's own watch is gone"
        if not observer.is_alive():
            return "the thread that takes events died"
        if not observer.inotify.registered():
            return "no watch is left"
        return ""

    def _overflowed(self) -> None:
        self.overflows += 1
        self._dirty.everything()

    def registered(self) -> int:
        """Return how many watches there should be. Does not block."""
        return self._observer.inotify.registered() if self._observer is not None else 0

    def watched(self) -> frozenset[int]:
        """Return the inodes that the kernel really watches for us.

        watchdog starts content with half of its watches when ``fs.inotify.max_user_watches`` is
        short, and forgets some in churn; only the kernel's own list (proc(5), fdinfo) is true.

        Raises:
            OSError: where the list cannot be read.

        """
        return self._observer.inotify.watched() if self._observer is not None else frozenset()


class _Inotify(InotifyFD):
    """watchdog's inotify descriptor, which also says when the kernel dropped events."""

    def __init__(self, overflowed: Callable[[], None]) -> None:
        super().__init__()
        self._overflowed = overflowed

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        # The same as watchdog's, without its warning where a folder is watched already (normal in
        # a burst of new ones): the text of that lists every watch there is, for each folder.
        with self._lock:
            watch = self._get_or_create_watch(path, mask)
            watch.callbacks[id_] = callback
            return watch.wd

    def handle_event(self, event: InotifyEvent) -> None:
        # After watchdog has mended its own watches: a folder that comes in between is then seen.
        super().handle_event(event)
        if event.is_queue_overflow:
            self._overflowed()

    def run(self) -> None:
        try:
            super().run()
        except Exception:
            # Otherwise close() leaves it to this thread to free the descriptors.
            self._is_reading = False
            log.exception("the thread that reads inotify died")

    def registered(self) -> int:
        return len(self._watch_for_wd)

    def watched(self) -> frozenset[int]:
        listed = Path(f"/proc/self/fdinfo/{self._inotify_fd}").read_bytes()
        return frozenset(int(inode, 16) for inode in _INODE.findall(listed))


class _Observer(BaseObserver):
    """watchdog's InotifyObserver, with an inotify descriptor of ours."""

    def __init__(self, inotify: _Inotify) -> None:
        super().__init__(InotifyEmitter, inotify_fd=inotify)
        self.inotify = inotify

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self.inotify.stop()
        self.inotify.join()


class _Hints(FileSystemEventHandler):
    """Puts paths into the dirty map, and does nothing else: its thread must never die or wait."""

    def __init__(self, root: Path, real: Path, filters: Filters, dirty: Dirty) -> None:
        self._root = str(root)
        self._real = str(real)
        self._filters = filters
        self._dirty = dirty

    def dispatch(self, event: FileSystemEvent) -> None:
        try:
            self._note(event)
        except Exception:
            self._dirty.everything()
            with contextlib.suppress(Exception):  # a log that cannot be written to: even then
                log.exception("an event could not be read; the whole root is read instead")

    def _note(self, event: FileSystemEvent) -> None:
        where = os.fsdecode(event.dest_path or event.src_path)
        relative = where.removeprefix(self._real).lstrip("/")
        if relative and self._filters.below(relative, is_dir=event.is_directory):
            return
        path = f"{self._root}/{relative}" if relative else self._root
        if event.is_directory:
            self._dirty.tree(path)
        else:
            self._dirty.file(path)
