"""What programs on one machine lock in the state directory, wherever the ledger is kept."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from taggerd.errors import StartError, StorageError
from taggerd.ledger.opening import refuse_shared
from taggerd.ledger.owners import OWNERS, Lock, Owners, daemon_pid
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
"""Passes by itself once there is room, or the disk is repaired or mounted for writing."""


class LocalState:
    """An owner's lock, and the daemon's, in a state directory."""

    def __init__(self, directory: Path, exclusive: bool) -> None:  # noqa: FBT001 - as run_in_executor calls it
        """Enter *directory*, creating it if need be (mode 0700); *exclusive* as its only daemon.

        Raises:
            StartError: it cannot be used, others may write to it, or another daemon uses it.
            StorageError: its disk is full or failing.
        """
        self._directory = directory
        with usable(directory), ExitStack() as opened:
            refuse_shared(directory)  # before anything is made in somebody else's folder
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_shared(directory)
            self.owners = Owners(directory / OWNERS)
            # First of all: whoever would migrate the ledger must see that a daemon is coming.
            self.owners.enter()
            opened.callback(self.owners.leave)
            if exclusive:
                opened.callback(self._lock_as_daemon().release)
            self._opened = opened.pop_all()

    def daemon_pid(self) -> int | None:
        """Return the process id of the daemon on this directory; None if none runs."""
        return daemon_pid(self._directory)

    def close(self) -> None:
        """Release the locks; may be called more than once."""
        self._opened.close()

    def _lock_as_daemon(self) -> Lock:
        """Take the daemon's lock, and write into it who holds it."""
        try:
            lock = Lock(self._directory / "daemon.lock")
        except BlockingIOError:
            pid = self.daemon_pid()
            message = (
                f"another taggerd uses {printable(self._directory)}"
                f"{f', pid {pid}' if pid else ''}: stop it, or set another state_directory"
            )
            raise StartError(message) from None
        lock.write(f"{os.getpid()} {self.owners.me}")
        return lock


@contextmanager
def usable(directory: Path) -> Iterator[None]:
    """Raise the errors of a disk as those of the state *directory*."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK:
            message = f"the state directory {printable(directory)}: {error.strerror}"
            raise StorageError(message) from error
        message = (
            f"the state directory {printable(directory)} cannot be used "
            f"({error.strerror}): make it a folder that this user may write to, "
            "or set another state_directory"
        )
        raise StartError(message) from error
