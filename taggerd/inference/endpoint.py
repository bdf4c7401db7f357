"""An endpoint: one backend of several, its load, and whose fault it is when it fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing, nullcontext
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Protocol

from taggerd.errors import (
    BackendBlind,
    BackendError,
    BackendFailed,
    FailsOnThisPhoto,
    NotProbed,
    PhotoError,
    PhotoRefused,
)
from taggerd.inference.completion import quoted
from taggerd.inference.health import probing
from taggerd.inference.profiles import ROLES
from taggerd.logs import get_logger
from taggerd.photo import Picture, Stamp
from taggerd.retry import policy_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from taggerd.inference.backend import Backend
    from taggerd.inference.concurrency import Check
    from taggerd.inference.preflight import PreflightReport
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer

log = get_logger(__name__)

CONTROL_SIZE = (1024, 683)
"""Pixels of ``data/probes/control.jpg`` (made by ``scripts/samples``). It has the size of a real
photo: a server short of memory fails on it as well."""


class Shared(Protocol):
    """An endpoint that other hosts ask as well."""

    async def recover(self) -> None:
        """Return once it is healthy: this host or another has probed it."""


class Endpoint:
    """One backend as photos are asked about there: its health, and who pays for an error."""

    def __init__(
        self, backend: Backend, *, probe: Callable[[Endpoint], Awaitable[BackendError | None]]
    ) -> None:
        """Ask *backend*; *probe* tells what is wrong with it. Until then nothing is asked."""
        self.backend = backend
        self.health = backend.health
        self.health.error = NotProbed()
        self.photos = 0
        """How many photos are being asked about here."""
        self.shared: Shared | None = None
        """What other hosts know of it; None: this one is alone."""
        self.warnings: tuple[str, ...] = ()
        """What works, but not as asked, as of the last preflight: another model answers."""
        self.control_question: Question | None = None
        """What is asked about a picture that is known to be good."""
        self._probe = probe
        self._judging = asyncio.Lock()
        self._checking_repeats = asyncio.Lock()
        self._repeated: tuple[Question, Answer] | None = None
        """An answer that came for every picture, with its question; None while all is well."""
        self._answered: Counter[str] = Counter()
        """Answers about photos, by role."""
        self._uncharged: dict[tuple[str, str], int] = {}
        """Photo and role that failed like a control picture, with the answers that there were."""
        self._controls_failed: Counter[str] = Counter()
        """Answers about the control picture that were of no use, by role."""

    @property
    def base_url(self) -> str:
        """Its address, without credentials."""
        return self.backend.base_url

    @property
    def usable(self) -> bool:
        """Whether photos may be asked about."""
        return self.health.error is None

    @property
    def load(self) -> float:
        """Photos for each request that it takes at once."""
        return self.photos / max(1, self.backend.limit.size)

    async def describe(
        self, picture: Picture, questions: Sequence[Question], check: Check | None = None
    ) -> AsyncGenerator[Answer]:
        """Ask about *picture*; see :meth:`Backend.describe`.

        Raises:
            FailsOnThisPhoto: it answers others.
            PhotoError: this photo is at fault; where :mod:`taggerd.retry` wants a control picture,
                that was answered.
            BackendBlind: the model says the very same of every picture, also of one that is not
                the user's.
            BackendError: anything else; no more photos are asked about until a probe passes.
        """
        self.photos += 1
        asked = {question.role: question for question in questions}
        judge = partial(self._judged, picture)
        try:
            asking = self.backend.describe(picture, questions, judge, check)
            async with aclosing(asking) as answers:
                async for answer in answers:
                    # "Indoors or out?" is rightly answered alike: the user's own roles prove
                    # nothing.
                    if answer.role in ROLES and self.health.repeats_itself(picture.digest, answer):
                        await self._check_repeated(answer, asked[answer.role])
                    self.health.answered()
                    self._uncharged.pop((picture.digest, answer.role), None)
                    self._answered[answer.role] += 1
                    yield answer
        finally:
            self.photos -= 1

    async def _judged(
        self, picture: Picture, question: Question, error: BackendError | PhotoError
    ) -> Exception:
        """Return what is raised for a *question* that ended in *error*; the endpoint may pay."""
        if isinstance(error, BackendError):
            if error.asked and policy_of(error).control and await self._answers_others(error):
                return FailsOnThisPhoto(str(error))
            self.health.fault(error)
            return error
        fault = None
        if policy_of(error).control:
            fault = await self._fault_behind(error, picture, question)
        if fault is not None:
            self.health.fault(fault)
        return fault or error

    async def preflight(self, settings_of: Mapping[str, str]) -> PreflightReport:
        """Probe the backend for the models in *settings_of*; see :meth:`Backend.preflight`."""
        report = await self.backend.preflight([*settings_of], settings_of=settings_of)
        for warning in report.warnings:
            if warning not in self.warnings:
                log.warning("backend works, but", base_url=self.base_url, what=warning)
        self.warnings = report.warnings
        return report

    async def probe_again(self) -> BackendError | None:
        """Return what is wrong now, by the probe that the last error asks for."""
        error = self.health.error
        if error and policy_of(error).probe == "control picture" and self.control_question:
            return await self.control()
        return await self._probe(self)

    async def recover(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Wait and probe until the endpoint is healthy; of several hosts one does."""
        if self.shared is None:
            await self.health.recover(self.probe_again, sleep=sleep)
        else:
            await self.shared.recover()

    async def control(self) -> BackendError | None:
        """Ask a question about a picture that is known to be good; return the backend's fault.

        An answer that is of no use is an answer all the same.
        """
        if self.control_question is None:
            return None
        try:
            await self._control_answer(self.control_question)
        except BackendError as error:
            return error
        except PhotoError:
            return None
        return None

    async def still_blind(self) -> BackendError | None:
        """Return the fault if a model that gave every picture the same answer still does."""
        if self._repeated is None:
            return None
        error = await self._repeats_itself()
        if error is None:
            self.health.forget_repeats()
        return error

    async def _control_answer(self, question: Question) -> str:
        """Ask *question* about the control picture, whatever the health, and return the text."""
        with probing():
            texts = [a.text async for a in self.backend.describe(control_picture(), [question])]
        return texts[0]

    # Whose fault is it? One photo asks at a time; the others learn from what it found.

    async def _check_repeated(self, answer: Answer, question: Question) -> None:
        """Raise BackendBlind if the model gives *answer* for the control picture as well."""
        async with self._checking_repeats:
            self._repeated = question, answer
            if (error := await self._repeats_itself()) is not None:
                self.health.fault(error)
                raise error
            self.health.trust(answer)

    async def _repeats_itself(self) -> BackendError | None:
        """Return what is wrong if the model repeats itself about a picture it was never shown."""
        if self._repeated is None:
            return None
        question, repeated = self._repeated
        try:
            text = await self._control_answer(question)
        except PhotoError:
            text = ""
        if text == repeated.text:
            message = (
                f"model {quoted(repeated.model, 80)} gives the same {repeated.role} for every "
                f"picture, so it sees none: {quoted(repeated.text)}; "
                "load a vision model, or restart the server"
            )
            return BackendBlind(message)
        self._repeated = None
        return None

    async def _fault_behind(
        self, error: PhotoError, picture: Picture, question: Question
    ) -> BackendError | None:
        """Return the backend's fault if the control picture ends in *error* as well.

        A server that was started with too small a context, or a model that is broken, refuses or
        spoils every picture: no photo pays for that. A model that fails on the control picture
        alone has answered about other photos meanwhile: then this photo is at fault.
        """
        role = question.role
        key, before = (picture.digest, role), self._controls_failed[role]
        async with self._judging:
            if not self.usable:
                return self.health.error
            # Refusals are rare: nothing more is asked meanwhile. Spoilt answers may be many.
            refused = isinstance(error, PhotoRefused)
            try:
                # One that has failed since then tells as much: an outage may end before the next.
                if self._controls_failed[role] == before:
                    with self.health.in_doubt() if refused else nullcontext():
                        await self._control_answer(question)
            except BackendError as fault:
                return fault
            except PhotoError:
                self._controls_failed[role] += 1
            if self._controls_failed[role] != before:
                answered = self._answered[role]
                if self._uncharged.setdefault(key, answered) >= answered:
                    return BackendFailed(f"{error}; a test picture fails, too")
            self._uncharged.pop(key, None)
            return None

    async def _answers_others(self, error: BackendError) -> bool:
        """Ask about the control picture; if that fails too, the endpoint is at fault."""
        async with self._judging:
            if not self.usable:
                return False
            with self.health.in_doubt():
                if await self.control() is None:
                    return True
                self.health.fault(error)
            return False


