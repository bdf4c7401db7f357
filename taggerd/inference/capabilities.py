"""The capabilities of an endpoint's models, learnt from its replies and kept over restarts."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeAlias

from taggerd.errors import StorageError
from taggerd.inference.concurrency import Rank
from taggerd.inference.dialect import Dialect
from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from taggerd.inference.client import Reply
    from taggerd.inference.completion import Completion
    from taggerd.inference.questions import Question

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
_FORM_STATUSES = frozenset({400, 422, 500})
"""What servers answer to a form that they do not accept."""
_MOST_INCOMPLETE = 2
"""After so many combined answers in a row that lack keys, a model is asked role by role."""
_REMEMBERED_ANSWERS = 32
_READ_AGAIN = 0.8
"""Share of the first answer's time; a picture that was kept saves more of it."""

log = get_logger(__name__)


class Memory(Protocol):
    """Keeps notes over restarts; the ledger does."""

    async def note(self, key: str, value: Json) -> None:
        """Keep *value* under *key*."""

    async def recall(self, key: str) -> Json:
        """Return what was noted under *key*; None without it."""


class Capabilities:
    """The dialect that each model of one endpoint accepts."""

    def __init__(self, memory: Memory | None = None) -> None:
        """Know nothing; *memory* keeps what is learnt over restarts."""
        self.memory = memory
        self._dialects: dict[str, Dialect] = {}
        self._proven: set[tuple[str, str, Dialect]] = set()
        self._incomplete: dict[str, int] = {}
        """Answers in a row that lacked something, by model."""
        self._server = ""
        self._recalling = asyncio.Lock()
        self._key = ""
        self._kept: Json = None
        self.noted = 0
        """How often something was noted."""

    def known(self, model: str) -> Dialect:
        """Return what *model* accepts, as far as is known."""
        return self._dialects.get(model, Dialect())

    def learnt(self) -> dict[str, Dialect]:
        """Return the models whose dialect is not the usual one."""
        return {model: dialect for model, dialect in self._dialects.items() if dialect != Dialect()}

    def forget(self) -> None:
        """Forget everything: another server accepts other forms."""
        self._dialects.clear()
        self._proven.clear()
        self._incomplete.clear()

    def simpler(
        self, question: Question, dialect: Dialect, status: int, message: str
    ) -> Dialect | None:
        """Return the dialect to try after a refusal; None if the refusal is not about fields.

        A refusal that names no field is guessed at only until a request of this form has passed.
        After that the picture is to blame, which costs one request, not seven.
        """
        proven = (question.model, question.wants, dialect) in self._proven
        if status not in _FORM_STATUSES or (proven and status == 500):  # noqa: PLR2004
            return None
        simpler = dialect.without_refused(
            message, question.wants, guess=not proven, top_p=question.top_p is not None
        )
        if simpler is None and self._outdated(question.model, message):
            log.info("request form forgotten: the server refuses it now", model=question.model)
            self._dialects.pop(question.model, None)
            return Dialect()
        return simpler

    def _outdated(self, model: str, message: str) -> bool:
        """Return whether what was learnt may be out of date: the server has changed.

        It may be if no request of that form has passed since the start, or if the server refuses
        the very thing that was learnt.
        """
        stored = self.known(model)
        proven = any(m == model and dialect == stored for m, _, dialect in self._proven)
        return stored != Dialect() and (not proven or stored.refused_again(message))

    def passed(self, question: Question, known: Dialect, passed: Dialect) -> None:
        """Note that a request passed, and in which form.

        Args:
            question: what was asked.
            known: the dialect that was known when it began.
            passed: the dialect that passed.
        """
        self._proven.add((question.model, question.wants, passed))
        if passed != known:
            self._dialects[question.model] = self.known(question.model).merged(known, passed)
            learnt = self._dialects[question.model]
            log.info("request form learnt", model=question.model, form=str(learnt))

    def thought(self, model: str, used: Dialect) -> bool:
        """Learn from a model that thought; return whether the next request differs."""
        current = self.known(model)
        if current.thinking != used.thinking:
            return True
        if current.thinking == "allowed":
            return False
        self._dialects[model] = current.thinking_less()
        return True

    def combines(self, model: str) -> bool:
        """Return whether *model* may be asked combined questions."""
        return self.known(model).combined

    def combining(self, model: str, *, well: bool) -> None:
        """Learn from a combined answer whether it was complete."""
        self._incomplete[model] = 0 if well else self._incomplete.get(model, 0) + 1
        if self._incomplete[model] >= _MOST_INCOMPLETE and self.combines(model):
            self._dialects[model] = replace(self.known(model), combined=False)
            log.info("one request per role from now on: combined answers lack keys", model=model)

    # Notes.

    async def recall(self, base_url: str) -> None:
        """Read, the first time, what was learnt earlier of the endpoint at *base_url*."""
        async with self._recalling:
            if self.memory is not None and not self._key:
                self._key = f"dialects {base_url}"
                await self._read(self.memory)

    async def recall_again(self) -> None:
        """Read what another host has learnt since."""
        async with self._recalling:
            if self.memory is not None and self._key:
                await self._read(self.memory)

    async def _read(self, memory: Memory) -> None:
        """Take over what was noted."""
        try:
            kept = await memory.recall(self._key)
        except StorageError:
            return  # it is learnt again, at the price of some requests
        if not isinstance(kept, dict) or not isinstance(models := kept.get("models"), dict):
            return
        self._server, self._kept = str(kept.get("server", "")), kept
        for model, value in models.items():
            if (dialect := Dialect.of_json(value)) is not None:
                self._dialects[model] = dialect

    async def keep(self) -> None:
        """Note what is known if it has changed."""
        models: dict[str, Json] = {m: dict(d.to_json()) for m, d in sorted(self.learnt().items())}
        kept: Json = {"server": self._server, "models": models}
        if self.memory is None or kept == (self._kept or {"server": "", "models": {}}):
            return
        try:
            await self.memory.note(self._key, kept)
        except StorageError as error:
            log.debug("what the server accepts cannot be saved", reason=str(error))
        else:
            self._kept = kept
            self.noted += 1

    def server_is(self, fingerprint: str) -> None:
        """Note which server answers; if it has changed, begin to learn again."""
        if self._server and self._server != fingerprint and self._dialects:
            log.info("the server has changed; learning what it accepts again")
            self.forget()
        self._server = fingerprint


