"""File operations that outlive a crash or a power cut, shared by all packages."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from taggerd.photo import printable


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


def read_only_reason(folder: Path) -> str:
    """Say that nothing can be written into *folder* because its file system is read-only.

    Empty if it is not, or if that is not known. One file system gives one text.
    """
    try:
        if not os.statvfs(folder).f_flag & os.ST_RDONLY:
            return ""
        mount = folder
        while mount != mount.parent and _same_read_only(mount, mount.parent):
            mount = mount.parent
    except OSError:
        return ""
    return f"{printable(mount)} is read-only: no sidecars can be written there; remount it"


def _same_read_only(folder: Path, parent: Path) -> bool:
    """Say whether *parent* lies on the same file system as *folder*, and is read-only too."""
    same = folder.stat().st_dev == parent.stat().st_dev
    return same and bool(os.statvfs(parent).f_flag & os.ST_RDONLY)


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
