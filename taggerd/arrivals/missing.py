"""Files that are on record and no longer on the disk: surely gone, or only out of sight.

Nothing follows from what cannot be looked at: a folder without permission, a share that does not
answer, an empty folder where a disk was mounted.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from taggerd.arrivals.lane import Lane
    from taggerd.arrivals.walk import Folder, Seen
    from taggerd.photo import Stamp

    Known = Callable[[Path], Awaitable[Mapping[Path, Stamp]]]
    """Gives the stamps on record of the files directly in a folder."""

_AT_ONCE = 200
"""Folders that are looked into in one go."""


class Absences(NamedTuple):
    """Who is to know what is gone."""

    folders: Callable[[Path], Awaitable[Sequence[Path]]]
    """Gives the folders on record, at and below one."""
    missing: Callable[[Path, Collection[Path]], Awaitable[None]]
    """Told after a whole walk: of the files on record below the root just these are gone."""


class RollCall:
    """Looks for the files on record of one root, after each whole walk of it.

    Folders in which the walk found every file on record are passed over; the others are looked
    into again, a few at a time. Not thread-safe; blocks only in its lane.
    """

    def __init__(self, root: Path, known: Known, absences: Absences | None, lane: Lane) -> None:
        """Tell *absences* what is gone below *root*; None: nobody asks."""
        self._root = root
        self._known = known
        self._absences = absences
        self._lane = lane
        self._complete: set[Path] = set()
        self._left: deque[Path] = deque()
        self._gone: set[Path] = set()
        self.under_way = False
        """Whether :meth:`go_on` has anything to do."""

    def saw(self, folder: Folder, known: Mapping[Path, Stamp], news: Sequence[Seen]) -> None:
        """Note that a walk saw *folder*, where *known* is on record and *news* is not as known."""
        strangers = sum(seen.file.path not in known for seen in news)
        if len(known) == len(folder.files) - strangers:
            self.complete(folder.path)

    def complete(self, folder: Path) -> None:
        """Note that a walk found every file on record in *folder*."""
        self._complete.add(folder)

    async def begin(self) -> None:
        """Begin, at the end of a whole walk, if none is under way.

        Also where nothing is missing: then what came back no longer counts as gone.
        """
        complete, self._complete = self._complete, set()
        if self._absences is None or self.under_way:
            return
        on_record = await self._absences.folders(self._root)
        self._left = deque(folder for folder in on_record if folder not in complete)
        self._gone = set()
        self.under_way = True

    def stop(self) -> None:
        """Drop it: the root is offline."""
        self.under_way = False
        self._complete = set()

    async def go_on(self, still_there: Callable[[], Awaitable[bool]]) -> None:
        """Look into a few folders more; at the end say what is gone, if the root is *still_there*.

        It may have been unmounted in the meantime.
        """
        if not self.under_way or self._absences is None:
            return
        folders = [self._left.popleft() for _ in range(min(_AT_ONCE, len(self._left)))]
        known = {folder: await self._known(folder) for folder in folders}
        self._gone |= await self._lane.run(gone, self._root, known)
        if not self._left:
            self.under_way = False
            if await still_there():
                await self._absences.missing(self._root, self._gone)


def gone(root: Path, known: Mapping[Path, Mapping[Path, Stamp]]) -> set[Path]:
    """Return those files of *known*, given by folder, that are surely not on the disk. Blocks."""
    return {path for folder, files in known.items() for path in _gone_from(root, folder, files)}


def _gone_from(root: Path, folder: Path, files: Mapping[Path, Stamp]) -> list[Path]:
    try:
        names = set(os.listdir(folder))  # noqa: PTH208 - names alone are compared
    except (FileNotFoundError, NotADirectoryError):
        names = set()
    except OSError:
        return []
    missing = [path for path in files if path.name not in names]
    place = _nearest(root, folder) if missing else None
    if place is None:
        return []
    # On another disk than what is here now: rather one that was unmounted, folder and all.
    return [path for path in missing if files[path].device == place]


def _nearest(root: Path, folder: Path) -> int | None:
    """Return the device of the nearest folder that is there, at or above *folder*.

    None where *root* is not there, or not to be looked at.
    """
    for place in (folder, *folder.parents):
        if not place.is_relative_to(root):
            break
        try:
            with os.scandir(place):
                return os.stat(place).st_dev  # noqa: PTH116 - as everywhere in this room
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            break
    return None
