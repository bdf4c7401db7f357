"""Claims begin and end.

Synchronous; every function runs inside a transaction of its caller.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Literal

from taggerd.ledger import contents
from taggerd.ledger.admission import drop_if_fileless, forget
from taggerd.ledger.atrest import file_of, path_of, unpack_sidecars
from taggerd.ledger.port import Claim, Deferred, Failed, Finished, Moved, Released
from taggerd.photo import Photo, group
from taggerd.retry import MOST_DEATHS

if TYPE_CHECKING:
    from taggerd.ledger.database import Database, Row
    from taggerd.ledger.port import Ending


def begin(  # noqa: PLR0913  # what a claim is made of
    database: Database,
    limit: int,
    *,
    order: Literal["newest", "oldest"],
    max_attempts: int,
    owner: str,
    run: str,
    wanted: bool,
    now: float,
) -> list[Claim]:
    """Claim up to *limit* photos in scope; see :meth:`taggerd.ledger.port.Ledger.claim`."""
    rows = database.rows(order, run=run, wanted=wanted, now=now, limit=limit)
    return [_claimed(database, row, _why_spent(row, max_attempts), owner, run, now) for row in rows]


def _why_spent(row: Row, max_attempts: int) -> str:
    """Say why a photo has no attempt left although its last one did not fail; empty if it has."""
    reason: str = row["reason"]
    if row["attempts"] < max_attempts and row["deaths"] < MOST_DEATHS:
        return ""
    if deaths := row["deaths"]:
        times = "once" if deaths == 1 else f"{deaths} times"
        died = f"the program died {times} while reading it"
        return f"{died}; before that: {reason}" if reason else died
    return reason or "its attempts are used up"


def _claimed(  # noqa: PLR0913, PLR0917  # what a claim is made of
    database: Database, row: Row, spent: str, owner: str, run: str, now: float
) -> Claim:
    number: int = row["id"]
    token = uuid.uuid4().hex
    database.do("claim", photo=number, now=now)
    # Nobody reads the bytes of one that is spent: to die with it in hand is no death of its own.
    database.do("new_claim", photo=number, owner=owner, token=token, survived=bool(spent))
    photo = photo_of(database, number)
    return Claim(
        id=number,
        photo=photo,
        attempt=row["attempts"] + (not spent),
        run=run,
        token=token,
        digest=(row["digest"] or b"").hex(),
        recorded=bool(row["recorded"]),
        changed=bool(row["changed"]),
        asked_again_since=row["anew_since"],
        exhausted=spent,
        sidecars={
            photo.folder / path_of(name): digest
            for name, digest in unpack_sidecars(row["stem"], row["sidecars"]).items()
        },
    )


def photo_of(database: Database, number: int) -> Photo:
    """Return a photo with its files as they were admitted."""
    rows = database.rows("photo_files", photo=number)
    (photo,) = group(file_of(row["folder"], row) for row in rows)
    return photo


def put_back(  # noqa: PLR0913  # each ending differs in one of them
    database: Database,
    claim: Claim,
    *,
    now: float,
    uncharged: bool,
    reason: str | None = None,
    not_before: float = 0.0,
    released_by: str | None = None,
) -> bool:
    """End a claim with the photo queued; return whether it was still held.

    If a file arrived meanwhile, the photo is queued as if it had just come.
    """
    held = database.do(
        "put_back",
        photo=claim.id,
        token=claim.token,
        now=now,
        uncharged=uncharged,
        died=False,
        reason=reason,
        not_before=not_before,
        released_by=released_by,
    )
    drop_if_fileless(database, claim.id)
    return held > 0


def put_back_all(database: Database, owner: str, *, now: float, died: bool) -> int:
    """End all claims of *owner*, and what it borrowed of the outbox.

    Where it *died*, that is counted for those whose bytes were being read.
    """
    rows = database.rows("claims_of", owner=owner)
    for row in rows:
        database.do(
            "put_back",
            photo=row["photo"],
            token=row["token"],
            now=now,
            uncharged=True,
            died=died and not row["survived"],
            reason=None,
            not_before=0.0,
            released_by=None,
        )
        drop_if_fileless(database, row["photo"])
    # What its scan wanted to be asked about anew, and was not, is tagged as it was.
    database.do("no_longer_wanted", owner=owner)
    database.do("drop_wanted", owner=owner)
    database.do("take_back_lent", owner=owner)
    return len(rows)


def end(database: Database, claim: Claim, ending: Ending, *, now: float, max_attempts: int) -> bool:
    """End *claim*; see :meth:`taggerd.ledger.port.Ledger.end`."""
    match ending:
        case Finished():
            ended = _finish(database, claim, ending, now)
        case Released():
            ended = put_back(database, claim, now=now, uncharged=True, released_by=claim.run)
            if ended and ending.was_recorded:
                database.do("as_it_was", photo=claim.id)
        case Deferred(reason, until):
            ended = put_back(
                database, claim, now=now, uncharged=True, reason=reason, not_before=until
            )
        case Moved():
            _forget_files(database, claim, now)
            ended = put_back(database, claim, now=now, uncharged=True)
        case Failed():
            ended = _quarantine(database, claim, ending, now, max_attempts)
            if not ended:
                put_back(database, claim, now=now, uncharged=False, reason=ending.reason)
    if ended and not isinstance(ending, Deferred | Moved) and ending.record is not None:
        line = ending.record
        database.do("send", record=line.id, day=line.day, line=line.line, stream=line.stream)
    return ended


def _finish(database: Database, claim: Claim, ending: Finished, now: float) -> bool:
    held = database.do(
        "finish",
        photo=claim.id,
        token=claim.token,
        now=now,
        content=contents.number_of(database, ending.digest),
        sidecars_written=ending.sidecars_written,
        asked_again_since=claim.asked_again_since,
    )
    drop_if_fileless(database, claim.id)
    return held > 0


def _quarantine(
    database: Database, claim: Claim, ending: Failed, now: float, max_attempts: int
) -> bool:
    quarantined = database.do(
        "quarantine",
        photo=claim.id,
        token=claim.token,
        now=now,
        reason=ending.reason,
        retryable=ending.for_sidecars,
        final=ending.final,
        max_attempts=max_attempts,
    )
    drop_if_fileless(database, claim.id)
    return quarantined > 0


def _forget_files(database: Database, claim: Claim, now: float) -> None:
    row = database.row("changed_while_claimed", photo=claim.id, token=claim.token)
    if row is not None and not row["again"]:
        # Not all of the claim's files: one may have become a photo of its own since.
        rows = database.rows("photo_files", photo=claim.id)
        forget(database, [file_of(row["folder"], row).path for row in rows], now)
