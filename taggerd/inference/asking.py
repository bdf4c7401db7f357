"""Asking: one backend, the questions it is asked about every photo, and whether it can be asked."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from typing import TYPE_CHECKING

from taggerd.errors import BackendBlind, BackendError, PhotoError
from taggerd.inference.breaker import Breaker, NotProbed
from taggerd.inference.profiles import ROLES
from taggerd.inference.questions import offer, questions
from taggerd.inference.sameness import Sameness
from taggerd.inference.wrapping import say
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from taggerd.inference.backend import Backend
    from taggerd.inference.preflight import PreflightReport
    from taggerd.inference.profiles import Profile
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer
    from taggerd.settings import Settings


CONTROL_SIZE = (1024, 683)
"""Pixels of ``data/probes/control.jpg``, a drawn landscape (:mod:`taggerd.data.samples`)."""


class Asking:
    """What the pipeline knows of inference."""

    def __init__(
        self,
        settings: Settings,
        profile: Profile,
        backend: Backend,
        models: Mapping[str, str] | None = None,
        vocabulary: Sequence[str] = (),
    ) -> None:
        """Ask *backend* by *profile*.

        Args:
            settings: in force.
            profile: the prompts.
            backend: who is asked.
            models: those that a registry resolved, by role.
            vocabulary: the user's own words for keywords, where they are few.
        """
        self._settings = settings
        self._backend = backend
        self._models = models or {}
        self._vocabulary = vocabulary
        self.profile = profile
        self.breaker = Breaker(self.probe)
        self._questions: tuple[Question, ...] = ()
        self._sameness = Sameness()
        self._doubting = asyncio.Lock()
        self._stuck: Answer | None = None
        """An answer that came for every picture; None while all is well."""

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
        """The backend's address, without credentials."""
        return self._backend.base_url

    async def describe(self, picture: Picture, asked: Sequence[Question]) -> AsyncIterator[Answer]:
        """Ask about *picture*; see :meth:`Backend.describe`.

        Raises:
            BackendBlind: the model says the very same of every picture, also of one that is not
                the user's.

        """
        async for answer in self._backend.describe(picture, asked):
            if self._sameness.suspects(picture.digest, answer):
                await self._doubt(answer)
            yield answer

    async def _doubt(self, answer: Answer) -> None:
        """Ask about another picture; if the answer is the same again, the model is blind."""
        async with self._doubting:  # one photo asks; the others learn from what it found
            self._stuck = answer
            if (error := await self._still_stuck()) is not None:
                raise error
            self._sameness.acquit(answer)

    async def _still_stuck(self) -> BackendError | None:
        """Say what is wrong if the model repeats itself about a picture it was never shown."""
        stuck = self._stuck
        if stuck is None:
            return None
        question = next((q for q in self._questions if q.role == stuck.role), None)
        try:
            same = question is not None and [
                answer.text
                async for answer in self._backend.describe(control_picture(), [question])
            ] == [stuck.text]
        except PhotoError:
            same = False
        if same:
            message = (
                f"model {say(stuck.model, 80)} gives the same {stuck.role} for every picture, so "
                f"it sees none: {say(stuck.text)}; load a vision model, or restart the server"
            )
            return BackendBlind(message)
        self._stuck = None
        return None

    async def preflight(self) -> PreflightReport:
        """Probe the backend for every model that will be asked, and make the questions ready."""
        named = [
            getattr(self._settings.roles, role).model
            or self._models.get(role, "")
            or self._settings.backend.model
            for role in ROLES
        ]
        report = await self._backend.preflight(named)
        if report.ok:
            self._ready(self._settings.backend.model or report.model)
        return report

    async def probe(self) -> BackendError | None:
        """Return what is wrong with the backend; None if it is usable.

        With ``backend.preflight = false`` it is asked about one picture, and believed to see it.
        """
        try:
            if self._settings.backend.preflight:
                if (fault := fault_of(await self.preflight())) is not None:
                    return fault
                return await self._mended()
            self._ready(await self._backend.choose_model())
            return await self._mended() or await self.control()
        except BackendError as error:
            return error

    async def control(self) -> BackendError | None:
        """Ask a question about a picture that is known to be good; return the backend's fault.

        The picture has the size of a real photo: a server short of memory fails over it as well.
        An answer that is of no use is an answer all the same.
        """
        try:
            async for _ in self._backend.describe(control_picture(), self.questions[:1]):
                pass
        except BackendError as error:
            return error
        except PhotoError:
            return None
        return None

    async def _mended(self) -> BackendError | None:
        """After the same answer for every picture: say whether it is still the same."""
        if self._stuck is None:
            return None
        error = await self._still_stuck()
        if error is None:
            self._sameness.forget()
        return error

    async def close(self) -> None:
        """Close all connections."""
        await self._backend.close()

    def _ready(self, default_model: str) -> None:
        self._questions = questions(
            self._settings.roles,
            self.profile,
            default_model,
            self._settings.keywords.max,
            self._models,
            language=self._settings.metadata.language,
            offered=offer(self._vocabulary, self._settings.keywords.mode),
        )


def control_picture() -> Picture:
    """Return a picture that is known to be good and no photo of anybody's."""
    jpeg = files("taggerd.data").joinpath("probes", "control.jpg").read_bytes()
    width, height = CONTROL_SIZE
    return Picture(jpeg, width, height, b"", "", Stamp(len(jpeg), 0, 0, 0))


def fault_of(report: PreflightReport) -> BackendError | None:
    """Return the error that a preflight ended with, with what to do; None if it passed."""
    if report.ok:
        return None
    culprit = report.culprit
    stop = "" if report.error.endswith((".", "?", "!")) else "."
    step = f"{stop} {report.next_step}" if report.next_step else ""
    cause = culprit.cause or BackendError
    return cause(f"{report.error}{step}", retry_after_seconds=culprit.retry_after_seconds)
