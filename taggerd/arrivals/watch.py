"""The watch on one root: installed, doubted, checked against the kernel, built anew."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from taggerd.arrivals.watcher import Watcher
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.arrivals.dirty import Dirty
    from taggerd.arrivals.filters import Filters
    from taggerd.arrivals.lane import Lane
    from taggerd.arrivals.walk import Folder

log = structlog.get_logger(__name__)

_LIMIT = Path("/proc/sys/fs/inotify/max_user_watches")
_LIST_SHARE = 500
"""The kernel's list costs as it is long: at most one part in so many of the time goes there."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are looked at, seconds."""

    look: float = 3.0
    """Between two looks at a root's health."""
    gather: float = 0.02
    """For which events are gathered, so that a burst is taken in one go."""
    hung: float = 30.0
    """After which a file system counts as not answering."""
    stand: float = 15.0
    """After which a root that has not answered yet no longer holds up the start."""
    first_retry: float = 5.0
    """Before something that failed is built anew; doubled each time."""
    longest_retry: float = 600.0
    doubt: float = 60.0
    """Between two rebuilds for the sake of a doubt alone."""


class Watch:
    """Keeps the watcher of one root alive and honest."""

    def __init__(  # noqa: PLR0913 - what it works with, all of it the root's
        self,
        root: Path,
        filters: Filters,
        dirty: Dirty,
        *,
        lane: Lane,
        clock: Callable[[], float],
        pace: Pace,
    ) -> None:
        """Watch *root* through *filters* into *dirty*, blocking only in *lane*."""
        self._root = root
        self._filters = filters
        self._dirty = dirty
        self._lane = lane
        self._clock = clock
        self._pace = pace
        self._watcher: Watcher | None = None
        self._refusal = ""
        self._short = ""
        self._expected: dict[int, str] = {}
        self._suspects: dict[int, str] = {}
        self._by_inode = True
        self._walked = False
        self._proven = False
        self._doubtful = False
        self._overflows = 0
        self._doubt_at = 0.0
        self._list_at = 0.0
        self._retry_at = 0.0
        self._retry = pace.first_retry
        self.fault = ""
        """Why the watch cannot be relied on, until the opposite is proven."""

    @property
    def watches(self) -> int:
        """How many folders are watched."""
        return self._watcher.registered() if self._watcher is not None else 0

    async def install(self) -> None:
        """Watch the root from now on; a refusal becomes the :attr:`fault`."""
        await self.remove()
        watcher = self._watcher = Watcher(self._root, self._filters, self._dirty)
        try:
            await self._lane.run(watcher.start)
            self._by_inode = await self._lane.run(_lists_inode, watcher, self._root)
        except OSError as error:
            self._refusal = f"it cannot be watched: {error.strerror or error}"
            self.fault = self._refusal
        self._doubt_at = self._clock() + self._pace.doubt

    async def remove(self) -> None:
        """Watch no longer."""
        watcher, self._watcher = self._watcher, None
        self._refusal = self._short = ""
        self._expected, self._suspects = {}, {}
        self._walked = self._proven = self._doubtful = False
        self._list_at = 0.0
        self._overflows = 0
        if watcher is not None:
            await self._lane.run(watcher.stop)

    def forgive(self) -> None:
        """Begin anew without the faults of before: it is another root now."""
        self.fault = ""
        self._retry_at = 0.0
        self._retry = self._pace.first_retry

    def expect(self, folder: Folder) -> None:
        """Note that a walk saw *folder*, so that it should be watched."""
        if self._watcher is not None:
            self._expected[folder.inode] = str(folder.path)

    def walked(self) -> None:
        """Note that the walk of the whole root is at its end."""
        self._walked = True

    def doubt(self) -> None:
        """Note that an event named a folder that is not there.

        watchdog can lose track of where a folder has been moved to; its events then come under
        the old path. Only a watch made anew is certain.
        """
        self._doubtful = True

    async def check(self) -> bool:
        """Look whether all is well, and build the watch anew where it is time to.

        Returns:
            True if it was built anew: then the root must be walked.

        """
        self._speak_of_overflows()
        fault = await self._find_fault()
        now = self._clock()
        if fault:
            self.fault = fault
            if now < self._retry_at:
                return False
            self._retry_at = now + self._retry
            self._retry = min(self._retry * 2, self._pace.longest_retry)
            log.debug("watch is built anew", root=printable(self._root), because=fault)
        elif self.fault and self._proven:
            self.forgive()
        if fault or (self._doubtful and now >= self._doubt_at):
            await self.install()
            return True
        return False

    def _speak_of_overflows(self) -> None:
        """Log the overflows since the last look in one line; a walk has been asked for."""
        overflows = self._watcher.overflows if self._watcher is not None else 0
        if overflows > self._overflows:
            log.info(
                "events were lost in a burst; the import folder is read as a whole instead",
                root=printable(self._root),
                times=overflows - self._overflows,
            )
        self._overflows = overflows

    async def _find_fault(self) -> str:
        if self._refusal or self._watcher is None:
            return self._refusal or "no watch is installed"
        return self._watcher.fault() or await self._shortfall(self._watcher)

    async def _shortfall(self, watcher: Watcher) -> str:
        """Compare the folders that walks saw with the kernel's list of what it watches."""
        began = self._clock()
        if began < self._list_at:
            return self._short
        watched = await self._lane.run(watcher.watched)
        self._list_at = began + _LIST_SHARE * (self._clock() - began)
        if self._by_inode:
            missing = {i: p for i, p in self._open_questions().items() if i not in watched}
            missing = await self._lane.run(_still_there, missing) if missing else {}
            # Twice in a row: watchdog may be on its way to a folder that has only just come.
            if missing.keys() & self._suspects.keys():
                self._short = _short(len(missing), len(watched))
            self._suspects = missing
        elif not watched:
            self._short = "the root's own watch is gone"
        self._proven = self._proven or (self._walked and not self._suspects and not self._short)
        return self._short

    def _open_questions(self) -> dict[int, str]:
        expected, self._expected = self._expected, {}
        return expected | self._suspects


def _lists_inode(watcher: Watcher, root: Path) -> bool:
    """Say whether the kernel lists the inodes that `stat` tells: stacked file systems may not."""
    return os.stat(root).st_ino in watcher.watched()  # noqa: PTH116 - as everywhere in this room


def _still_there(folders: dict[int, str]) -> dict[int, str]:
    """Return those of *folders* that still are what and where they were."""
    there = {}
    for inode, path in folders.items():
        try:
            status = os.stat(path)  # noqa: PTH116 - no Path is needed for it
        except OSError:
            continue
        if status.st_ino == inode:
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
