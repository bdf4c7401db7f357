"""Claims: a photo is claimed, its answers and sidecars are kept, and the claim ends.

Synchronous; every function runs in its caller's transaction.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Literal

from taggerd.ledger.admission import drop_if_fileless, forget, replace_stamp
from taggerd.ledger.port import (
    Claim,
    Deferred,
    Failed,
    Finished,
    Held,
    Moved,
    Released,
    Rewritten,
)
from taggerd.ledger.rows import (
    answer_json,
    answers_json,
    answers_of,
    digest_bytes,
    held_of,
    sidecars_json,
    sidecars_of,
)
from taggerd.logs import get_logger
from taggerd.photo import Photo, group
from taggerd.retry import MOST_CRASHES, SLOW_ATTEMPTS

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from taggerd.ledger.port import Ending
    from taggerd.ledger.queries import Database, Row, Value
    from taggerd.photo import Answer, Sidecar

log = get_logger(__name__)

_OUT_OF_SIGHT = "this host does not see it as the host that found it did"
_UNSEEN_SECONDS = 60.0


# ── A claim begins ───────────────────────────────────────────────────────────────────────────────


def begin(  # noqa: PLR0913 - what a claim is made of
    database: Database,
    limit: int,
    *,
    order: Literal["newest", "oldest"],
    max_attempts: int,
    owner: str,
    run: str,
    requested: bool,
    slow: bool | None,
    now: float,
) -> list[Claim]:
    """Claim up to *limit* photos in scope; see :meth:`taggerd.ledger.port.Ledger.claim`."""
    rows: list[Row] = []
    # In two queries: one that orders by both reads the whole queue.
    for query in ("slow",) if slow else (order, "deferred"):
        if (left := limit - len(rows)) > 0:
            rows += database.rows(
                query,
                run=run,
                requested=requested,
                slow=slow,
                now=now,
                newest=order == "newest",
                limit=left,
            )
    claims: list[Claim] = []
    for row in rows:
        most = most_attempts(max_attempts, slow=bool(row["slow"]))
        exhausted = why_exhausted(row["attempts"], row["crashes"], row["reason"], most)
        claim = _claim_of(database, row, exhausted, run)
        # Nobody reads the bytes of an exhausted photo: a crash now is not one of its own.
        new: dict[str, Value] = {
            "owner": owner,
            "token": claim.token,
            "decoded": bool(exhausted),
        }
        if not database.do("claim", photo=claim.id, now=now, **new):
            continue  # another claim has its sidecar
        database.do("new_claim", photo=claim.id, **new)
        claims.append(claim)
    return claims


def most_attempts(max_attempts: int, *, slow: bool) -> int:
    """Return how many attempts a photo has in all."""
    return min(max_attempts, SLOW_ATTEMPTS) if slow else max_attempts


def why_exhausted(attempts: int, crashes: int, reason: str, max_attempts: int) -> str:
    """Say why a photo has no attempt left although its last one did not fail; empty if it has."""
    if attempts < max_attempts and crashes < MOST_CRASHES:
        return ""
    if crashes:
        times = "once" if crashes == 1 else f"{crashes} times"
        died = f"the program died {times} while reading it"
        return f"{died}; before that: {reason}" if reason else died
    return reason or "its attempts are used up"


def _claim_of(database: Database, row: Row, exhausted: str, run: str) -> Claim:
    photo = photo_of(database, row["id"])
    return Claim(
        id=row["id"],
        photo=photo,
        attempt=row["attempts"] + (not exhausted),
        run=run,
        token=uuid.uuid4().hex,
        digest=(row["digest"] or b"").hex(),
        recorded=bool(row["recorded"]),
        changed=bool(row["changed"]),
        asked_again_since=row["asked_again_since"],
        exhausted=exhausted,
        slow=bool(row["slow"]),
        accepted=answers_of(row["accepted"]) if row["asked_again_since"] is None else (),
        sidecars=sidecars_of(photo.folder, row["sidecars"], database.paths),
    )


def photo_of(database: Database, number: int) -> Photo:
    """Return a photo with its files as they were admitted."""
    rows = database.rows("photo_files", photo=number)
    (photo,) = group(database.paths.file(row["folder"], row) for row in rows)
    return photo


# ── Answers and sidecars ─────────────────────────────────────────────────────────────────────────


def answers(database: Database, digest: str) -> list[Held]:
    """Return the answers held; damaged ones are as good as none: they are asked for again."""
    return held_in(database.rows("answers", digest=digest_bytes(digest)), digest)


def held_in(rows: Iterable[Row], digest: str) -> list[Held]:
    """Return the answers in *rows*, which are held for *digest*, but the damaged ones."""
    held: list[Held] = []
    for row in rows:
        try:
            held.append(held_of(row))
        except ValueError as error:
            log.warning("an answer cannot be read", digest=digest, reason=str(error))
    return held


def keep(database: Database, digest: str, answer: Answer, now: float) -> None:
    """Keep an answer; see :meth:`taggerd.ledger.port.Ledger.checkpoint`."""
    database.do(
        "put_answer",
        content=content_of(database, digest),
        role=answer.role,
        question=answer.question,
        at=now,
        answer=answer_json(answer),
    )


def written(database: Database, claim: Claim, digest: str, sidecars: Iterable[Sidecar]) -> None:
    """Keep what was written; see :meth:`taggerd.ledger.port.Ledger.written`."""
    row = database.row("sidecars", photo=claim.id, token=claim.token)
    if row is None:
        return
    known = sidecars_of(claim.photo.folder, row["sidecars"], database.paths)
    stamps = {file.path: file.stamp for file in claim.photo.files}
    for sidecar in sidecars:
        if sidecar.stamp is not None and (before := stamps.get(sidecar.path)):
            replace_stamp(database, Rewritten(sidecar.path, before, sidecar.stamp))
        if not sidecar.error and not sidecar.embedded:
            known[sidecar.path] = sidecar.digest
    database.do(
        "written",
        photo=claim.id,
        token=claim.token,
        content=content_of(database, digest),
        sidecars=sidecars_json(claim.photo.folder, known, database.paths) if known else None,
    )


def content_of(database: Database, digest: str) -> int | None:
    """Return the number of the content with *digest*, making it if need be."""
    known = digest_bytes(digest)
    if not known:
        return None
    row = database.row("content", digest=known)
    return row["id"] if row else database.insert("new_content", digest=known)


# ── A claim ends ─────────────────────────────────────────────────────────────────────────────────


def end(database: Database, claim: Claim, ending: Ending, *, now: float, max_attempts: int) -> bool:
    """End *claim*; see :meth:`taggerd.ledger.port.Ledger.end`."""
    held = claim.id, claim.token
    match ending:
        case Finished():
            ended = _finish(database, claim, ending, now)
        case Released():
            ended = _put_back(database, *held, now=now, released_by=claim.run)
        case Deferred(reason, until):
            ended = _put_back(database, *held, now=now, reason=reason, not_before=until)
        case Moved() if any(file.stamp.foreign for file in claim.photo.files):
            # The host that admitted it may see it: network file systems are a minute behind. If it
            # is gone, whoever watches the folder forgets it in time.
            ended = _put_back(
                database, *held, now=now, reason=_OUT_OF_SIGHT, not_before=now + _UNSEEN_SECONDS
            )
        case Moved():
            _forget_files(database, claim, now)
            ended = _put_back(database, *held, now=now)
        case Failed():
            if ending.slow:
                database.do("is_slow", photo=claim.id, token=claim.token)
            ended = _quarantine(database, claim, ending, now, max_attempts)
            if not ended:
                _put_back(database, *held, now=now, uncharged=False, reason=ending.reason)
    if ended and not isinstance(ending, Deferred | Moved) and ending.record is not None:
        line = ending.record
        database.do("send", record=line.id, day=line.day, line=line.line, stream=line.stream)
    drop_if_fileless(database, claim.id)
    return ended


def end_all(database: Database, owner: str, *, now: float, crashed: bool) -> int:
    """End all claims of *owner*, its requests, and what it borrowed of the outbox.

    If it *crashed*, that is counted for the photos whose bytes were being read.
    """
    rows = database.rows("claims_of", owner=owner)
    for row in rows:
        reading = not row["decoded"]
        _put_back(database, row["photo"], row["token"], now=now, crashed=crashed and reading)
        drop_if_fileless(database, row["photo"])
    # A scan's photos that it did not get to ask about again are tagged as they were.
    database.do("end_requests", owner=owner)
    database.do("drop_requests", owner=owner)
    database.do("end_lending", owner=owner, crashed=int(crashed))
    return len(rows)


def put_back_unseen(database: Database, owner: str, seen: Container[str], now: float) -> None:
    """End the claims of *owner* whose tokens nobody has *seen*: the answer was lost on the way."""
    for row in database.rows("claims_of", owner=owner):
        if row["token"] not in seen:
            _put_back(database, row["photo"], row["token"], now=now)


def _finish(database: Database, claim: Claim, ending: Finished, now: float) -> bool:
    held = database.do(
        "finish",
        photo=claim.id,
        token=claim.token,
        now=now,
        content=content_of(database, ending.digest),
        sidecars_written=ending.sidecars_written,
        held=bool(ending.held),
        asked_again_since=claim.asked_again_since,
    )
    if held:
        database.do("let_go", photo=claim.id)
        if ending.held:
            database.do("hold", photo=claim.id, now=now, answers=answers_json(ending.held))
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
        sidecars_failed=ending.for_sidecars,
        asked_as=ending.asked_as,
        final=ending.final,
        max_attempts=max_attempts,
        slow_attempts=most_attempts(max_attempts, slow=True),
    )
    return quarantined > 0


def _forget_files(database: Database, claim: Claim, now: float) -> None:
    row = database.row("changed_while_claimed", photo=claim.id, token=claim.token)
    if row is not None and not row["changed"]:
        # Not all of the claim's files: one may have become a photo of its own since.
        rows = database.rows("photo_files", photo=claim.id)
        forget(database, [database.paths.file(row["folder"], row).path for row in rows], now)


def _put_back(  # noqa: PLR0913 - each ending differs in one of them
    database: Database,
    photo: int,
    token: str,
    *,
    now: float,
    uncharged: bool = True,
    crashed: bool = False,
    reason: str | None = None,
    not_before: float = 0.0,
    released_by: str | None = None,
) -> bool:
    """Queue a claimed photo; return whether the claim was still held.

    If a file arrived meanwhile, the photo is queued as if it had just come.
    """
    held = database.do(
        "put_back",
        photo=photo,
        token=token,
        now=now,
        uncharged=uncharged,
        crashed=crashed,
        reason=reason,
        not_before=not_before,
        released_by=released_by,
    )
    return held > 0
