"""The outbox: journal lines that wait for delivery."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.ledger.inthread import InThread, in_thread
from taggerd.ledger.port import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taggerd.ledger.database import Value


class Outbox(InThread):
    """The part of :class:`taggerd.ledger.port.Ledger` that keeps the journal's lines."""

    async def outbox(self, limit: int, stream: str = "") -> list[Outgoing]:
        """See the port."""
        lines = await self._lent(limit, stream)
        if lines:  # none may get into the journal that a power cut could still undo
            await self._state.durability.reached()
        return lines

    @in_thread
    def _lent(self, limit: int, stream: str) -> list[Outgoing]:
        mine: dict[str, Value] = {"stream": stream, "owner": self._me, "limit": limit}
        if not self._database.rows("undelivered", **mine):
            return []  # the usual case needs no turn at writing
        with self._database.transaction():
            rows = self._database.rows("undelivered", **mine)
            for row in rows:
                self._database.do("lend", id=row["id"], owner=self._me)
        return [Outgoing(row["record"], row["day"], row["line"], row["stream"]) for row in rows]

    @in_thread
    def delivered(self, ids: Iterable[str]) -> None:
        """See the port."""
        with self._database.transaction():
            for record in ids:
                self._database.do("delivered", record=record)
