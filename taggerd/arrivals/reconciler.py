"""The walks to be made of one root, a few folders at a time."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.arrivals.walk import Folder, Skip, folders
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taggerd.arrivals.filters import Filters

_STEP_SECONDS = 0.05
_STEP_FILES = 5_000
"""A step ends after either, so that nothing else waits for longer than that."""
_MOST_PARTS = 1_000
"""With more single folders to read than this, the whole root is read instead."""


@dataclass(slots=True)
class _Whole:
    """A walk of the whole root."""

    ticket: int
    directories: int = 0
    unreadable: int = 0
    first_unreadable: str = ""


class Reconciler:
    """Reads the root again, as a whole or in parts, step by step.

    It only reads; its caller compares what was found with the record. Not thread-safe.
    """

    def __init__(self, root: Path, filters: Filters) -> None:
        """Read *root* through *filters*."""
        self._root = root
        self._filters = filters
        self._parts: deque[tuple[Path, bool]] = deque()
        """Folders to be read again, and whether with all that is below."""
        self._part_walk: Iterator[Folder] | None = None
        self._wanted = 0
        self._whole = _Whole(0)
        self._whole_walk: Iterator[Folder] | None = None
        self.completed = 0
        """The number of the newest :meth:`request` that has been served."""
        self.directories = 0
        """Folders below the root, itself included, at the last whole walk."""
        self.unreadable = ""
        """One line about what could not be read in the last whole walk, or nothing."""

    def request(self) -> None:
        """Ask for a walk of the whole root that starts from now on."""
        # A walk in progress has passed folders in which something may have happened since.
        self._wanted += 1
        self._parts.clear()

    def restart(self) -> None:
        """Drop a walk that an error may have cut short, and ask for another."""
        self._part_walk = self._whole_walk = None
        self._whole = _Whole(self.completed)
        self.request()

    def read(self, single: Iterable[str], trees: Iterable[str]) -> None:
        """Ask for the folders *single* to be read again, and *trees* with what is below them."""
        if self._wanted > self._whole.ticket:
            return  # a whole walk that has not begun will see them
        self._parts.extend((Path(path), False) for path in single)
        self._parts.extend((Path(path), True) for path in trees)
        if len(self._parts) > _MOST_PARTS:
            self.request()

    def clear(self) -> None:
        """Drop all walks: the root is offline."""
        self._parts.clear()
        self._part_walk = self._whole_walk = None
        self.completed = self._wanted
        self._whole = _Whole(self._wanted)

    @property
    def pending(self) -> bool:
        """Whether :meth:`step` has anything to do."""
        return bool(
            self._parts
            or self._part_walk is not None
            or self._whole_walk is not None
            or self._wanted > self._whole.ticket
        )

    def step(self) -> list[Folder]:
        """Read the next few folders. Blocks.

        Raises:
            RootOffline: the root cannot be read (any more).
        """
        end = time.monotonic() + _STEP_SECONDS
        found: list[Folder] = []
        files = 0
        while self.pending and files < _STEP_FILES and time.monotonic() < end:
            # Parts first, also in the middle of a long walk: they are quickly done.
            if self._parts or self._part_walk is not None:
                folder = self._next_of_a_part()
            else:
                folder = self._next_of_the_whole()
                if folder is None:
                    break  # the caller acts on its end before the next one begins
            if folder is not None:
                found.append(folder)
                files += len(folder.rows)
        return found

    def _next_of_a_part(self) -> Folder | None:
        if self._part_walk is None:
            path, deep = self._parts.popleft()
            self._part_walk = folders(self._root, self._filters, top=path, deep=deep)
        folder = next(self._part_walk, None)
        if folder is None:
            self._part_walk = None
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
            others = self._whole.unreadable - 1
            more = f" (and {others} more)" if others > 0 else ""
            self.unreadable = self._whole.first_unreadable + more
        return folder

    def _skipped(self, skip: Skip) -> None:
        if skip.kind in {"unreadable", "too long"}:
            self._whole.unreadable += 1
            first = f"{printable(skip.path)}: {skip.reason}"
            self._whole.first_unreadable = self._whole.first_unreadable or first
