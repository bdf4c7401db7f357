"""This host among those that share a ledger: its signs of life, its leases, what it knows of them.

Where nobody shares the ledger, this host does everything, and nothing here asks anybody.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd import __version__
from taggerd.daemon.fleet import problems_of
from taggerd.daemon.health import Problem
from taggerd.errors import HostInUse, StorageError
from taggerd.ledger.fleet import JOURNAL, RENEW_SECONDS, HostFacts, watch_lease
from taggerd.logs import described, get_logger
from taggerd.runner.pause import why_nothing_starts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator
    from pathlib import Path

    from taggerd.ledger import Fleet, Host
    from taggerd.ledger.fleet import Change
    from taggerd.runner.runner import Runner
    from taggerd.services import Services
    from taggerd.settings import Root, Settings

log = get_logger(__name__)

HOUR = 3600.0
SHORTEST_SECONDS = 1.0
"""Between two looks at the others, however often they change something."""
SIGN_SECONDS = 1.0
"""By so much a sign of life is later that is another one: clocks of one machine, and the wait for
an answer."""
GAP_SECONDS = 0.2
"""Between two wakings for what others change."""
QUIET_SECONDS = 60.0
"""Between looks for a pause by a host that tags nothing and hears of no change."""


class Speed:
    """How many photos were tagged here in the last hour."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._clock = clock
        self._tagged: deque[float] = deque()

    def count(self) -> None:
        """Count one."""
        self._tagged.append(self._clock())

    @property
    def photos_an_hour(self) -> float | None:
        """None: none was."""
        while self._tagged and self._tagged[0] < self._clock() - HOUR:
            self._tagged.popleft()
        return float(len(self._tagged)) or None


