"""Asking: the questions about every photo, the endpoints they go to, and whether these are well."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from taggerd.errors import BackendError, NotProbed
from taggerd.inference.endpoint import Endpoint
from taggerd.inference.profiles import ROLES
from taggerd.inference.questions import offer, questions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from taggerd.inference.backend import Backend
    from taggerd.inference.lessons import Memory
    from taggerd.inference.preflight import PreflightReport
    from taggerd.inference.profiles import Profile
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer, Picture
    from taggerd.settings import Settings

_PLACES_KEPT = 256
"""Photos of which it is known where they were asked about last."""


class Asking:
    """What the pipeline knows of inference."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        settings: Settings,
        profile: Profile,
        backends: Mapping[str, Backend],
        *,
        models: Mapping[str, str] | None = None,
        vocabulary: Sequence[str] = (),
        places: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Ask *backends* by *profile*.

        Args:
            settings: all of them.
            profile: the prompts.
            backends: by address, at least one.
            models: those that a registry resolved, by role.
            vocabulary: the user's own words for keywords, where they are few.
            places: the addresses that it resolved, by role; without any, every role is asked
                wherever there is room.
            sleep: lets a breaker wait.
        """
        self._settings = settings
        self._models = models or {}
        self._vocabulary = vocabulary
        self._roles = (*ROLES, *settings.roles.own)
        self._own = {role for role in self._roles if settings.roles.named(role).model}
        self.profile = profile
        places = places or {}
        by_url = {
            url: Endpoint(backend, probe=self._probe, sleep=sleep)
            for url, backend in backends.items()
            if not places or url in places.values()
        }
        self.endpoints = tuple(by_url.values())
        self._places = {role: by_url[url] for role, url in places.items()}
        self._questions: tuple[Question, ...] = ()
        self._mending: dict[Endpoint, asyncio.Task[None]] = {}
        self._asked_at: dict[str, Endpoint] = {}
        self._resting = False
        self._news = asyncio.Event()
        self._broken: BaseException | None = None

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked about every photo, in order; never nothing.

        Raises:
            NotProbed: the backend has not said yet which models it serves.

        """
        if not self._questions:
            raise NotProbed
        return self._questions

    @property
    def models(self) -> dict[str, str]:
        """Model per role, as it is asked; empty until the backend has said what it serves."""
        return {question.role: question.model for question in self._questions}

    @property
    def base_url(self) -> str:
        """The endpoints' addresses, without credentials."""
        return ", ".join(endpoint.base_url for endpoint in self.endpoints)

    @property
    def requests_at_once(self) -> int:
        """How many requests all endpoints together may be given at once."""
        return sum(endpoint.backend.limit.most for endpoint in self.endpoints)

    @property
    def error(self) -> BackendError | None:
        """Why photos cannot be asked about; None while each role has an endpoint that is usable."""
        for role in self._roles:
            serving = self._serving(role)
            if not any(endpoint.usable for endpoint in serving):
                return serving[0].breaker.error
        return None

    @property
    def trouble(self) -> BackendError | None:
        """What somebody should look at: :attr:`error`, or why one of several is left out."""
        faults = (endpoint.breaker.error for endpoint in self.endpoints)
        return self.error or next(filter(None, faults), None)

    def _serving(self, role: str) -> Sequence[Endpoint]:
        """Return where *role* may be asked: its own place, the first, or anywhere."""
        if not self._places:
            return self.endpoints
        return [self._places.get(role, self.endpoints[0])]

    def remember(self, memory: Memory) -> None:
        """Keep what endpoints teach about the form of requests in *memory*."""
        for endpoint in self.endpoints:
            endpoint.backend.remember(memory)

    async def describe(self, picture: Picture, asked: Sequence[Question]) -> AsyncIterator[Answer]:
        """Ask about *picture*, all of a photo's questions at one endpoint where that is possible.

        Its cache holds the picture then. Where it dies on the way, the photo goes back into the
        queue, and what is not answered yet is asked at another.

        Raises:
            FailsOverThisPhoto: the endpoint fails over this photo and answers others.
            BackendError: the endpoint is at fault. AnswerError, PhotoRefused: the photo is.
        """
        # Chosen at once, for all: they go to one place, as the load of none changes in between.
        before = self._asked_at.get(picture.digest)
        # What follows from earlier answers is asked where these came from.
        taken = [self._endpoint_for(q.role, before if q.unfilled else None) for q in asked]
        self._note_place(picture.digest, taken)
        for endpoint, pairs in groupby(zip(taken, asked, strict=True), key=lambda pair: pair[0]):
            own = [self._as_asked_at(endpoint, question) for _, question in pairs]
            meant = {o.identity: q.identity for o in own for q in asked if q.role == o.role}
            try:
                async for answer in endpoint.describe(picture, own):
                    # To the ledger it is the same question wherever it was asked.
                    yield replace(answer, question=meant.get(answer.question, answer.question))
            finally:
                if not endpoint.usable:
                    self._mend(endpoint)

    def _note_place(self, digest: str, taken: Sequence[Endpoint]) -> None:
        """Keep for a while where a photo is asked about: more questions of it may follow."""
        if taken:
            self._asked_at[digest] = taken[0]
        while len(self._asked_at) > _PLACES_KEPT:
            del self._asked_at[next(iter(self._asked_at))]

    def _endpoint_for(self, role: str, before: Endpoint | None = None) -> Endpoint:
        """Return where to ask a question of *role*: of those that are usable, where most room is.

        Where the photo was asked about *before* comes first: the picture is in its cache.

        Raises:
            BackendError: why none is usable.
        """
        serving = self._serving(role)
        usable = [endpoint for endpoint in serving if endpoint.usable]
        if not usable:
            raise serving[0].breaker.error or NotProbed
        return before if before in usable else min(usable, key=lambda endpoint: endpoint.load)

    def _as_asked_at(self, endpoint: Endpoint, question: Question) -> Question:
        """Return *question* with the model that this endpoint has for it."""
        if question.role in self._own or question.role in self._models:
            return question
        return replace(question, model=endpoint.backend.model or question.model)

    # How the endpoints are.

    async def preflight(self) -> list[PreflightReport]:
        """Probe every endpoint for every model that it will be asked for; one report for each."""
        return list(await asyncio.gather(*map(self._preflight, self.endpoints)))

    def usable_by(self, reports: Sequence[PreflightReport]) -> bool:
        """Say whether by these *reports* each role has an endpoint that can be asked."""
        well = [e for e, report in zip(self.endpoints, reports, strict=True) if report.ok]
        return all(any(e in well for e in self._serving(role)) for role in self._roles)

    async def probe(self) -> BackendError | None:
        """Probe every endpoint that is not known to be at fault, and return :attr:`error`."""
        known = [e for e in self.endpoints if e.usable or isinstance(e.breaker.error, NotProbed)]
        found = await asyncio.gather(*map(self._probe, known))
        for endpoint, error in zip(known, found, strict=True):
            endpoint.found(error)
            if error is not None:
                self._mend(endpoint)
        return self.error

    async def wait_usable(self) -> None:
        """Return once photos can be asked about; endpoints at fault are probed meanwhile."""
        self._mend_all()
        while self.error is not None:
            self._news.clear()
            await self._news.wait()
            if self._broken is not None:
                raise self._broken

    def rest(self, *, resting: bool) -> None:
        """Probe nothing while *resting*; go on with what has to be probed when it is over."""
        if resting == self._resting:
            return
        self._resting = resting
        if not resting:
            self._mend_all()
        for task in self._mending.values() if resting else ():
            task.cancel()

    async def close(self) -> None:
        """Stop probing and close all connections."""
        self.rest(resting=True)
        await asyncio.gather(*self._mending.values(), return_exceptions=True)
        for endpoint in self.endpoints:
            await endpoint.backend.close()

    def _mend_all(self) -> None:
        """Probe beside the work what is not usable."""
        for endpoint in self.endpoints:
            if not endpoint.usable:
                self._mend(endpoint)

    def _mend(self, endpoint: Endpoint) -> None:
        """Probe *endpoint* beside the work until it is usable again."""
        if self._resting or endpoint in self._mending:
            return

        def ended(task: asyncio.Task[None]) -> None:
            del self._mending[endpoint]
            if not task.cancelled():
                self._broken = self._broken or task.exception()
            elif not self._resting:
                self._mend(endpoint)  # rest was over before it had begun
            self._news.set()

        task = asyncio.create_task(endpoint.breaker.wait_closed(), name=f"mend {endpoint.base_url}")
        self._mending[endpoint] = task
        task.add_done_callback(ended)

    async def _preflight(self, endpoint: Endpoint) -> PreflightReport:
        """Probe one endpoint for every model that it will be asked for."""
        named = [
            self._settings.roles.named(role).model or self._models.get(role, "")
            for role in self._roles
            if endpoint in self._serving(role)
        ]
        report = await endpoint.preflight(named)
        if report.ok:
            self._ready(endpoint, endpoint.backend.model or report.model)
        return report

    async def _probe(self, endpoint: Endpoint) -> BackendError | None:
        """Return what is wrong with an endpoint; None if it is usable.

        With ``backend.preflight = false`` it is asked about one picture, and believed to see it.
        """
        try:
            if self._settings.backend.preflight:
                return fault_of(await self._preflight(endpoint)) or await endpoint.still_blind()
            self._ready(endpoint, await endpoint.backend.choose_model())
            return await endpoint.still_blind() or await endpoint.control()
        except BackendError as error:
            return error

    def _ready(self, endpoint: Endpoint, default_model: str) -> None:
        """Make the questions, now that a model is known."""
        made = questions(
            self._settings.roles,
            self.profile,
            default_model,
            self._settings.keywords.max,
            self._models,
            language=self._settings.metadata.language,
            offered=offer(self._vocabulary, self._settings.keywords.mode),
        )
        # The first endpoint's model names the questions, whoever answers them.
        if not self._questions or endpoint is self.endpoints[0]:
            self._questions = made
        endpoint.control_by(next(q for q in made if endpoint in self._serving(q.role)))


def fault_of(report: PreflightReport) -> BackendError | None:
    """Return the error that a preflight ended with, with what to do; None if it passed."""
    if report.ok:
        return None
    culprit = report.culprit
    stop = "" if report.error.endswith((".", "?", "!")) else "."
    step = f"{stop} {report.next_step}" if report.next_step else ""
    cause = culprit.cause or BackendError
    return cause(f"{report.error}{step}", retry_after_seconds=culprit.retry_after_seconds)
