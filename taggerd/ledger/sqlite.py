"""The ledger in an SQLite file in the state directory: the embedded default."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Self

from taggerd.errors import StorageError
from taggerd.ledger import claims
from taggerd.ledger.inthread import in_thread
from taggerd.ledger.inventory import Inventory
from taggerd.ledger.outbox import Outbox
from taggerd.ledger.queue import Queue
from taggerd.ledger.statedirectory import DATABASE, StateDirectory
from taggerd.ledger.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.ledger.port import Json


class SqliteLedger(Inventory, Turns, Outbox, Queue):
    """Keeps :class:`taggerd.ledger.port.Ledger` in ``<state directory>/ledger.sqlite``."""

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
        """Open the ledger in the state *directory*, making both if need be.

        A damaged database is set aside and named in :attr:`notices`. What dead owners had claimed
        is given back.

        Args:
            directory: the state directory.
            exclusive: this is the daemon; a state directory has one at most.
            max_attempts: a photo that failed this often is quarantined.
            order: which settled photo comes first.
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

    @staticmethod
    def exists(directory: Path) -> bool:
        """Say whether there is a ledger in the state *directory*."""
        return (directory / DATABASE).exists()

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should know about the opening, one line each."""
        return self._state.notices

    def daemon_pid(self) -> int | None:
        """Return the process id of the daemon on this state directory; None if none runs."""
        return self._state.daemon_pid()

    async def close(self) -> None:
        """See the port."""
        if not self._state.closed:
            # What cannot be given or put away now is recovered like that of the dead.
            with suppress(StorageError):
                await self._give_back()
            with suppress(StorageError):
                await self._state.close()

    @in_thread
    def _give_back(self) -> None:
        with self._database.transaction():
            claims.put_back_all(self._database, self._me, now=self._clock(), died=False)

    # Who shares the ledger.

    @in_thread
    def recover(self) -> int:
        """See the port."""
        try:
            return sum(self._give_back_of(owner) for owner in self._dead_owners())
        except OSError as error:
            message = f"the owners of the ledger cannot be told apart: {error}"
            raise StorageError(message) from error

    def _dead_owners(self) -> list[str]:
        owners = {row["owner"] for row in self._database.rows("owners")}
        others = (owners | self._state.owners.all()) - {self._me}
        return [owner for owner in others if not self._state.owners.alive(owner)]

    def _give_back_of(self, owner: str) -> int:
        """Give back what a dead owner held; its file goes last, so that a kill changes nothing."""
        with self._database.transaction():
            count = claims.put_back_all(self._database, owner, now=self._clock(), died=True)
        self._state.owners.bury(owner)
        return count

    # Small things that other rooms want to find again after a restart.

    @in_thread
    def note(self, key: str, value: Json) -> None:
        """See the port."""
        with self._database.transaction():
            self._database.do("note", key=key, value=json.dumps(value))

    @in_thread
    def recall(self, key: str) -> Json:
        """See the port."""
        row = self._database.row("recall", key=key)
        value: Json = None
        with suppress(ValueError):  # a damaged note is none
            value = json.loads(row["value"]) if row else None
        return value
