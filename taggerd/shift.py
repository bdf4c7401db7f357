"""A shift: photos are claimed from the queue and taken their way, several at once.

It ends when it is told to stop, or, for a catch-up, when nothing of the run is left. What an error
costs is decided here: the photo's own faults cost it an attempt, the backend's and the disk's
faults cost it nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from taggerd.errors import (
    BackendError,
    BackendFailed,
    BackendTimeout,
    PhotoError,
    PhotoMoved,
    PhotoRefused,
    StartError,
    StorageError,
    TaggerdError,
)
from taggerd.photo import printable
from taggerd.pipeline import Way, outgoing, record_of, tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from taggerd.ledger import Claim
    from taggerd.photo import Photo, Record
    from taggerd.pipeline import Job
    from taggerd.rooms import Rooms

log = structlog.get_logger(__name__)

Fate = Literal["tagged", "known", "failed", "again", "waits", "moved"]
"""What became of a photo's turn: ``known``: it was tagged already; ``again``: it failed and has
attempts left; ``waits``: the backend or a disk is at fault; ``moved``: it changed or went."""

_WORDS: Mapping[Fate, str] = {
    "tagged": "tagged",
    "known": "tagged already",
    "failed": "failed",
    "again": "failed, is tried again",
    "waits": "waits",
    "moved": "changed or went",
}

LONGEST_REST_SECONDS = 5.0
"""Between looks at an empty queue, where nothing says that there is more."""
MACHINE_REST_SECONDS = 10.0
"""Before work goes on after a disk was full or failing, or no process could be started."""
SUSPICIONS = 2
"""So often may a backend that is otherwise well fail over one photo before it is the photo's fault
(transformers serve answers 500 to a picture it cannot read)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo's turn."""

    photo: Photo
    fate: Fate
    reason: str = ""
    record: Record | None = None