class Recovery:
    """Probes endpoints that are not usable in the background, each until it is."""

    def __init__(
        self, endpoints: Sequence[Endpoint], *, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        """Probe none of *endpoints* yet; *sleep* waits between probes."""
        self._endpoints = endpoints
        self._sleep = sleep
        self._tasks: dict[Endpoint, asyncio.Task[None]] = {}
        self._paused = False
        self._changed = asyncio.Event()
        self._broken: BaseException | None = None

    def start(self) -> None:
        """Probe what is not usable, unless paused."""
        for endpoint in self._endpoints if not self._paused else ():
            if not endpoint.usable and endpoint not in self._tasks:
                recovery = endpoint.recover(self._sleep)
                task = asyncio.create_task(recovery, name=f"recover {endpoint.base_url}")
                self._tasks[endpoint] = task
                task.add_done_callback(partial(self._ended, endpoint))

    async def wait(self, done: Callable[[], bool]) -> None:
        """Return once it is *done*; what is not usable is probed meanwhile."""
        self.start()
        while not done():
            self.start()  # one may have failed again before we came to look
            self._changed.clear()
            await self._changed.wait()
            if (broken := self._broken) is not None:
                self._broken = None  # told once: whoever waits again has it probed again
                self.start()
                raise broken

    def pause(self, *, paused: bool) -> None:
        """Stop all probes, or go on with what is not usable."""
        if paused == self._paused:
            return
        self._paused = paused
        self.start()
        for task in self._tasks.values() if paused else ():
            task.cancel()

    async def close(self) -> None:
        """Stop all probes and wait for their end."""
        self.pause(paused=True)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _ended(self, endpoint: Endpoint, task: asyncio.Task[None]) -> None:
        """Note that a recovery ended; start again if the pause ended before its cancellation."""
        del self._tasks[endpoint]
        if not task.cancelled():
            self._broken = self._broken or task.exception()
        else:
            self.start()
        self._changed.set()


def control_picture() -> Picture:
    """Return a picture that is known to be good and is no photo of the user's."""
    jpeg = files("taggerd").joinpath("data", "probes", "control.jpg").read_bytes()
    width, height = CONTROL_SIZE
    return Picture(jpeg, width, height, b"", "", Stamp(len(jpeg), 0, 0, 0))
