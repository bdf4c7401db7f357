"""Several hosts and one backend: each is a service of its own, and they share a ledger."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import httpx
import pytest
from support.fleets import FleetStore, InMemoryFleet
from support.scripted import chat

from taggerd import settings
from taggerd.errors import BackendError, LedgerAway
from taggerd.inference import Backend, InferenceService, load_profile
from taggerd.inference.sharing import shared_key
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.photo import Picture, Stamp
from taggerd.testing import InMemoryLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from support.postgres import PostgresServer

    from taggerd.ledger import Fleet

URL = "http://gpu.test/v1"
SMALL = 10_000
"""Bytes of a request with a photo; the test picture is larger."""
SECONDS = 60.0
"""Longest wait for what should happen at once."""


def is_probe(request: httpx.Request) -> bool:
    """Say whether a request is about the list of models, or a picture that is not a user's."""
    return request.method == "GET" or len(request.content) > SMALL


@dataclass
class Server(httpx.AsyncBaseTransport):
    """A backend that answers after a moment, or when it may, and counts what is in flight."""

    in_flight: int = 0
    most: int = 0
    by_host: Counter[str] = field(default_factory=Counter)
    probes: Counter[str] = field(default_factory=Counter)
    """Probes that reached it, or the cut cable, by who asked."""
    down: bool = False
    refuses_from: int | None = None
    """So many requests in flight are too many."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def ask(self, host: str, request: httpx.Request) -> httpx.Response:
        """Answer a request of *host*."""
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        many = self.in_flight
        try:
            await asyncio.sleep(0.002)
            if self.down:
                message = "refused"
                raise httpx.ConnectError(message)
            self.probes[host] += is_probe(request)
            if request.method == "GET":
                return httpx.Response(200, json={"data": [{"id": "eye"}]})
            await self.may_answer.wait()
            if self.refuses_from is not None and many >= self.refuses_from:
                return httpx.Response(429, json={"error": {"message": "too many"}})
            self.by_host[host] += 1
            return chat(f"A boat on a lake, and {self.by_host.total()} birds above it")
        finally:
            self.in_flight -= 1


@dataclass
class Cable(httpx.AsyncBaseTransport):
    """What connects one host with the backend."""

    server: Server
    host: str
    cut: bool = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request."""
        if self.cut:
            self.server.probes[self.host] += is_probe(request)
            message = "no route"
            raise httpx.ConnectError(message)
        response = await self.server.ask(self.host, request)
        response.request = request
        return response