class Shift:
    """Works through a :class:`~taggerd.pipeline.Job`."""

    def __init__(
        self,
        rooms: Rooms,
        job: Job,
        *,
        report: Callable[[Outcome], None],
        more_to_come: Callable[[], bool] = lambda: True,
        patience_seconds: float | None = None,
    ) -> None:
        """Prepare a shift.

        Args:
            rooms: the open rooms.
            job: what is wanted of the photos.
            report: told of every outcome.
            more_to_come: while False, the shift ends as soon as nothing of the run is left.
            patience_seconds: so long a backend that went away is waited for; None: for ever.

        """
        self._rooms = rooms
        self._job = job
        self._report = report
        self._more_to_come = more_to_come
        self._patience_seconds = patience_seconds
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._under_way: dict[asyncio.Task[None], Claim] = {}
        self._suspicions: Counter[int] = Counter()
        self.paused = ""
        """Why no new photo is begun; empty while work goes on."""

    @property
    def in_flight(self) -> int:
        """Number of photos under way."""
        return len(self._under_way)

    def stop(self) -> None:
        """Begin no more photos."""
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Look at the queue now: there may be more."""
        self._wake.set()

    async def work(self, *, drain_seconds: float) -> None:
        """Work until stopped or done; give photos under way *drain_seconds* when stopped.

        What is still under way then is put back into the queue unharmed.

        Raises:
            BackendError: the backend stayed away longer than patience lasts.

        """
        try:
            while not self._stop.is_set() and await self._begin_some():
                pass
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=drain_seconds)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _begin_some(self) -> bool:
        """Begin as many photos as there is room for; return False when nothing is left to do."""
        await self._backend_usable()
        self._wake.clear()
        more = self._more_to_come()
        room = self._rooms.settings.queue.photos_in_flight - len(self._under_way)
        claims = await self._claimed(room) if room > 0 and not self._stop.is_set() else []
        for claim in claims:
            task = asyncio.create_task(self._attend(claim), name=f"photo {claim.id}")
            self._under_way[task] = claim
            task.add_done_callback(self._ended)
        if not claims and not self._under_way and not more:
            return not await self._rooms.ledger.quiet(self._job.within, self._job.run)
        if not claims or len(claims) == room:
            await self._rest()
        return True

    async def _claimed(self, room: int) -> Sequence[Claim]:
        """Claim up to *room* photos; none while the ledger's disk is full."""
        try:
            claims = await self._rooms.ledger.claim(
                room, run=self._job.run, within=self._job.within, now=self._rooms.now().timestamp()
            )
        except StorageError as error:
            await self._machine_failed(error)
            return ()
        return claims

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.pop(task, None)
        self._wake.set()

    async def _rest(self) -> None:
        """Wait until a photo ends, somebody wakes us, or it is time to look again."""
        try:
            await asyncio.wait_for(self._wake.wait(), LONGEST_REST_SECONDS)
        except TimeoutError:
            return

    async def _backend_usable(self) -> None:
        """Wait while the breaker is open, or until the shift is stopped."""
        breaker = self._rooms.asking.breaker
        if breaker.error is None:
            return
        self.paused = str(breaker.error)
        waits = asyncio.ensure_future(breaker.wait_closed())
        stops = asyncio.ensure_future(self._stop.wait())
        try:
            done, _ = await asyncio.wait(
                {waits, stops},
                timeout=self._patience_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done and breaker.error is not None:
                raise breaker.error
            if waits in done:
                waits.result()
        finally:
            waits.cancel()
            stops.cancel()
            self.paused = ""

    async def _attend(self, claim: Claim) -> None:
        """Take one photo its way and settle what it costs."""
        way = Way(claim, self._rooms.now())
        try:
            outcome = await self._tagged(way)
        except asyncio.CancelledError:
            await asyncio.shield(self._rooms.ledger.defer(claim, "stopped", until=0.0))
            raise
        except (StorageError, StartError) as error:
            outcome = Outcome(claim.photo, "waits", str(error))
            await self._machine_failed(error, claim)
        self._tell(outcome)

    async def _tagged(self, way: Way) -> Outcome:
        """Take one photo its way; every fault of its own or the backend's becomes an outcome."""
        claim, ledger = way.claim, self._rooms.ledger
        try:
            record = await tag(way, self._rooms, self._job)
        except PhotoMoved as moved:
            await ledger.resettle(claim)
            return Outcome(claim.photo, "moved", str(moved))
        except BackendError as error:
            return await self._backend_failed(way, error)
        except PhotoError as error:
            return await self._photo_failed(way, error)
        except (StorageError, StartError):
            raise
        except Exception as error:  # foreign decoders may raise anything; one photo pays, by name
            log.exception("unexpected error", photo=printable(claim.photo.primary.path))
            return await self._photo_failed(way, PhotoError(f"{type(error).__name__}: {error}"))
        if way.paid:
            self._rooms.asking.breaker.answered()
        self._suspicions.pop(claim.id, None)
        if record is None:
            return Outcome(claim.photo, "known")
        return Outcome(claim.photo, "failed" if record.error else "tagged", record.error, record)

    async def _backend_failed(self, way: Way, error: BackendError) -> Outcome:
        """Put the photo back unharmed, unless it is always this one that the backend fails over."""
        claim = way.claim
        if isinstance(error, BackendFailed | BackendTimeout):
            self._suspicions[claim.id] += 1
            if self._suspicions[claim.id] > SUSPICIONS:
                message = f"the backend, otherwise well, fails over this photo: {error}"
                return await self._photo_failed(way, PhotoRefused(message))
        self._rooms.asking.breaker.fault(error)
        await self._rooms.ledger.defer(claim, str(error), until=0.0)
        return Outcome(claim.photo, "waits", str(error))

    async def _photo_failed(self, way: Way, error: PhotoError) -> Outcome:
        """Charge the photo; after its last attempt it is quarantined and recorded."""
        record = record_of(way, self._rooms, self._job, error)
        if await self._rooms.ledger.fail(
            way.claim, str(error), final=error.final, record=outgoing(record)
        ):
            return Outcome(way.claim.photo, "failed", str(error), record)
        return Outcome(way.claim.photo, "again", str(error))

    async def _machine_failed(self, error: TaggerdError, claim: Claim | None = None) -> None:
        """Put the photo back if the ledger still can, and let work rest: this machine's fault."""
        log.error("work waits", reason=str(error))
        self.paused = str(error)
        if claim:
            try:
                await self._rooms.ledger.defer(claim, str(error), until=0.0)
            except StorageError as again:
                # The claim stays ours; it is taken up again as a dead owner's at the next start.
                log.error(
                    "the photo could not be put back", photo=claim.photo.name, reason=str(again)
                )
        await self._pause(MACHINE_REST_SECONDS)
        self.paused = ""

    async def _pause(self, seconds: float) -> None:
        """Sleep, or until the shift is stopped."""
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return

    def _tell(self, outcome: Outcome) -> None:
        say = log.warning if outcome.fate in {"failed", "again"} else log.info
        reason = {"reason": outcome.reason} if outcome.reason else {}
        say(_WORDS[outcome.fate], photo=printable(outcome.photo.primary.path), **reason)
        self._report(outcome)
