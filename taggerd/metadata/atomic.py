"""Read a sidecar and replace it, so that the old or the new file is there at every instant.

The new bytes are written to a temporary file in the same folder, synced, given the old file's mode,
owner and extended attributes, and exchanged with it. The old bytes are compared with those that
were merged right before the exchange and right after it: if another program wrote in between, its
bytes stay. A plain rename would lose them; so the two names are exchanged in one step (Linux
``renameat2``), the file now under the other name is checked, and if it is not the expected one, the
exchange is reversed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from taggerd.errors import (
    PhotosDiskError,
    PhotosDiskReadOnly,
    SidecarChanged,
    SidecarRefused,
    SidecarUnwritable,
)
from taggerd.files import copy_owner, fsync_folder, read_only_reason
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY})
"""Network file systems, FAT and old kernels: there the check and the rename are two steps."""
_STORAGE = {
    errno.ENOSPC: "make room, then work continues by itself",
    errno.EDQUOT: "make room, then work continues by itself",
    errno.EROFS: "remount it, then work continues by itself",
    errno.EIO: "see the kernel log",
    errno.EFBIG: "raise the limit on file sizes",
    errno.ENODEV: "see the kernel log",
}
"""Faults of a disk, which hit every photo on it, and what a person can do about each."""
NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EXDEV}
)
"""Errors of file systems without hard links."""
_LONGEST_NAME = 200
"""Bytes of the sidecar's name used in the temporary's name: file systems allow 255."""


@dataclass(frozen=True)
class Old:
    """A sidecar as it was read."""

    data: bytes
    stat: os.stat_result

    @cached_property
    def document(self) -> Document:
        """The sidecar parsed, once.

        Raises:
            SidecarRefused: it cannot be understood.
        """
        return Document.load(self.data)


def read(path: Path) -> Old | None:
    """Return the sidecar at *path*; None if there is none.

    Raises:
        SidecarRefused: it is not a plain file, or it is over 16 MB.
        SidecarUnwritable: it cannot be read.
        PhotosDiskError: the disk fails.
    """
    try:
        with opened(path) as descriptor:
            found = os.fstat(descriptor)
            if found.st_size > LARGEST:
                refuse(f"is larger than {LARGEST // (1024 * 1024)} MB")
            with open(descriptor, "rb", closefd=False) as file:
                return Old(file.read(LARGEST + 1), found)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise_mapped(error, path, "cannot be read")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    """Give a descriptor of the plain file at *path*, for reading.

    A symbolic link is refused: it may lead out of the folder, to something that is shared or kept
    read-only, as git-annex does.

    Raises:
        FileNotFoundError: there is none.
        SidecarRefused: it is not a plain file.
        SidecarUnwritable: it cannot be read.
        PhotosDiskError: the disk fails.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            refuse("is a symbolic link, which taggerd does not write through")
        raise_mapped(error, path, "cannot be read")
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            refuse("is not a plain file")
        yield descriptor
    finally:
        os.close(descriptor)


def replace(path: Path, old: Old, data: bytes, *, backup: Path | None = None) -> Path | None:
    """Replace *old* at *path* by *data*.

    Args:
        path: the sidecar.
        old: what was merged.
        data: the new bytes.
        backup: keep the old bytes under this name, or one beside it if that is taken.

    Returns:
        where the old bytes were kept, if they were.

    Raises:
        SidecarChanged: it is not *old* any more; merge again.
        SidecarUnwritable: the folder or the file may not be written.
        PhotosDiskError: the disk is full, read-only or fails.
    """
    if not old.stat.st_mode & 0o222 or not may_be_written(path):
        message = "is read-only"
        raise SidecarUnwritable(message)
    kept: Path | None = None
    mode = stat.S_IMODE(old.stat.st_mode) & 0o777

    def copy(free: Path) -> None:
        with _written(free, old.data, old.stat, mode) as made:
            os.utime(made, ns=(old.stat.st_atime_ns, old.stat.st_mtime_ns))
            _link(made, free)

    with _written(path, data, old.stat, mode) as temporary:
        try:
            copy_attributes(path, temporary)
            _check_unchanged(path, old)
            if backup is not None:
                kept = keep(path, backup, copy)
                _check_unchanged(path, old)
            _swap(temporary, path, old)
        except BaseException as error:
            if kept is not None:
                kept.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise_mapped(error, path, "cannot be written")
            raise
    fsync_name(path)
    return kept


