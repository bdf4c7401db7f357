"""The watch on one root: installed, checked against the kernel's own list, installed again."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.arrivals.inotify import InotifyWatcher
from taggerd.logs import get_logger
from taggerd.photo import printable

if TYPE_CHECKING:
    from taggerd.arrivals.dependencies import Timing
    from taggerd.arrivals.dirty import Dirty
    from taggerd.arrivals.executor import Executor
    from taggerd.arrivals.filters import Filters
    from taggerd.arrivals.walk import Folder

log = get_logger(__name__)

_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")
_LIST_SHARE = 500
"""Reading the kernel's list takes at most one part in so many of the time: it can be long."""


class Watch:
    """Keeps the inotify watcher of one root working, and says when it cannot be relied on."""

    def __init__(
        self, root: Path, filters: Filters, dirty: Dirty, executor: Executor, timing: Timing
    ) -> None:
        """Watch *root* through *filters* into *dirty*, blocking only in *executor*."""
        self._root = root
        self._filters = filters
        self._dirty = dirty
        self._executor = executor
        self._timing = timing
        self._watcher: InotifyWatcher | None = None
        self._refusal = ""
        self._short = ""
        self._expected: dict[int, str] = {}
        self._suspects: dict[int, str] = {}
        self._by_inode = True
        self._walked = False
        self._proven = False
        self._doubtful = False
        self._overflows = 0
        self._earlier_overflows = 0
        self._rewatch_at = 0.0
        self._list_at = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self.fault = ""
        """Why the watch cannot be relied on; kept until it is proven to work again."""

    @property
    def watches(self) -> int:
        """How many folders are watched."""
        return self._watcher.registered() if self._watcher is not None else 0

    @property
    def overflows(self) -> int:
        """How often the kernel dropped events, by this watcher's and earlier ones' count."""
        return self._earlier_overflows + (self._watcher.overflows if self._watcher else 0)

    async def install(self) -> None:
        """Watch the root from now on; a refusal becomes the :attr:`fault`."""
        await self.remove()
        watcher = self._watcher = InotifyWatcher(self._root, self._filters, self._dirty)
        try:
            await self._executor.run(watcher.start)
            self._by_inode = await self._executor.run(_lists_inode, watcher, self._root)
        except OSError as error:
            self._refusal = f"it cannot be watched: {error.strerror or error}"
            self.fault = self._refusal
        self._rewatch_at = time.monotonic() + self._timing.rewatch

    async def remove(self) -> None:
        """Stop watching."""
        watcher, self._watcher = self._watcher, None
        self._refusal = self._short = ""
        self._expected, self._suspects = {}, {}
        self._walked = self._proven = self._doubtful = False
        self._list_at = 0.0
        self._overflows = 0
        if watcher is not None:
            self._earlier_overflows += watcher.overflows
            await self._executor.run(watcher.stop)

    @property
    def settled(self) -> bool:
        """Whether it is proven to work, and nothing is left to be proven."""
        doubts = self.fault or self._expected or self._suspects or self._doubtful
        return self._proven and not doubts

    def forgive(self) -> None:
        """Forget earlier faults: it is another root now, or the watch works again."""
        self.fault = ""
        self._retry_at = 0.0
        self._failures = 0

    def expect(self, folder: Folder) -> None:
        """Note that a walk saw *folder*, which should therefore be watched."""
        if self._watcher is not None:
            self._expected[folder.inode] = str(folder.path)

    def walked(self) -> None:
        """Note that a walk of the whole root has ended."""
        self._walked = True

    def doubt(self) -> None:
        """Note that an event named a folder that does not exist.

        watchdog can lose track of where a folder has been moved to, and then reports its events
        under the old path. Only a new watch is certain.
        """
        self._doubtful = True

    async def check(self) -> bool:
        """Check the watch, and install it again where it is time to.

        Returns:
            True if it was installed again: then the root must be walked.
        """
        self._log_overflows()
        fault = await self._find_fault()
        now = time.monotonic()
        if fault:
            self.fault = fault
            if now < self._retry_at:
                return False
            self._failures += 1
            self._retry_at = now + self._timing.retry.seconds(self._failures)
            log.debug("watching again", import_folder=printable(self._root), because=fault)
        elif self.fault and self._proven:
            self.forgive()
        if fault or (self._doubtful and now >= self._rewatch_at):
            await self.install()
            return True
        return False

    def _log_overflows(self) -> None:
        """Log the overflows since the last check in one line; a walk has been asked for."""
        overflows = self._watcher.overflows if self._watcher is not None else 0
        if overflows > self._overflows:
            log.info(
                "too many changes at once; reading the whole import folder instead",
                import_folder=printable(self._root),
                times=overflows - self._overflows,
            )
        self._overflows = overflows

    async def _find_fault(self) -> str:
        if self._refusal or self._watcher is None:
            return self._refusal or "no watch is installed"
        return self._watcher.fault() or await self._shortfall(self._watcher)

    async def _shortfall(self, watcher: InotifyWatcher) -> str:
        """Compare the folders that walks saw with the kernel's list of what it watches."""
        began = time.monotonic()
        if began < self._list_at:
            return self._short
        watched = await self._executor.run(watcher.watched)
        self._list_at = began + _LIST_SHARE * (time.monotonic() - began)
        if self._by_inode:
            expected, self._expected = self._expected | self._suspects, {}
            missing = {i: p for i, p in expected.items() if i not in watched}
            missing = await self._executor.run(_still_there, missing) if missing else {}
            # Twice in a row: watchdog may not have reached a folder that has only just appeared.
            if missing.keys() & self._suspects.keys():
                self._short = _short(len(missing), len(watched))
            self._suspects = missing
        elif not watched:
            self._short = "the root's own watch is gone"
        self._proven = self._proven or (self._walked and not self._suspects and not self._short)
        return self._short


def _lists_inode(watcher: InotifyWatcher, root: Path) -> bool:
    """Say whether the kernel lists the inodes that `stat` gives: stacked file systems differ."""
    return files.lstat(root).st_ino in watcher.watched()


def _still_there(folders: dict[int, str]) -> dict[int, str]:
    """Return those of *folders* that are still at their path."""
    there = {}
    for inode, path in folders.items():
        with suppress(OSError):
            if files.lstat(path).st_ino == inode:
                there[inode] = path
    return there


def _short(missing: int, watched: int) -> str:
    try:
        limit = _LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        limit = "unknown"
    return (
        f"{missing} of {missing + watched} folders are not watched and are polled instead: "
        f"if this stays, raise fs.inotify.max_user_watches (now {limit})"
    )
