"""The missing-file sweep: which files on record are gone from the disk.

Files that stay gone for ``arrivals.forget_days`` leave the ledger; their answers stay. A file that
merely cannot be seen is not gone: a folder without permission, a share that does not answer, an
empty folder where a disk was mounted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.errors import StorageError
from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from taggerd.arrivals.dependencies import Record
    from taggerd.arrivals.executor import Executor
    from taggerd.arrivals.walk import Folder, Seen
    from taggerd.photo import Stamp

log = get_logger(__name__)

DAY_SECONDS = 86_400.0
_AT_ONCE = 200
"""Folders that are checked in one go."""


class MissingFileSweep:
    """Checks the files on record of one root, after each whole walk of it.

    Folders in which the walk found every file on record are skipped; the others are read again, a
    few at a time. Not thread-safe; blocks only in its executor.
    """

    def __init__(
        self, root: Path, record: Record, executor: Executor, *, forget_days: float
    ) -> None:
        """Tell *record* which files below *root* are gone."""
        self._root = root
        self._record = record
        self._executor = executor
        self._forget_days = forget_days
        self._complete: set[Path] = set()
        self._left: deque[Path] = deque()
        self._gone: set[Path] = set()
        self.in_progress = False
        """Whether :meth:`step` has anything to do."""

    def saw(self, folder: Folder, known: Mapping[Path, Stamp], news: Sequence[Seen]) -> None:
        """Note that a walk saw *folder*; *known* is on record, *news* are new or changed files."""
        strangers = sum(seen.file.path not in known for seen in news)
        if len(known) == len(folder.files) - strangers:
            self.complete(folder.path)

    def complete(self, folder: Path) -> None:
        """Note that a walk found every file on record in *folder*."""
        self._complete.add(folder)

    async def begin(self) -> None:
        """Begin, at the end of a whole walk, if no sweep is in progress.

        Also where nothing is missing: only a sweep ends the grace time of a file that came back.
        """
        complete, self._complete = self._complete, set()
        if self.in_progress:
            return
        on_record = await self._record.folders(self._root)
        self._left = deque(folder for folder in on_record if folder not in complete)
        self._gone = set()
        self.in_progress = True

    def stop(self) -> None:
        """Drop the sweep: the root is offline."""
        self.in_progress = False
        self._complete = set()

    async def step(self, still_there: Callable[[], Awaitable[bool]]) -> None:
        """Check a few more folders; at the end report what is gone, if the root is *still_there*.

        It may have been unmounted in the meantime, and then all its files would seem to be gone.
        """
        if not self.in_progress:
            return
        folders = [self._left.popleft() for _ in range(min(_AT_ONCE, len(self._left)))]
        known = {folder: await self._record.known(folder) for folder in folders}
        self._gone |= await self._executor.run(gone, self._root, known)
        if not self._left:
            self.in_progress = False
            if await still_there():
                await _report(self._record, self._root, self._gone, self._forget_days)


async def sweep_missing_files(record: Record, folder: Path, *, forget_days: float) -> None:
    """Check every file on record in and below *folder*, which has just been read, at once."""
    missing: set[Path] = set()
    for each in await record.folders(folder):
        known = {each: await record.known(each)}
        missing |= await asyncio.to_thread(gone, folder, known)
    await _report(record, folder, missing, forget_days)


async def _report(record: Record, root: Path, missing: set[Path], forget_days: float) -> None:
    try:
        forgotten = await record.missing(root, missing, grace_seconds=forget_days * DAY_SECONDS)
    except StorageError as error:
        log.warning("missing files could not be recorded", reason=str(error))
        return
    if forgotten:
        log.info("files missing for long are forgotten", files=len(forgotten))


def gone(root: Path, known: Mapping[Path, Mapping[Path, Stamp]]) -> set[Path]:
    """Return those files of *known*, given by folder, that are surely not on the disk. Blocks."""
    return {path for folder, there in known.items() for path in _gone_from(root, folder, there)}


def _gone_from(root: Path, folder: Path, known: Mapping[Path, Stamp]) -> list[Path]:
    try:
        names = set(files.names_in(folder))
    except (FileNotFoundError, NotADirectoryError):
        names = set()
    except OSError:
        return []
    missing = [path for path in known if path.name not in names]
    device = _nearest_device(root, folder) if missing else None
    # A file on record from another device than the folder has now: its disk was rather unmounted,
    # folder and all. Where another host took the stamp that cannot be told.
    return [
        path
        for path in missing
        if known[path].device == device or (known[path].foreign and device is not None)
    ]


def _nearest_device(root: Path, folder: Path) -> int | None:
    """Return the device of the nearest folder that exists, at or above *folder*.

    None where *root* does not exist or cannot be read.
    """
    for ancestor in (folder, *folder.parents):
        if not ancestor.is_relative_to(root):
            break
        try:
            with files.listing(ancestor) as (status, _):
                return status.st_dev
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            break
    return None
