"""Contents: what was looked at, by digest, and the answers that are held of it.

Synchronous; every function runs inside a transaction of its caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from taggerd.ledger.atrest import digest_bytes
from taggerd.ledger.packing import Packed, pack, unpack
from taggerd.ledger.port import Held
from taggerd.photo import Answer

if TYPE_CHECKING:
    from taggerd.ledger.database import Database, Row

log = structlog.get_logger(__name__)


def number_of(database: Database, digest: str) -> int | None:
    """Return the number of the content with *digest*, making it if need be; none for no digest."""
    known = digest_bytes(digest)
    if known is None:
        return None
    row = database.row("content", digest=known)
    return row["id"] if row else database.insert("new_content", digest=known)


def answers(database: Database, digest: str) -> list[Held]:
    """Return the answers held; see :meth:`taggerd.ledger.port.Ledger.answers`."""
    row = database.row("content", digest=digest_bytes(digest))
    return [_held(database, packed) for packed in _unpacked(row, digest)] if row else []


def keep(database: Database, digest: str, answer: Answer, at: float) -> None:
    """Keep an answer; see :meth:`taggerd.ledger.port.Ledger.checkpoint`."""
    asked = {"role": answer.role, "question": answer.question}
    same = {row["id"] for row in database.rows("questions", **asked)}
    asked["model"] = answer.model
    known = database.row("question", **asked)
    fresh = Packed(
        question=known["id"] if known else database.insert("new_question", **asked),
        at=at,
        text=answer.text,
        raw=answer.raw,
        keywords=answer.keywords,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=answer.seconds,
    )
    content = number_of(database, digest)
    row = database.row("content", digest=digest_bytes(digest))
    others = [one for one in _unpacked(row, digest) if one.question not in same]
    together = sorted([*others, fresh], key=lambda one: (one.at, one.question))
    database.do("put_answers", content=content, answers=pack(together))


def _unpacked(row: Row | None, digest: str) -> list[Packed]:
    """Return what a row holds; damaged answers are as good as none: they are asked for again."""
    if row is None or row["answers"] is None:
        return []
    try:
        return unpack(row["answers"])
    except ValueError as error:
        log.warning("answers cannot be read", digest=digest, reason=str(error))
        return []


def _held(database: Database, packed: Packed) -> Held:
    asked = database.one("asked", question=packed.question)
    answer = Answer(
        role=asked["role"],
        question=asked["question"],
        text=packed.text,
        keywords=packed.keywords,
        raw=packed.raw,
        model=asked["model"],
        prompt_tokens=packed.prompt_tokens,
        completion_tokens=packed.completion_tokens,
        seconds=packed.seconds,
    )
    return Held(answer, packed.at)
