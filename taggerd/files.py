"""File operations that outlive a crash or a power cut, shared by all packages."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Sync *folder*, so that what was created, renamed or removed in it survives a power cut.

    Raises:
        OSError: it cannot be opened (a folder may be writable but not readable) or synced (some
            network file systems cannot), or its disk fails.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_owner(file: int | Path, like: os.stat_result, mode: int) -> None:
    """Give *file* the owner and group of *like*, as far as is permitted, and *mode*."""
    made = file.stat() if isinstance(file, Path) else os.fstat(file)
    if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
        try:
            os.chown(file, like.st_uid, like.st_gid)
        except OSError:
            with suppress(OSError):  # not root, but perhaps a member of the group
                os.chown(file, -1, like.st_gid)
    with suppress(OSError):  # a file system without modes
        os.chmod(file, mode)  # noqa: PTH101 - a descriptor, or a path
