"""One backend: its requests, the form they have, how many there are at once, and its preflight."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeVar

from taggerd.errors import (
    AnswerError,
    BackendError,
    BackendFailed,
    BackendTimeout,
    ModelNotFound,
    PhotoError,
    PhotoRefused,
    TaggerdError,
)
from taggerd.inference import dialect as dialects
from taggerd.inference.answers import answer_of, read_answer, read_combined, split_combined
from taggerd.inference.capabilities import Capabilities, Prefixes, fingerprint
from taggerd.inference.client import json_of
from taggerd.inference.completion import read_completion, without_thoughts
from taggerd.inference.concurrency import Rank, Waiter
from taggerd.inference.connection import Connection
from taggerd.inference.discovery import first_chat_model, listed_models
from taggerd.inference.health import is_probing, probing
from taggerd.inference.preflight import PreflightReport, probe_all
from taggerd.inference.questions import combinable, combine
from taggerd.inference.statuses import not_a_backend
from taggerd.logs import get_logger
from taggerd.photo import Usage
from taggerd.retry import policy_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Mapping,
        Sequence,
    )
    from pathlib import Path

    import httpx

    from taggerd import settings
    from taggerd.inference.budget import Budget
    from taggerd.inference.capabilities import Memory
    from taggerd.inference.completion import Completion
    from taggerd.inference.concurrency import Check
    from taggerd.inference.connection import Exchange
    from taggerd.inference.dialect import Dialect
    from taggerd.inference.questions import Question
    from taggerd.photo import Answer, Picture

    Judge = Callable[[Question, BackendError | PhotoError], Awaitable[Exception]]
    """A question and why it has no answer → what is raised."""

T = TypeVar("T")

_MOST_ROUNDS = 4
"""Most requests that one question spends on finding out how to keep a model from thinking."""

log = get_logger(__name__)


class Backend:
    """What one OpenAI-compatible endpoint is asked, and in which form.

    The connection sends the requests. The rest stays in one class: a question, its form, its
    repetition and the model's capabilities all decide about the next request.
    """

    def __init__(  # noqa: PLR0913 - all by name
        self,
        options: settings.Backend,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        slots_folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        """Prepare to ask; nothing is sent.

        Args:
            options: the settings' table.
            transport: what carries the requests; default: the network.
            slots_folder: where programs share the endpoint's slots; None: no other asks it.
            clock: seconds, monotonic, for latencies.
            wall_clock: seconds since the epoch, for dates in ``Retry-After``.
            random: chooses the pictures of the vision probe.

        Raises:
            ConfigurationError: the address or the key cannot be used.
        """
        self._options = options
        self._connection = Connection(
            options,
            transport=transport,
            slots_folder=slots_folder,
            clock=clock,
            wall_clock=wall_clock,
        )
        self.health, self.limit = self._connection.health, self._connection.limit
        self.traffic = self._connection.traffic
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - chooses colours
        self._capabilities = Capabilities()
        self._prefixes = Prefixes()
        self._left: int | None = None
        self._many = False
        """Whether there were more of the last photos than requests at once."""
        self._order()
        self._chosen = ""
        self.budget: Budget | None = None
        """Counts what every request took."""

    @property
    def base_url(self) -> str:
        """The endpoint's address without credentials; ``"auto"`` until it is found."""
        return self._connection.base_url

    @property
    def slots_trouble(self) -> str:
        """Why requests go without one of the machine's slots; empty: they do not."""
        return self._connection.slots_trouble

    @property
    def model(self) -> str:
        """The default model: the setting, else the one chosen from the listing, else empty."""
        return self._options.model or self._chosen

    @property
    def learnt(self) -> dict[str, str]:
        """The form of requests by model, where it is not the usual one."""
        return {model: str(dialect) for model, dialect in self._capabilities.learnt().items()}

    @property
    def noted(self) -> int:
        """How often something new about its models was noted."""
        return self._capabilities.noted

    @property
    def more_to_ask(self) -> bool:
        """Whether other photos wait than those in flight."""
        return self._left is None

    async def recall_again(self) -> None:
        """Read what another host has learnt since."""
        await self._capabilities.recall_again()

    def remember(self, memory: Memory) -> None:
        """Use what was learnt before the last restart, and keep more in *memory*."""
        self._capabilities = Capabilities(memory)

    async def choose_model(self) -> str:
        """Return the default model; without a setting, list the models the first time.

        Raises:
            BackendError: the models cannot be listed, or none is usable.
        """
        if not self.model:
            self._chosen = self.default_of(await self.list_models())
            if not self._chosen:
                message = f"{self.base_url} lists no model for photos; load one"
                raise ModelNotFound(message)
        return self.model

    async def describe(
        self,
        picture: Picture,
        questions: Sequence[Question],
        judge: Judge | None = None,
        check: Check | None = None,
    ) -> AsyncGenerator[Answer]:
        """Ask *questions* about *picture* one after the other; yield each answer as it comes.

        Where there is nothing else to ask (:meth:`last_photos`), side by side on idle permits.
        With ``request_mode = "combined"`` those of one model are asked together if it can answer
        so. If an answer cannot be used, its question is asked once more, alone.

        What is raised for a question is what *judge* makes of it. It is called before any other
        request can be sent, so that those who wait do not meet a fault that is known. *check* is
        called before each request is.

        Raises:
            AnswerError: the second answer cannot be used either.
            PhotoRefused: the backend refuses this picture.
            BackendError: the backend is at fault, or, where :mod:`taggerd.retry` wants a control
                picture, perhaps this photo.
        """
        image = dialects.encoded(picture.jpeg)
        answered: set[str] = set()
        refused: set[str] = set()
        # Who was told answers of this photo was asked about it before.
        rank = Rank.BEGUN if any(q.unfilled for q in questions) else Rank.NEW
        waiter = Waiter(rank, check=check)
        for group in combinable(questions) if self._options.request_mode == "combined" else ():
            answers = await _judged(self._together(group, image, waiter), group[0], judge)
            refused |= {group[0].role} if answers is None else set()
            for answer in answers or ():
                answered.add(answer.role)
                yield answer
        left = [question for question in questions if question.role not in answered]
        models = {question.role: question.model for question in left}
        async with aclosing(self._one_by_one(left, image, waiter, judge)) as given:
            async for answer in given:
                if answer.role in refused:  # so the picture was not the reason
                    await self._learn_combining(models[answer.role], well=False)
                yield answer

    async def preflight(
        self, models: Sequence[str] = ("",), *, settings_of: Mapping[str, str] | None = None
    ) -> PreflightReport:
        """Probe listing, text and vision for each of *models*; an empty name is the default one.

        The report's advice names the setting of a model as *settings_of* has it.

        Never raises a :class:`BackendError`: what is wrong is in the report. "auto" is looked up
        again if the endpoint that it found no longer answers.
        """
        with probing():
            if await self._connection.relocate():
                # Another server may answer now, which accepts other forms.
                self._capabilities = Capabilities(self._capabilities.memory)
                self._prefixes = Prefixes()
            asked = tuple(dict.fromkeys(models)) or ("",)
            report = await probe_all(self, asked, self._random, self._clock, settings_of)
        if "" in asked and report.ok:
            self._chosen = self.default_of(report.listed)
        return report

    def default_of(self, listed: Sequence[str]) -> str:
        """Return the default model where *listed* are served; empty if there is none.

        One that was chosen stays while it is listed: Ollama lists the newest first, and a model
        that was pulled meanwhile is not meant for photos.
        """
        kept = self._chosen if self._chosen in listed else first_chat_model(listed)
        return self._options.model or kept

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    async def list_models(self) -> tuple[str, ...]:
        """Return the ids of the models that the endpoint lists. Raises :class:`BackendError`."""
        await self._recall()
        reply = await self._connection.list_models()
        listed = listed_models(json_of(reply))
        if listed is None:
            raise not_a_backend(reply, self.base_url, "a list of models")
        self._capabilities.server_is(fingerprint(reply, listed))
        return listed

    async def complete(
        self,
        question: Question,
        image: bytes | None,
        *,
        again: bool = False,
        waiter: Waiter | None = None,
    ) -> Completion:
        """Ask one question and return the answer, usable or not.

        A model that spends its answer on thoughts is asked again in a way that may keep it from
        thinking; what works is remembered.

        Args:
            question: with a model.
            image: JPEG in base64, or None.
            again: the first answer could not be used.
            waiter: how soon it may be sent; None: before all photos that are not begun.

        Raises:
            BackendError: the backend is at fault.
            PhotoRefused: the request was refused, whatever was left out of it.
        """
        await self._recall()
        known = dialect = self._capabilities.known(question.model)
        rounds = 0
        while True:
            body = partial(dialects.body, question, image, dialect, again=again)
            sent = await self._connection.chat(question.model, body, waiter)
            if sent.refusal is not None:
                self._count(question.model, Usage(1), answered=False)
                dialect = self._simpler(question, dialect, sent)
                continue
            completion = read_completion(json_of(sent.reply), sent.reply.seconds)
            if completion is None:
                raise not_a_backend(sent.reply, self.base_url, "a chat completion")
            self.traffic.tokens["prompt"] += completion.prompt_tokens
            self.traffic.tokens["completion"] += completion.completion_tokens
            took = Usage(1, completion.prompt_tokens, completion.completion_tokens)
            self._count(question.model, took)
            self._capabilities.passed(question, known, dialect)
            rounds += 1
            thought = completion.thought and self._capabilities.thought(question.model, dialect)
            cut = completion.finish_reason == "length"
            answered = not cut and without_thoughts(completion.content).strip()
            if not thought or answered or rounds == _MOST_ROUNDS:
                break
            known = dialect = self._capabilities.known(question.model)
        await self._capabilities.keep()
        if waiter is None and self.budget is not None:  # nobody saves it with the answers
            await self.budget.keep()
        return completion

    def _count(self, model: str, took: Usage, *, answered: bool = True) -> None:
        """Count what a request took; the built-in describer costs nothing."""
        if self.budget is not None and self.base_url != "builtin:":
            self.budget.add(model, took, answered=answered)

    def _simpler(self, question: Question, dialect: Dialect, sent: Exchange) -> Dialect:
        """Return what to try after a refusal. Raises the refusal if there is nothing."""
        refusal, simpler = sent.refusal, None
        if isinstance(refusal, PhotoRefused | BackendFailed):
            status = sent.reply.status
            simpler = self._capabilities.simpler(question, dialect, status, sent.message)
        if simpler is None:
            raise refusal or BackendFailed
        log.debug("request refused, another form is tried", reason=str(refusal))
        return simpler

    def last_photos(self, left: int | None) -> None:
        """Say how many photos are *left*, all in flight; None: others wait in the queue.

        The last ones' requests then go side by side on permits that lie idle, if the backend gains
        nothing by their order and no budget may end between them. Where it is unknown what the
        order saves, a few photos are asked about one request after the other, to find out; among
        more there are some whose requests wait in any case, and the last of these go on as they
        began: without this they would be the trial, and most slots lay idle.
        """
        self._left = left
        self._many = bool(left) and (self._many or (left or 0) > self.limit.most)
        self._order()

    def _order(self) -> None:
        again, left = self._prefixes.are_read_again, self._left
        side_by_side = again or (again is None and self._many)
        unlimited = self._options.budget is None
        lends = left is not None and side_by_side and unlimited
        self.limit.lend(idle=lends)
        # A photo whose next question is on its way already would keep a permit from all others.
        self.limit.reserve(briefly=not (again or lends))

    def _learn_prefixes(self, waiter: Waiter, completion: Completion) -> None:
        if not is_probing():
            self._prefixes.took(waiter.taken, completion)
            self._order()

    async def _one_by_one(
        self, questions: Sequence[Question], image: bytes, waiter: Waiter, judge: Judge | None
    ) -> AsyncGenerator[Answer]:
        """Ask *questions* in their order, each after the one before, or on a permit that lies idle.

        If one fails, those on their way are waited for: they are paid for.
        """
        waiting: dict[asyncio.Task[Answer], Waiter] = {}
        for question in questions:
            answer = _judged(self._answer(question, image, waiter), question, judge)
            asking = asyncio.create_task(answer)
            waiting[asking] = waiter
            waiter.more = question is not questions[-1]
            waiter = Waiter(Rank.SPARE, check=waiter.check)
        failed: Exception | None = None
        try:
            while waiting:
                self.limit.hurry(next(iter(waiting.values())))
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for asked in [each for each in waiting if each in done]:
                    del waiting[asked]
                    try:
                        given = asked.result()
                    except TaggerdError as error:
                        failed = failed or error
                    else:
                        yield given
                for unsent in [each for each in waiting if failed and waiting[each].taken is None]:
                    unsent.cancel()
                    del waiting[unsent]
        finally:
            for asking in waiting:
                asking.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if failed is not None:
            raise failed

    async def _together(
        self, group: Sequence[Question], image: bytes, waiter: Waiter
    ) -> list[Answer] | None:
        """Ask the questions of *group* in one request.

        Returns:
            the answers that can be used; None if the request was refused or failed.
        """
        model = group[0].model or await self.choose_model()
        await self._recall()
        if not self._capabilities.combines(model):
            return []
        asked = combine([replace(question, model=model) for question in group])
        try:
            completion = await self.complete(asked, image, waiter=waiter)
        except (PhotoRefused, BackendFailed, BackendTimeout) as error:
            # It is the longest request there is: a shorter one may pass, and no photo pays for it.
            log.debug("asked role by role", reason=str(error))
            return None
        completions = split_combined(asked, completion)
        await self._learn_combining(model, well=len(completions) == len(group))
        return read_combined(group, asked, completions)

    async def _learn_combining(self, model: str, *, well: bool) -> None:
        """Learn and keep whether a model answers combined questions."""
        self._capabilities.combining(model or await self.choose_model(), well=well)
        await self._capabilities.keep()

    async def _answer(self, question: Question, image: bytes, waiter: Waiter) -> Answer:
        """Ask one question, again if the answer cannot be used."""
        model = question.model or await self.choose_model()
        asked = replace(question, model=model)
        spent: list[Completion] = []
        while True:
            spent.append(await self.complete(asked, image, again=bool(spent), waiter=waiter))
            if len(spent) == 1:
                self._learn_prefixes(waiter, spent[0])
            try:
                read = read_answer(asked, spent[-1])
            except AnswerError as error:
                if len(spent) > policy_of(error).repeats:
                    error.role = question.role
                    raise
                log.debug("asked again", reason=str(error))
            else:
                return answer_of(asked, read, spent, question.identity)

    async def _recall(self) -> None:
        """Recall the capabilities of the endpoint, once its address is known."""
        await self._capabilities.recall((await self._connection.client()).base_url)


async def _judged(asking: Awaitable[T], question: Question, judge: Judge | None) -> T:
    """Return what *asking* returns; raise what *judge* makes of an error."""
    try:
        return await asking
    except (BackendError, PhotoError) as error:
        if judge is None or (raised := await judge(question, error)) is error:
            raise
        raise raised from error