def create(path: Path, data: bytes, photo: os.stat_result) -> None:
    """Make a new sidecar at *path*, with the owner and mode of the *photo* but for execute bits.

    Raises:
        SidecarChanged: another program has just made one.
        SidecarUnwritable, PhotosDiskError: as :func:`replace`.
    """
    mode = stat.S_IMODE(photo.st_mode) & 0o666 | 0o600
    with _written(path, data, photo, mode) as temporary:
        try:
            _link(temporary, path)
        except FileExistsError:
            message = "was just created by another program"
            raise SidecarChanged(message) from None
        except OSError as error:
            raise_mapped(error, path, "cannot be written")
    fsync_name(path)


def remove(path: Path, old: Old) -> None:
    """Remove the sidecar *path*, which must be *old*.

    Raises:
        SidecarChanged, SidecarUnwritable, StorageError: as :func:`replace`.
    """
    clear(path)
    if not old.stat.st_mode & 0o222 or not may_be_written(path):
        message = "is read-only"
        raise SidecarUnwritable(message)
    _check_unchanged(path, old)
    temporary = temporary_name(path)
    try:
        path.rename(temporary)  # not unlinked at once: another program may write at this moment
        try:
            _check_unchanged(temporary, old)
            temporary.unlink()
        except BaseException:
            with contextlib.suppress(FileExistsError):  # another program has written a new one
                _link(temporary, path)
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise_mapped(error, path, "cannot be removed")
    fsync_name(path)


def swap(temporary: Path, path: Path, is_old: Callable[[Path], bool]) -> bool:
    """Replace *path* by *temporary*, if the file at *path* satisfies *is_old*.

    Returns:
        False if it does not: it stays at *path*, and *temporary* is still there.

    Raises:
        OSError: nothing was changed.
    """
    if not exchanged(temporary, path):
        if not is_old(path):
            return False
        temporary.replace(path)
        return True
    mine = path.lstat()
    try:
        replaced = is_old(temporary)
    except BaseException:
        exchanged(temporary, path)
        raise
    if replaced:
        with contextlib.suppress(OSError):  # what is left is removed the next time
            temporary.unlink()
        return True
    exchanged(temporary, path)
    if not os.path.samestat(temporary.lstat(), mine) or _grew(temporary, mine):
        exchanged(temporary, path)  # another write in between: the latest one stays
        temporary.unlink()
    return False


def _grew(path: Path, before: os.stat_result) -> bool:
    """Say whether the file at *path* was written to since *before*."""
    now = path.lstat()
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def may_be_written(path: Path) -> bool:
    """Say whether the file *path* may be written.

    Raises:
        PhotosDiskError: its file system is read-only.
    """
    if os.access(path, os.W_OK):
        return True
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        raise_mapped(OSError(errno.EROFS, os.strerror(errno.EROFS)), path, "cannot be written")
    return False


def _swap(temporary: Path, path: Path, old: Old) -> None:
    if not swap(temporary, path, lambda there: _is(there, old)):
        raise _changed()


def _check_unchanged(path: Path, old: Old) -> None:
    if not _is(path, old):
        raise _changed()


def _is(path: Path, old: Old) -> bool:
    """Say whether the file at *path* is *old*."""
    try:
        now = read(path)
    except SidecarRefused:  # a link, or something very large
        return False
    return now is not None and now.data == old.data


def _changed() -> SidecarChanged:
    return SidecarChanged("was changed by another program at the same moment")


