"""A fleet in memory, for tests of what stands on one: it says in plain Python what the SQL does."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taggerd.errors import HostInUse, StorageError
from taggerd.ledger.fleet import LEASE_SECONDS, Host, HostFacts, Known

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.ledger.fleet import Change, Json, Lent


@dataclass(slots=True)
class _Lease:
    program: str
    host: str
    until: float


@dataclass(slots=True)
class FleetStore:
    """What the hosts share, and the clock that it goes by, in seconds."""

    clock: Callable[[], float] = time.monotonic
    hosts: dict[str, tuple[str, HostFacts, float]] = field(default_factory=dict)
    leases: dict[str, _Lease] = field(default_factory=dict)
    agreed: dict[str, str] = field(default_factory=dict)
    away: bool = False
    """Whether the database answers nobody."""
    fleets: list[InMemoryFleet] = field(default_factory=list)

    def tell(self, sender: InMemoryFleet, of: Change) -> None:
        """Say to all but the *sender* what changed."""
        for fleet in self.fleets:
            if fleet is not sender:
                for topic in (of, None):
                    fleet.news[topic].set()


class InMemoryFleet:
    """One host's view of a fleet in memory; those with the same *store* are one fleet."""

    def __init__(self, store: FleetStore, host: str) -> None:
        """Join *store* as *host*."""
        self._store = store
        self.host = host
        self._program = uuid.uuid4().hex
        self.news: defaultdict[Change | None, asyncio.Event] = defaultdict(asyncio.Event)
        store.fleets.append(self)

    async def beat(self, about: HostFacts) -> Known:
        """See the port."""
        now = self._store.clock()
        program, _, seen = self._store.hosts.get(self.host, (self._program, about, now))
        if program != self._program and now - seen < LEASE_SECONDS:
            message = f"another living host is called {self.host}; set service.host"
            raise HostInUse(message)
        self._store.hosts[self.host] = self._program, about, now
        for lease in self._store.leases.values():
            if lease.program == self._program and lease.until > now:
                lease.until = now + LEASE_SECONDS
        return Known(await self.hosts(), await self.holders())

    async def leave(self) -> None:
        """See the port."""
        store = self._store
        for name, lease in [*store.leases.items()]:
            if lease.program == self._program:
                del store.leases[name]
        if self.host in store.hosts and store.hosts[self.host][0] == self._program:
            _, about, _ = store.hosts[self.host]
            store.hosts[self.host] = "", about, store.clock() - LEASE_SECONDS
        store.tell(self, "fleet")

    async def hosts(self) -> list[Host]:
        """See the port."""
        now = self._store.clock()
        return [
            Host(
                name=name,
                version=about.version,
                duties=about.duties,
                roots=about.roots,
                seen_seconds=now - seen,
                alive=now - seen < LEASE_SECONDS,
                photos_an_hour=about.photos_an_hour,
                health=about.health,
            )
            for name, (_, about, seen) in sorted(self._store.hosts.items())
        ]

    async def hold(self, lease: str) -> bool:
        """See the port."""
        now = self._store.clock()
        held = self._store.leases.get(lease)
        if held is not None and held.program != self._program and held.until > now:
            return False
        self._store.leases[lease] = _Lease(self._program, self.host, now + LEASE_SECONDS)
        return True

    async def let_go(self, lease: str) -> None:
        """See the port."""
        held = self._store.leases.get(lease)
        if held is not None and held.program == self._program:
            del self._store.leases[lease]
            self._store.tell(self, "fleet")

    async def holders(self) -> dict[str, str]:
        """See the port."""
        now = self._store.clock()
        return {name: held.host for name, held in self._store.leases.items() if held.until > now}

    async def lent(self) -> list[Lent]:
        """See the port."""
        return []

    async def forget_records(self, before: str) -> None:
        """See the port."""

    async def agree(self, key: str, change: Callable[[Json, float], tuple[Json, bool]]) -> None:
        """See the port."""
        if self._store.away:
            message = "the database is away"
            raise StorageError(message)
        kept = json.loads(self._store.agreed.get(key, "null"))
        kept, told = change(kept, self._store.clock())
        self._store.agreed[key] = json.dumps(kept)
        if told:
            self._store.tell(self, "endpoints")

    async def changed(self, seconds: float, *, of: Change | None = None) -> bool:
        """See the port."""
        try:
            # Not wait_for(): until Python 3.12 it loses a cancellation that comes with the news.
            async with asyncio.timeout(seconds):
                await self.news[of].wait()
        except TimeoutError:
            return False
        self.news[of].clear()
        return True
