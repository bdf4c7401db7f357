"""What people did with the words of photos.

Synchronous; every function that changes something runs in its caller's transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.ledger.port import Correction

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from taggerd.ledger.port import CorrectionKind
    from taggerd.ledger.queries import Database, Row


def keep(database: Database, corrections: Iterable[Correction], now: float) -> None:
    """Keep *corrections*; one without a time is made *now*."""
    for each in corrections:
        database.do(
            "correct",
            action=each.action,
            at=each.at or now,
            photo=database.paths.stored(each.photo),
            kind=each.kind,
            field=each.field,
            before=each.before,
            after=each.after,
            model=each.model,
            who=each.who,
            undo=each.undo,
        )


def since(
    database: Database, after: int, limit: int, kind: CorrectionKind | None, *, undone: bool
) -> list[Correction]:
    """Return corrections of any photo with an id above *after*, in the order of their ids."""
    rows = database.rows("corrections", after=after, limit=limit, kind=kind, undone=undone)
    return [_correction(database, row) for row in rows]


def of(database: Database, photo: Path) -> list[Correction]:
    """Return all that was done to *photo*, oldest first."""
    rows = database.rows("corrections_of", photo=database.paths.stored(photo))
    return [_correction(database, row) for row in rows]


def undo(database: Database, action: str, now: float) -> int:
    """Note that *action* was undone; return how many corrections stood."""
    rows = database.rows("corrections_of_action", action=action)
    return sum(database.do("undo_correction", id=row["id"], now=now) for row in rows)


def _correction(database: Database, row: Row) -> Correction:
    return Correction(**{**row, "photo": database.paths.path(row["photo"])})
