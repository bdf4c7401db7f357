"""inotify through watchdog: hints where to look, and whether they can still be relied on."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

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

from taggerd.logs import get_logger

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

log = get_logger(__name__)

# watchdog logs two lines for each overflow, hundreds in a burst; Watch logs what matters.
logging.getLogger("watchdog").setLevel(logging.CRITICAL)

_TAKEN: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]
"""Opened and closed-without-write are our own reading. Whatever uses a file next notices that it
was deleted; a wake-up for each deleted file would help nobody."""

_INODE = re.compile(rb"^inotify .*?\bino:([0-9a-f]+)", re.MULTILINE)


class InotifyWatcher:
    """The watches on one root, from :meth:`start` to :meth:`stop`; used once.

    Both block, as does :meth:`watched`: call them in an executor.
    """

    def __init__(self, root: Path, filters: Filters, dirty: Dirty) -> None:
        """Put every event below *root* on a name that *filters* take into *dirty*."""
        # watchdog does not follow links, so a root that is one is watched at its target.
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
        # From the first: :meth:`registered` shows how far it has come.
        observer = self._observer = _Observer(_Inotify(self._overflowed))
        try:
            observer.inotify.start()
            observer.schedule(
                self._hints, str(self._real), recursive=self._recursive, event_filter=_TAKEN
            )
            observer.start()
        except BaseException:
            self._observer = None
            observer.inotify.stop()
            raise

    def stop(self) -> None:
        """Remove the watches and end the threads."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def fault(self) -> str:
        """Say which part has died; ``""`` while all is well. Does not block."""
        observer = self._observer
        if observer is None:
            return "no watch is installed"
        if not observer.inotify.is_alive():
            return "the thread that reads inotify died"
        if not observer.emitters or not all(emitter.is_alive() for emitter in observer.emitters):
            return "the root's own watch is gone"
        if not observer.is_alive():
            return "the thread that handles events died"
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

        watchdog starts without complaint with half of its watches when
        ``fs.inotify.max_user_watches`` is too small, and loses some when folders come and go
        quickly; only the kernel's own list (proc(5), fdinfo) can be trusted.

        Raises:
            OSError: the list cannot be read.
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
        # watchdog's own, without its warning where a folder is watched already (normal in a burst
        # of new ones): each warning lists all the watches there are.
        with self._lock:
            watch = self._get_or_create_watch(path, mask)
            watch.callbacks[id_] = callback
            return watch.wd

    def handle_event(self, event: InotifyEvent) -> None:
        # After watchdog has repaired its watches, so that a folder that comes now is not missed.
        super().handle_event(event)
        if event.is_queue_overflow:
            self._overflowed()

    def run(self) -> None:
        try:
            super().run()
        except Exception:
            # Without this close() would leave the descriptors open for this thread to close.
            self._is_reading = False
            log.exception("the thread that reads inotify died")

    def registered(self) -> int:
        return len(self._watch_for_wd)

    def watched(self) -> frozenset[int]:
        listed = Path(f"/proc/self/fdinfo/{self._inotify_fd}").read_bytes()
        return frozenset(int(inode, 16) for inode in _INODE.findall(listed))


class _Observer(BaseObserver):
    """watchdog's InotifyObserver with our own inotify descriptor."""

    def __init__(self, inotify: _Inotify) -> None:
        super().__init__(InotifyEmitter, inotify_fd=inotify)
        self.inotify = inotify

    def on_thread_stop(self) -> None:
        super().on_thread_stop()
        self.inotify.stop()
        self.inotify.join()


class _Hints(FileSystemEventHandler):
    """Puts paths into the dirty map, and nothing more: its thread must never die or block."""

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
            with contextlib.suppress(Exception):  # not even a failing log may end this thread
                log.exception("an event could not be read; reading the whole import folder instead")

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
