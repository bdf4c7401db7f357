"""One program's use of the state directory: its folder, its locks, its thread, its database."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

from taggerd.errors import StorageError
from taggerd.ledger.durability import Durability
from taggerd.ledger.local_state import LocalState, usable
from taggerd.ledger.opening import DATABASE, open_database
from taggerd.ledger.owners import Lock
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")


class StateDirectory:
    """An open state directory."""

    durability: Durability

    def __init__(
        self,
        directory: Path,
        thread: ThreadPoolExecutor,
        clock: Callable[[], float],
        *,
        exclusive: bool,
    ) -> None:
        """Open *directory* in *thread*, where this runs; see :meth:`open`."""
        self._directory = directory
        self._thread = thread
        self.clock = clock
        self.closed = False
        self._serves_notices = False
        self.notices: tuple[str, ...] = ()
        """What a person should know about the opening, one line each."""
        self.migrated = ""
        """From which schema the ledger was migrated, and the way back; empty if it was not."""
        with usable(directory), ExitStack() as opened:
            self._local = LocalState(directory, exclusive)
            opened.callback(self._local.close)
            self.owners = self._local.owners
            self.database, damaged, self.migrated = open_database(directory / DATABASE, clock())
            opened.callback(self.database.close)
            self._opened = opened.pop_all()
        if damaged is not None:
            kept = printable(damaged)
            self.notices = (
                f"the ledger was damaged: it is kept as {kept}, and a new one is created",
            )

    @classmethod
    async def open(cls, directory: Path, *, exclusive: bool, clock: Callable[[], float]) -> Self:
        """Open *directory*, creating it if need be (mode 0700); *exclusive* as its only daemon.

        Raises:
            StartError: it cannot be used, others may write to it, or another daemon uses it.
            StorageError: its disk is full or failing.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        opening = partial(cls, directory, thread, clock, exclusive=exclusive)
        try:
            state = await asyncio.get_running_loop().run_in_executor(thread, opening)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        state.durability = Durability(directory / DATABASE)
        return state

    async def run(self, work: Callable[[], T]) -> T:
        """Run *work* in the thread that owns the database."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def log_stamp(self) -> tuple[int, int]:
        """Return size and time of the database's log, which every commit writes to.

        Not in the thread: the log is on a local disk (SQLite shares memory beside it), so its inode
        is in memory, and a wake-up every few seconds all day costs more than it.
        """
        try:
            log = (self._directory / f"{DATABASE}-wal").stat()
        except OSError:
            return (0, 0)
        return log.st_size, log.st_mtime_ns

    async def close(self) -> None:
        """Close the database and release the locks; may be called more than once."""
        if not self.closed:
            self.closed = True
            try:
                await self.run(self._opened.close)
            finally:
                self.durability.close()
                self._thread.shutdown(wait=False)

    def daemon_pid(self) -> int | None:
        """Return the process id of the daemon on this directory; None if none runs."""
        return self._local.daemon_pid()

    def serve_notices(self) -> bool:
        """Say whether this program is the one that delivers notices, until it ends.

        Raises:
            StorageError: that cannot be told.
        """
        if not self._serves_notices:
            try:
                self._opened.callback(Lock(self._directory / "notices.lock").release)
            except BlockingIOError:
                return False
            except OSError as error:
                message = f"{printable(self._directory)}: {error.strerror}"
                raise StorageError(message) from error
            self._serves_notices = True
        return True