class Prefixes:
    """Whether an endpoint reads a picture again for each question about it, by its replies.

    It tells how much it had read before (``usage.prompt_tokens_details.cached_tokens``: OpenAI,
    llama.cpp, vLLM with ``--enable-prompt-tokens-details``); or later answers about a photo take
    less time than the first, set against their length, which the time to generate grows with.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._first: deque[Completion] = deque(maxlen=_REMEMBERED_ANSWERS)
        self._later: deque[Completion] = deque(maxlen=_REMEMBERED_ANSWERS)

    @property
    def are_read_again(self) -> bool | None:
        """Whether the order of a photo's questions saves nothing; None while that is unknown."""
        if not self._first or not self._later:
            return None
        if any(2 * later.cached_tokens > later.prompt_tokens for later in self._later):
            return False
        seconds, tokens = _means(self._later)
        spread = sum((later.completion_tokens - tokens) ** 2 for later in self._later)
        shared = sum(
            (later.completion_tokens - tokens) * (later.seconds - seconds) for later in self._later
        )
        each = max(0.0, shared / spread) if spread else 0.0
        first, length = _means(self._first)
        return seconds + each * (length - tokens) > _READ_AGAIN * first

    def took(self, rank: Rank | None, completion: Completion) -> None:
        """Note what a question of this *rank* took; one beside others of a photo tells nothing."""
        if rank is Rank.NEW:
            self._first.append(completion)
        elif rank is Rank.BEGUN:
            self._later.append(completion)


def _means(completions: Collection[Completion]) -> tuple[float, float]:
    """Return the mean seconds and the mean number of tokens of answers."""
    return (
        sum(each.seconds for each in completions) / len(completions),
        sum(each.completion_tokens for each in completions) / len(completions),
    )


def fingerprint(reply: Reply, listed: Sequence[str]) -> str:
    """Return what changes when the server does: its name, its versions, its models."""
    names = {k: v for k, v in reply.headers.items() if k == "server" or k.endswith("version")}
    identity = json.dumps([sorted(names.items()), sorted(listed)])
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
