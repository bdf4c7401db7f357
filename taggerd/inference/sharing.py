"""Endpoints that several hosts ask: this program's share of the requests, and outages of all.

Hosts that share a ledger agree there (:mod:`~taggerd.inference.shares` says on what). A program
asks for its share when it has something to send, again every two seconds, and when others want more
or less; no request waits for that. It begins none :data:`SEND_SECONDS` after it was last heard of,
and gives those in flight up before others count its share as free: so the limit also holds while
the database cannot be reached.

An endpoint that one host found away is away for all. One of them probes it, after each failure
another one, and the first success lets all go on. Whoever finds an endpoint away at which others
succeed has a fault of its own: it then probes for itself, and tells nobody until it has an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import uuid
from collections import deque
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from taggerd import errors
from taggerd.errors import BackendError, BackendFailed, LedgerAway, NotProbed, StorageError
from taggerd.inference.concurrency import host_of
from taggerd.inference.shares import LEASE_SECONDS, Agreement, Demand
from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from taggerd.inference.endpoint import Endpoint
    from taggerd.inference.shares import Away, Json

log = get_logger(__name__)

TICK_SECONDS = 1.0
"""Between two measurements of what is wanted."""
RENEW_SECONDS = 2.0
"""Between renewals of a share that nothing changes."""
SEND_SECONDS = 20.0
"""How long after the last renewal requests are still begun; what is in flight then has as long as
the lease lasts."""
SPARE_SECONDS = 1.0
"""So long before a lease ends what is in flight is given up, with clocks that differ a little."""
GAP_SECONDS = 0.02
"""Between two questions to the ledger, whatever happens."""
AWAY_SECONDS = 2.0
"""Between questions whether an endpoint is still away, where nothing is heard."""
CLOSE_SECONDS = 1.0
"""Time to give a share back; if it does not suffice, its lease ends."""
_TICKS = 4
"""So many ticks a share outlives what was wanted: photos do not come evenly."""
_LOOPBACK = "localhost:"


class Fleet(Protocol):
    """What the hosts agree on; the ledger keeps it where they share one."""

    @property
    def host(self) -> str:
        """The name of this host."""

    async def agree(self, key: str, change: Callable[[Json, float], tuple[Json, bool]]) -> None:
        """Replace what is kept under *key*, as one step.

        *change* gets that and the time, and returns it with whether others are told.
        """

    async def changed(self, seconds: float, *, of: Literal["endpoints"]) -> bool:
        """Wait until another host told something, or so long; return whether it did."""


def boot_clock() -> float:
    """Return seconds that also pass while the machine is suspended: leases do not wait for it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def shared_key(base_url: str) -> str:
    """Return the name of an endpoint for all hosts; empty: it is not known yet, or not shared.

    What a loopback address means depends on the machine, and on its network namespace.
    """
    if base_url in {"auto", "builtin:"}:
        return ""
    name = host_of(base_url)
    return f"endpoint {name}" + (f"@{_machine()}" if name.startswith(_LOOPBACK) else "")


