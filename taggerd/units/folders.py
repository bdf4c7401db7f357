"""Which folders a service may write to, so that its import folders stay writable.

``ReadWritePaths=`` is looked up when the service starts. A folder that is removed and made again
has another inode, and is read-only until the next start; so the folder above is named. A bind mount
below the mount point of a card keeps its file system mounted in the service after it was unmounted
elsewhere; so that mount point is named, which systemd uses as it is.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_OF_THE_SYSTEM = re.compile(
    r"/|/(bin|boot|dev|etc|home|lib\w*|opt|proc|root|run|sbin|sys|tmp|usr|var)"
    r"|/run/media|/usr/\w+|/var/(cache|lib|local|log|opt|spool|tmp)"
)
"""Folders that are never opened as a whole."""


def writable_folder(
    root: Path, home: Path, is_mount: Callable[[Path], bool] = os.path.ismount
) -> Path:
    """Return the folder that a service has to be allowed to write to for an import folder.

    Args:
        root: the import folder; it may be missing.
        home: of the user whom the service runs as: never opened as a whole.
        is_mount: says whether a folder is a mount point.
    """
    path = Path(os.path.realpath(root))
    if is_mount(path):
        return path
    folder = next(above for above in path.parents if os.path.isdir(above))  # noqa: PTH112 - never raises
    if _is_too_much(folder, home):
        return path
    mount = next(
        above for above in (folder, *folder.parents) if is_mount(above) or above == Path("/")
    )
    return folder if _is_too_much(mount, home) else mount


def may_be_remade(root: Path, home: Path) -> bool:
    """Say whether *root* stays writable when it is removed and made again."""
    path = Path(os.path.realpath(root))
    return os.path.ismount(path) or writable_folder(root, home) != path


def _is_too_much(folder: Path, home: Path) -> bool:
    """Say whether *folder* is the system's, or somebody's home."""
    is_home = folder == home or folder.parent == Path("/home")
    return is_home or _OF_THE_SYSTEM.fullmatch(str(folder)) is not None
