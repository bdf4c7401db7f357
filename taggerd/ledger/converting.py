"""What the migrations call: functions of SQL that turn an earlier version's values into the next.

Like a migration, none of them may change once a release has it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from taggerd.ledger.atrest import pack_sidecars
from taggerd.ledger.packing import Packed, pack
from taggerd.photo import Keyword

if TYPE_CHECKING:
    import sqlite3


def teach(connection: sqlite3.Connection) -> None:
    """Let *connection* know all functions that a migration calls."""
    connection.create_function("model_of", 1, _model_of, deterministic=True)
    connection.create_aggregate("pack_answers", 3, _Answers)  # type: ignore[arg-type] # typeshed knows integers only
    connection.create_aggregate("pack_sidecars", 3, _Sidecars)  # type: ignore[arg-type] # typeshed knows integers only


def _model_of(answer: str) -> str:
    """Return the model of an answer as versions 1 and 2 kept it (short JSON)."""
    return str(json.loads(answer).get("model", ""))


class _Answers:
    """To version 3: a content's answers, which were short JSON in a row each."""

    def __init__(self) -> None:
        self._answers: list[Packed] = []

    def step(self, question: int, at: float, answer: str) -> None:
        short = json.loads(answer)
        text = short.get("text", "")
        packed = Packed(
            question=question,
            at=at,
            text=text,
            raw=short.get("raw", text),
            keywords=tuple(Keyword(*pair) for pair in short.get("keywords", ())),
            prompt_tokens=short.get("prompt_tokens", 0),
            completion_tokens=short.get("completion_tokens", 0),
            seconds=short.get("seconds", 0.0),
        )
        self._answers.append(packed)

    def finalize(self) -> bytes:
        return pack(sorted(self._answers, key=lambda answer: (answer.at, answer.question)))


class _Sidecars:
    """To version 3: a photo's sidecars, which were a row each with the digest in hex."""

    def __init__(self) -> None:
        self._stem: bytes | None = None
        self._sidecars: dict[bytes, str] = {}

    def step(self, stem: bytes | None, name: bytes, digest: str) -> None:
        self._stem = stem
        self._sidecars[name] = digest

    def finalize(self) -> bytes | None:
        return pack_sidecars(self._stem, self._sidecars) or None
