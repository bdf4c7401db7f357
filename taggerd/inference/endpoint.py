"""An endpoint: one backend of several, its breaker, and whose fault it is when it fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import nullcontext
from importlib.resources import files
from typing import TYPE_CHECKING

import structlog

from taggerd.errors import (
    AnswerCut,
    AnswerEmpty,
    BackendBlind,
    BackendBusy,
    BackendError,
    BackendFailed,
    FailsOnThisPhoto,
    PhotoError,
    PhotoRefused,
)
from taggerd.inference.backend import PERHAPS_THE_PHOTO
from taggerd.inference.breaker import Breaker
from taggerd.inference.gate import probing
from taggerd.inference.profiles import ROLES
from taggerd.inference.sameness import Sameness
from taggerd.inference.wrapping import say
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from taggerd.inference.backend import Backend
    from taggerd.inference.preflight import PreflightReport
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer

log = structlog.get_logger(__name__)

CONTROL_SIZE = (1024, 683)
"""Pixels of ``data/probes/control.jpg``, a drawn landscape (``scripts/samples``)."""


FailsOverThisPhoto = FailsOnThisPhoto


class Endpoint:
    """One place where questions are asked."""

    def __init__(
        self,
        backend: Backend,
        *,
        probe: Callable[[Endpoint], Awaitable[BackendError | None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Ask *backend*; *probe* tells what is wrong with it."""
        self.backend = backend
        self.photos = 0
        """How many photos are being asked about here."""
        self.breaker = Breaker(self._probed, sleep=sleep, name=lambda: self.base_url)
        self.warnings: tuple[str, ...] = ()
        """What works, but not as asked, as of the last preflight: another model answers."""
        self._probe = probe
        self._control: Question | None = None
        self._judging = asyncio.Lock()
        self._sameness = Sameness()
        self._doubting = asyncio.Lock()
        self._stuck: tuple[Question, Answer] | None = None
        """An answer that came for every picture, with its question; None while all is well."""
        self._answered: Counter[str] = Counter()
        """Answers about photos, by role."""
        self._uncharged: dict[tuple[str, str], int] = {}
        """Photo and role that failed like a test picture, with the answers that there were."""

    @property
    def base_url(self) -> str:
        """Its address, without credentials."""
        return self.backend.base_url

    @property
    def usable(self) -> bool:
        """Whether photos may be asked about."""
        return self.breaker.error is None

    @property
    def load(self) -> float:
        """Photos for each request that it takes at once."""
        return self.photos / self.backend.limit.size

    def control_by(self, question: Question) -> None:
        """Take *question* for asking about a picture that is known to be good."""
        self._control = question

    async def describe(
        self, picture: Picture, questions: Sequence[Question]
    ) -> AsyncIterator[Answer]:
        """Ask about *picture*; see :meth:`Backend.describe`.

        Raises:
            FailsOnThisPhoto: it answers others.
            PhotoRefused, AnswerEmpty, AnswerCut: a test picture does not end so.
            AnswerError: any other, which is held back for somebody to read.
            BackendBlind: the model says the very same of every picture, also of one that is not
                the user's.
            BackendError: anything else; the breaker is open by then.
        """
        self.photos += 1
        left = {question.role: question for question in questions}
        try:
            async for answer in self.backend.describe(picture, questions):
                # "Indoors or out?" is rightly answered alike: the user's own prove nothing.
                if answer.role in ROLES and self._sameness.suspects(picture.digest, answer):
                    await self._doubt(answer, questions)
                self.breaker.answered()
                left.pop(answer.role, None)
                self._uncharged.pop((picture.digest, answer.role), None)
                self._answered[answer.role] += 1
                yield answer
        except BackendError as error:
            if isinstance(error, PERHAPS_THE_PHOTO) and await self._answers_others(error):
                raise FailsOnThisPhoto(str(error)) from error
            self.fault(error)
            raise
        except (PhotoRefused, AnswerEmpty, AnswerCut) as error:
            question = next(iter(left.values()))
            fault = await self._fares_no_better(picture, question, error)
            if fault is None:
                self._uncharged.pop((picture.digest, question.role), None)
                raise
            self.fault(fault)
            raise fault from error
        finally:
            self.photos -= 1

    def fault(self, error: BackendError) -> None:
        """Ask about no more photos until a probe passes."""
        self.breaker.fault(error)
        self.backend.gate.halted = self.breaker.error

    def found(self, error: BackendError | None) -> None:
        """Take note of what a probe found that was made for another reason."""
        self.breaker.found(error)
        self.backend.gate.halted = error

    async def preflight(self, models: Sequence[str]) -> PreflightReport:
        """Probe the backend for *models*; see :meth:`Backend.preflight`."""
        report = await self.backend.preflight(models)
        for warning in report.warnings:
            if warning not in self.warnings:
                log.warning("backend works, but", base_url=self.base_url, what=warning)
        self.warnings = report.warnings
        return report

    async def control(self) -> BackendError | None:
        """Ask a question about a picture that is known to be good; return the backend's fault.

        The picture has the size of a real photo: a server short of memory fails over it as well.
        An answer that is of no use is an answer all the same.
        """
        if self._control is None:
            return None
        try:
            with probing():
                async for _ in self.backend.describe(control_picture(), [self._control]):
                    pass
        except BackendError as error:
            return error
        except PhotoError:
            return None
        return None

    async def still_blind(self) -> BackendError | None:
        """After the same answer for every picture: say whether it is still the same."""
        if self._stuck is None:
            return None
        error = await self._still_stuck()
        if error is None:
            self._sameness.forget()
        return error

    async def _doubt(self, answer: Answer, questions: Sequence[Question]) -> None:
        """Ask about another picture; if the answer is the same again, the model is blind."""
        async with self._doubting:  # one photo asks; the others learn from what it found
            asked = next(q for q in questions if q.role == answer.role)
            self._stuck = asked, answer
            if (error := await self._still_stuck()) is not None:
                raise error
            self._sameness.acquit(answer)

    async def _still_stuck(self) -> BackendError | None:
        """Say what is wrong if the model repeats itself about a picture it was never shown."""
        if self._stuck is None:
            return None
        question, stuck = self._stuck
        try:
            with probing():
                said = [a.text async for a in self.backend.describe(control_picture(), [question])]
        except PhotoError:
            said = []
        if said == [stuck.text]:
            message = (
                f"model {say(stuck.model, 80)} gives the same {stuck.role} for every picture, so "
                f"it sees none: {say(stuck.text)}; load a vision model, or restart the server"
            )
            return BackendBlind(message)
        self._stuck = None
        return None

    async def _probed(self) -> BackendError | None:
        """Probe as the breaker wants it; one that was busy is asked one thing, not four."""
        if isinstance(self.breaker.error, BackendBusy) and self._control is not None:
            error = await self.control()
        else:
            error = await self._probe(self)
        self.backend.gate.halted = error
        return error

    async def _fares_no_better(
        self, picture: Picture, question: Question, error: PhotoError
    ) -> BackendError | None:
        """Ask about a picture that is known to be good; if that ends like the photo, say so.

        A server that was started with too small a context, or a model that is broken, refuses or
        spoils every picture: no photo pays for that. A model that never was up to the test picture
        is told by its answers about other photos since: then this one is at fault.
        """
        async with self._judging:
            if not self.usable:
                return self.breaker.error
            # Refusals are rare: nothing more is asked meanwhile. Spoilt answers may be many.
            refused = isinstance(error, PhotoRefused)
            try:
                with self.backend.gate.suspected() if refused else nullcontext(), probing():
                    async for _ in self.backend.describe(control_picture(), [question]):
                        pass
            except BackendError as fault:
                return fault
            except PhotoError:
                key, answered = (picture.digest, question.role), self._answered[question.role]
                if self._uncharged.setdefault(key, answered) < answered:
                    return None
            else:
                return None
            return BackendFailed(f"{error}; the same goes for a test picture")

    async def _answers_others(self, error: BackendError) -> bool:
        """Ask about a picture that is known to be good; if that fails too, the breaker opens."""
        async with self._judging:  # one photo asks; the others learn from what it found
            if not self.usable:
                return False
            with self.backend.gate.suspected():
                if await self.control() is None:
                    return True
                self.fault(error)
            return False


def control_picture() -> Picture:
    """Return a picture that is known to be good and no photo of anybody's."""
    jpeg = files("taggerd.data").joinpath("probes", "control.jpg").read_bytes()
    width, height = CONTROL_SIZE
    return Picture(jpeg, width, height, b"", "", Stamp(len(jpeg), 0, 0, 0))