def _link(temporary: Path, path: Path) -> None:
    """Give *temporary* the name *path*, which must be free."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # FAT and some network file systems have no links: the check and the rename are two steps.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from None
        temporary.rename(path)


def keep(path: Path, backup: Path, copy: Callable[[Path], None]) -> Path:
    """Give the file at *path* a second name, *backup* or one like it that is free.

    Args:
        path: the file.
        backup: the name.
        copy: makes a copy under the name it is given, where the file system has no hard links.

    Returns:
        The name.

    Raises:
        OSError: it cannot be done.
    """
    for number in range(1000):
        free = backup.with_name(f"{backup.name}-{number}") if number else backup
        try:
            os.link(path, free, follow_symlinks=False)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if os.path.lexists(free):
                continue
            copy(free)
        return free
    raise FileExistsError(errno.EEXIST, "too many backups", str(backup))


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[tuple[Path, int]]:
    """Give the name and a locked, open descriptor of a hidden file beside *path*.

    Its name is gone afterwards. It is unlocked only when it is done with: :func:`clear` removes
    what a process that died left behind.

    Raises:
        SidecarChanged: another process is writing it.
        SidecarUnwritable, PhotosDiskError: it cannot be made.
    """
    clear(path)
    temporary = temporary_name(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
    except OSError as error:
        raise_mapped(error, path, "cannot be written")
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield temporary, descriptor
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(temporary.lstat(), os.fstat(descriptor)):
                    temporary.unlink()
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _written(path: Path, data: bytes, like: os.stat_result, mode: int) -> Iterator[Path]:
    """Give the name of a synced file with *data* beside *path*, owned as *like*."""
    with temporary_file(path) as (temporary, descriptor):
        try:
            # Unbuffered: on a full disk close() would try again and hide our own error.
            with open(descriptor, "wb", buffering=0, closefd=False) as file:
                remaining = memoryview(data)
                while remaining:
                    remaining = remaining[file.write(remaining) :]
            copy_owner(descriptor, like, mode)
            os.fsync(descriptor)
            yield temporary
        except OSError as error:
            raise_mapped(error, path, "cannot be written")


def clear(path: Path) -> None:
    """Remove the temporary file that a dead process left beside the sidecar *path*.

    Removed, never written to: it may be a second name of the sidecar itself.

    Raises:
        SidecarChanged: another process is writing it at this moment.
        SidecarUnwritable, PhotosDiskError: it cannot be removed.
    """
    temporary = temporary_name(path)
    try:
        if not os.path.lexists(temporary):
            return
        left = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
        finally:
            os.close(left)
    except BlockingIOError:
        message = "is being written by another taggerd"
        raise SidecarChanged(message) from None
    except OSError as error:
        raise_mapped(error, path, "cannot be written")


def temporary_name(path: Path) -> Path:
    """Return the name of a sidecar's temporary file: always the same, and hidden."""
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST_NAME])
    return path.with_name(f".{name}.taggerd-tmp")


def backup_name(path: Path, now: datetime) -> Path:
    """Return the name under which the old bytes of *path* are kept."""
    return path.with_name(f"{path.name}.orig-{now:%Y%m%dT%H%M%S}")


def copy_attributes(path: Path, temporary: Path) -> None:
    """Copy extended attributes (file managers' tags, access lists), as far as is permitted."""
    with contextlib.suppress(OSError):
        for name in os.listxattr(path, follow_symlinks=False):
            with contextlib.suppress(OSError):
                value = os.getxattr(path, name, follow_symlinks=False)
                os.setxattr(temporary, name, value, follow_symlinks=False)


def fsync_name(path: Path) -> None:
    """Sync the folder of *path*, so that the new name survives a power cut.

    A folder that cannot be read, or a network file system without sync, is left.

    Raises:
        PhotosDiskError: the disk fails.
    """
    try:
        fsync_folder(path.parent)
    except OSError as error:
        if error.errno in _STORAGE:
            raise_mapped(error, path, "cannot be written")


def raise_mapped(error: OSError, path: Path, what: str) -> NoReturn:
    """Raise *error* as the disk's fault or the sidecar's."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _STORAGE:
        message = f"{printable(path)} {what}: {reason}; {_STORAGE[error.errno]}"
        read_only = read_only_reason(path.parent) if error.errno == errno.EROFS else ""
        if read_only:
            raise PhotosDiskReadOnly(read_only) from error
        raise PhotosDiskError(message) from error
    if error.errno == errno.ENOENT:
        message = f"{what}: its folder or temporary file has just disappeared"
        raise SidecarChanged(message) from error
    if error.errno == errno.ENAMETOOLONG:
        message = "has a name too long for this file system: give the photo a shorter one"
        raise SidecarRefused(message) from error
    message = f"{what}: {reason}"
    raise SidecarUnwritable(message) from error
