"""The usual steps of a claim in one statement each; :mod:`taggerd.ledger.claims` takes several.

Each is a transaction by itself, which does not wait for the disk: whoever needs that waits
afterwards, once for all that happened meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.ledger import admission, claims
from taggerd.ledger.rows import answer_json, digest_bytes, sidecars_json, sidecars_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.ledger.port import Claim, Finished, Held
    from taggerd.ledger.postgres.database import PostgresDatabase
    from taggerd.photo import Answer, Sidecar, Spending

_MOST_CONTENTS = 1000


def decoded(database: PostgresDatabase, claim: Claim, digest: str) -> list[Held]:
    """See :meth:`taggerd.ledger.port.Ledger.decoded`."""
    rows = database.rows(
        "decoded_answers", photo=claim.id, token=claim.token, digest=digest_bytes(digest)
    )
    return claims.held_in(rows, digest)


def keep(
    database: PostgresDatabase, digest: str, answer: Answer, spent: Spending | None, now: float
) -> None:
    """Keep one answer, and what was spent for it on one model; see ``checkpoint`` of the port."""
    kept = {
        "content": _content(database, digest),
        "role": answer.role,
        "question": answer.question,
        "at": now,
        "answer": answer_json(answer),
    }
    if not spent:
        database.once("put_answer_once", **kept)
        return
    (((day, model), usage),) = spent.items()
    database.once("put_answer_and_spend", **kept, day=day, model=model, **usage._asdict())


def written(
    database: PostgresDatabase, claim: Claim, digest: str, sidecars: Sequence[Sidecar]
) -> None:
    """See :meth:`taggerd.ledger.port.Ledger.written`; no photo file was changed."""
    row = database.row("sidecars", photo=claim.id, token=claim.token)
    if row is None:
        return
    known = sidecars_of(claim.photo.folder, row["sidecars"], database.paths)
    known |= {each.path: each.digest for each in sidecars if not (each.error or each.embedded)}
    database.do(
        "written",
        photo=claim.id,
        token=claim.token,
        content=_content(database, digest),
        sidecars=sidecars_json(claim.photo.folder, known, database.paths) if known else None,
    )


def finish(database: PostgresDatabase, claim: Claim, ending: Finished, now: float) -> bool:
    """End *claim*, with nothing held; see :meth:`taggerd.ledger.port.Ledger.end`."""
    line = ending.record
    rows = database.once(
        "finish_and_send",
        photo=claim.id,
        token=claim.token,
        now=now,
        content=_content(database, ending.digest),
        sidecars_written=ending.sidecars_written,
        held=False,
        asked_again_since=claim.asked_again_since,
        record=line.id if line else None,
        day=line.day if line else None,
        line=line.line if line else None,
        stream=line.stream if line else None,
    )
    if not rows or rows[0]["fileless"]:
        # Its files went while it was worked on; or the claim was lost, and was the last of it.
        admission.drop_if_fileless(database, claim.id)
    return rows is None or bool(rows)


def _content(database: PostgresDatabase, digest: str) -> int | None:
    """Return the number of the content with *digest*, as this connection has seen it."""
    found = database.contents.get(digest)
    if found is None and digest:
        # Mostly it is new. Not looked for before: whoever asks pays for each statement.
        found = database.insert("new_content", digest=digest_bytes(digest))
        if len(database.contents) >= _MOST_CONTENTS:
            database.contents.clear()
        database.contents[digest] = found
    return found
