"""Stoppages: import folders whose disk takes no sidecars now, and how it is found out that it does.

Photos are not begun where their sidecar would find no room: each would be decoded and paid for,
only to wait. The photo over which it was noticed is tried again from time to time; its answers are
held, so that costs nothing, and when its sidecar is written the others follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

LOOK_SECONDS = 5.0
"""Between two tries of the photo that waits."""


@dataclass(slots=True)
class _Stoppage:
    reason: str
    photo: Path
    """The photo that is tried, by its first file."""
    look_at: float


class Stoppages:
    """The stoppages of one shift."""

    def __init__(self, folders: Sequence[Path] | None, clock: Callable[[], float]) -> None:
        """Tell apart *folders*; where they are None, a stoppage stops all. *clock* is monotonic."""
        self._folders = folders
        self._clock = clock
        self._by_folder: dict[Path | None, _Stoppage] = {}

    def __bool__(self) -> bool:
        """Say whether anything is stopped."""
        return bool(self._by_folder)

    @property
    def reason(self) -> str:
        """Why photos wait; empty where none does."""
        return "; ".join(stoppage.reason for stoppage in self._by_folder.values())

    @property
    def all_stopped(self) -> bool:
        """Whether nothing may be begun but :meth:`tries`."""
        return bool(self) and not self.open

    @property
    def open(self) -> Sequence[Path] | None:
        """The folders whose photos may be begun; None: all photos of the run."""
        if self._folders is None:
            return () if self else None
        return [folder for folder in self._folders if not self._is_stopped(folder)]

    def begin(self, photo: Path, reason: str) -> bool:
        """Stop the folder of *photo*; return False if it was stopped for that *reason* before."""
        folder = self._folder_of(photo)
        known = self._by_folder.get(folder)
        if known is None or known.photo == photo:
            self._by_folder[folder] = _Stoppage(reason, photo, self._clock() + LOOK_SECONDS)
        return known is None

    def end(self, photo: Path) -> bool:
        """Let the folder of *photo* go on: its sidecar is written, or it went. Was it stopped?"""
        return self._by_folder.pop(self._folder_of(photo), None) is not None

    def tries(self) -> Iterator[Path]:
        """Give the photos that are to be tried now."""
        for stoppage in list(self._by_folder.values()):
            if stoppage.look_at <= self._clock():
                stoppage.look_at = self._clock() + LOOK_SECONDS
                yield stoppage.photo

    def _folder_of(self, photo: Path) -> Path | None:
        above = [folder for folder in self._folders or () if photo.is_relative_to(folder)]
        return max(above, key=lambda folder: len(folder.parts), default=None)

    def _is_stopped(self, folder: Path) -> bool:
        """Say whether *folder*, one above it or one in it is stopped."""
        return any(
            stopped is None or folder.is_relative_to(stopped) or stopped.is_relative_to(folder)
            for stopped in self._by_folder
        )
