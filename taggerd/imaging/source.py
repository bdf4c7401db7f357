"""The photo's file: opened safely, and checked to be the one that settled."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.errors import PhotoChanged, PhotoGone, PhotoUndecodable, PhotoUnreadable
from taggerd.photo import Stamp

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path

    from taggerd.errors import TaggerdError
    from taggerd.files import OpenFile

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})
_READ_ERRORS = _GONE | {errno.EIO, errno.EACCES, errno.EPERM, errno.ETIMEDOUT, errno.EREMOTEIO}
"""Errors of reading an open file. Others, above all EINVAL, come from a damaged header that makes
the decoder seek to an impossible offset."""
_NOT_REGULAR = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR})


def open_photo(path: Path) -> OpenFile:
    """Open the photo at *path* for reading.

    A pipe or device of that name does not block, and a link is not followed.

    Raises:
        PhotoGone, PhotoUnreadable, PhotoUndecodable: see :func:`mapped`.
    """
    try:
        return files.open_file(path)
    except files.NotRegular as error:
        raise PhotoUndecodable(_NOT_A_FILE) from error
    except OSError as error:
        raise mapped(error) from error


_NOT_A_FILE = "not a regular file (a link, folder, pipe or device): nothing to decode"


def mapped(error: OSError) -> TaggerdError:
    """Return our own error for what the system says about a file."""
    if error.errno in _GONE:
        return PhotoGone("no longer there")
    if error.errno in _NOT_REGULAR:
        return PhotoUndecodable(_NOT_A_FILE)
    if error.errno == errno.EAGAIN:
        return PhotoUnreadable("another program keeps others from reading it (a lease): end it")
    what = error.strerror or str(error)
    return PhotoUnreadable(f"cannot be read: {what}; check its permissions and the disk")


def is_read_error(error: Exception) -> bool:
    """Say whether *error*, raised in a decoder, is about reading the file, not its content."""
    return isinstance(error, OSError) and error.errno in _READ_ERRORS


def check_unchanged(file: BufferedReader, stamp: Stamp) -> None:
    """Compare the open *file* with *stamp*.

    Raises:
        PhotoChanged: they differ.
    """
    now = Stamp.of(os.fstat(file.fileno()))
    if stamp.matches(now):
        return
    if not stamp.foreign and (now.inode, now.device) != (stamp.inode, stamp.device):
        change = "it was replaced"
    elif now.size != stamp.size:
        change = f"{stamp.size} bytes then, {now.size} now"
    else:
        change = "it was written to"
    message = f"changed since it settled ({change}): waiting until it settles again"
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
        raise mapped(error) from error
    return digested.hexdigest()
