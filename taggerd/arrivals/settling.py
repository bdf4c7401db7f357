"""When a file counts as complete: unchanged for a while, together with the files of its stem."""

from __future__ import annotations

import asyncio
import heapq
import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.errors import PhotoChanged, PhotoGone, PhotoUnreadable
from taggerd.photo import Photo, PhotoFile, Stamp, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from taggerd.arrivals.walk import Seen

_NANOSECONDS = 1_000_000_000
_LEAST_WAIT_SECONDS = 0.25
"""Before a file that changed, or could not be read, is checked again."""


@dataclass(slots=True)
class _Stem:
    """The files of one stem in one folder, which are released together."""

    deadline: float
    files: dict[Path, Stamp]


class Settling:
    """The files that are waiting to be complete.

    A file is settled when its size, mtime, inode and device have not changed for *settle_seconds*
    since it was last observed. ``IMG_1.CR3`` and ``IMG_1.JPG`` wait for each other. A file that
    keeps changing waits for as long as it does; one that disappears is dropped.

    ``now`` is a monotonic clock's seconds. Not thread-safe: one thread at a time.
    """

    def __init__(
        self, settle_seconds: float, *, trust_times: bool = True, limit: int = 100_000
    ) -> None:
        """Hold each file for *settle_seconds*, and at most *limit* files at once.

        *trust_times* is False where another machine's clock sets ctime (network file systems).
        """
        self._settle_seconds = settle_seconds
        self.trust_times = trust_times
        self._limit = limit
        self._stems: dict[tuple[Path, str], _Stem] = {}
        # One entry a stem, pushed again only once it has come up: a file that is written in a
        # million pieces costs no more than any other.
        self._heap: list[tuple[float, int, tuple[Path, str]]] = []
        self._pushed = 0
        self._waiting = 0

    def __len__(self) -> int:
        """Return how many files are waiting."""
        return self._waiting

    @property
    def roomy(self) -> bool:
        """Whether there is room again after :meth:`observe` had none."""
        return self._waiting <= self._limit // 2

    def observe(self, seen: Seen, now: float, *, event: bool = True) -> bool:
        """Note that a file was seen; with *event*, that something just happened to it.

        Without *event* (a walk found it) a file that was last touched more than
        ``settle_seconds`` ago, by mtime and by ctime, is due at once.

        Returns:
            False if there is no room: observe it again once others have been released.
        """
        path, stamp = seen.file.path, seen.file.stamp
        key = (path.parent, path.stem)
        stem = self._stems.get(key)
        if stem is None or path not in stem.files:
            if self._waiting >= self._limit:
                return False
            self._waiting += 1
        elif not event and stem.files[path] == stamp:
            return True
        deadline = now if not event and self._long_untouched(seen) else now + self._settle_seconds
        if stem is None:
            self._stems[key] = _Stem(deadline, {path: stamp})
            self._push(deadline, key)
        else:
            stem.deadline = max(stem.deadline, deadline)
            stem.files[path] = stamp
        return True

    def due(self, now: float) -> list[PhotoFile]:
        """Check every file whose time has come and return those that are settled.

        Blocks for an `lstat` a file. What changed waits again, what is gone is dropped.
        """
        settled: list[PhotoFile] = []
        while self._heap and self._heap[0][0] <= now:
            _, _, key = heapq.heappop(self._heap)
            stem = self._stems[key]
            if stem.deadline <= now and self._unchanged(stem, now):
                settled.extend(PhotoFile(path, stamp) for path, stamp in stem.files.items())
                self._waiting -= len(stem.files)
                stem.files = {}
            if stem.files:
                self._push(stem.deadline, key)
            else:
                del self._stems[key]
        return settled

    def next_due(self) -> float | None:
        """Return when :meth:`due` should be called next; None while nothing waits."""
        return self._heap[0][0] if self._heap else None

    async def settle(
        self,
        files: Sequence[Seen],
        *,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator[list[PhotoFile]]:
        """Give *files*, which a walk found, as they settle; what has not by the timeout stays."""
        stop_at = clock() + timeout_seconds
        for seen in files:
            self.observe(seen, clock(), event=False)
        while len(self) and clock() < stop_at:
            yield await asyncio.to_thread(self.due, clock())
            due = self.next_due()
            if due is not None:
                await asyncio.sleep(max(0.0, due - clock()))

    def _push(self, deadline: float, key: tuple[Path, str]) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (deadline, self._pushed, key))

    def _long_untouched(self, seen: Seen) -> bool:
        """Say whether mtime and ctime are both older than the time to wait.

        ctime as well, because `cp -p` sets an old mtime on a file it has not finished.
        """
        newest = max(seen.file.stamp.mtime_ns, seen.ctime_ns)
        return self.trust_times and newest / _NANOSECONDS < time.time() - self._settle_seconds

    def _unchanged(self, stem: _Stem, now: float) -> bool:
        """Check the files of *stem*; if one changed, they all wait again."""
        changed = False
        for path, stamp in list(stem.files.items()):
            try:
                status = files.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                gone = True
            except OSError:
                # A share that fails for a moment, a folder without permission: not gone.
                changed = True
                continue
            else:
                gone = not stat.S_ISREG(status.st_mode)
            if gone:
                del stem.files[path]
                self._waiting -= 1
            elif (now_is := Stamp.of(status)) != stamp:
                stem.files[path] = now_is
                changed = True
        if changed:
            stem.deadline = now + max(self._settle_seconds, _LEAST_WAIT_SECONDS)
        return not changed


async def confirm(photo: Photo) -> None:
    """Check that every file of *photo* is as it was when it settled, just before it is acted on.

    Raises:
        PhotoChanged: a file changed: let it settle again.
        PhotoGone: a file is gone.
        PhotoUnreadable: a file cannot be read.
    """
    await asyncio.to_thread(_confirm, photo)


def _confirm(photo: Photo) -> None:
    for file in photo.files:
        shown = printable(file.path)
        try:
            status = files.lstat(file.path)
        except (FileNotFoundError, NotADirectoryError) as error:
            message = f"{shown} is no longer there"
            raise PhotoGone(message) from error
        except OSError as error:
            message = f"{shown} cannot be read: {error.strerror}"
            raise PhotoUnreadable(message) from error
        if not file.stamp.matches(Stamp.of(status)):
            message = f"{shown} changed since it settled: it has to settle again"
            raise PhotoChanged(message)
