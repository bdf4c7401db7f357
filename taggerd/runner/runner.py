"""The runner: claims photos from the queue and tags several at once.

It ends when it is stopped or, for a scan, when nothing of the run is left.
:class:`taggerd.runner.attempts.Attempts` decides how an attempt ends and tells the queue, and
:meth:`Runner._conclude` is the one place that asks it to.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.attempt import Attempt
from taggerd.burst import Gathering
from taggerd.errors import (
    BudgetSpent,
    BuildChanged,
    PhotosDiskError,
    ProgramFault,
    StorageError,
    TaggerdError,
)
from taggerd.ledger import Deferred
from taggerd.logs import described, get_logger
from taggerd.photo import printable
from taggerd.retry import DISK, PROGRAM, policy_of
from taggerd.runner.attempts import Attempts
from taggerd.runner.blocked import BlockedFolders
from taggerd.runner.outcome import Outcome
from taggerd.runner.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from taggerd.attempt import RunOptions
    from taggerd.burst import Candidate
    from taggerd.ledger import Claim
    from taggerd.services import Services

log = get_logger(__name__)

QUIET_SECONDS = 60.0
"""Between polls of an empty queue that nobody has changed."""
POLL_SECONDS = 5.0
"""Between polls of an empty queue, where nothing says that there is more."""
SHORTEST_POLL_SECONDS = 0.2
"""Between polls of a queue that has something due and yields nothing: others take it."""
PAUSE_POLL_SECONDS = 2.0
"""Between checks whether a pause or an outage is over; how soon a daemon sees a pause."""
_FOLLOWING = 3
"""So many times what may be in flight may wait, on top of it, for words of others of their burst:
they send no request, and without them as many requests as wait would be missing."""


class Runner:
    """Tags the photos that :class:`~taggerd.attempt.RunOptions` ask for.

    One class, though it has more than fifteen methods: they share the set of photos in flight, and
    what one of them learns (a full disk, an error) stops the others.
    """

    def __init__(  # noqa: PLR0913 - what comes from outside comes in as an argument
        self,
        services: Services,
        options: RunOptions,
        *,
        on_outcome: Sequence[Callable[[Outcome], None]],
        more_to_come: Callable[[], bool] = lambda: True,
        trouble_timeout: float | None = None,
        pause_reason: Callable[[], Awaitable[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to run.

        Args:
            services: open.
            options: which photos, and what is done with them.
            on_outcome: called in turn with every outcome.
            more_to_come: while False, the runner ends as soon as nothing of the run is left.
            trouble_timeout: how long it goes on without a photo that ends, while the backend is
                away or a disk is full; a disk that is read-only is not waited for. None: for ever,
                for all of them.
            pause_reason: returns why no photo may start now, though all be well; empty: start.
            clock: monotonic, seconds.

        """
        self._services = services
        self._options = options
        self._on_outcome = on_outcome
        self._more_to_come = more_to_come
        self._trouble_timeout = trouble_timeout
        self._pause_reason = pause_reason
        self._clock = clock
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self.told = asyncio.Event()
        """Set when a quiet time is over: another program may have said something, and wait for an
        answer."""
        self._in_flight: set[asyncio.Task[None]] = set()
        self._slow: asyncio.Task[None] | None = None
        """The one of them whose photo is slow."""
        self._progressed_at = clock()
        self._moved_at = clock()
        self._attempts = Attempts(services, options, ends=trouble_timeout is not None)
        self._blocked = BlockedFolders(options.within, clock)
        services.inference.on_grown = self.wake
        self._bursts = Gathering(services.settings.burst, on_closed=self.wake)
        self._unended: list[tuple[Attempt, Verdict]] = []
        """Attempts whose end the ledger's full disk did not take."""
        self._program_faults = 0
        """How often, in a row, a photo met a fault of the program itself."""
        self._resume_at = -math.inf
        """When the next photo may start after that, by the clock."""
        self._fatal: BaseException | None = None
        self.program_error = ""
        """Which part of taggerd itself cannot be loaded or called; empty while all can."""
        self.ledger_error: StorageError | None = None
        """Why the queue cannot be asked or told; None while it can."""
        self.paused = ""
        """Why somebody wants nothing to start, and until when; empty while work goes on."""

    @property
    def in_flight(self) -> int:
        """Number of photos in flight."""
        return len(self._in_flight)

    @property
    def blocked(self) -> Mapping[Path, str]:
        """Why photos of a folder wait for its disk, by folder."""
        return self._blocked.reasons

    @property
    def still_seconds(self) -> float:
        """How long the loop has not come round; it does, also while nothing can start."""
        return self._clock() - self._moved_at

    def stop(self) -> None:
        """Start no more photos."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Poll the queue now: there may be more."""
        if not self._in_flight:
            self.told.set()  # it was quiet
        self._wake.set()

    async def work(self, *, drain_seconds: float) -> None:
        """Work until stopped or done; when stopped, photos in flight have *drain_seconds* to end.

        What is still in flight then goes back into the queue, uncharged.

        Raises:
            BackendError, StorageError, StartError, ProgramFault: the backend or this machine was at
                fault for longer than the timeout.
            BuildChanged: another version lies in place of the program's files.
            BrokenPipeError: nobody reads what a listener says any more.

        """
        try:
            while not self._stop.is_set() and self._fatal is None and await self._start_or_wait():
                pass
            self._bursts.claimed(drained=True, full=False)
            if self._in_flight:
                await asyncio.wait(self._in_flight, timeout=drain_seconds)
        finally:
            self._attempts.cancelling = True
            for task in self._in_flight:
                task.cancel()
            await asyncio.gather(*self._in_flight, return_exceptions=True)
            with suppress(StorageError):  # they are queued again when this owner is found dead
                await self._end_the_unended()
        if self._fatal is not None:
            raise self._fatal

    # Photos start.

    async def _start_or_wait(self) -> bool:
        """Start some photos; wait where the queue raises what nobody foresaw.

        Somebody sits before a scan and is told; a daemon that ended would meet the same at every
        start, until systemd starts it no more.
        """
        self._moved_at = self._clock()
        try:
            return await self._start_some()
        except TaggerdError:
            raise
        except Exception as error:
            if self._trouble_timeout is not None:
                raise
            log.exception("no photo can start")
            await self._ledger_failed(StorageError(described(error)))
            return True

    async def _start_some(self) -> bool:
        """Start as many photos as may be in flight; return False when nothing is left to do."""
        before = self._services.ledger.stamp()  # what changes from here on is looked at again
        if not await self._may_start():
            self._bursts.claimed(drained=True, full=False)
            return self._fatal is None
        self._wake.clear()
        if self._stop.is_set():
            return True  # that woke us before: a stop while nothing was queued took a minute
        more = self._more_to_come()
        most = self._services.settings.queue.photos_in_flight
        ordinary = len(self._in_flight) - (self._slow is not None)
        if most is None:
            most = 2 * self._services.inference.requests_at_once
            ordinary -= min(self._bursts.following, _FOLLOWING * most)
        free = max(0, most - ordinary)
        try:
            await self._end_the_unended()
            await self._attempts.drop_lost()
            claims = [] if self._stop.is_set() else await self._claim(free)
            if not (claims or self._in_flight or more) and await self._nothing_left():
                return False
        except StorageError as error:
            await self._ledger_failed(error)
            return True
        self.ledger_error = None
        for claim in claims:
            work = self._work_on(claim, self._candidate(claim))
            task = asyncio.create_task(work, name=f"photo {claim.id}")
            self._in_flight.add(task)
            task.add_done_callback(self._done)
            if claim.slow:
                self._slow = task
        drained = sum(not claim.slow for claim in claims) < free
        self._bursts.claimed(drained=drained, full=free == 0)
        if free == 0:
            await self._idle(POLL_SECONDS)
        elif drained:
            self._services.inference.last_photos(len(self._in_flight))
            await self._rest(await self._seconds_to_next(), before)
        else:
            self._services.inference.last_photos(None)
        return True

    async def _may_start(self) -> bool:
        """Say whether photos may start; if not, after a moment."""
        held_back = await self._is_held_back() or await self._is_paused()
        return not held_back and await self._is_backend_usable()

    async def _claim(self, most: int) -> list[Claim]:
        """Claim up to *most* photos: where sidecars can be written, and those that find out.

        A slow one comes on top, if none is in flight: so it keeps no other waiting.
        """
        ledger, run, now = self._services.ledger, self._options.run, self._now()
        claims: list[Claim] = []
        slow = None if self._slow is None else False
        try:
            for photo in self._blocked.due() if most else ():
                ignore = self._options.within is None
                tried = await ledger.claim(
                    1, run=run, within=(photo,), now=now, ignore_pause=ignore, slow=slow
                )
                if not tried:
                    self._blocked.release(photo)  # it went, or another takes it: the next finds out
                claims += tried
                slow = False if any(claim.slow for claim in tried) else slow
            if not self._blocked.all_blocked:
                within = self._blocked.open
                if len(claims) < most:
                    free = most - len(claims)
                    claims += await ledger.claim(free, run=run, within=within, now=now, slow=False)
                if slow is None:
                    claims += await ledger.claim(1, run=run, within=within, now=now, slow=True)
        except StorageError:
            if not claims:  # while this program lives, nobody else gets those that it has
                raise
        return claims

    def _candidate(self, claim: Claim) -> Candidate | None:
        """Return the candidate of a photo that is claimed now, if it may take words of another."""
        options = self._options
        again = options.ask_again or claim.asked_again_since is not None or claim.exhausted
        if not self._bursts.enabled or claim.slow or claim.accepted or again or not options.asks:
            return None
        return self._bursts.candidate()

    async def _nothing_left(self) -> bool:
        waiting = await self._services.ledger.waiting(self._options.within, self._options.run)
        return waiting.nothing_left or (self._attempts.abandoned and waiting.due is None)

    async def _seconds_to_next(self) -> float:
        """Return how long nothing will be due, as far as the queue knows now."""
        if self._blocked.all_blocked:
            return POLL_SECONDS
        try:
            slow = None if self._slow is None else False  # those behind it have to wait
            due, _ = await self._services.ledger.waiting(
                self._blocked.open, self._options.run, slow=slow
            )
        except StorageError:
            return POLL_SECONDS
        # For a scan an end may be near: another's photos are free once that other has died.
        longest = QUIET_SECONDS if self._trouble_timeout is None else POLL_SECONDS
        if due is None:
            return longest
        return min(max(due - self._now(), SHORTEST_POLL_SECONDS), longest)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._slow = None if task is self._slow else self._slow
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal = error
        self.wake()

    async def _idle(self, seconds: float) -> None:
        """Wait until a photo ends, somebody wakes us, or *seconds* are over."""
        with suppress(TimeoutError):
            # Not wait_for(): until Python 3.12 it loses a cancellation that comes with the waking.
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _rest(self, seconds: float, before: object) -> None:
        """Wait as :meth:`_idle` does, and until the queue's stamp is another than *before*.

        Nothing says that another program has changed it, and claiming to find out would wake three
        threads several times. *before* is older than the claim: what another program queued right
        behind that would wait for a minute.
        """
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0:
            self._moved_at = self._clock()
            await self._idle(min(left, POLL_SECONDS))
            if self._wake.is_set() or self._in_flight or self._services.build_changed():
                return
            if self._services.ledger.stamp() != before:
                self.told.set()
                return

    # Nothing starts.

    async def _is_held_back(self) -> bool:
        """Say whether the program itself is at fault; if so, after a moment."""
        if self._services.build_changed():
            self._fatal = BuildChanged()
            return True
        seconds = self._resume_at - self._clock()
        if seconds <= 0:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, PAUSE_POLL_SECONDS)):
                await self._stop.wait()
        return True

    async def _is_paused(self) -> bool:
        """Say whether somebody wants nothing to start; if so, after a moment."""
        if self._pause_reason is None:
            return False
        self._wake.clear()
        try:
            before, self.paused = self.paused, await self._pause_reason()
            if self.paused != before:
                self.told.set()
        except StorageError as error:
            await self._ledger_failed(error)
            return True
        self._services.inference.pause(paused=bool(self.paused))
        if self.paused:
            self.ledger_error = None
            await self._idle(PAUSE_POLL_SECONDS)
        return bool(self.paused)

    async def _is_backend_usable(self) -> bool:
        """Say whether the backend is usable, after a moment in which it may become so."""
        inference = self._services.inference
        if inference.error is None or not self._options.asks:
            return True
        self.ledger_error = None  # the next claim shows it
        usable = asyncio.ensure_future(inference.wait_usable())
        stopped = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait(
                {usable, stopped},
                timeout=min(PAUSE_POLL_SECONDS, self._seconds_left() or PAUSE_POLL_SECONDS),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if usable.done():
                usable.result()
            elif not stopped.done() and self._seconds_left() == 0:
                self._fatal = inference.error
        finally:
            usable.cancel()
            stopped.cancel()
        return inference.error is None

    async def _ledger_failed(self, error: StorageError) -> None:
        """Wait a moment: the ledger's disk is full or failing."""
        if str(self.ledger_error or "") != str(error):
            log.error("work is blocked", reason=str(error))
        self.ledger_error = error
        hopeless = not policy_of(error).passes and self._trouble_timeout is not None
        if hopeless or self._seconds_left() == 0:
            self._fatal = error
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(DISK.first):
                await self._stop.wait()

    def _seconds_left(self) -> float | None:
        """Return how long trouble may still last, seconds; None: for ever."""
        if self._trouble_timeout is None:
            return None
        return max(0.0, self._progressed_at + self._trouble_timeout - self._clock())

    def _now(self) -> float:
        """Return seconds since the epoch."""
        return self._services.now().timestamp()

    # Photos end.

    async def _work_on(self, claim: Claim, candidate: Candidate | None) -> None:
        """Tag one photo, and end its claim however that went."""
        attempt = Attempt(claim, self._services.now(), candidate=candidate)
        try:
            verdict = await self._attempts.verdict(attempt)
        except asyncio.CancelledError:
            await self._end(attempt, Verdict(Deferred("stopped")))
            raise
        finally:
            if candidate is not None:
                candidate.leave()
        ending = asyncio.create_task(self._end(attempt, verdict))
        try:
            await asyncio.shield(ending)
        finally:
            await ending  # also where the time to drain is over: what is done is done

    async def _end(self, attempt: Attempt, verdict: Verdict) -> None:
        """End an attempt; where the ledger's disk is full, before the next photo starts."""
        try:
            await self._conclude(attempt, verdict)
        except StorageError:
            self._unended.append((attempt, verdict))

    async def _end_the_unended(self) -> None:
        """End the attempts that could not be ended in their time. Raises StorageError."""
        while self._unended:
            await self._conclude(*self._unended[0])
            del self._unended[0]  # others may have come behind it meanwhile

    async def _conclude(self, attempt: Attempt, verdict: Verdict) -> None:
        """Tell the queue how an attempt ended, then the listeners. Every claim ends here.

        Raises:
            StorageError: the ledger's disk is full or failing; nobody was told.

        """
        photo = attempt.claim.photo
        verdict = await self._attempts.end(attempt, verdict)
        if verdict.kind is None:
            return
        if verdict.kind == "waiting":
            self._waits(verdict)
            blocks = isinstance(verdict.error, PhotosDiskError)
            if blocks and not self._blocked.block(photo.primary.path, verdict.reason):
                return  # the first photo of the folder has said it
        else:
            self._program_faults, self.program_error = 0, ""
            self._progressed_at = self._clock()
            self._attempts.forget(attempt.claim)
            if verdict.kind != "will retry" and self._blocked.release(photo.primary.path):
                log.info("sidecars can be written again", photo=printable(photo.primary.path))
        shared = verdict.error is not None and policy_of(verdict.error).pauses == "endpoint"
        outcome = Outcome(
            photo, verdict.kind, verdict.reason, verdict.record, verdict.preview, shared
        )
        for listener in self._on_outcome:
            try:
                listener(outcome)
            except BrokenPipeError as error:  # nobody reads what this run says any more
                self._fatal = error
            except BaseException as error:  # noqa: BLE001 - it is about this photo alone
                self._attempts.unexpected(error, attempt)

    def _waits(self, verdict: Verdict) -> None:
        """Note for what a photo waits: it may be more than this run waits for."""
        if verdict.waits_here and self._seconds_left() == 0:
            self._fatal = verdict.error
        if isinstance(verdict.error, BudgetSpent) and self._trouble_timeout is not None:
            self._fatal = verdict.error  # a scan does not wait for tomorrow
        if isinstance(verdict.error, ProgramFault):
            self._program_failed(verdict.error)

    def _program_failed(self, error: ProgramFault) -> None:
        """Start nothing for a while: the next photo would meet the same fault."""
        if isinstance(error, BuildChanged):
            self._fatal = error
        elif self._clock() >= self._resume_at:  # those that were in flight count as one
            self._program_faults += 1
            self._resume_at = self._clock() + PROGRAM.seconds(self._program_faults)
            self.program_error = str(error)
