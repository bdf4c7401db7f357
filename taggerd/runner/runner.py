"""A shift: photos are claimed from the queue and taken their attempt, several at once.

It ends when it is told to stop, or, for a catch-up, when nothing of the run is left. What an error
costs is decided here: the photo's own faults cost it an attempt, the backend's and the disk's
faults cost it nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from taggerd.errors import (
    BackendError,
    FailsOnThisPhoto,
    LedgerDamaged,
    PhotoError,
    PhotoMoved,
    PhotoRefused,
    PhotosDiskError,
    StartError,
    StorageError,
    TaggerdError,
)
from taggerd.ledger import Deferred, Failed, Moved, Released
from taggerd.photo import printable
from taggerd.pipeline import Attempt, keep, outgoing, record_of, tag
from taggerd.runner.blocked import Stoppages
from taggerd.runner.outcome import Outcome
from taggerd.runner.pause import LOOK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taggerd.ledger import Claim
    from taggerd.pipeline import RunOptions
    from taggerd.services import Services

log = structlog.get_logger(__name__)

LONGEST_REST_SECONDS = 5.0
"""Between looks at an empty queue, where nothing says that there is more."""
LEAST_REST_SECONDS = 0.2
"""Between looks at a queue that says something is due and gives nothing (others take it)."""
MACHINE_REST_SECONDS = 5.0
"""Before work goes on after the ledger's disk was full or failing."""
LONGEST_WAIT_SECONDS = 300.0
"""Before a photo that is kept from its attempt by this machine or the backend gets another turn."""
SUSPICIONS = 2
"""So often may the backend fail over one photo, answering others, before the photo is at fault."""


