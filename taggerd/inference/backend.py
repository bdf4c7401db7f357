"""The backend: asks the questions about a picture, and says whether it can be asked at all."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import structlog

from taggerd.errors import (
    AnswerError,
    BackendError,
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
    ModelNotFound,
    NotABackend,
    PhotoRefused,
)
from taggerd.inference import dialect as dialects
from taggerd.inference.answers import read_answer
from taggerd.inference.client import Client, json_of
from taggerd.inference.completion import Completion, read_completion
from taggerd.inference.dialect import Dialect
from taggerd.inference.discovery import discover
from taggerd.inference.models import choose, listed_models
from taggerd.inference.preflight import PreflightReport, probe_all
from taggerd.inference.statuses import chat_error, error_in_200, is_html, listing_error, message_in
from taggerd.inference.wrapping import unthought
from taggerd.photo import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    import httpx

    from taggerd import settings
    from taggerd.inference.client import Reply
    from taggerd.inference.questions import Question
    from taggerd.photo import Picture

PERHAPS_THE_PHOTO: tuple[type[BackendError], ...] = (
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
)
"""Errors of a backend that one photo alone may bring about, again and again.

Some servers answer a picture they cannot read with a plain 500, drop the connection or are silent.
Whoever sees one of these should ask about another picture: if that is answered, it is the photo.
"""

_LESSONS = 4
"""Most requests that one asking spends on learning how to keep a model from thinking."""
_FALLBACK_STATUSES = frozenset({400, 422, 500})

log = structlog.get_logger(__name__)


class Backend:
    """One OpenAI-compatible endpoint, asked by at most ``max_concurrency`` requests at once.

    ``base_url`` "auto" is looked up at the first need; "builtin:" is the describer in this process.
    """

    def __init__(
        self,
        options: settings.Backend,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        """Prepare to ask; nothing is sent.

        Args:
            options: the settings' table.
            transport: what carries the requests; default: the network.
            clock: seconds, monotonic, for latencies.
            wall_clock: seconds since the epoch, for dates in ``Retry-After``.
            random: chooses the pictures of the vision probe.

        Raises:
            ConfigurationError: the address or the key cannot be used.
        """
        self._options = options
        self._transport = transport
        self._clock = clock
        self._wall_clock = wall_clock
        self._random = random or Random()  # noqa: S311 - chooses colours, guards nothing
        self._slots = asyncio.Semaphore(options.max_concurrency)
        self._locating = asyncio.Lock()
        self._dialects: dict[str, Dialect] = {}
        self._proven: set[tuple[str, str, Dialect]] = set()
        self._chosen = ""
        self._gone: list[Client] = []
        self._client = None if options.base_url == "auto" else self._client_for(options.base_url)

    @property
    def base_url(self) -> str:
        """The endpoint's address without credentials; ``"auto"`` until it is found."""
        if self._options.base_url == "builtin:":
            return "builtin:"
        return self._client.base_url if self._client else "auto"

    @property
    def model(self) -> str:
        """The default model: the setting, else the one chosen from the listing, else empty."""
        return self._options.model or self._chosen

    async def choose_model(self) -> str:
        """Return the default model; the first time without a setting, look what is served.

        Raises:
            BackendError: nothing can be listed, or nothing usable is.
        """
        if not self.model:
            self._chosen = self.default_of(await self.list_models())
            if not self._chosen:
                message = f"{self.base_url} lists no model that could look at photos; load one"
                raise ModelNotFound(message)
        return self.model

    async def describe(
        self, picture: Picture, questions: Sequence[Question]
    ) -> AsyncIterator[Answer]:
        """Ask *questions* about *picture* one after the other; yield each answer as it comes.

        An answer that cannot be used is asked for once more.

        Raises:
            AnswerError: the second answer cannot be used either.
            PhotoRefused: the backend does not take this picture.
            BackendError: the backend's fault; see :data:`PERHAPS_THE_PHOTO`.
        """
        image = dialects.encoded(picture.jpeg)
        for question in questions:
            yield await self._answer(question, image)

    async def preflight(self, models: Sequence[str] = ("",)) -> PreflightReport:
        """Probe listing, text and sight, for each of *models*; an empty name is the default one.

        Never raises a :class:`BackendError`: what is wrong is in the report. A place that "auto"
        found is looked for anew if nothing answers there any more.
        """
        await self._relocate()
        asked = tuple(dict.fromkeys(models)) or ("",)
        report = await probe_all(self, asked, self._random, self._clock)
        if "" in asked and report.ok:
            self._chosen = self.default_of(report.listed)
        return report

    def default_of(self, listed: Sequence[str]) -> str:
        """Return the default model where *listed* are served; empty if there is none.

        One that was chosen stays as long as it is listed: Ollama lists the newest first, and a
        model pulled meanwhile is not meant for the photos.
        """
        return self._options.model or (self._chosen if self._chosen in listed else choose(listed))

    async def close(self) -> None:
        """Close all connections."""
        for client in [*self._gone, *filter(None, [self._client])]:
            await client.close()

    async def list_models(self) -> tuple[str, ...]:
        """Return the ids of the models that the endpoint lists. Raises :class:`BackendError`."""
        client = await self._reach()
        async with self._slots:
            reply = await client.get("/models")
        if reply.status != 200:  # noqa: PLR2004 - OK
            message = client.redacted(message_in(reply))
            raise listing_error(reply, client.base_url, message, self._wall_clock())
        listed = listed_models(json_of(reply))
        if listed is None:
            raise self._not_a_backend(reply, "a list of models")
        return listed

    async def complete(
        self, question: Question, image: bytes | None, *, again: bool = False
    ) -> Completion:
        """Ask one question and return what comes back, usable or not.

        A model that spends its answer on thoughts is asked anew, in a way that may keep it from
        thinking; what works is remembered.

        Args:
            question: with a model.
            image: JPEG in base64, or None.
            again: the first answer could not be used.

        Raises:
            BackendError: the backend's fault.
            PhotoRefused: the request was refused whatever was left out of it.
        """
        client = await self._reach()
        for _ in range(_LESSONS):
            completion, used = await self._accepted(client, question, image, again=again)
            if not completion.thought or not self._hush(question.model, used):
                break
            if completion.finish_reason != "length" and unthought(completion.content).strip():
                break
        return completion

    async def _answer(self, question: Question, image: bytes) -> Answer:
        """Ask one question, twice if the first answer cannot be used."""
        model = question.model or await self.choose_model()
        asked = replace(question, model=model)
        first = await self.complete(asked, image)
        spent = [first]
        try:
            text, keywords = read_answer(asked, first)
        except AnswerError as error:
            log.info("asked again", reason=str(error))
            spent.append(await self.complete(asked, image, again=True))
            text, keywords = read_answer(asked, spent[-1])
        return Answer(
            role=question.role,
            question=question.identity,
            text=text,
            keywords=keywords,
            raw=spent[-1].content,
            model=spent[-1].model or model,
            prompt_tokens=sum(c.prompt_tokens for c in spent),
            completion_tokens=sum(c.completion_tokens for c in spent),
            seconds=sum(c.seconds for c in spent),
        )

    async def _accepted(
        self, client: Client, question: Question, image: bytes | None, *, again: bool
    ) -> tuple[Completion, Dialect]:
        """Send a request, giving up what the server refuses until it passes or nothing is left.

        A refusal that names no field is guessed at only while no request of this shape has ever
        passed: afterwards it is the picture's, and costs one request, not seven.
        """
        known = dialect = self._dialects.get(question.model, Dialect())
        while True:
            async with self._slots:
                request = dialects.body(question, image, dialect, again=again)
                reply = await client.post("/chat/completions", request)
            if 200 <= reply.status < 300:  # noqa: PLR2004 - success
                completion = self._completion(client, reply)
                self._keep(question, known, dialect)
                return completion, dialect
            message = client.redacted(message_in(reply))
            error = chat_error(reply, client.base_url, question.model, message, self._wall_clock())
            simpler = None
            if isinstance(error, PhotoRefused | BackendFailed):
                simpler = self._simpler(question, dialect, reply.status, message)
            if simpler is None:
                raise error
            log.debug("request refused, another form is tried", reason=str(error))
            dialect = simpler

    def _simpler(
        self, question: Question, dialect: Dialect, status: int, message: str
    ) -> Dialect | None:
        """Return what to try after a refusal; None where it is no matter of fields."""
        proven = (question.model, question.wants, dialect) in self._proven
        if status not in _FALLBACK_STATUSES or (proven and status == 500):  # noqa: PLR2004
            return None
        return dialect.given_up(message, question.wants, guess=not proven)

    def _keep(self, question: Question, known: Dialect, passed: Dialect) -> None:
        """Remember that a request passed, and what had to be given up for it."""
        self._proven.add((question.model, question.wants, passed))
        if passed != known:
            current = self._dialects.get(question.model, Dialect())
            self._dialects[question.model] = current.merged(known, passed)
            learnt = self._dialects[question.model]
            log.info("form of requests learnt", model=question.model, form=str(learnt))

    def _hush(self, model: str, used: Dialect) -> bool:
        """Learn from a model that thought; say whether the next request will differ."""
        current = self._dialects.get(model, Dialect())
        if current.thinking != used.thinking:
            return True
        if current.thinking == "allowed":
            return False
        self._dialects[model] = current.hushed()
        return True

    def _completion(self, client: Client, reply: Reply) -> Completion:
        """Read a reply of status 200."""
        parsed = json_of(reply)
        if (problem := error_in_200(parsed)) is not None:
            message = f"{client.base_url} answered with an error: {client.redacted(problem)[:200]}"
            raise BackendFailed(" ".join(message.split()))
        completion = read_completion(parsed, reply.seconds)
        if completion is None:
            raise self._not_a_backend(reply, "a chat completion")
        return completion

    def _not_a_backend(self, reply: Reply, wanted: str) -> NotABackend:
        """Return the error for a reply of another kind."""
        came = "a web page" if is_html(reply) else "something else"
        return NotABackend(
            f"{self.base_url} answers with {came} instead of {wanted}; "
            "is it an OpenAI-compatible API, and does the address end in /v1?"
        )

    async def _relocate(self) -> None:
        """Forget a place that "auto" found, if nothing answers there any more."""
        if self._options.base_url != "auto" or self._client is None:
            return
        try:
            await self._client.get("/models")
        except (BackendUnreachable, BackendTimeout):
            # Requests may still be under way on it: it is closed at the end.
            self._gone.append(self._client)
            self._client = None
            # Another server takes other forms.
            self._dialects.clear()
            self._proven.clear()

    async def _reach(self) -> Client:
        """Return the endpoint's client; with "auto", find the endpoint first."""
        async with self._locating:
            if self._client is None:
                found = await discover(transport=self._transport)
                log.info("backend found", name=found.name, base_url=found.base_url)
                self._client = self._client_for(found.base_url)
        return self._client

    def _client_for(self, base_url: str) -> Client:
        """Return a client for an address."""
        transport = self._transport
        if base_url == "builtin:":
            # Imported here: only who uses the describer pays for its decoder.
            from taggerd.inference.describer import describer_transport  # noqa: PLC0415

            transport = transport or describer_transport()
            base_url = "http://builtin/v1"
        key = self._options.api_key
        return Client(
            base_url,
            api_key=key.get_secret_value() if key else "",
            timeout_seconds=self._options.timeout_seconds,
            connections=self._options.max_concurrency,
            transport=transport,
            clock=self._clock,
        )