@dataclass
class Machine:
    """One host."""

    name: str
    cable: Cable
    service: InferenceService
    stack: AsyncExitStack
    asked: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    failed: Counter[str] = field(default_factory=Counter)

    async def ask(self) -> None:
        """Ask one question about another photo."""
        self.asked += 1
        digest = f"{self.name} {self.asked}"
        photo = Picture(b"\xff\xd8", 8, 8, b"", digest, Stamp(1, 2, 3, 4))
        try:
            async for _ in self.service.describe(photo, self.service.questions[:1]):
                pass
        except (BackendError, LedgerAway) as error:
            self.failed[type(error).__name__] += 1

    async def _keep_asking(self) -> None:
        while True:
            if self.service.error is not None:
                await self.service.wait_usable()
            await self.ask()

    def work(self, at_once: int) -> None:
        """Ask about photo after photo, so many at once."""
        for _ in range(at_once):
            self.tasks.add(asyncio.create_task(self._keep_asking()))

    async def rest(self) -> None:
        """Ask about none any more."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    @property
    def share(self) -> int:
        """How many requests it may have in flight."""
        return self.service.endpoints[0].backend.limit.at_once


class Network:
    """Hosts, their backend and what they share."""

    def __init__(self, url: str | None = None) -> None:
        """Begin without hosts; *url*: of their database, else they share it in memory."""
        self.server = Server()
        self.server.may_answer.set()
        self.store = FleetStore()
        self._url = url
        self._ledgers: list[PostgresLedger] = []
        self.machines: list[Machine] = []

    async def join(self, name: str, most: int, *, cut: bool = False) -> Machine:
        """Start a host."""
        cable = Cable(self.server, name)
        backend = Backend(settings.Backend(base_url=URL, max_concurrency=most), transport=cable)
        service = InferenceService(
            settings.Settings(backend=settings.Backend(preflight=False)),
            load_profile("default", None),
            {URL: backend},
        )
        machine = Machine(name, cable, service, AsyncExitStack())
        await machine.stack.enter_async_context(service.shared(InMemoryFleet(self.store, name)))
        async with asyncio.timeout(SECONDS):
            assert await service.probe() is None
        cable.cut = cut
        self.machines.append(machine)
        return machine

    async def _fleet(self, name: str) -> Fleet:
        if self._url is None:
            return InMemoryFleet(self.store, name)
        ledger = await PostgresLedger.open(self._url, host=name)
        self._ledgers.append(ledger)
        return ledger.fleet

    async def close(self) -> None:
        """Stop all hosts."""
        for machine in self.machines:
            await machine.rest()
            await machine.stack.aclose()
            await machine.service.close()
        for ledger in self._ledgers:
            await ledger.close()


@pytest.fixture
async def network(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    """Hosts that share a ledger."""
    url = None
    if getattr(request, "param", "memory") == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.prepared(opening.init)
    made = Network(url)
    yield made
    await made.close()


async def until(what: Callable[[], object]) -> None:
    """Wait until *what* is true."""
    async with asyncio.timeout(SECONDS):
        while not what():  # noqa: ASYNC110 - several programs, as it were
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("network", ["memory", "postgres"], indirect=True)
async def test_four_busy_hosts_share_a_backend_fairly(network: Network) -> None:
    """All that it does at once, never more, and each host gets its part."""
    hosts = [await network.join(name, 8) for name in "abcd"]
    for host in hosts:
        host.work(10)
    await until(lambda: [host.share for host in hosts] == [2, 2, 2, 2])
    network.server.by_host.clear()
    await until(lambda: network.server.by_host.total() > 400)
    assert min(network.server.by_host[name] for name in "abcd") > 50
    assert network.server.most == 8


@pytest.mark.parametrize("network", ["memory", "postgres"], indirect=True)
async def test_a_lone_busy_host_has_all_and_lends_it_to_no_idle_one(network: Network) -> None:
    """Shares follow what is wanted, both ways."""
    one, two = [await network.join(name, 8) for name in "ab"]
    one.work(10)
    await until(lambda: network.server.in_flight == 8)
    assert one.share == 8
    two.work(10)
    await until(lambda: (one.share, two.share) == (4, 4))
    await one.rest()
    await until(lambda: two.share == 8)
    await until(lambda: network.server.in_flight == 8)
    assert network.server.most == 8


async def test_a_limit_below_the_number_of_hosts(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request at once: each host is served, none waits for ever."""
    monkeypatch.setattr("taggerd.inference.shares.ALONE_SECONDS", 0.2)
    hosts = [await network.join(name, 1) for name in "abc"]
    for host in hosts:
        host.work(2)
    await until(lambda: all(network.server.by_host[host.name] > 5 for host in hosts))
    assert network.server.most == 1


