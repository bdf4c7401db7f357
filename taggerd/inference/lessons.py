"""Lessons: what one endpoint has taught about the form of requests, kept over restarts."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Protocol, TypeAlias

import structlog

from taggerd.errors import StorageError
from taggerd.inference.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.inference.client import Reply
    from taggerd.inference.questions import Question

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""A value that JSON can say."""
_FALLBACK_STATUSES = frozenset({400, 422, 500})

log = structlog.get_logger(__name__)


class Memory(Protocol):
    """Where small things are found again after a restart; the ledger is one."""

    async def note(self, key: str, value: Json) -> None:
        """Keep *value* under *key*."""

    async def recall(self, key: str) -> Json:
        """Return what was noted under *key*; None if nothing was."""


class Lessons:
    """The dialects of one endpoint's models."""

    def __init__(self) -> None:
        """Know nothing."""
        self._dialects: dict[str, Dialect] = {}
        self._proven: set[tuple[str, str, Dialect]] = set()
        self._server = ""
        self._memory: Memory | None = None
        self._key = ""
        self._kept: Json = None

    def known(self, model: str) -> Dialect:
        """Return what is known of *model*."""
        return self._dialects.get(model, Dialect())

    def learnt(self) -> dict[str, Dialect]:
        """Return the models that take something else than usual."""
        return {model: dialect for model, dialect in self._dialects.items() if dialect != Dialect()}

    def forget(self) -> None:
        """Forget everything: another server takes other forms."""
        self._dialects.clear()
        self._proven.clear()

    def simpler(
        self, question: Question, dialect: Dialect, status: int, message: str
    ) -> Dialect | None:
        """Return what to try after a refusal; None where it is no matter of fields.

        A refusal that names no field is guessed at only while no request of this shape has ever
        passed: afterwards it is the picture's, and costs one request, not seven.
        """
        proven = (question.model, question.wants, dialect) in self._proven
        if status not in _FALLBACK_STATUSES or (proven and status == 500):  # noqa: PLR2004
            return None
        simpler = dialect.given_up(message, question.wants, guess=not proven)
        if simpler is None and self._outdated(question.model, message):
            log.info("form of requests forgotten: it is refused now", model=question.model)
            self._dialects.pop(question.model, None)
            return Dialect()
        return simpler

    def _outdated(self, model: str, message: str) -> bool:
        """Say whether what is known was learnt of the server as it was, and no longer is.

        So it may be if no request of that form has passed since the start, or if the very thing is
        refused now that was learnt.
        """
        stored = self.known(model)
        proven = any(m == model and dialect == stored for m, _, dialect in self._proven)
        return stored != Dialect() and (not proven or stored.refused_again(message))

    def passed(self, question: Question, known: Dialect, passed: Dialect) -> None:
        """Note that a request passed, and what had to be given up for it.

        Args:
            question: what was asked.
            known: what was known when it was begun.
            passed: the form that passed.
        """
        self._proven.add((question.model, question.wants, passed))
        if passed != known:
            self._dialects[question.model] = self.known(question.model).merged(known, passed)
            learnt = self._dialects[question.model]
            log.info("form of requests learnt", model=question.model, form=str(learnt))

    def thought(self, model: str, used: Dialect) -> bool:
        """Learn from a model that thought; say whether the next request will differ."""
        current = self.known(model)
        if current.thinking != used.thinking:
            return True
        if current.thinking == "allowed":
            return False
        self._dialects[model] = current.hushed()
        return True

    # What is kept.

    async def recall(self, memory: Memory, base_url: str) -> None:
        """Take up what was learnt earlier of the endpoint at *base_url*, and keep more there."""
        self._memory, self._key = memory, f"dialects {base_url}"
        try:
            kept = await memory.recall(self._key)
        except StorageError:
            return  # it is learnt anew, at the price of some requests
        if not isinstance(kept, dict) or not isinstance(models := kept.get("models"), dict):
            return
        self._server, self._kept = str(kept.get("server", "")), kept
        for model, value in models.items():
            if (dialect := Dialect.of_json(value)) is not None:
                self._dialects.setdefault(model, dialect)

    async def keep(self) -> None:
        """Note what is known, if that has changed."""
        models: dict[str, Json] = {m: dict(d.to_json()) for m, d in sorted(self.learnt().items())}
        kept: Json = {"server": self._server, "models": models}
        if self._memory is None or kept == (self._kept or {"server": "", "models": {}}):
            return
        try:
            await self._memory.note(self._key, kept)
        except StorageError as error:
            log.debug("what was learnt is not kept", reason=str(error))
        else:
            self._kept = kept

    def server_is(self, fingerprint: str) -> None:
        """Note which server answers; one that was changed is learnt anew."""
        if self._server and self._server != fingerprint and self._dialects:
            log.info("the server has changed, what it takes is learnt anew")
            self.forget()
        self._server = fingerprint


def fingerprint(reply: Reply, listed: Sequence[str]) -> str:
    """Return what changes when the server does: its name, versions it tells, and its models."""
    told = {k: v for k, v in reply.headers.items() if k == "server" or k.endswith("version")}
    said = json.dumps([sorted(told.items()), sorted(listed)])
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
