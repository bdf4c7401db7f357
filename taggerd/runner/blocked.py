"""Import folders whose disk takes no sidecars now, and how it shows that it does again.

No photo starts where its sidecar would find no room: it would be decoded and paid for only to wait.
The photo that met the fault is tried again from time to time; its answers are kept, so that costs
nothing, and once its sidecar is written the others follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd.retry import DISK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


@dataclass(slots=True)
class _Blocked:
    reason: str
    photo: Path
    """The photo that is tried, by its first file."""
    try_at: float


class BlockedFolders:
    """The folders that are blocked in one run."""

    def __init__(self, folders: Sequence[Path] | None, clock: Callable[[], float]) -> None:
        """Tell *folders* apart; None: one fault blocks all photos. *clock*: monotonic seconds."""
        self._folders = folders
        self._clock = clock
        self._blocked: dict[Path | None, _Blocked] = {}

    def __bool__(self) -> bool:
        """Say whether any folder is blocked."""
        return bool(self._blocked)

    @property
    def reasons(self) -> Mapping[Path, str]:
        """Why photos wait, by folder; by the photo itself where folders are not told apart."""
        return {folder or b.photo: b.reason for folder, b in self._blocked.items()}

    @property
    def all_blocked(self) -> bool:
        """Whether nothing may start but :meth:`due`."""
        return bool(self) and not self.open

    @property
    def open(self) -> Sequence[Path] | None:
        """The folders whose photos may start; None: all photos of the run."""
        if self._folders is None:
            return () if self else None
        return [folder for folder in self._folders if not self._is_blocked(folder)]

    def block(self, photo: Path, reason: str) -> bool:
        """Block the folder of *photo*; return False if it was blocked before."""
        folder = self._folder_of(photo)
        known = self._blocked.get(folder)
        if known is None or known.photo == photo:
            self._blocked[folder] = _Blocked(reason, photo, self._next_try())
        return known is None

    def release(self, photo: Path) -> bool:
        """Release the folder of *photo*; return whether it was blocked."""
        return self._blocked.pop(self._folder_of(photo), None) is not None

    def due(self) -> Iterator[Path]:
        """Yield the photos to try now."""
        for blocked in list(self._blocked.values()):
            if blocked.try_at <= self._clock():
                blocked.try_at = self._next_try()
                yield blocked.photo

    def _next_try(self) -> float:
        return self._clock() + DISK.first

    def _folder_of(self, photo: Path) -> Path | None:
        above = [folder for folder in self._folders or () if photo.is_relative_to(folder)]
        return max(above, key=lambda folder: len(folder.parts), default=None)

    def _is_blocked(self, folder: Path) -> bool:
        """Say whether *folder*, one above it or one in it is blocked."""
        return any(
            blocked is None or folder.is_relative_to(blocked) or blocked.is_relative_to(folder)
            for blocked in self._blocked
        )
