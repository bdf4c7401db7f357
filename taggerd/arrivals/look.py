"""A look at an import folder's path: which folder is there, on which file systems."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from taggerd.arrivals.mounts import Mount, mounts_of
from taggerd.arrivals.walk import offline_reason

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.arrivals.filters import Filters


class Look(NamedTuple):
    """What the root's path shows at this moment."""

    offline: str = ""
    device: int = 0
    inode: int = 0
    empty: bool = False
    mounts: frozenset[Mount] = frozenset()
    """At the root and on folders below that are taken."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What is equal while it is the same root, on the same file systems."""
        return self.device, self.inode, self.mounts

    @classmethod
    def at(cls, path: Path, filters: Filters) -> Look:
        """Look at what is at the root's *path*. Blocks."""
        try:
            status = os.stat(path)  # noqa: PTH116 - as everywhere in this room
            with os.scandir(path) as entries:
                empty = next(entries, None) is None
        except OSError as error:
            return cls(offline_reason(path, error))
        return cls("", status.st_dev, status.st_ino, empty, _mounts(path, filters))


def _mounts(path: Path, filters: Filters) -> frozenset[Mount]:
    """Return the mount that *path* lies on and those on folders below it that are taken. Blocks.

    A card that is mounted below the root comes without any event.
    """
    try:
        real, mounts = mounts_of(path)
    except OSError:
        return frozenset()
    return frozenset(
        mount
        for mount in mounts
        if real.is_relative_to(mount.point) or not filters.verdict(mount.point, real, is_dir=True)
    )
