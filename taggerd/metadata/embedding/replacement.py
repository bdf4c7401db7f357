"""Replace a photo by a changed copy, so that a whole file is there at every instant.

The copy is made beside the photo under a hidden name, synced, given its owner, mode, access lists
and extended attributes, checked, and exchanged with the photo in one step (see :mod:`.atomic`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.errors import PhotoChanged, PhotoGone, SidecarUnwritable
from taggerd.metadata import atomic
from taggerd.metadata.xmp import refuse
from taggerd.photo import Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_LATER_NS = 2_000_000_000
"""The copy's mtime is the photo's and this much: what compares times (rsync, Lightroom) sees a
change, what sorts photos by them sees none. Two seconds is what FAT can tell apart."""
_KEPT_ATTRIBUTES = ("user.", "system.posix_acl")


@contextlib.contextmanager
def opened(path: Path, stamp: Stamp | None = None) -> Iterator[int]:
    """Give a descriptor of the photo at *path*, which must be the one with *stamp*, or any.

    Raises:
        PhotoChanged, PhotoGone: it is not.
        SidecarRefused: it is a link, or not a plain file.
        SidecarUnwritable: it cannot be read.
        StorageError: the disk fails.
    """
    try:
        with atomic.opened(path) as descriptor:
            if stamp is not None and not stamp.matches(Stamp.of(os.fstat(descriptor))):
                raise _changed(path)
            yield descriptor
    except FileNotFoundError:
        message = f"{printable(path)} is no longer there"
        raise PhotoGone(message) from None


def exchange(
    path: Path,
    original: int,
    make: Callable[[int], None],
    check: Callable[[int], None],
    *,
    backup: Path | None = None,
) -> tuple[Stamp, Path | None]:
    """Replace the photo at *path* by what *make* writes.

    Args:
        path: the photo.
        original: its open descriptor.
        make: writes the copy to the descriptor it is given.
        check: looks at the finished copy; raises SidecarRefused if it is not as it must be.
        backup: keep the photo as it was under this name, or one beside it if that is taken.

    Returns:
        The stamp of the photo as it now is, and where the old one was kept.

    Raises:
        PhotoChanged: the photo was changed meanwhile; it stays as it now is.
        SidecarRefused, SidecarUnwritable: it stays as it was; the message says why.
        SidecarChanged: another taggerd is writing it.
        StorageError: the disk is full or fails.
    """
    old = os.fstat(original)
    _check_may_change(path, old)
    kept: Path | None = None
    try:
        with atomic.temporary_file(path) as (temporary, descriptor):
            try:
                make(descriptor)
                _copy_attributes(original, descriptor, old)
                os.fsync(descriptor)
                check(descriptor)
            finally:
                # Also where the copy is refused: it may be because of that.
                with opened(path, Stamp.of(old)):
                    pass
            if backup is not None:
                kept = atomic.keep(path, backup, lambda free: _copy_to(original, free))
            made = Stamp.of(os.fstat(descriptor))
            try:
                _swap(temporary, path, Stamp.of(old))
            except BaseException:
                if kept is not None:
                    files.unlink(kept, missing_ok=True)
                raise
    except OSError as error:
        atomic.raise_mapped(error, path, "cannot be written")
    atomic.fsync_name(path)
    return made, kept


def _changed(path: Path) -> PhotoChanged:
    return PhotoChanged(f"{printable(path)} changed since it settled: it is left to settle again")


def _check_may_change(path: Path, old: os.stat_result) -> None:
    if old.st_nlink > 1:
        refuse("has several names (hard links), which would be separated")
    if not old.st_mode & 0o222 or not atomic.may_be_written(path):
        message = "is read-only"
        raise SidecarUnwritable(message)


def _copy_attributes(original: int, made: int, old: os.stat_result) -> None:
    """Give the copy all that the photo has besides its bytes; refuse where that is not possible."""
    files.copy_owner(made, old, stat.S_IMODE(old.st_mode) & 0o777)
    files.copy_attributes(original, made)
    now = os.fstat(made)
    if (now.st_uid, now.st_gid) != (old.st_uid, old.st_gid):
        message = "belongs to another user, and a copy would not"
        raise SidecarUnwritable(message)
    if _attributes(original) != _attributes(made):
        message = "has access lists or attributes that a copy would lose"
        raise SidecarUnwritable(message)
    os.utime(made, ns=(old.st_atime_ns, old.st_mtime_ns + _LATER_NS))


def _attributes(descriptor: int) -> dict[str, bytes]:
    found = files.attributes(descriptor)
    return {name: value for name, value in found.items() if name.startswith(_KEPT_ATTRIBUTES)}


def _copy_to(original: int, free: Path) -> None:
    old = os.fstat(original)
    with files.new_file(free) as made:
        try:
            os.lseek(original, 0, os.SEEK_SET)
            with (
                open(original, "rb", closefd=False) as source,
                open(made.descriptor, "wb", closefd=False) as copy,
            ):
                shutil.copyfileobj(source, copy)
            files.copy_owner(made.descriptor, old, stat.S_IMODE(old.st_mode) & 0o777)
            os.utime(made.descriptor, ns=(old.st_atime_ns, old.st_mtime_ns))
            os.fsync(made.descriptor)
        except BaseException:
            files.unlink(free, missing_ok=True)
            raise


def _swap(temporary: Path, path: Path, stamp: Stamp) -> None:
    """Replace the file with *stamp* at *path* by *temporary*, if it is still there."""
    if not atomic.swap(temporary, path, lambda there: Stamp.of(files.lstat(there)) == stamp):
        raise _changed(path)
