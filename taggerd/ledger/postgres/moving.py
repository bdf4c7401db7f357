"""The note in a database whose rows are not the ledger: they are still arriving, or have left."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

from taggerd.errors import StartError
from taggerd.photo import printable

if TYPE_CHECKING:
    from psycopg import Connection

NOTE = "ledger.move"
"""The key of the note."""


@dataclass(frozen=True, slots=True)
class Move:
    """A move of a ledger into this database, or out of it."""

    id: str
    other: str
    """Where from, or where to: ``HOST:DIRECTORY``."""
    at: float
    arrives: bool

    @classmethod
    def of(cls, connection: Connection[Any]) -> Self | None:
        """Return the move that the rows are in; None: they are the ledger."""
        cursor = connection.execute("SELECT value FROM taggerd.notes WHERE key = %s", [NOTE])
        row = cursor.fetchone()
        value = row and (row["value"] if isinstance(row, dict) else row[0])
        return cls(**json.loads(value)) if value else None

    def keep(self, connection: Connection[Any]) -> None:
        """Say that the rows are in this move."""
        connection.execute(
            "INSERT INTO taggerd.notes (key, value) VALUES (%s, %s) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [NOTE, json.dumps(asdict(self))],
        )

    def remove(self, connection: Connection[Any]) -> None:
        """Say that the rows are the ledger."""
        connection.execute("DELETE FROM taggerd.notes WHERE key = %s", [NOTE])

    @property
    def message(self) -> str:
        """Why the database is not used, and what to do."""
        if self.arrives:
            return (
                f"a ledger is being moved here from {printable(self.other)}, and has not arrived: "
                "run taggerd ledger move there again"
            )
        day = time.strftime("%Y-%m-%d", time.localtime(self.at))
        return (
            f"this ledger was moved to {printable(self.other)} on {day}: remove ledger.url there, "
            "or run taggerd ledger move --to with this address there"
        )


def refuse_moving(connection: Connection[Any]) -> None:
    """Refuse a database whose rows are not the ledger.

    Raises:
        StartError: they are arriving, or have left.
    """
    if move := Move.of(connection):
        raise StartError(move.message)