class Runner:
    """Works through a :class:`~taggerd.pipeline.RunOptions`."""

    def __init__(  # noqa: PLR0913 - what comes from outside comes in as an argument
        self,
        services: Services,
        options: RunOptions,
        *,
        report: Callable[[Outcome], None],
        more_to_come: Callable[[], bool] = lambda: True,
        patience_seconds: float | None = None,
        resting: Callable[[], Awaitable[str]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a shift.

        Args:
            services: the open services.
            options: what is wanted of the photos.
            report: told of every outcome.
            more_to_come: while False, the shift ends as soon as nothing of the run is left.
            patience_seconds: so long, without a photo that ends, a backend that went away or a
                disk that is full is waited for; None: for ever.
            resting: tells why no photo is to be begun now and nothing asked, though all be well;
                empty: begin.
            clock: monotonic, seconds.

        """
        self._rooms = services
        self._job = options
        self._report = report
        self._more_to_come = more_to_come
        self._patience_seconds = patience_seconds
        self._resting = resting
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], Claim] = {}
        self._clock = clock
        self._progressed_at = clock()
        self._suspicions: Counter[int] = Counter()
        self._waited: Counter[int] = Counter()
        self._late: list[Attempt] = []
        self._stoppages = Stoppages(options.within, clock)
        self._broken: BaseException | None = None
        self.paused = ""
        """What keeps new photos from being begun; empty while work goes on."""
        self.resting = ""
        """Why nothing is asked, as somebody wants it; empty while work goes on."""

    @property
    def in_flight(self) -> int:
        """Number of photos under attempt."""
        return len(self._under_way)

    def stop(self) -> None:
        """Begin no more photos."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Look at the queue now: there may be more."""
        self._wake.set()

    async def work(self, *, drain_seconds: float) -> None:
        """Work until stopped or done; give photos under attempt *drain_seconds* when stopped.

        What is still under attempt then is put back into the queue unharmed.

        Raises:
            BackendError, StorageError, StartError: the backend or this machine was at fault for
                longer than patience lasts.
            Exception: whatever the outcome's listener raised.

        """
        try:
            while not self._stop.is_set() and self._broken is None and await self._begin_some():
                pass
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=drain_seconds)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            with suppress(StorageError):  # then they go back when this owner is found gone
                await self._put_back_late()
        if self._broken is not None:
            raise self._broken

    # Photos begin.

    async def _begin_some(self) -> bool:
        """Begin as many photos as there is room for; return False when nothing is left to do."""
        if await self._rests():
            return True
        if not await self._backend_usable():
            return self._broken is None
        self._wake.clear()
        more = self._more_to_come()
        most = self._rooms.settings.queue.photos_in_flight
        room = (most or 2 * self._rooms.asking.requests_at_once) - len(self._under_way)
        try:
            await self._put_back_late()
            claims = await self._claimed(room) if room > 0 and not self._stop.is_set() else []
            if not (claims or self._under_way or more) and await self._nothing_left():
                return False
        except StorageError as error:
            await self._storage_failed(error)
            return True
        self.paused = self._stoppages.reason
        for claim in claims:
            task = asyncio.create_task(self._attend(claim), name=f"photo {claim.id}")
            self._under_way[task] = claim
            task.add_done_callback(self._ended)
        if len(claims) < room or room == 0:
            await self._rest(LONGEST_REST_SECONDS if room == 0 else await self._idle_seconds())
        return True

    async def _idle_seconds(self) -> float:
        """Return how long nothing will be due, so far as the queue knows now."""
        if self._stoppages.all_stopped:
            return LONGEST_REST_SECONDS
        within, run = self._stoppages.open, self._job.run
        try:
            due, _ = await self._rooms.ledger.waiting(within, run)
        except StorageError:
            return LONGEST_REST_SECONDS
        if due is None:
            return LONGEST_REST_SECONDS
        return min(
            max(due - self._rooms.now().timestamp(), LEAST_REST_SECONDS), LONGEST_REST_SECONDS
        )

    async def _claimed(self, room: int) -> list[Claim]:
        """Claim up to *room* photos whose disk takes sidecars, and those that are to find out."""
        ledger, run, now = self._rooms.ledger, self._job.run, self._rooms.now().timestamp()
        claims: list[Claim] = []
        for photo in self._stoppages.tries() if room else ():
            mine = self._job.within is None
            tried = await ledger.claim(1, run=run, within=(photo,), now=now, ignore_pause=mine)
            if not tried:
                self._stoppages.end(photo)  # it went, or another takes it: the next one finds out
            claims += tried
        if len(claims) < room and not self._stoppages.all_stopped:
            within = self._stoppages.open
            claims += await ledger.claim(room - len(claims), run=run, within=within, now=now)
        return claims

    async def _nothing_left(self) -> bool:
        return (await self._rooms.ledger.waiting(self._job.within, self._job.run)).nothing_left

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
        self._wake.set()

    async def _rest(self, seconds: float) -> None:
        """Wait until a photo ends, somebody wakes us, or it is time to look again."""
        with suppress(TimeoutError):
            # Not wait_for(): until Python 3.12 it loses a cancellation that comes with the waking.
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _rests(self) -> bool:
        """Rest for a moment if somebody wants it; say whether."""
        if self._resting is None:
            return False
        self._wake.clear()
        try:
            self.resting = await self._resting()
        except StorageError as error:
            await self._storage_failed(error)
            return True
        self._rooms.asking.rest(resting=bool(self.resting))
        if self.resting:
            self.paused = ""
            await self._rest(LOOK_SECONDS)
        return bool(self.resting)

    async def _backend_usable(self) -> bool:
        """Wait a moment for the backend if it is not usable; say whether it is."""
        asking = self._rooms.asking
        if asking.error is None:
            return True
        self.paused = str(asking.error)
        waits = asyncio.ensure_future(asking.wait_usable())
        stops = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait(
                {waits, stops},
                timeout=min(LOOK_SECONDS, self._patience_left() or LOOK_SECONDS),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if waits.done():
                waits.result()
            elif not stops.done() and self._patience_left() == 0:
                self._broken = asking.error
        finally:
            waits.cancel()
            stops.cancel()
        return asking.error is None

    def _patience_left(self) -> float | None:
        """Return how long trouble may still last, seconds; None: for ever."""
        if self._patience_seconds is None:
            return None
        return max(0.0, self._progressed_at + self._patience_seconds - self._clock())

    async def _storage_failed(self, error: StorageError) -> None:
        """Let work rest while the ledger's disk is full or failing."""
        if self.paused != str(error):
            log.error("work waits", reason=str(error))
        self.paused = str(error)
        damaged = isinstance(error, LedgerDamaged) and self._patience_seconds is not None
        if damaged or self._patience_left() == 0:  # waiting mends no damage
            self._broken = error
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), MACHINE_REST_SECONDS)

    # Photos end.

    async def _attend(self, claim: Claim) -> None:
        """Take one photo its attempt and settle what it costs."""
        attempt = Attempt(claim, self._rooms.now())
        try:
            if claim.asked_again_since is not None and not self._job.anew:
                # A scan with --retag or --overwrite-metadata asked for it; it knows what may go.
                await self._rooms.ledger.end(claim, Released())
                return
            if claim.exhausted:
                outcome = await self._photo_failed(attempt, PhotoError(claim.exhausted), final=True)
            else:
                outcome = await self._tagged(attempt)
        except asyncio.CancelledError:
            await asyncio.shield(self._put_back(attempt, "stopped", 0.0))
            raise
        except StorageError as error:
            told = await self._disk_failed(attempt, error)
            if told is None:
                return
            outcome = told
        except StartError as error:  # this machine's fault
            outcome = await self._waits(attempt, error)
        if outcome.fate != "waits":
            self._progressed_at = self._clock()
            self._waited.pop(claim.id, None)
            if outcome.fate != "again" and self._stoppages.end(claim.photo.primary.path):
                log.info("sidecars can be written again", photo=printable(claim.photo.primary.path))
        self._tell(outcome)

    async def _tagged(self, attempt: Attempt) -> Outcome:
        """Take one photo its attempt; a fault of its own or the backend's becomes an outcome."""
        claim, ledger = attempt.claim, self._rooms.ledger
        try:
            record = await tag(attempt, self._rooms, self._job)
        except PhotoMoved as moved:
            await ledger.end(claim, Moved())
            return Outcome(claim.photo, "moved", str(moved))
        except BackendError as error:
            return await self._backend_failed(attempt, error)
        except PhotoError as error:
            return await self._photo_failed(attempt, error)
        except (StorageError, StartError):
            raise
        except Exception as error:  # foreign decoders may raise anything; one photo pays, by name
            log.exception("unexpected error", photo=printable(claim.photo.primary.path))
            return await self._photo_failed(attempt, PhotoError(f"{type(error).__name__}: {error}"))
        self._suspicions.pop(claim.id, None)
        if record is None:
            return Outcome(claim.photo, "known")
        return Outcome(claim.photo, "failed" if record.error else "tagged", record.error, record)

    async def _backend_failed(self, attempt: Attempt, error: BackendError) -> Outcome:
        """Put the photo back unharmed, unless it is this very photo that the backend fails over.

        Some servers answer a picture they cannot read with a plain 500, or drop the connection. So
        the backend is asked about a picture that is known to be good: if it answers that, time and
        again, while it fails over this one, the photo is at fault.
        """
        claim = attempt.claim
        if isinstance(error, FailsOnThisPhoto):
            self._suspicions[claim.id] += 1
            if self._suspicions[claim.id] > SUSPICIONS:
                message = f"the backend, which answers other pictures, fails over this one: {error}"
                return await self._photo_failed(attempt, PhotoRefused(message), final=True)
            return await self._waits(attempt, error)
        await self._put_back(attempt, str(error), 0.0)
        return Outcome(claim.photo, "waits", str(error))

    async def _photo_failed(
        self, attempt: Attempt, error: PhotoError, *, final: bool = False
    ) -> Outcome:
        """Charge the photo; after its last attempt it is quarantined and recorded."""
        record = record_of(attempt, self._rooms, self._job, error)
        final = final or error.final
        failed = Failed(str(error), final=final, record=outgoing(record))
        if await self._rooms.ledger.end(attempt.claim, failed):
            return Outcome(attempt.claim.photo, "failed", str(error), record)
        return Outcome(attempt.claim.photo, "again", str(error))

    async def _disk_failed(self, attempt: Attempt, error: StorageError) -> Outcome | None:
        """Put the photo back, uncharged; None where that its disk is full has been told before."""
        photo, told, until = attempt.claim.photo, False, 0.0
        if isinstance(error, PhotosDiskError):
            told = not self._stoppages.begin(photo.primary.path, str(error))
        else:  # a claim may find the room that a record does not
            until = self._rooms.now().timestamp() + MACHINE_REST_SECONDS
        await self._put_back(attempt, str(error), until)
        if self._patience_left() == 0:
            self._broken = error
        return None if told else Outcome(photo, "waits", str(error))

    async def _waits(self, attempt: Attempt, error: TaggerdError) -> Outcome:
        """Put the photo back, uncharged, for a while that grows; others go on meanwhile."""
        claim = attempt.claim
        self._waited[claim.id] += 1
        seconds = min(2.0 ** self._waited[claim.id], LONGEST_WAIT_SECONDS)
        until = self._rooms.now().timestamp() + seconds
        await self._put_back(attempt, str(error), until)
        if self._patience_left() == 0:
            self._broken = error
        return Outcome(claim.photo, "waits", str(error))

    async def _put_back(self, attempt: Attempt, reason: str, until: float) -> None:
        """Put the photo back into the queue; on a full disk later, before the next is begun."""
        try:
            await keep(attempt, self._rooms)
            await self._rooms.ledger.end(attempt.claim, Deferred(reason, until))
        except StorageError:
            self._late.append(attempt)

    async def _put_back_late(self) -> None:
        """Put back what could not be put back at its time. Raises StorageError."""
        while self._late:
            await keep(self._late[0], self._rooms)
            await self._rooms.ledger.end(self._late[0].claim, Deferred())
            del self._late[0]  # others may have come behind it meanwhile

    def _tell(self, outcome: Outcome) -> None:
        outcome.tell()
        self._report(outcome)
