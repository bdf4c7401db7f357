"""Atomic writing, and one error for everything a disk can do wrong.

A file of the journal either has all its new bytes or is as it was before. Whatever went wrong is
raised as :class:`~taggerd.errors.StorageError`: work pauses and continues when there is room.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from taggerd import files
from taggerd.errors import StorageError
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEMPORARY_SUFFIX = ".taggerd-tmp"
"""How the names of the journal's unfinished files end."""

_ADVICE = {
    errno.ENOSPC: "the disk is full; make room, then work continues by itself",
    errno.EDQUOT: "the disk quota is used up; make room, then work continues by itself",
    errno.EROFS: "the file system is read-only; remount it, then work continues by itself",
    errno.EACCES: "permission denied; give the user of taggerd write access",
    errno.EWOULDBLOCK: "another program keeps it locked (lslocks names it); end that, then work "
    "continues by itself",
    errno.EIO: "the disk is failing (I/O error); see the kernel log",
}


@contextmanager
def failing_as_storage(verb: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` into a :class:`StorageError`: what failed on which path, and advice."""
    try:
        yield
    except OSError as error:
        reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
        message = f"cannot {verb} {printable(path)}: {reason}"
        raise StorageError(message) from error


@contextmanager
def replacing(path: Path, like: int | None = None, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write; it replaces *path* when the block ends without an error.

    Durable on return, unless it need not be: then a power cut may leave it empty, and whoever
    reads it has to make it again. If the block or the disk fails, *path* stays as it was and the
    temporary file is removed. The mode is that of the file before, else of *like*, else 0666 less
    the umask.
    The folder lies below one that :func:`taggerd.files.work_below` was told of.

    Raises:
        OSError: as it came; callers use :func:`failing_as_storage`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    with suppress(FileNotFoundError):
        like = files.lstat(path).st_mode
        if not stat.S_ISREG(like):
            raise files.NotRegular(errno.EINVAL, "not a regular file", str(path))
    with files.new_file(temporary, 0o666 if like is None else 0o600) as made:
        try:
            if like is not None:
                os.fchmod(made.descriptor, stat.S_IMODE(like) & 0o777)
            with made.writer() as file:
                yield file
                file.flush()
                if durable:
                    os.fsync(made.descriptor)
            files.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                files.unlink(temporary)
            raise
    if durable:
        files.fsync_folder(path.parent)


def replace(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write *content* as the whole of *path*, atomically; for *durable* see :func:`replacing`.

    Raises:
        StorageError: the disk is full or failing; *path* is as it was.
    """
    with failing_as_storage("write", path), replacing(path, durable=durable) as file:
        file.write(content)
