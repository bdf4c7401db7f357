"""The ledger in an SQLite file in the state directory: the default."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from taggerd.errors import StorageError
from taggerd.ledger import claims
from taggerd.ledger.notes import in_thread
from taggerd.ledger.sql import SqlLedger
from taggerd.ledger.state_directory import StateDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.ledger.database import Database

T = TypeVar("T")


class SqliteLedger(SqlLedger):
    """Keeps :class:`taggerd.ledger.port.Ledger` in ``<state directory>/ledger.sqlite``."""

    _database: Database
    fleet = None
    """It has one host."""

    def __init__(
        self, state: StateDirectory, *, max_attempts: int, order: Literal["newest", "oldest"]
    ) -> None:
        """Use an open *state*; see :meth:`open`."""
        super().__init__(
            state.database, state.owners.me, state.clock, max_attempts=max_attempts, order=order
        )
        self._state = state

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        exclusive: bool = False,
        max_attempts: int = 3,
        order: Literal["newest", "oldest"] = "newest",
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the ledger in the state *directory*, creating both if need be.

        A damaged database is moved aside and named in :attr:`notices`. What dead owners had claimed
        is queued again.

        Args:
            directory: the state directory.
            exclusive: this is the daemon; a state directory has at most one.
            max_attempts: a photo that failed this often is quarantined.
            order: which photo is claimed first.
            clock: the time, seconds since the epoch.

        Raises:
            StartError: the directory cannot be used, or another daemon uses it.
            StorageError: the disk is full or failing.
        """
        state = await StateDirectory.open(directory, exclusive=exclusive, clock=clock)
        ledger = cls(state, max_attempts=max_attempts, order=order)
        try:
            await ledger.recover()
        except BaseException:
            await state.close()
            raise
        return ledger

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know about the opening, one line each."""
        return self._state.notices

    @property
    def migrated(self) -> str:
        """From which schema the ledger was migrated, and the way back; empty if it was not."""
        return self._state.migrated

    def daemon_pid(self) -> int | None:
        """Return the process id of the daemon on this state directory; None if none runs."""
        return self._state.daemon_pid()

    def stamp(self) -> object:
        """See the port."""
        return self._state.log_stamp()

    async def close(self) -> None:
        """See the port."""
        if not self._state.closed:
            # What cannot be put back now is recovered later, as that of a dead owner.
            with suppress(StorageError):
                await self._end_all()
            with suppress(StorageError):
                await self._state.close()

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._state.run(work)

    async def _on_disk(self) -> None:
        await self._state.durability.reached()

    @in_thread
    def recover(self) -> int:
        """See the port."""
        owners = self._state.owners
        recovered = 0
        try:
            named = {row["owner"] for row in self._database.rows("owners")}
            for owner in (named | owners.all()) - {self._me}:
                if owners.alive(owner):
                    continue
                with self._database.transaction():
                    now = self._clock()
                    recovered += claims.end_all(self._database, owner, now=now, crashed=True)
                owners.bury(owner)  # last, so that a kill in between changes nothing
        except OSError as error:
            message = f"cannot tell which owners of the ledger are alive: {error}"
            raise StorageError(message) from error
        return recovered

    @in_thread
    def serve_notices(self) -> bool:
        """See the port."""
        return self._state.serve_notices()
