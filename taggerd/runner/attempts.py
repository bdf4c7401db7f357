"""Attempts at photos, whatever they raise: what each comes to, and that the queue is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd.attempt import bare_record, record_of
from taggerd.errors import (
    BuildChanged,
    ClaimLost,
    PhotoError,
    PhotosDiskReadOnly,
    ProgramFault,
    StorageError,
    TaggerdError,
)
from taggerd.ledger import Deferred, Failed, Released
from taggerd.logs import described, get_logger
from taggerd.photo import printable
from taggerd.pipeline import keep, tag
from taggerd.retry import is_of_the_program
from taggerd.runner.verdict import Judge, Verdict, photo_failed, sidecars_failed, verdict_on

if TYPE_CHECKING:
    from taggerd.attempt import Attempt, RunOptions
    from taggerd.ledger import Claim
    from taggerd.services import Services

log = get_logger(__name__)


class Attempts:
    """The attempts of one run.

    An error that nobody foresaw is the fault of the photo that it met, and never ends the run.
    """

    def __init__(self, services: Services, options: RunOptions, *, ends: bool) -> None:
        """Prepare; *ends*: the run does not wait for a disk that is read-only."""
        self._services = services
        self._options = options
        self._ends = ends
        self._judge = Judge(lambda: services.now().timestamp())
        self.cancelling = False
        """Whether photos in flight are being cancelled."""
        self._working: dict[asyncio.Task[object], Attempt] = {}
        self._dropped: set[asyncio.Task[object]] = set()
        self.abandoned = False
        """Whether the queue could not be told how some attempt ended; its claim stays held."""

    def forget(self, claim: Claim) -> None:
        """See :meth:`Judge.forget`."""
        self._judge.forget(claim)

    async def drop_lost(self) -> None:
        """Cancel the attempts at photos that another host may have by now. Raises StorageError."""
        if self._services.ledger.fleet is None:
            return
        for task, attempt in list(self._working.items()):
            lost = task not in self._dropped and await self._services.ledger.lost(attempt.claim)
            if lost and task in self._working:
                self._dropped.add(task)
                task.cancel()

    async def verdict(self, attempt: Attempt) -> Verdict:
        """Tag one photo, and decide how its attempt ends."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - of a coroutine that runs
        self._working[task] = attempt
        try:
            return await self._verdict(attempt)
        except asyncio.CancelledError:
            if self.cancelling or task not in self._dropped:
                raise
            task.uncancel()
            return self._judge.decide(attempt.claim, ClaimLost())
        finally:
            del self._working[task]
            self._dropped.discard(task)

    async def _verdict(self, attempt: Attempt) -> Verdict:
        claim = attempt.claim
        options = self._options
        if claim.asked_again_since is not None and not (options.ask_again or options.rewrite):
            # Only the scan with --retag or --overwrite-metadata knows what it may replace.
            return Verdict(Released())
        try:
            if not claim.exhausted:
                return verdict_on(await tag(attempt, self._services, self._options))
            verdict = photo_failed(PhotoError(claim.exhausted), final=True)
        except TaggerdError as error:
            if isinstance(error, PhotosDiskReadOnly) and self._ends:
                verdict = sidecars_failed(error)
            else:
                verdict = self._judge.decide(claim, error)
        except BaseException as error:  # noqa: BLE001 - foreign code raises anything; one photo pays
            fault = self.unexpected(error, attempt)
            if isinstance(fault, ProgramFault):
                verdict = self._judge.decide(claim, fault)
            else:
                verdict = photo_failed(fault)
        if verdict.kind == "failed" and verdict.error is not None:
            verdict = self._recorded(attempt, verdict, verdict.error)
        return verdict

    def unexpected(self, error: BaseException, attempt: Attempt) -> PhotoError | ProgramFault:
        """Return what nobody foresaw as the photo's own fault, and log where it came from.

        Unless it is the program's: where its files were replaced, anything may come of it.

        A library may also raise what would end the program: an exit, or a cancellation that nobody
        asked for. Raises *error* if somebody did.
        """
        ended = self.cancelling or asyncio.current_task() in self._dropped
        ordered = isinstance(error, asyncio.CancelledError) and ended
        if ordered or isinstance(error, KeyboardInterrupt | GeneratorExit):
            raise error
        if self._services.build_changed():
            return BuildChanged()
        log.error(
            "unexpected error",
            photo=printable(attempt.claim.photo.primary.path),
            exc_info=error,
        )
        of_the_program = is_of_the_program(error)
        return (ProgramFault if of_the_program else PhotoError)(described(error))

    def _recorded(self, attempt: Attempt, verdict: Verdict, fault: TaggerdError) -> Verdict:
        """Return the *verdict* on a photo that failed, with a record; a bare one if need be."""
        asked_as = self._services.inference.asked_as
        try:
            record = record_of(attempt, self._services, self._options, fault)
            return verdict.recorded(record, asked_as)
        except BaseException as error:  # noqa: BLE001 - as above
            self.unexpected(error, attempt)
            return self._barely_recorded(attempt, verdict, fault)

    def _barely_recorded(self, attempt: Attempt, verdict: Verdict, fault: TaggerdError) -> Verdict:
        """Return the *verdict* with a record of nothing that the attempt has gathered."""
        record = bare_record(attempt, self._options, fault, self._services.now())
        return verdict.recorded(record, self._services.inference.asked_as)

    async def end(self, attempt: Attempt, verdict: Verdict) -> Verdict:
        """Tell the queue how an attempt ended, and return how it did end.

        Where the queue cannot take that, the photo fails, with a bare record. Where it takes not
        even that, the claim stays held until this program ends.

        Raises:
            StorageError: the ledger's disk is full or failing; it was not told.

        """
        try:
            await keep(attempt, self._services)
        except StorageError:
            raise
        except BaseException as error:  # noqa: BLE001 - as in _verdict()
            verdict = self._not_taken(error, attempt)
            attempt.unkept.clear()
        try:
            return await self._ended(attempt, verdict)
        except StorageError:
            raise
        except BaseException as error:  # noqa: BLE001 - as in _verdict()
            verdict = self._not_taken(error, attempt)
        try:
            return await self._ended(attempt, verdict)
        except StorageError:
            raise
        except BaseException as error:  # noqa: BLE001 - as in _verdict()
            self.unexpected(error, attempt)
            self.abandoned = True
            return Verdict(Deferred())

    def _not_taken(self, error: BaseException, attempt: Attempt) -> Verdict:
        """Return the verdict on a photo of which the queue does not take what was gathered."""
        fault = self.unexpected(error, attempt)
        if isinstance(fault, ProgramFault):
            return self._judge.decide(attempt.claim, fault)
        return self._barely_recorded(attempt, photo_failed(fault), fault)

    async def _ended(self, attempt: Attempt, verdict: Verdict) -> Verdict:
        """End the claim as *verdict* says; return it, or that the photo is tried again."""
        ended = await self._services.ledger.end(attempt.claim, verdict.ending)
        if isinstance(verdict.ending, Failed) and not ended:
            return replace(verdict, kind="will retry", record=None)
        return verdict
