"""The photo's file: opened once, safely, and known to be the one that settled."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from taggerd.errors import PhotoChanged, PhotoGone, PhotoUndecodable, PhotoUnreadable
from taggerd.photo import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

    from taggerd.errors import TaggerdError

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
_FAULTS = _GONE | {errno.EIO, errno.EACCES, errno.EPERM, errno.ETIMEDOUT, errno.EREMOTEIO}
"""What reading an open file may fail with. Others, EINVAL above all, come of seeking to where a
damaged header points."""
_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR})


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open the regular file at *path* for reading.

    A pipe or device of that name does not block, a symbolic link is not followed.

    Raises:
        PhotoGone, PhotoUnreadable: see :func:`fault`.
        PhotoUndecodable: it is not a regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise fault(error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PhotoUndecodable(_NOT_REGULAR)
    with os.fdopen(descriptor, "rb") as file:
        yield file


_NOT_REGULAR = "not a regular file (a link, folder, pipe or device): nothing to decode"


def fault(error: OSError) -> TaggerdError:
    """Map what the system says of a file to one of our errors."""
    if error.errno in _GONE:
        return PhotoGone("no longer there")
    if error.errno in _NO_FILE:
        return PhotoUndecodable(_NOT_REGULAR)
    what = error.strerror or str(error)
    return PhotoUnreadable(f"cannot be read: {what}; check its permissions and the disk")


def is_fault(error: Exception) -> bool:
    """Say whether *error*, raised in a decoder, is about reading the file, not its content."""
    return isinstance(error, OSError) and error.errno in _FAULTS


def confirmed(file: BufferedReader, stamp: Stamp) -> Stamp:
    """Return the stamp of the open *file*.

    Raises:
        PhotoChanged: it is not *stamp*.
    """
    now = Stamp.of(os.fstat(file.fileno()))
    if now == stamp:
        return now
    if (now.inode, now.device) != (stamp.inode, stamp.device):
        change = "it was replaced"
    elif now.size != stamp.size:
        change = f"{stamp.size} bytes then, {now.size} now"
    else:
        change = "it was written to"
    message = f"changed since it settled ({change}): it will settle again"
    raise PhotoChanged(message)


def digest(file: BufferedReader) -> str:
    """Return the BLAKE2b-256 of all bytes of *file*, 64 hex digits; it is rewound afterwards.

    Raises:
        PhotoUnreadable: I/O error.
    """
    try:
        file.seek(0)
        digested = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        file.seek(0)
    except OSError as error:
        raise fault(error) from error
    return digested.hexdigest()