async def test_who_cannot_renew_its_share_stops_before_others_have_it(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request begins some time before the lease ends, and none is in flight when it does."""
    monkeypatch.setattr("taggerd.inference.sharing.SEND_SECONDS", 0.5)
    monkeypatch.setattr("taggerd.inference.sharing.LEASE_SECONDS", 1.5)
    monkeypatch.setattr("taggerd.inference.sharing.RENEW_SECONDS", 0.1)
    monkeypatch.setattr("taggerd.inference.sharing.TICK_SECONDS", 0.1)
    monkeypatch.setattr("taggerd.inference.shares.LEASE_SECONDS", 1.5)
    host = await network.join("a", 2)
    host.work(3)
    await until(lambda: network.server.by_host["a"] > 5)
    network.server.may_answer.clear()
    await until(lambda: network.server.in_flight == 2)
    network.store.away = True
    await until(lambda: network.server.in_flight == 0)
    assert host.failed == {"LedgerAway": 2}
    network.server.may_answer.set()
    asked = network.server.by_host["a"]
    await asyncio.sleep(0)
    assert network.server.by_host["a"] == asked
    network.store.away = False
    await until(lambda: network.server.by_host["a"] > asked + 5)


@pytest.mark.parametrize("network", ["memory", "postgres"], indirect=True)
async def test_an_endpoint_that_is_away_is_away_for_all_and_probed_by_one(network: Network) -> None:
    """The first success lets all go on."""
    hosts = [await network.join(name, 8) for name in "abc"]
    for host in hosts[:2]:
        host.work(3)
    hosts[2].work(1)
    await until(lambda: min(network.server.by_host[host.name] for host in hosts) > 3)
    await hosts[2].rest()
    network.server.probes.clear()
    network.server.down = True
    await until(lambda: all(host.service.error is not None for host in hosts))
    assert "found by" in str(hosts[2].service.error)
    network.server.down = False
    before = Counter(network.server.by_host)
    await until(lambda: all(host.service.error is None for host in hosts))
    assert network.server.probes.total() == 1
    for host in hosts:
        host.work(1)
    await until(lambda: all(network.server.by_host[h.name] > before[h.name] + 3 for h in hosts))


async def test_a_host_whose_own_network_is_at_fault_stops_no_other_for_ever(
    network: Network,
) -> None:
    """Others succeed, so it is alone with its fault; it goes on as soon as it has an answer."""
    bad, good = await network.join("bad", 8), await network.join("good", 8)
    bad.work(3)
    good.work(3)
    await until(lambda: min(network.server.by_host[name] for name in ("bad", "good")) > 3)
    bad.cable.cut = True
    await until(lambda: bad.service.error is not None)
    health = good.service.endpoints[0].health
    await until(lambda: good.service.error is None and network.server.probes["bad"] > 3)
    told = health.outages
    answered = network.server.by_host["good"]
    network.server.probes.clear()
    await until(lambda: network.server.probes["bad"] > 1)
    assert health.outages == told <= 2
    assert network.server.by_host["good"] > answered
    bad.cable.cut = False
    answered = network.server.by_host["bad"]
    await until(lambda: network.server.by_host["bad"] > answered + 3)


async def test_what_a_backend_refuses_is_too_much_for_all_hosts_together(network: Network) -> None:
    """The limit that was learnt counts for the whole, and each host has its part of it."""
    hosts = [await network.join(name, 8) for name in "ab"]
    network.server.refuses_from = 7
    for host in hosts:
        host.work(10)
    await until(lambda: "throttle" in str(network.store.agreed) and _limit(network) < 7)
    await until(lambda: all(host.service.error is None for host in hosts))
    network.server.most = 0
    answered = network.server.by_host.total()
    await until(lambda: network.server.by_host.total() > answered + 100)
    assert sum(host.share for host in hosts) <= 7
    assert network.server.most <= 7


def _limit(network: Network) -> float:
    (kept,) = network.store.agreed.values()
    return float((json.loads(kept)["throttle"] or {"size": 99})["size"])


async def test_what_one_host_learnt_of_a_backend_another_knows(network: Network) -> None:
    """Without a restart, and without a request."""
    ledger = InMemoryLedger()
    hosts = [await network.join(name, 8) for name in "ab"]
    for host in hosts:
        host.service.remember(ledger)
        host.work(1)
    await until(lambda: min(network.server.by_host[host.name] for host in hosts) > 3)
    one, two = [host.service.endpoints[0].backend for host in hosts]
    capabilities = one._capabilities
    capabilities._dialects["eye"] = replace(capabilities.known("eye"), combined=False)
    await until(lambda: two.learnt)
    assert one.learnt == two.learnt


async def test_a_host_that_ends_gives_its_share_back(network: Network) -> None:
    """Others need not wait until its lease ends."""
    host = await network.join("a", 8)
    host.work(10)
    await until(lambda: network.server.in_flight == 8)
    await host.rest()
    await host.stack.aclose()
    (kept,) = network.store.agreed.values()
    assert json.loads(kept)["programs"] == {}


async def test_an_idle_host_costs_the_database_nothing(network: Network) -> None:
    """Whoever has no photos needs no share."""
    host = await network.join("a", 8)
    shared = host.service.endpoints[0].shared
    assert shared is not None
    network.store.away = True  # whoever asks now fails
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await asyncio.Event().wait()
    assert not host.failed


@pytest.mark.parametrize("url", ["http://gpu.test/v1", "http://GPU.test:80/other"])
def test_all_addresses_of_one_server_are_one_endpoint(url: str) -> None:
    """Its paths share one GPU."""
    assert shared_key(url) == "endpoint gpu.test:80"


def test_a_loopback_address_is_another_endpoint_on_another_machine() -> None:
    """Its name says on which; what is not asked over a network is not shared."""
    assert shared_key("http://127.0.0.1:8000/v1") == shared_key("http://localhost:8000")
    assert shared_key("http://127.0.0.1:8000/v1").startswith("endpoint localhost:8000@")
    assert shared_key("builtin:") == shared_key("auto") == ""
