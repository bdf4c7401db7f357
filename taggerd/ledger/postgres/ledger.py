"""The ledger in a PostgreSQL database, which several machines may share."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from taggerd.errors import StorageError
from taggerd.ledger import claims, queue
from taggerd.ledger.local_state import LocalState
from taggerd.ledger.postgres import faults, opening
from taggerd.ledger.postgres.database import PostgresDatabase
from taggerd.ledger.rows import PLAIN
from taggerd.ledger.sql import SqlLedger, in_thread
from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.ledger.port import Claim, Outgoing
    from taggerd.ledger.rows import Paths

T = TypeVar("T")
log = get_logger(__name__)

BEAT_SECONDS = 10.0
"""Between two signs of life of an owner."""
DEAD_SECONDS = 30.0
"""An owner that gave no sign of life for so long is dead, by the database's clock."""
_MOST_TRIES = 8
"""Of a transaction that another one undoes."""


class PostgresLedger(SqlLedger):
    """Keeps :class:`taggerd.ledger.port.Ledger` in the schema ``taggerd`` of a database.

    Times are the database's: its clock is asked with every sign of life, and what callers say by
    their own is shifted by the difference.
    """

    _database: PostgresDatabase
    fleet = None
    notices: tuple[str, ...] = ()
    migrated = ""

    def __init__(  # noqa: PLR0913 - all by name but three
        self,
        database: PostgresDatabase,
        thread: ThreadPoolExecutor,
        clock: Callable[[], float],
        *,
        max_attempts: int,
        order: Literal["newest", "oldest"],
        skew: float | None,
        local: LocalState | None,
    ) -> None:
        """Use an open *database* in its *thread*; see :meth:`open`."""
        super().__init__(
            database,
            uuid.uuid4().hex,
            lambda: clock() + self._ahead,
            max_attempts=max_attempts,
            order=order,
        )
        self._thread = thread
        self._local_clock = clock
        self._skew = skew
        self._ahead = skew or 0.0
        self._local = local
        self._closed = False
        self._beating: asyncio.Task[None] | None = None
        self._flushing = asyncio.Lock()
        self._next_flush: asyncio.Task[None] | None = None
        database.connected = self._enter

    @classmethod
    async def open(  # noqa: PLR0913 - all by name but one
        cls,
        url: str,
        *,
        directory: Path | None = None,
        exclusive: bool = False,
        max_attempts: int = 3,
        order: Literal["newest", "oldest"] = "newest",
        clock: Callable[[], float] = time.time,
        skew: float | None = None,
        paths: Paths = PLAIN,
    ) -> Self:
        """Open the ledger in the database at *url*. What dead owners had claimed is queued again.

        Args:
            url: of the database; never logged.
            directory: the state directory of this host, for the lock of its daemon; None: no lock.
            exclusive: this is the daemon; a state directory has at most one.
            max_attempts: a photo that failed this often is quarantined.
            order: which photo is claimed first.
            clock: this host's time, seconds since the epoch.
            skew: seconds that the database's clock is ahead of it; None: measured.
            paths: how this host's paths and stamps stand in it.

        Raises:
            StartError: the database holds no ledger of this version, or refuses us; the state
                directory cannot be used, or another daemon uses it.
            LedgerAway: the server cannot be used now.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        loop = asyncio.get_running_loop()
        with ExitStack() as undo:
            undo.callback(thread.shutdown, wait=False)
            local = None
            if directory is not None:
                local = await loop.run_in_executor(thread, LocalState, directory, exclusive)
                undo.callback(local.close)
            await loop.run_in_executor(thread, opening.check, url)
            database = PostgresDatabase(url, paths)
            ledger = cls(
                database,
                thread,
                clock,
                max_attempts=max_attempts,
                order=order,
                skew=skew,
                local=local,
            )
            undo.callback(database.close)
            await ledger.beat()
            await ledger.recover()
            undo.pop_all()
        ledger._beating = asyncio.create_task(ledger._beat_on())
        return ledger

    # The thread and the database.

    async def _run(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._worked, work)

    def _worked(self, work: Callable[[], T]) -> T:
        """Do *work*, again if another transaction undid it."""
        for tries in range(_MOST_TRIES):
            try:
                done = work()
            except faults.Again:
                # Two that undo each other would do so again if they came back together.
                time.sleep(random.uniform(0, 0.01) * 2**tries)  # noqa: S311 - no secret
            else:
                return done
        message = "the ledger is busy: other transactions have undone one of ours over and over"
        raise StorageError(message)

    async def _on_disk(self) -> None:
        # One that waits may have begun before the last commit.
        if self._next_flush is None:
            self._next_flush = asyncio.create_task(self._flushed())
        await asyncio.shield(self._next_flush)

    async def _flushed(self) -> None:
        async with self._flushing:
            self._next_flush = None
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._database.flush)

    def stamp(self) -> object:
        """See the port."""
        return self._database.changes, time.monotonic() // BEAT_SECONDS

    def daemon_pid(self) -> int | None:
        """Return the process id of the daemon on the state directory; None if none runs."""
        return self._local.daemon_pid() if self._local is not None else None

    # Owners.

    def _enter(self) -> None:
        """Be known as alive, on a new connection: we may have been taken for dead."""
        self._database.rows("enter", owner=self._me, host=socket.gethostname(), pid=os.getpid())

    @in_thread
    def beat(self) -> None:
        """Give a sign of life, and learn the database's time."""
        self._enter()
        if self._skew is None:
            before = self._local_clock()
            theirs: float = self._database.one("clock")["now"]
            self._ahead = theirs - (before + self._local_clock()) / 2

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with suppress(StorageError):  # whoever else asks it says so
                await self.beat()

    @in_thread
    def recover(self) -> int:
        """See the port."""
        recovered = 0
        with self._database.transaction():
            for row in self._database.rows("dead_owners", seconds=DEAD_SECONDS):
                if row["owner"] != self._me:
                    recovered += self._end_owner(row["owner"], crashed=True)
        return recovered

    def _end_owner(self, owner: str, *, crashed: bool) -> int:
        ended = claims.end_all(self._database, owner, now=self._clock(), crashed=crashed)
        self._database.do("bury", owner=owner)
        return ended

    @in_thread
    def holds(self, claim: Claim) -> bool:
        """See the port."""
        self._enter()
        return self._database.row("holds", photo=claim.id, token=claim.token) is not None

    @in_thread
    def serve_notices(self) -> bool:
        """See the port."""
        try:
            with self._database.transaction():
                self._database.do("silence_dead", seconds=DEAD_SECONDS)
                return self._database.do("serve_notices", owner=self._me) > 0
        except ValueError:  # another one has become it in the same moment
            return False

    async def close(self) -> None:
        """See the port."""
        if self._closed:
            return
        self._closed = True
        if self._beating is not None:
            self._beating.cancel()
        # What cannot be put back now is recovered later, as that of a dead owner.
        with suppress(StorageError):
            await self._leave()
        await self._abandon()

    @in_thread
    def _lend(self, limit: int, stream: str) -> list[Outgoing]:
        """Lend lines in one statement: two that look at the same moment get different ones."""
        if not queue.undelivered(self._database, self._me, 1, stream):
            return []  # the usual case, which needs no transaction
        with self._database.transaction():
            rows = self._database.rows("lend_some", owner=self._me, limit=limit, stream=stream)
        return [queue.outgoing(row) for row in rows]

    @in_thread
    def _leave(self) -> None:
        with self._database.transaction():
            self._end_owner(self._me, crashed=False)

    async def _abandon(self) -> None:
        """Close the connection, and let go of nothing."""
        self._closed = True
        if self._beating is not None:
            self._beating.cancel()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
        self._thread.shutdown(wait=False)
        if self._local is not None:
            self._local.close()
