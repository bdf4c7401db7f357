"""That this program lives, as the database knows it, and what time it is there."""

from __future__ import annotations

import math
import os
import socket
import time
from typing import TYPE_CHECKING

from taggerd.errors import LedgerAway, StartError
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.database import statement
from taggerd.ledger.postgres.jobs import BEAT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from taggerd.ledger.postgres.database import PostgresDatabase
    from taggerd.ledger.queries import Row

_FRESH_SECONDS = 5.0
"""After so long without a sign of life one is given before anything of the user's is written."""
_SURE_SECONDS = BEAT_SECONDS + 2.0
"""After so long one is given before anything is paid for: a machine that sleeps gives none."""
_SLOW_SECONDS = 3.0
"""A server that takes longer may be gone, and with it whoever keeps what is paid for."""


class Presence:
    """The signs of life of one owner of the ledger."""

    def __init__(
        self,
        database: PostgresDatabase,
        owner: str,
        clock: Callable[[], float],
        skew: float | None,
    ) -> None:
        """Give none yet.

        Args:
            database: where they are given.
            owner: who gives them.
            clock: this host's time, seconds since the epoch.
            skew: seconds that the database's clock is ahead of it; None: measured.
        """
        self._database = database
        self._owner = owner
        self._clock = clock
        self._skew = skew
        self._last = -math.inf
        self.ahead = skew or 0.0
        """Seconds that the database's clock is ahead of this host's, by the last sign."""
        self.claims: set[str] = set()
        """Tokens of what was claimed since this program was last taken for dead."""

    def now(self) -> float:
        """Return the database's time, seconds since the epoch."""
        return self._clock() + self.ahead

    def connected(self) -> None:
        """Refuse a ledger that was upgraded or moved while we were cut off, or give a sign.

        Raises:
            LedgerAway: it was.
        """
        try:
            self._database.ask(opening.refuse_changed)
        except StartError as error:
            raise LedgerAway(str(error)) from error
        self.give()  # we may have been taken for dead

    def give(self) -> None:
        """Give a sign of life, in the thread of the database."""
        since = self._clock(), _uptime()
        self._given(since, self._database.one("enter", **self._who))

    def give_on(self, connection: psycopg.Connection[Row]) -> int:
        """Give one on the connection that listens; return what differs once photos were queued."""
        since = self._clock(), _uptime()
        row = connection.execute(statement("enter"), self._who).fetchone()
        assert row is not None  # noqa: S101 - it always gives one
        self._given(since, row)
        return int(row["jobs"])

    def renew(self) -> None:
        """Give a sign of life if the last one is not fresh."""
        if _uptime() - self._last > _FRESH_SECONDS:
            self.give()

    @property
    def is_in_doubt(self) -> bool:
        """Whether others may take this program for dead, or the server may be gone."""
        return (
            _uptime() - self._last > _SURE_SECONDS
            or self._database.is_away
            or self._database.waiting_seconds > _SLOW_SECONDS
        )

    @property
    def _who(self) -> dict[str, str | int]:
        host = self._database.paths.host or socket.gethostname()
        return {"owner": self._owner, "host": host, "pid": os.getpid()}

    def _given(self, since: tuple[float, float], row: Row) -> None:
        clock, self._last = since
        if not row["known"]:
            self.claims = set()  # others may have them
        if self._skew is None:
            self.ahead = row["now"] - (clock + self._clock()) / 2


def _uptime() -> float:
    """Return seconds that count on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
