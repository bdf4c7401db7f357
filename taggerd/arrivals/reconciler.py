"""The walks to be made of one root, a few folders at a time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.arrivals.walk import TOO_LONG, UNREADABLE, Folder, folders
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from taggerd.arrivals.filters import Filters

_STEP_SECONDS = 0.05
_STEP_FILES = 5_000
"""A step ends after either, so that what happens meanwhile waits no longer than that."""
_MOST_PLACES = 1_000
"""Past so many single folders to read, the whole root is read instead."""


@dataclass(slots=True)
class _Place:
    """A part of the root that is to be read again."""

    path: Path
    deep: bool


@dataclass(slots=True)
class _Whole:
    """The walk of the whole root that is under way."""

    ticket: int
    directories: int = 0
    unreadable: int = 0
    first_unreadable: str = ""


class Reconciler:
    """Reads the root again, as a whole or in places, step by step.

    Only looks: what is found is compared by the caller. Not thread-safe: one caller at a time.
    """

    def __init__(self, root: Path, filters: Filters, clock: Callable[[], float]) -> None:
        """Read *root* through *filters*; *clock* is a monotonic one, in seconds."""
        self._root = root
        self._filters = filters
        self._clock = clock
        self._places: deque[_Place] = deque()
        self._place_walk: Iterator[Folder] | None = None
        self._wanted = 0
        self._whole = _Whole(0)
        self._whole_walk: Iterator[Folder] | None = None
        self.completed = 0
        """The newest ticket of :meth:`request` that has been served."""
        self.directories = 0
        """Folders below the root, itself included, at the last whole walk."""
        self.unreadable = ""
        """One line about what could not be read in the last whole walk, or nothing."""

    def request(self) -> int:
        """Ask for a walk of the whole root that starts from now on; return its ticket."""
        # A walk under way has passed places where something may have happened since.
        self._wanted += 1
        self._places.clear()
        return self._wanted

    def restart(self) -> None:
        """Drop a walk that an error may have cut short, and ask for another."""
        self._place_walk = self._whole_walk = None
        self._whole = _Whole(self.completed)
        self.request()

    def places(self, single: Iterable[str], trees: Iterable[str]) -> None:
        """Ask for the folders *single* to be read again, and *trees* with what is below."""
        if self._wanted > self._whole.ticket:
            return  # A whole walk that has not begun will see them.
        self._places.extend(_Place(Path(path), deep=False) for path in single)
        self._places.extend(_Place(Path(path), deep=True) for path in trees)
        if len(self._places) > _MOST_PLACES:
            self.request()

    def clear(self) -> None:
        """Forget all walks: the root is offline."""
        self._places.clear()
        self._place_walk = self._whole_walk = None
        self.completed = self._wanted
        self._whole = _Whole(self._wanted)

    @property
    def pending(self) -> bool:
        """Whether :meth:`step` has anything to do."""
        return bool(
            self._places
            or self._place_walk is not None
            or self._whole_walk is not None
            or self._wanted > self._whole.ticket
        )

    def step(self) -> list[Folder]:
        """Read the next few folders. Blocks.

        Raises:
            RootOffline: the root cannot be read (any more).

        """
        end = self._clock() + _STEP_SECONDS
        found: list[Folder] = []
        files = 0
        while self.pending and files < _STEP_FILES and self._clock() < end:
            # Single places first, also in the middle of a long walk: they are quickly done.
            if self._places or self._place_walk is not None:
                folder = self._next_of_a_place()
            else:
                folder = self._next_of_the_whole()
                if folder is None:
                    break  # Its end is acted upon before the next one begins.
            if folder is not None:
                found.append(folder)
                files += len(folder.rows)
        return found

    def _next_of_a_place(self) -> Folder | None:
        if self._place_walk is None:
            place = self._places.popleft()
            self._place_walk = folders(self._root, self._filters, top=place.path, deep=place.deep)
        folder = next(self._place_walk, None)
        if folder is None:
            self._place_walk = None
        return folder

    def _next_of_the_whole(self) -> Folder | None:
        if self._whole_walk is None:
            # In this order: a root that cannot be read raises, and the request stands.
            self._whole_walk = folders(self._root, self._filters, skipped=self._skipped)
            self._whole = _Whole(self._wanted)
        folder = next(self._whole_walk, None)
        if folder is not None:
            self._whole.directories += 1
        else:
            self._whole_walk = None
            self.completed = self._whole.ticket
            self.directories = self._whole.directories
            self.unreadable = _unreadable(self._whole)
        return folder

    def _skipped(self, path: Path, reason: str) -> None:
        if reason == TOO_LONG or reason.startswith(UNREADABLE):
            self._whole.unreadable += 1
            self._whole.first_unreadable = (
                self._whole.first_unreadable or f"{printable(path)}: {reason}"
            )


def _unreadable(whole: _Whole) -> str:
    if whole.unreadable < 2:  # noqa: PLR2004 - one is named alone
        return whole.first_unreadable
    return f"{whole.first_unreadable} (and {whole.unreadable - 1} more)"