def _machine() -> str:
    """Return what differs where a loopback address means another machine."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        network = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116 - not a file of anybody's
    except OSError:
        boot, network = uuid.uuid4().hex, 0
    return hashlib.blake2b(f"{boot} {network}".encode(), digest_size=8).hexdigest()


class SharedEndpoint:
    """One endpoint as this program shares it with others: the share of its limit, its outages."""

    def __init__(  # noqa: PLR0913 - all by name but two
        self,
        fleet: Fleet,
        endpoint: Endpoint,
        *,
        wake: Callable[[], None],
        grown: Callable[[], None],
        fell: Callable[[], None],
        clock: Callable[[], float] = boot_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Share *endpoint*; nothing may be sent before :meth:`refresh`.

        Args:
            fleet: the other hosts.
            endpoint: as this program asks it.
            wake: called when :meth:`refresh` should be.
            grown: called when more may be sent than before.
            fell: called when another host found the endpoint away.
            clock: seconds, monotonic, also while the machine sleeps.
            sleep: waits between probes.
        """
        self._fleet, self._endpoint = fleet, endpoint
        self._backend, self._health = endpoint.backend, endpoint.health
        self._limit = endpoint.backend.limit
        self._wake, self._grown, self._fell = wake, grown, fell
        self._clock, self._sleep = clock, sleep
        self._name = uuid.uuid4().hex[:16]
        self._key = ""
        # The share.
        self.granted = 0
        self._permits = 0
        self._asked = self._used = 0
        """What was said when it was last asked for."""
        self._peak = 0
        self._loads: deque[int] = deque([0], maxlen=_TICKS)
        self._asked_at = self._ticked_at = self._send_until = -LEASE_SECONDS
        self._news = False
        self._answers = self._cuts = self._noted = self._notes = 0
        self._refused = False
        self._deadlines: set[asyncio.Timeout] = set()
        self._ending: asyncio.TimerHandle | None = None
        self._asking = asyncio.Lock()
        # Outages.
        self._away: Away | None = None
        """The outage that all know of."""
        self._alone_at: int | None = None
        """How many answers there were when others succeeded where this host did not."""
        self._heard = asyncio.Event()
        self._probing = False
        self._trouble = ""
        self._limit.share = self
        endpoint.shared = self

    # What the limit asks.

    @property
    def permits(self) -> int:
        """So many requests may be in flight; where there are more, none is begun."""
        return self._permits if self._clock() < self._send_until else 0

    def follow(self) -> None:
        """Note that other permits are held or waited for than before."""
        wanted = self._limit.wanted
        self._peak = max(self._peak, wanted)
        wants_more = self._asked < wanted and self._asked < self._limit.most
        gives_back = self.granted < self._used and self._limit.in_flight < self._used
        if wants_more or gives_back:
            self._news = True
            self._wake()

    def answered(self) -> None:
        """Note an answer that came while no more requests could be sent."""
        self._answers += 1

    def refused(self) -> None:
        """Note that a request was too much."""
        self._refused = self._news = True
        self._wake()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold a permit; LedgerAway: the share ends before the request does."""
        deadline = asyncio.timeout(None)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                try:
                    yield
                finally:
                    self._deadlines.discard(deadline)
        except TimeoutError:
            if not deadline.expired():
                raise
            message = "the ledger's server is away: other hosts may ask the backend instead"
            raise LedgerAway(message) from None

    def _end(self) -> None:
        """Give up what is in flight: from now on others may have this share."""
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            deadline.reschedule(now)

    # The share.

    def heard(self) -> None:
        """Note that another host has told something."""
        self._news = True
        self._heard.set()

    async def refresh(self) -> None:
        """Ask for a share if there is a reason to."""
        now = self._clock()
        if now - self._ticked_at >= TICK_SECONDS:
            self._ticked_at = now
            self._loads.append(self._peak)
            self._peak = self._limit.wanted
        idle = not (self._asked or self._used or self._limit.wanted)
        news, self._news = self._news, False
        if idle and not (news and now - self._asked_at >= AWAY_SECONDS):
            self._news = news
            return
        if news or now - self._asked_at >= RENEW_SECONDS or self._wanted() != self._asked:
            await self._agree()

    def _wanted(self) -> int:
        """Return how many requests this program could have in flight."""
        most = self._limit.most
        if self._health.error or not self._backend.more_to_ask:
            # It may have been a lot; now it is a probe, or what is left of the last photos.
            self._loads.extend([0] * _TICKS)
            return min(max(self._peak, self._limit.wanted), most)
        peak = max(self._peak, *self._loads) if self._peak or self._loads[-1] else 0
        if peak < self.granted:
            return min(peak + peak // 4 + 1, most) if peak else 0
        return most if peak else 0

    async def _agree(self, also: Callable[[Agreement, float], bool] = lambda *_: False) -> None:
        """Ask for the share, and do *also* what it returns whether to tell. Raises StorageError."""
        async with self._asking:
            if not (key := self._known_key()):
                return
            begun, limit = self._clock(), self._limit
            demand = Demand(
                self._fleet.host,
                limit.most,
                self._wanted(),
                limit.in_flight,
                self._answers,
                self._refused,
                self._cuts,
                probing=self._probing,
                learnt=self._backend.noted != self._noted,
            )
            noted, self._refused = self._backend.noted, False
            # Until the answer is here nothing begins: it may be that others have it already.
            self._permits = min(self._permits, demand.used)
            self._asked_at, self._asked, self._used = begun, demand.wanted, demand.used
            agreed = Agreement()

            def change(kept: Json, now: float) -> tuple[Json, bool]:
                nonlocal agreed
                agreed = Agreement.of(kept, now)
                told = also(agreed, now)
                if self._name in agreed.programs or demand.wanted or demand.used:
                    told = agreed.ask(self._name, demand, now) or told or demand.learnt
                    return agreed.to_json(), told
                return (agreed.to_json() if told else kept), told

            try:
                await self._fleet.agree(key, change)
            except StorageError:
                self._refused = self._refused or demand.refused
                raise
            self._answers -= demand.answered
            self._noted, self._trouble = noted, ""
            self._take(agreed, begun)
        await self._take_notes(agreed)

    def _known_key(self) -> str:
        """Return the endpoint's name for all; with another address it is another endpoint."""
        key = shared_key(self._backend.base_url) if self._limit.share is self else ""
        if key != self._key:
            self._key, self._away = key, None
            self._permits = self.granted = 0
        return key

    def _take(self, agreed: Agreement, begun: float) -> None:
        """Use what was *agreed* on since *begun*."""
        mine = agreed.programs.get(self._name)
        before, self.granted = self.granted, mine.share if mine else 0
        self._permits, self._send_until = self.granted, begun + SEND_SECONDS
        loop = asyncio.get_running_loop()
        if self._ending is not None:
            self._ending.cancel()
        left = begun + LEASE_SECONDS - SPARE_SECONDS - self._clock()
        self._ending = loop.call_later(max(0.0, left), self._end)
        cut, self._cuts = agreed.cuts != self._cuts, agreed.cuts
        self._limit.resized(cut=cut)
        if self.granted > before:
            self._grown()
        self._take_outage(agreed)

    async def _take_notes(self, agreed: Agreement) -> None:
        """Read what another host has learnt about the endpoint's models."""
        if agreed.notes != self._notes:
            self._notes = agreed.notes
            await self._backend.recall_again()

    # Outages.

    def _take_outage(self, agreed: Agreement) -> None:
        """Take over that the endpoint is away, or that it is there again."""
        before, self._away = self._away, agreed.away
        health, away = self._health, agreed.away
        if away is not None and away.program != self._name and not self._is_alone:
            if health.error is None or isinstance(health.error, NotProbed):
                health.probed(_error_of(away))
                self._fell()
        elif away is None and before is not None and health.error is not None:
            if before.program == self._name and agreed.freed_by != self._name:
                self._alone_at = health.answers
            if self._endpoint.control_question is not None:
                health.probed(None)
            else:
                health.error = NotProbed()  # it does not know yet what to ask
            self._heard.set()

    @property
    def _is_alone(self) -> bool:
        """Whether others succeeded where this host did not, and it has had no answer since."""
        return self._alone_at is not None and self._health.answers <= self._alone_at

    async def recover(self) -> None:
        """Return once the endpoint is healthy: this host or another has probed it."""
        health = self._health
        at_fault = not isinstance(health.error, NotProbed)
        while health.error is not None:
            try:
                if isinstance(health.error, NotProbed):
                    await self._agree()  # it may be known to be away
                if isinstance(health.error, NotProbed):
                    health.probed(await self._endpoint.probe_again())
                elif self._is_alone:
                    await health.probe_later(self._endpoint.probe_again, self._sleep)
                else:
                    await self._recover_together(health.error)
            except StorageError as error:
                self.failed(error)
                await self._sleep(TICK_SECONDS)
        health.recovered(at_fault=at_fault)

    async def _recover_together(self, error: BackendError) -> None:
        """Tell others of *error*; probe, or wait for whoever does."""
        self._heard.clear()
        seconds = AWAY_SECONDS
        known = self._away is not None

        def change(agreed: Agreement, now: float) -> bool:
            nonlocal seconds
            if agreed.away is None and not known:
                at = now + (error.retry_after_seconds or 0.0)
                kind, host = type(error).__name__, self._fleet.host
                agreed.found_away(self._name, host, kind, str(error), at)
            seconds = agreed.may_probe(self._name, now)
            return not known or not seconds

        await self._agree(change)
        if self._away is None:
            return
        if seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, AWAY_SECONDS)):
                    await self._heard.wait()
            return
        self._probing = True
        try:
            found = await self._endpoint.probe_again()
        finally:
            self._probing = False
        fault = found and (type(found).__name__, str(found), found.retry_after_seconds or 0.0)

        def note(agreed: Agreement, now: float) -> bool:
            agreed.probed(self._name, fault or None, now)
            return True

        await self._agree(note)
        self._health.probed(found)

    def failed(self, error: StorageError) -> None:
        """Say once why the others cannot be asked; what was dealt holds until its lease ends."""
        if str(error) != self._trouble:
            log.debug("shares are not renewed", reason=str(error))
        self._trouble = str(error)

    async def close(self) -> None:
        """Give the share back, unless something is still in flight."""
        if self._ending is not None:
            self._ending.cancel()
        self._peak = 0
        self._loads.extend([0] * _TICKS)
        if self._key:
            with suppress(StorageError, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._agree()
        if self._ending is not None:
            self._ending.cancel()


class Sharing:
    """All endpoints of a program that shares them with other hosts."""

    def __init__(  # noqa: PLR0913 - all by name but two
        self,
        fleet: Fleet,
        endpoints: Sequence[Endpoint],
        *,
        grown: Callable[[], None],
        fell: Callable[[], None],
        clock: Callable[[], float] = boot_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Share *endpoints*; the arguments are those of :class:`SharedEndpoint`."""
        self._fleet = fleet
        self._woken = asyncio.Event()
        self._shared = [
            SharedEndpoint(
                fleet, endpoint,
                wake=self._woken.set, grown=grown, fell=fell, clock=clock, sleep=sleep,
            )
            for endpoint in endpoints
            if endpoint.base_url != "builtin:"
        ]  # fmt: skip
        self._tasks = [
            asyncio.create_task(self._refresh(), name="shares"),
            asyncio.create_task(self._listen(), name="news of other hosts"),
        ]

    async def close(self) -> None:
        """Share nothing any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for shared in self._shared:
            await shared.close()

    async def _refresh(self) -> None:
        """Ask for shares as long as the program runs."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
            for shared in self._shared:
                try:
                    await shared.refresh()
                except StorageError as error:
                    shared.failed(error)
                except Exception:  # the other endpoints go on
                    log.exception("shares are not renewed")
            await asyncio.sleep(GAP_SECONDS)

    async def _listen(self) -> None:
        """Hear what other hosts tell."""
        while True:
            if await self._fleet.changed(60.0, of="endpoints"):
                for shared in self._shared:
                    shared.heard()
                self._woken.set()
            await asyncio.sleep(GAP_SECONDS)


def _error_of(away: Away) -> BackendError:
    """Return the error of an endpoint that another host found away."""
    kind = getattr(errors, away.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, BackendError)):
        kind = BackendFailed
    error: BackendError = kind(f"{away.reason} (found by {away.host})")
    return error
