"""What hosts that share a ledger promise each other: kept in memory, and in PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import pytest
from support.fleets import FleetStore, InMemoryFleet
from support.postgres import name_in

from taggerd.errors import HostInUse
from taggerd.ledger.fleet import LEASE_SECONDS, HostFacts
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.ledger import PostgresLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.postgres import PostgresServer

    from taggerd.ledger import Fleet
    from taggerd.ledger.fleet import Json

FACTS = HostFacts(
    version="1.0",
    duties=("watch", "tag"),
    roots=("archive",),
    photos_an_hour=12.0,
    health="healthy",
)


class Hosts(Protocol):
    """Makes fleets, and lets time pass for all of them."""

    async def join(self, host: str) -> Fleet:
        """Return the view of one more program on *host*."""

    def later(self, seconds: float) -> None:
        """Let so much time pass in the database."""


class InMemory:
    """In this process."""

    def __init__(self) -> None:
        """Begin at some time."""
        self.now = 1000.0
        self.store = FleetStore(lambda: self.now)

    async def join(self, host: str) -> Fleet:
        """See the protocol."""
        return InMemoryFleet(self.store, host)

    def later(self, seconds: float) -> None:
        """See the protocol."""
        self.now += seconds


class InPostgres:
    """In a database; instead of its clock, what it has noted is set back."""

    def __init__(self, server: PostgresServer) -> None:
        """Use a database of its own."""
        self._server = server
        self.url = server.prepared(opening.init)
        self.ledgers: list[PostgresLedger] = []

    async def join(self, host: str) -> Fleet:
        """See the protocol."""
        ledger = await PostgresLedger.open(self.url, host=host, skew=0.0)
        self.ledgers.append(ledger)
        return ledger.fleet

    def later(self, seconds: float) -> None:
        """See the protocol."""
        for table, column in (("hosts", "seen_at"), ("leases", "until")):
            self._server.execute(
                f"UPDATE taggerd.{table} SET {column} = {column} - "  # noqa: S608 - ours
                f"interval '{seconds} seconds'",
                database=name_in(self.url),
            )


@pytest.fixture(params=["memory", "postgres"])
async def hosts(request: pytest.FixtureRequest) -> AsyncIterator[Hosts]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield InMemory()
        return
    made = InPostgres(request.getfixturevalue("postgres_server"))
    yield made
    for ledger in made.ledgers:
        await ledger.close()


async def test_a_host_lives_while_it_gives_signs_of_life(hosts: Hosts) -> None:
    """It is listed with what it says of itself; after half a minute of silence it is dead."""
    nas, gpu = await hosts.join("nas"), await hosts.join("gpu")
    await nas.beat(FACTS)
    await gpu.beat(HostFacts(version="1.1", duties=("tag",)))
    first, second = await gpu.hosts()
    assert (first.name, first.version, first.duties, first.alive) == ("gpu", "1.1", ("tag",), True)
    assert (second.name, second.duties, second.roots) == ("nas", FACTS.duties, FACTS.roots)
    assert (second.photos_an_hour, second.health) == (12.0, "healthy")
    hosts.later(LEASE_SECONDS - 5)
    await gpu.beat(FACTS)
    hosts.later(10)
    alive = {host.name: host.alive for host in await gpu.hosts()}
    assert alive == {"gpu": True, "nas": False}
    assert (await gpu.hosts())[1].seen_seconds == pytest.approx(LEASE_SECONDS + 5, abs=5)


async def test_one_host_holds_a_lease(hosts: Hosts) -> None:
    """Until it gives it back, or dies; signs of life renew it."""
    nas, gpu = await hosts.join("nas"), await hosts.join("gpu")
    for host in (nas, gpu):
        await host.beat(FACTS)
    assert await nas.hold("journal")
    assert await nas.hold("journal"), "who holds it may take it again"
    assert not await gpu.hold("journal")
    assert await gpu.hold("watch:archive"), "each lease is one of its own"
    hosts.later(LEASE_SECONDS - 5)
    await nas.beat(FACTS)
    hosts.later(10)
    assert not await gpu.hold("journal")
    assert await gpu.holders() == {"journal": "nas"}, "gpu gave no sign of life"
    hosts.later(LEASE_SECONDS)
    assert await gpu.hold("journal")
    assert not await nas.hold("journal"), "a host that comes back finds it taken"
    await nas.beat(FACTS)
    assert await nas.holders() == {"journal": "gpu"}
    await nas.let_go("journal")
    assert await nas.holders() == {"journal": "gpu"}, "only who holds it gives it back"
    await gpu.let_go("journal")
    assert await nas.hold("journal")


async def test_a_host_that_ends_leaves_nothing_behind(hosts: Hosts) -> None:
    """Others need not wait for half a minute, and see that it ended."""
    nas, gpu = await hosts.join("nas"), await hosts.join("gpu")
    await nas.beat(FACTS)
    await nas.hold("journal")
    await nas.leave()
    assert await gpu.hold("journal")
    assert [host.alive for host in await gpu.hosts()] == [False]
    again = await hosts.join("nas")
    await again.beat(FACTS)
    assert [host.alive for host in await gpu.hosts()] == [True], "its name is free at once"


async def test_two_living_hosts_of_one_name_are_refused(hosts: Hosts) -> None:
    """The message says what to set; the name of a dead one is free."""
    first, second = await hosts.join("nas"), await hosts.join("nas")
    await first.beat(FACTS)
    with pytest.raises(HostInUse, match=r"nas.*service\.host"):
        await second.beat(FACTS)
    hosts.later(LEASE_SECONDS + 1)
    await second.beat(FACTS)
    with pytest.raises(HostInUse):
        await first.beat(FACTS)


async def test_hosts_change_what_they_agree_on_one_after_the_other(hosts: Hosts) -> None:
    """No change is lost, whoever makes them at once."""
    fleets = [await hosts.join(f"host{number}") for number in range(4)]

    def one_more(value: Json, now: float) -> tuple[Json, bool]:
        assert now > 0
        assert value is None or isinstance(value, int)
        return (value or 0) + 1, False

    await asyncio.gather(*(fleet.agree("count", one_more) for fleet in fleets * 25))
    seen: list[Json] = []

    def end(value: Json, _now: float) -> tuple[Json, bool]:
        seen.append(value)
        return None, False

    await fleets[0].agree("count", end)
    await fleets[0].agree("count", end)
    assert seen == [100, None]


async def test_the_others_hear_of_a_lease_that_is_given_back(hosts: Hosts) -> None:
    """They need not wait for the next look."""
    nas, gpu = await hosts.join("nas"), await hosts.join("gpu")
    await nas.hold("journal")
    await gpu.changed(0.01, of="fleet")  # that gpu was there before it could hear
    waiting = asyncio.create_task(gpu.changed(60, of="fleet"))
    await asyncio.sleep(0)
    await nas.let_go("journal")
    assert await waiting


async def test_a_program_that_was_killed_does_not_keep_its_own_host_out(
    postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The next daemon on the same state directory has its name and its leases at once."""
    url = postgres_server.prepared(opening.init)
    killed = await PostgresLedger.open(url, directory=tmp_path / "a", host="nas")
    await killed.fleet.beat(FACTS)
    await killed.fleet.hold("journal")
    await killed._abandon()
    again = await PostgresLedger.open(url, directory=tmp_path / "a", host="nas")
    await again.fleet.beat(FACTS)
    assert await again.fleet.hold("journal")
    elsewhere = await PostgresLedger.open(url, directory=tmp_path / "b", host="nas")
    with pytest.raises(HostInUse):
        await elsewhere.fleet.beat(FACTS)
    for ledger in (again, elsewhere):
        await ledger.close()
