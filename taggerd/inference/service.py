"""The inference service: the questions about every photo, and the endpoints that they go to."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from taggerd.errors import BackendError, BackendFailed, NotProbed
from taggerd.inference.budget import Budget
from taggerd.inference.endpoint import Endpoint, Recovery
from taggerd.inference.profiles import ROLES
from taggerd.inference.questions import offer, questions
from taggerd.inference.sharing import Sharing
from taggerd.inference.sizes import picture_edge
from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from taggerd.inference.backend import Backend
    from taggerd.inference.capabilities import Memory
    from taggerd.inference.concurrency import Check
    from taggerd.inference.preflight import PreflightReport
    from taggerd.inference.profiles import Profile
    from taggerd.inference.questions import Question
    from taggerd.inference.sharing import Fleet
    from taggerd.photo import Answer, Picture
    from taggerd.settings import Settings

log = get_logger(__name__)

_REMEMBERED_PHOTOS = 256
"""Photos of which it is known at which endpoint they were asked about last."""


class InferenceService:
    """What the rest of the program knows of inference: a facade, which is why it stays whole.

    It knows the questions and chooses endpoints; these know their health, and backends the API.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        settings: Settings,
        profile: Profile,
        backends: Mapping[str, Backend],
        *,
        models: Mapping[str, str] | None = None,
        vocabulary: Sequence[str] = (),
        base_urls: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Ask *backends* by *profile*.

        Args:
            settings: all of them.
            profile: the prompts.
            backends: by address, at least one.
            models: by role, where a registry resolved them.
            vocabulary: the user's own words for keywords, where they are few.
            base_urls: addresses by role, where a registry resolved them; without any, every role
                is asked at whichever endpoint has the least load.
            sleep: waits between probes.
        """
        self._settings = settings
        self._models = models or {}
        self._vocabulary = vocabulary
        self._roles = (*ROLES, *settings.roles.own)
        self._own_model = {role for role in self._roles if settings.roles.named(role).model}
        self.profile = profile
        self._profile_digest = profile.digest
        base_urls = base_urls or {}
        by_url = {
            url: Endpoint(backend, probe=self._probe)
            for url, backend in backends.items()
            if not base_urls or url in base_urls.values()
        }
        self.endpoints = tuple(by_url.values())
        self._by_role = {role: by_url[url] for role, url in base_urls.items()}
        self._questions: tuple[Question, ...] = ()
        self._recovery = Recovery(self.endpoints, sleep=sleep)
        self._asked_at: dict[str, Endpoint] = {}
        self.on_grown: Callable[[], None] = lambda: None
        """Called when more may be sent at once than before: another host lends its share."""
        self.budget = Budget(settings.backend)
        for endpoint in self.endpoints:
            endpoint.backend.budget = self.budget

    @property
    def questions(self) -> tuple[Question, ...]:
        """What is asked about every photo, in order; never empty.

        Raises:
            NotProbed: the backend has not yet said which models it serves.

        """
        if not self._questions:
            raise NotProbed
        return self._questions

    @property
    def asked_as(self) -> str:
        """Digest of all that decides which questions are asked, known before any backend is."""
        settings = self._settings
        roles = {role: settings.roles.named(role).model_dump(mode="json") for role in self._roles}
        asked = [
            self.profile.digest,
            roles,
            dict(self._models),
            [settings.backend.base_url, settings.backend.model],
            [[endpoint.base_url, endpoint.model] for endpoint in settings.backend.endpoints],
            [settings.backend.temperature, settings.backend.top_p, settings.backend.max_tokens],
            settings.metadata.language,
        ]
        return hashlib.blake2b(json.dumps(asked).encode(), digest_size=16).hexdigest()

    @property
    def models(self) -> dict[str, str]:
        """Model per role; empty until the backend has said which it serves."""
        return {question.role: question.model for question in self._questions}

    @property
    def models_by_role(self) -> dict[str, str]:
        """Model per role as it would be asked now; empty where the backend has not said which."""
        return {
            role: self._model_of(role)[0] or self._serving(role)[0].backend.model
            for role in self._roles
        }

    @property
    def picture_edge(self) -> int | None:
        """Longest side of the picture that all models asked take in whole, pixels.

        None: the default; so also until each endpoint has said which model it serves.
        """
        models: set[str] = set()
        for role in self._roles:
            own, _ = self._model_of(role)
            models |= {own} if own else {e.backend.model for e in self._serving(role)}
        return picture_edge(models)

    async def choose_models(self) -> None:
        """Learn which models would be asked; only lists are asked for. Raises BackendError."""
        for role in self._roles:
            if not self._model_of(role)[0]:
                await self._serving(role)[0].backend.choose_model()

    @property
    def base_url(self) -> str:
        """The endpoints' addresses, without credentials."""
        return ", ".join(endpoint.base_url for endpoint in self.endpoints)

    @property
    def warning(self) -> str:
        """What somebody should know of the answers before they are written; mostly nothing."""
        if all(endpoint.base_url != "builtin:" for endpoint in self.endpoints):
            return ""
        return (
            "builtin: describes colours only; it does not see what is in a photo. For real tags "
            "set backend.base_url to a vision model's address"
        )

    @property
    def requests_at_once(self) -> int:
        """How many requests this program may send to all endpoints together at once."""
        return sum(endpoint.backend.limit.at_once for endpoint in self.endpoints)

    @property
    def error(self) -> BackendError | None:
        """Why photos cannot be asked about; None while each role has a usable endpoint."""
        for role in self._roles:
            serving = self._serving(role)
            if not any(endpoint.usable for endpoint in serving):
                return serving[0].health.error
        return None

    @property
    def trouble(self) -> BackendError | None:
        """What somebody should look at: :attr:`error`, or why one of several is left out."""
        faults = (endpoint.health.error for endpoint in self.endpoints)
        return self.error or next(filter(None, faults), None)

    def _serving(self, role: str) -> Sequence[Endpoint]:
        """Return where *role* may be asked: at its own endpoint, at the first, or at any."""
        if not self._by_role:
            return self.endpoints
        return [self._by_role.get(role, self.endpoints[0])]

    @asynccontextmanager
    async def shared(self, fleet: Fleet | None) -> AsyncIterator[None]:
        """Share limits and outages with the hosts of *fleet*; None: there are no others."""
        if fleet is None:
            yield
            return
        sharing = Sharing(
            fleet,
            self.endpoints,
            grown=lambda: self.on_grown(),  # noqa: PLW0108 - set later
            fell=self._recovery.start,
        )
        try:
            yield
        finally:
            await self._recovery.close()
            await sharing.close()

    def remember(self, memory: Memory) -> None:
        """Keep in *memory* what is learnt about the endpoints' models."""
        for endpoint in self.endpoints:
            endpoint.backend.remember(memory)

    async def describe(
        self, picture: Picture, asked: Sequence[Question], check: Check | None = None
    ) -> AsyncIterator[Answer]:
        """Ask about *picture*, all questions at one endpoint where that is possible.

        Its cache holds the picture then. If it fails on the way, the photo goes back into the
        queue, and what is not answered yet is asked at another. *check* is called before each
        request; what it raises is raised.

        Raises:
            FailsOnThisPhoto: the endpoint fails on this photo and answers others.
            BudgetSpent: nothing more is asked today; what is answered already stays.
            BackendError: the endpoint is at fault. AnswerError, PhotoRefused: the photo is.
        """
        # All are chosen now: no load changes in between, so they go to one endpoint.
        before = self._asked_at.get(picture.digest)
        # What follows from earlier answers is asked where these came from.
        chosen = [self._endpoint_for(q.role, before if q.unfilled else None) for q in asked]
        self._remember_endpoint(picture.digest, chosen)
        for endpoint, pairs in groupby(zip(chosen, asked, strict=True), key=lambda pair: pair[0]):
            sent = [self._as_asked_at(endpoint, question) for _, question in pairs]
            identities = {s.identity: q.identity for s in sent for q in asked if q.role == s.role}
            left = {question.role for question in sent}
            await self.budget.check()
            try:
                async with aclosing(endpoint.describe(picture, sent, check)) as answers:
                    async for answer in answers:
                        # To the ledger it is the same question wherever it was asked.
                        identity = identities.get(answer.question, answer.question)
                        yield replace(
                            answer,
                            question=identity,
                            backend=endpoint.base_url,
                            profile=self.profile.name,
                            profile_digest=self._profile_digest,
                        )
                        left.discard(answer.role)
                        if left:
                            await self.budget.check()
            finally:
                self._recovery.start()
                await self.budget.keep()  # what was not saved with an answer

    def _remember_endpoint(self, digest: str, chosen: Sequence[Endpoint]) -> None:
        """Remember for a while where a photo is asked about: more questions of it may follow."""
        if chosen:
            self._asked_at[digest] = chosen[0]
        while len(self._asked_at) > _REMEMBERED_PHOTOS:
            del self._asked_at[next(iter(self._asked_at))]

    def _endpoint_for(self, role: str, before: Endpoint | None = None) -> Endpoint:
        """Return where to ask a question of *role*: the usable endpoint with the least load.

        The one where the photo was asked about *before* comes first: its cache has the picture.

        Raises:
            BackendError: why none is usable.
        """
        serving = self._serving(role)
        usable = [endpoint for endpoint in serving if endpoint.usable]
        if not usable:
            raise serving[0].health.refusal or NotProbed
        return before if before in usable else min(usable, key=lambda endpoint: endpoint.load)

    def _as_asked_at(self, endpoint: Endpoint, question: Question) -> Question:
        """Return *question* with this endpoint's model for it."""
        if question.role in self._own_model or question.role in self._models:
            return question
        return replace(question, model=endpoint.backend.model or question.model)

    # The endpoints' health.

    async def preflight(self) -> list[PreflightReport]:
        """Probe every endpoint for every model that it will be asked for; one report for each."""
        return list(await asyncio.gather(*map(self._preflight, self.endpoints)))

    def usable_by(self, reports: Sequence[PreflightReport]) -> bool:
        """Return whether by these *reports* each role has an endpoint that can be asked."""
        passed = [e for e, report in zip(self.endpoints, reports, strict=True) if report.ok]
        return all(any(e in passed for e in self._serving(role)) for role in self._roles)

    async def probe(self) -> BackendError | None:
        """Probe every endpoint that is not known to be at fault, and return :attr:`error`."""
        untried = [e for e in self.endpoints if e.usable or isinstance(e.health.error, NotProbed)]
        errors = await asyncio.gather(*map(self._probe, untried))
        for endpoint, error in zip(untried, errors, strict=True):
            endpoint.health.probed(error)
        self._recovery.start()
        return self.error

    async def wait_usable(self) -> None:
        """Return once photos can be asked about; endpoints at fault are probed meanwhile."""
        await self._recovery.wait(lambda: self.error is None)

    def last_photos(self, left: int | None) -> None:
        """Say how many photos are *left*, all in flight; None: others wait in the queue."""
        for endpoint in self.endpoints:
            endpoint.backend.last_photos(left)

    def pause(self, *, paused: bool) -> None:
        """Probe nothing while paused; go on with what has to be probed afterwards."""
        self._recovery.pause(paused=paused)

    async def close(self) -> None:
        """Stop probing and close all connections."""
        await self._recovery.close()
        for endpoint in self.endpoints:
            await endpoint.backend.close()

    async def _preflight(self, endpoint: Endpoint) -> PreflightReport:
        """Probe one endpoint for every model that it will be asked for."""
        settings_of: dict[str, str] = {}
        for role in self._roles:
            if endpoint in self._serving(role):
                model, setting = self._model_of(role)
                settings_of.setdefault(model, setting)
        report = await endpoint.preflight(settings_of)
        if report.ok:
            self._ready(endpoint, endpoint.backend.model or report.model)
        return report

    def _model_of(self, role: str) -> tuple[str, str]:
        """Return the model of *role*, empty for the endpoint's own, and the setting to change."""
        own = self._settings.roles.named(role)
        if own.model:
            return self._models.get(role, own.model), f"roles.{role}.model"
        if role not in self._models:
            return "", "backend.model"
        if self._settings.backend.use_registry or own.registry_model:
            return self._models[role], f"roles.{role}.registry_model"
        return self._models[role], "backend.model"

    async def _probe(self, endpoint: Endpoint) -> BackendError | None:
        """Return what is wrong with an endpoint; None if it is usable.

        With ``backend.preflight = false`` it is asked about one picture and trusted to see it.
        """
        try:
            if self._settings.backend.preflight:
                return _error_in(await self._preflight(endpoint)) or await endpoint.still_blind()
            self._ready(endpoint, await endpoint.backend.choose_model())
            return await endpoint.still_blind() or await endpoint.control()
        except BackendError as error:
            return error
        except Exception as error:
            # Whatever a server says, it is asked again later; the program goes on.
            log.exception("the probe failed", base_url=endpoint.base_url)
            return BackendFailed(f"the probe of {endpoint.base_url} failed: {type(error).__name__}")

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
            examples=self._settings.prompts.examples,
            generation=self._settings.backend,
        )
        # The first endpoint's model is part of the questions' identity, whoever answers them.
        if not self._questions or endpoint is self.endpoints[0]:
            self._questions = made
        here = [question for question in made if endpoint in self._serving(question.role)]
        endpoint.control_question = min(here, key=lambda question: len(question.placeholders))


def _error_in(report: PreflightReport) -> BackendError | None:
    """Return why a preflight failed and what to do; None if it passed."""
    fault = report.fault
    if fault is None or not report.next_step:
        return fault
    stop = "" if report.error.endswith((".", "?", "!")) else "."
    message = f"{fault}{stop} {report.next_step}"
    return type(fault)(message, retry_after_seconds=fault.retry_after_seconds)
