"""Who uses a ledger: each running taggerd locks a file of its own.

The kernel releases a lock when its process ends, however it ends. So a lock that can be taken means
that its owner is dead, and what it had claimed can be queued again. No heartbeat, no clock.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakSet

from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from pathlib import Path


OWNERS = "owners"
"""Name of the owners' folder in the state directory."""


class Lock:
    """A lock on a file, held by this process only: a forked child does not inherit it."""

    _held: ClassVar[WeakSet[Lock]] = WeakSet()

    def __init__(self, path: Path, *, shared: bool = False, wait: bool = False) -> None:
        """Lock *path*, creating the file if need be.

        Raises:
            BlockingIOError: it is held elsewhere, and *wait* is False.
            OSError: the file cannot be made or opened, e.g. because it is another user's.
        """
        self._file = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            self.change(shared=shared, wait=wait)
        except OSError:
            os.close(self._file)
            raise
        Lock._held.add(self)

    def change(self, *, shared: bool, wait: bool = False) -> None:
        """Make a held lock shared or exclusive; :class:`BlockingIOError` as above."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(self._file, kind if wait else kind | fcntl.LOCK_NB)

    def write(self, text: str) -> None:
        """Replace the file's content."""
        data = text.encode()
        os.pwrite(self._file, data, 0)
        os.ftruncate(self._file, len(data))

    def read(self) -> str:
        """Return the file's content, as far as it is a short text."""
        return os.pread(self._file, 4096, 0).decode("ascii", "replace")

    def release(self) -> None:
        """Release the lock; may be called more than once."""
        Lock._held.discard(self)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @classmethod
    def _forked(cls) -> None:
        """Close the locks in a forked child; the parent's open descriptor keeps them held.

        Without this a worker process that outlives a killed daemon would make it look alive.
        """
        for lock in list(cls._held):
            lock.release()


os.register_at_fork(after_in_child=Lock._forked)  # noqa: SLF001  # its own class's business


class Owners:
    """The lock files of everyone who uses a ledger, in one folder."""

    def __init__(self, folder: Path) -> None:
        """Use *folder*, creating it if need be; may raise :class:`OSError`."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._lock: Lock | None = None
        self.me = uuid.uuid4().hex
        """This owner's name."""

    def enter(self) -> None:
        """Become an owner. The file gets its name once it is locked, never unlocked."""
        unnamed = self._folder / f".{self.me}"
        self._lock = Lock(unnamed)
        unnamed.rename(self._folder / self.me)

    def alive(self, owner: str) -> bool:
        """Say whether *owner* still runs."""
        return _is_locked(self._folder / owner)

    def bury(self, owner: str) -> None:
        """Remove the file of a dead owner, once nothing refers to it."""
        (self._folder / owner).unlink(missing_ok=True)

    def all(self) -> set[str]:
        """Return the owners that have a file, dead or alive."""
        return {file.name for file in self._folder.iterdir() if not file.name.startswith(".")}

    def leave(self) -> None:
        """Stop being an owner."""
        if self._lock is not None:
            with suppress(OSError):  # a folder that turned read-only: the lock is what counts
                self.bury(self.me)
            self._lock.release()
            self._lock = None


def _is_locked(path: Path) -> bool:
    """Say whether *path* is there and locked, changing nothing.

    With a shared lock, so that two who look do not take each other for the owner.
    """
    try:
        file = open_own(path)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def daemon_pid(directory: Path) -> int | None:
    """Return the process id of the daemon on the state *directory*; None if none runs.

    Tries the daemon's lock as an owner, never the daemon lock itself, which could keep a daemon
    from starting. Changes nothing. May raise OSError.
    """
    try:
        with os.fdopen(open_own(directory / "daemon.lock"), encoding="ascii") as file:
            pid, owner = file.read(4096).split()
    except (OSError, ValueError):
        return None
    return int(pid) if _is_locked(directory / OWNERS / owner) else None
