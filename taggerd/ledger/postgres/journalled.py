"""The records that any host has journalled.

Day files lie with the host that wrote them: whoever asks elsewhere finds their records here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.ledger.postgres.packing import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taggerd.ledger.postgres.database import PostgresDatabase
    from taggerd.ledger.queries import Database

_RECORDS = 500
"""Read, or removed, at once."""


def deliver(database: PostgresDatabase, records: Iterable[str]) -> None:
    """Take *records*, given by id, out of the outbox, as they are journalled now."""
    rows = database.bulk("delivered", records=list(records))
    kept = [row for row in sorted(rows, key=lambda row: row["id"]) if row["stream"] == ""]
    if kept:
        database.bulk(
            "keep_journalled",
            days=[row["day"] for row in kept],
            lines=[packed(row["line"]) for row in kept],
        )


def lines(database: Database, day: str) -> Iterator[str]:
    """Yield the records of *day*, in the order they came, with the paths of this host."""
    behind = 0
    while rows := database.rows("journalled", day=day, behind=behind, limit=_RECORDS):
        for row in rows:
            yield database.paths.readable(unpacked(row["line"]))
        behind = rows[-1]["number"]


def since(database: Database, number: int) -> Iterator[tuple[str, str, int]]:
    """Yield day, line and number of each record behind *number*, likewise."""
    while rows := database.rows("journalled_since", behind=number, limit=_RECORDS):
        for row in rows:
            number = row["number"]
            yield row["day"], database.paths.readable(unpacked(row["line"])), number


def forget(database: Database, before: str) -> bool:
    """Remove some records of days *before* that one; say whether there may be more."""
    return database.do("forget_journalled", before=before, limit=_RECORDS) == _RECORDS
