"""The queue as a whole, the outbox, the pause and the notes.

Synchronous; every function that changes something runs in its caller's transaction.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from taggerd.ledger import admission
from taggerd.ledger.claims import photo_of
from taggerd.ledger.port import Counts, HeldPhoto, Outgoing, Pause, Quarantined, Waiting
from taggerd.ledger.rows import answers_of
from taggerd.photo import Notice, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taggerd.ledger.port import Json
    from taggerd.ledger.queries import Database, Row


def counts(row: Row) -> Counts:
    """Return the counts of a row of ``count_all`` or ``count_within``."""
    states = "queued", "claimed", "unwritten", "held", "quarantined"
    others = {key: int(row[key]) for key in states}
    return Counts(recorded=row["photos"] - sum(others.values()), **others)


def quarantined(database: Database, limit: int) -> list[Quarantined]:
    """List photos in quarantine and in scope, latest first."""
    rows = database.rows("quarantined", limit=limit)
    return [Quarantined(photo_of(database, r["id"]), r["reason"], r["since"]) for r in rows]


def held(database: Database, limit: int, *, unwritten: bool = False) -> list[HeldPhoto]:
    """List photos in scope that are held; see :meth:`taggerd.ledger.port.Ledger.held`."""
    rows = _held(database, math.inf, queued=unwritten, claimed=unwritten, limit=limit)
    return [
        HeldPhoto(photo_of(database, r["id"]), answers_of(r["answers"]), r["since"]) for r in rows
    ]


def _held(
    database: Database,
    before: float,
    *,
    queued: bool = False,
    claimed: bool = False,
    limit: int = -1,
) -> list[Row]:
    """Return photos held since *before*; those in the queue or in a claim are accepted already."""
    return database.rows("held_within", before=before, queued=queued, claimed=claimed, limit=limit)


def accept(database: Database, before: float, terms: admission.Terms) -> int:
    """Queue held photos in scope; see :meth:`taggerd.ledger.port.Ledger.accept`."""
    rows = _held(database, before, queued=terms.run is not None)
    for row in rows:
        database.do("accept", photo=row["id"])
        admission.queue(database, row["id"], terms)
        if terms.run is not None:
            database.do("request", photo=row["id"], run=terms.run, owner=terms.owner)
    return len(rows)


def drop_held(database: Database, before: float, now: float) -> int:
    """Let held photos in scope go; see :meth:`taggerd.ledger.port.Ledger.drop_held`."""
    rows = _held(database, before)
    for row in rows:
        database.do("let_go", photo=row["id"])
        database.do("drop_held", photo=row["id"], now=now)
    return len(rows)


def retry(database: Database, now: float, *, failed: bool, undone: bool) -> int:
    """Queue photos in scope again; see :meth:`taggerd.ledger.port.Ledger.retry`."""
    rows = database.rows("failed") if failed else database.rows("quarantined", limit=-1)
    if undone:
        rows += database.rows("undone_within")
    return queue_all(database, rows, now)


def queue_all(database: Database, rows: list[Row], now: float) -> int:
    """Queue the photos of *rows*; return how many."""
    for row in rows:
        admission.queue(database, row["id"], admission.Terms(now))
    return len(rows)


def waiting(  # noqa: PLR0913 - as the port, and who asks when
    database: Database, run: str, owner: str, now: float, *, requested: bool, slow: bool | None
) -> Waiting:
    """Return what is left to claim; see :meth:`taggerd.ledger.port.Ledger.waiting`."""
    row = database.one("waiting", run=run, requested=requested, owner=owner, slow=slow)
    due: float | None = row["due"]
    nothing_left = due is None and not row["claimed"]
    pause = None if requested else paused(database, now)
    if due is not None and pause is not None:
        due = None if pause.until is None else max(due, pause.until)
    return Waiting(due, nothing_left)


def set_pause(database: Database, pause: Pause | None) -> None:
    """Pause or resume."""
    database.do("resume")
    if pause is not None:
        database.do("pause", reason=pause.reason, since=pause.since, until=pause.until)


def paused(database: Database, now: float) -> Pause | None:
    """Return the pause that holds at *now*."""
    row = database.row("paused", now=now)
    return Pause(row["reason"], row["since"], row["until"]) if row else None


def undelivered(database: Database, owner: str, limit: int, stream: str) -> list[Outgoing]:
    """Return journal lines that are lent to *owner* or to nobody."""
    rows = database.rows("undelivered", stream=stream, owner=owner, limit=limit)
    return [outgoing(row) for row in rows]


def outgoing(row: Row) -> Outgoing:
    """Return the journal line of a row of the outbox."""
    return Outgoing(row["record"], row["day"], row["line"], row["stream"])


def keep_notices(database: Database, notices: Iterable[Notice]) -> None:
    """Keep *notices*, each once."""
    for each in notices:
        database.do("keep_notice", notice=each.id, hook=each.hook, at=each.at, body=each.body)


def notices(database: Database, hook: str, limit: int, now: float) -> list[Notice]:
    """Return the oldest notices for *hook* that are due."""
    rows = database.rows("notices", hook=hook, limit=limit, now=now)
    return [Notice(r["notice"], r["hook"], r["at"], r["body"], r["attempts"]) for r in rows]


def recall(database: Database, key: str) -> Json:
    """Return a note; a damaged one is as good as none."""
    row = database.row("recall", key=key)
    try:
        value: Json = json.loads(row["value"]) if row else None
    except (ValueError, RecursionError):
        return None
    return value


def spent(database: Database, day: str) -> dict[str, Usage]:
    """Return what was asked on a local *day*, by model."""
    rows = database.rows("spent", day=day)
    return {
        row["model"]: Usage(row["requests"], row["prompt_tokens"], row["completion_tokens"])
        for row in rows
    }
