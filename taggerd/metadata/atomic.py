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
import errno
import fcntl
import hashlib
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from taggerd import files
from taggerd.errors import (
    PhotosDiskError,
    PhotosDiskReadOnly,
    SidecarChanged,
    SidecarRefused,
    SidecarUnwritable,
)
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

_STORAGE = {
    errno.ENOSPC: "make room, then work continues by itself",
    errno.EDQUOT: "make room, then work continues by itself",
    errno.EROFS: "remount it, then work continues by itself",
    errno.EIO: "see the kernel log",
    errno.EFBIG: "raise the limit on file sizes",
    errno.ENODEV: "see the kernel log",
}
"""Faults of a disk, which hit every photo on it, and what a person can do about each."""
_LINK = "is a symbolic link, or in a folder that is one, which taggerd does not write through"
NAME_TOO_LONG = "has a name too long for this file system: give the photo a shorter one"
_LONGEST_NAME = 110
"""Bytes of a name that are used in its temporary's and its backup's: file systems allow 255, those
that encrypt names 143. A photo with a longer name was paid for, and then nothing could be written.
"""


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
    read-only, as git-annex does; so is a folder that has become one.

    Raises:
        FileNotFoundError: there is none.
        SidecarRefused: it is not a plain file.
        SidecarUnwritable: it cannot be read.
        PhotosDiskError: the disk fails.
    """
    try:
        file = files.open_file(path)
    except FileNotFoundError:
        raise
    except files.NotRegular as error:
        refuse(_LINK if error.errno == errno.ELOOP else "is not a plain file")
    except OSError as error:
        raise_mapped(error, path, "cannot be read")
    with file:
        yield file.descriptor


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
        with _written(free, old.data, old.stat, mode) as (made, descriptor):
            os.utime(descriptor, ns=(old.stat.st_atime_ns, old.stat.st_mtime_ns))
            _link(made, free)

    with _written(path, data, old.stat, mode) as (temporary, descriptor):
        try:
            _copy_attributes(path, descriptor)
            _check_unchanged(path, old)
            if backup is not None:
                kept = keep(path, backup, copy)
                _check_unchanged(path, old)
            _swap(temporary, path, old)
        except BaseException as error:
            if kept is not None:
                files.unlink(kept, missing_ok=True)
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
    with _written(path, data, photo, mode) as (temporary, _):
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
        with _alone(path):
            # Not unlinked at once: another program may write at this moment.
            files.rename(path, temporary)
            try:
                _check_unchanged(temporary, old)
                files.unlink(temporary)
            except BaseException:
                with contextlib.suppress(FileExistsError):  # another program has written a new one
                    _link(temporary, path)
                files.unlink(temporary, missing_ok=True)
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
    with _alone(path):
        return _swapped(temporary, path, is_old)


def _swapped(temporary: Path, path: Path, is_old: Callable[[Path], bool]) -> bool:
    if not files.exchange(temporary, path):
        if not is_old(path):
            return False
        files.rename(temporary, path)
        return True
    mine = files.lstat(path)
    try:
        replaced = is_old(temporary)
    except BaseException:
        files.exchange(temporary, path)
        raise
    if replaced:
        with contextlib.suppress(OSError):  # what is left is removed the next time
            files.unlink(temporary)
        return True
    files.exchange(temporary, path)
    if not os.path.samestat(files.lstat(temporary), mine) or _grew(temporary, mine):
        files.exchange(temporary, path)  # another write in between: the latest one stays
        files.unlink(temporary)
    return False


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other taggerds from clearing the temporary name of *path*: it is the old file's then.

    One that took it for a dead process's, and began its own there, had that half given to a photo.
    """
    with contextlib.ExitStack() as opened_:
        # A folder that cannot be read, and NFS, have no such lock.
        with contextlib.suppress(OSError):
            folder = opened_.enter_context(files.open_folder(path.parent))
            fcntl.flock(folder.descriptor, fcntl.LOCK_EX)
        yield


def _grew(path: Path, before: os.stat_result) -> bool:
    """Say whether the file at *path* was written to since *before*."""
    now = files.lstat(path)
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def may_be_written(path: Path) -> bool:
    """Say whether the file *path* may be written.

    Raises:
        PhotosDiskError: its file system is read-only.
    """
    if files.may_write(path):
        return True
    if files.statvfs(path).f_flag & os.ST_RDONLY:
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
    if not files.link(temporary, path):
        files.rename(temporary, path)  # the check and the rename are two steps


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
            if not files.link(path, free):
                copy(free)
        except FileExistsError:
            continue
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
    try:
        file = files.new_file(temporary)
    except FileExistsError:
        message = "is being written by another taggerd"
        raise SidecarChanged(message) from None
    except OSError as error:
        raise_mapped(error, path, "cannot be written")
    with file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield temporary, file.descriptor
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(files.lstat(temporary), file.stat()):
                    files.unlink(temporary)