class Membership:
    """This host in the fleet, as long as the daemon serves with one set of settings."""

    def __init__(
        self,
        fleet: Fleet | None,
        settings: Settings,
        speed: Speed,
        *,
        unusable: Callable[[], Awaitable[Collection[Path]]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to join.

        Args:
            fleet: None: nobody shares the ledger.
            settings: name the host, its duties and its roots.
            speed: of this host.
            unusable: says which of its roots are to be watched by other hosts.
            clock: seconds, monotonic.
        """
        self._fleet = fleet
        self._service = settings.service
        self._roots = settings.arrivals.roots
        self._speed = speed
        self._unusable = unusable
        self._left: Collection[Path] = ()
        """Roots that others are to watch."""
        self._clock = clock
        self._held: set[str] = set()
        self._holders: dict[str, str] = {}
        self.hosts: tuple[Host, ...] = ()
        """All that were heard of; none where nobody shares the ledger."""
        self.health = ""
        """The word of this host alone: what others lack is not said of it."""
        self.trouble = ""
        """Why this host does not count; empty while it does."""

    @property
    def tags(self) -> bool:
        """Whether this host asks and writes."""
        return "tag" in self._service.duties

    async def join(self, waits: Callable[[float], object] = lambda _seconds: None) -> None:
        """Give the first sign of life, and take the leases that are free.

        Where another program has this host's name, its next sign of life is waited for: one that
        was killed, with its machine, gives none. *waits* is told how many seconds that may take.

        Raises:
            HostInUse: another living host has this name.
            StorageError: the database is away.

        """
        if self._fleet is None:
            return
        first = None
        while True:
            try:
                await self._refresh(self._fleet)
            except HostInUse:
                seen = {host.name: host.seen_seconds for host in await self._fleet.hosts()}
                sign = self._clock() - seen.get(self._fleet.host, 0.0)
                first = sign if first is None else first
                if sign > first + SIGN_SECONDS:
                    raise
                waits(2 * RENEW_SECONDS)
                await asyncio.sleep(SHORTEST_SECONDS)
            else:
                return

    async def run(self, changed: Callable[[], object]) -> None:
        """Give signs of life and renew leases; call *changed* when this host's duties may have."""
        if self._fleet is None:
            return
        while True:
            told = self._held, self.elsewhere, self.trouble
            await self._fleet.changed(RENEW_SECONDS, of="fleet")
            try:
                await self._refresh(self._fleet)
            except HostInUse as error:
                self._leave_alone(str(error))
            except StorageError as error:
                log.debug("no sign of life can be given", reason=str(error))
            except Exception as error:  # the photos in flight are not to blame
                log.exception("no sign of life can be given", reason=described(error))
            else:
                if self.trouble:
                    log.info("this host counts again", host=self._fleet.host)
                self.trouble = ""
            if told != (self._held, self.elsewhere, self.trouble):
                changed()
            await asyncio.sleep(SHORTEST_SECONDS)

    def _leave_alone(self, why: str) -> None:
        """Hold nothing: the host that has the name now does."""
        if why != self.trouble:
            log.error("this host does not count", reason=why)
        self.trouble = why
        self._held = set()

    async def leave(self) -> None:
        """Let go of everything, so that others need not wait."""
        if self._fleet is not None:
            with suppress(StorageError):  # the others wait until the leases end
                await self._fleet.leave()

    async def _refresh(self, fleet: Fleet) -> None:
        known = await fleet.beat(self._facts())
        self._left = await self._unusable() if self._unusable else ()
        holders = dict(known.holders)
        for lease in self._held - set(self._wanted()):
            await fleet.let_go(lease)
            holders.pop(lease, None)
        held = set()
        for lease in self._wanted():
            mine = holders.get(lease) == fleet.host
            # Another program of this host may have it: only who holds it can renew it.
            if (mine and lease in self._held) or (
                (mine or lease not in holders) and await fleet.hold(lease)
            ):
                held.add(lease)
                holders[lease] = fleet.host
        for lease in held - self._held:
            log.info("this host has taken over", duty=lease)
        for lease in self._held - held:
            log.warning("another host has taken over", duty=lease, host=holders.get(lease, ""))
        self._held, self._holders = held, holders
        self.hosts = tuple(known.hosts)

    def _facts(self) -> HostFacts:
        return HostFacts(
            version=__version__,
            duties=tuple(self._service.duties),
            roots=tuple(self._name(root) for root in self._roots),
            photos_an_hour=self._speed.photos_an_hour,
            health=self.health,
        )

    def _name(self, root: Root) -> str:
        """Return what the hosts call *root*; one without a name is this host's alone."""
        return root.name or f"@{self._service.host_name}{root.path}"

    def _wanted(self) -> Iterator[str]:
        """Yield the leases that this host is to hold, where no other does."""
        if "watch" in self._service.duties:
            usable = (root for root in self._roots if root.path not in self._left)
            yield from (watch_lease(self._name(root)) for root in usable)
        if "journal" in self._service.duties:
            yield JOURNAL

    @property
    def elsewhere(self) -> dict[Path, str]:
        """The roots that this host does not watch now, and why."""
        if self._fleet is None:
            return {}
        found = {}
        for root in self._roots:
            lease = watch_lease(self._name(root))
            if lease not in self._held:
                host = self._holders.get(lease)
                found[root.path] = f"{host} watches it" if host else "no host watches it"
        return found

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the fleet."""
        if self.trouble and self._fleet is not None:
            yield Problem(kind="hosts", subject=self._fleet.host, text=self.trouble)
        if self._fleet is not None:
            yield from problems_of(self.hosts)

    async def pass_on(self, records: Callable[[], object], photos: Callable[[], object]) -> None:
        """Call *records* whenever other hosts have some for the journal that this one writes.

        And *photos* whenever they have queued some, or given some back.
        """
        news: dict[str, tuple[Change, Callable[[], object]]] = {
            "journal": ("outbox", records),
            "tag": ("photos", photos),
        }
        duties = news.keys() & {*self._service.duties}
        await asyncio.gather(*(self._pass_on(*news[duty]) for duty in duties))

    async def _pass_on(self, change: Change, wake: Callable[[], object]) -> None:
        while self._fleet is not None:
            if await self._fleet.changed(QUIET_SECONDS, of=change):
                wake()
            await asyncio.sleep(GAP_SECONDS)

    async def idle(self, services: Services, runner: Runner, stop: asyncio.Event) -> None:
        """Take the part of the *runner*, until *stop*, on a host that does not tag."""
        fleet = self._fleet
        while fleet is not None and not stop.is_set():
            with suppress(StorageError):  # the status says so
                runner.paused = await why_nothing_starts(services)
            waiting = [
                asyncio.create_task(fleet.changed(QUIET_SECONDS, of="photos")),
                asyncio.create_task(stop.wait()),
            ]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            runner.told.set()
            await asyncio.sleep(SHORTEST_SECONDS)


class Idle:
    """What the watchdog looks at on a host that does not tag."""

    still_seconds = 0.0
