"""Copies a ledger into one file while others use it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import StartError, StorageError
from taggerd.files import fsync_folder
from taggerd.ledger.reading import read_ledger
from taggerd.photo import printable

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.ledger.port import Counts
    from taggerd.ledger.reading import LedgerReader


_WITHOUT_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})
"""What a file system says that has no hard links: FAT, many network shares."""


class Backup(NamedTuple):
    """What a backup holds."""

    counts: Counts
    size: int
    """Bytes."""


def back_up(directory: Path, target: Path) -> Backup:
    """Copy the ledger in the state *directory* into the file *target*, and check the copy.

    The copy is of one moment and for this user alone (mode 0600). There is none until all of it has
    been read back and is on the disk. A file that is there stays.

    Raises:
        StartError: there is no ledger, it may not be read, or *target* cannot be made.
        StorageError: the ledger is damaged, or a disk is full or failing.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")

    def copy(ledger: LedgerReader) -> Counts:
        ledger.copy_to(part)
        return ledger.counts()

    try:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        try:
            counts = read_ledger(directory, copy)
            if counts is None:
                message = f"there is no ledger in {printable(directory)}: nothing to back up"
                raise StartError(message)
            size = part.stat().st_size
            _publish(part, target)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
        fsync_folder(target.parent)
    except OSError as error:
        advice = {
            errno.EEXIST: "name another file, or remove it",
            errno.ENOENT: "make its folder first",
            errno.ENOSPC: "make space on its disk",
        }.get(error.errno or 0, "name a file in a folder that you may write to")
        message = f"the backup {printable(target)} cannot be made ({error.strerror}): {advice}"
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EIO}
        raise (StorageError if full else StartError)(message) from error
    return Backup(counts, size)


def _publish(part: Path, target: Path) -> None:
    """Give *part* the name *target*, if nothing has it by now; may raise OSError."""
    try:
        os.link(part, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _WITHOUT_LINKS:
            raise
        # Taken first, by an empty file: a rename would replace what came meanwhile.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        part.replace(target)