@contextlib.contextmanager
def _written(
    path: Path, data: bytes, like: os.stat_result, mode: int
) -> Iterator[tuple[Path, int]]:
    """Give name and descriptor of a synced file with *data* beside *path*, owned as *like*."""
    with temporary_file(path) as (temporary, descriptor):
        try:
            # Unbuffered: on a full disk close() would try again and hide our own error.
            with open(descriptor, "wb", buffering=0, closefd=False) as file:
                remaining = memoryview(data)
                while remaining:
                    remaining = remaining[file.write(remaining) :]
            files.copy_owner(descriptor, like, mode)
            _let_owner_edit(descriptor, like, path.parent)
            os.fsync(descriptor)
            yield temporary, descriptor
        except OSError as error:
            raise_mapped(error, path, "cannot be written")


def _let_owner_edit(descriptor: int, like: os.stat_result, folder: Path) -> None:
    """Let the group write where the file could not be given to the owner of *like*.

    Only the group of *like*, or one that the folder gives to all in it (setgid): by these the owner
    comes to the file. taggerd's own group may be that of every user of the machine.
    """
    made = os.fstat(descriptor)
    if made.st_uid == like.st_uid:
        return
    above = files.lstat(folder)
    of_folder = above.st_mode & stat.S_ISGID and made.st_gid == above.st_gid
    if made.st_gid == like.st_gid or of_folder:
        with contextlib.suppress(OSError):  # a file system without modes
            os.fchmod(descriptor, stat.S_IMODE(made.st_mode) | stat.S_IRGRP | stat.S_IWGRP)


def clear(path: Path) -> None:
    """Remove the temporary file that a dead process left beside the sidecar *path*.

    Removed, never written to: it may be a second name of the sidecar itself.

    Raises:
        SidecarChanged: another process is writing it at this moment.
        SidecarUnwritable, PhotosDiskError: it cannot be removed.
    """
    temporary = temporary_name(path)
    try:
        with _alone(path), files.open_file(temporary) as left:
            fcntl.flock(left.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            files.unlink(temporary)
    except FileNotFoundError:
        return
    except files.NotRegular:
        _discard(temporary, path)
    except BlockingIOError:
        message = "is being written by another taggerd"
        raise SidecarChanged(message) from None
    except OSError as error:
        raise_mapped(error, path, "cannot be written")


def _discard(temporary: Path, path: Path) -> None:
    """Remove a link, pipe or device that somebody put where the temporary file of *path* goes."""
    try:
        files.unlink(temporary)
    except OSError as error:
        raise_mapped(error, path, "cannot be written")


def temporary_name(path: Path) -> Path:
    """Return the name of a sidecar's temporary file: always the same, and hidden."""
    return path.with_name(f".{_shortened(path.name)}.taggerd-tmp")


def backup_name(path: Path, now: datetime) -> Path:
    """Return the name under which the old bytes of *path* are kept."""
    return path.with_name(f"{_shortened(path.name)}.orig-{now:%Y%m%dT%H%M%S}")


def _shortened(name: str) -> str:
    """Return *name* or, if it is long, the beginning of it and a digest that tells it from others.

    It ends between two characters: some file systems refuse half a one.
    """
    whole = os.fsencode(name)
    if len(whole) <= _LONGEST_NAME:
        return name
    digest = hashlib.blake2b(whole, digest_size=4).hexdigest()
    return f"{whole[:_LONGEST_NAME].decode('utf-8', 'ignore')}~{digest}"


def _copy_attributes(path: Path, made: int) -> None:
    """Copy the extended attributes of the file at *path*, as far as is permitted."""
    with contextlib.suppress(OSError), files.open_file(path) as file:
        files.copy_attributes(file.descriptor, made)


def fsync_name(path: Path) -> None:
    """Sync the folder of *path*, so that the new name survives a power cut.

    A folder that cannot be read, or a network file system without sync, is left.

    Raises:
        PhotosDiskError: the disk fails.
    """
    try:
        files.fsync_folder(path.parent)
    except OSError as error:
        if error.errno in _STORAGE:
            raise_mapped(error, path, "cannot be written")


def raise_mapped(error: OSError, path: Path, what: str) -> NoReturn:
    """Raise *error* as the disk's fault or the sidecar's."""
    reason = error.strerror or str(error)
    if error.errno in _STORAGE:
        message = f"{printable(path)} {what}: {reason}; {_STORAGE[error.errno]}"
        read_only = files.read_only_reason(path.parent) if error.errno == errno.EROFS else ""
        if read_only:
            raise PhotosDiskReadOnly(read_only) from error
        raise PhotosDiskError(message) from error
    if error.errno == errno.ENOENT:
        message = f"{what}: its folder or temporary file has just disappeared"
        raise SidecarChanged(message) from error
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        raise SidecarRefused(_LINK) from error
    if error.errno == errno.ENAMETOOLONG:
        raise SidecarRefused(NAME_TOO_LONG) from error
    message = f"{what}: {reason}"
    raise SidecarUnwritable(message) from error
