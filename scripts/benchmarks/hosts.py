"""Several hosts on one tree: the part of `scripts/bench fleet` that runs the program.

The backend has 32 slots of 200 ms. Each host is a `taggerd run` with its own state and mount.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.hosts import Host, numbered
from support.postgres import PostgresServer

from benchmarks.figures import Figure
from benchmarks.program import cpu_seconds, until
from benchmarks.serving import backend
from taggerd.ledger.postgres import opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.serving import Backend

SLOTS, SECONDS = 32, 0.2
ROLES = 3
FEW = 8
"""Requests that the one host is limited to which four are compared with."""
REQUEST_BYTES = 2000
"""A small picture in base64."""
TAKEOVER_SECONDS = 60.0
IDLE_SECONDS = 60.0
_STATEMENT = re.compile(rb" (?:statement|execute [^:]*): ([^\n]*)")
_FRAME = (b"BEGIN", b"COMMIT", b"ROLLBACK")


class Hosts:
    """Some hosts that share a database, a tree and a backend."""

    def __init__(self, folder: Path, url: str, served: Backend, most: int, count: int) -> None:
        """Start so many; *most* requests at once are allowed in all."""
        self.tree = folder / "tree"
        self.tree.mkdir(parents=True)
        self.hosts = []
        for number in range(count):
            home = folder / f"host-{number}"
            home.mkdir()
            host = Host(home, f"{served.url}/v1", name=home.name, tree=self.tree)
            host.settings = {
                "TAGGERD__LEDGER__URL": url,
                "TAGGERD__BACKEND__MAX_CONCURRENCY": str(most),
            }
            self.hosts.append(host)
        for host in self.hosts:
            host.begin(ready=True)
        until(self._calm)

    def _calm(self) -> bool:
        """Say whether all have done what a start brings; it takes a moment to find out."""
        before = self._cpu()
        time.sleep(1)
        return self._cpu() - before < len(self.hosts) / 10

    def _cpu(self) -> float:
        return sum(cpu_seconds(host.daemons[-1].pid) for host in self.hosts)

    def arrive(self, made: Path) -> None:
        """Move a folder of photos into the tree."""
        made.rename(self.tree / made.name)

    def sidecars(self) -> int:
        """Return how many photos have theirs."""
        return sum(path.suffix == ".xmp" for path in self.tree.rglob("*"))

    def end(self) -> None:
        """End them."""
        for host in self.hosts:
            if host.running:
                host.stop(host.daemons[-1])


@contextmanager
def running(url: str, served: Backend, *, most: int, count: int) -> Iterator[tuple[Hosts, Path]]:
    """Run so many hosts, beside a folder on the same disk."""
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder:
        hosts = Hosts(Path(folder) / "fleet", url, served, most, count)
        try:
            yield hosts, Path(folder)
        finally:
            hosts.end()


def _photos(folder: Path, count: int) -> Path:
    for number in range(count):
        numbered(folder / f"{number:04}.jpg", number)
    os.sync()  # what is written behind our back would be measured
    return folder


def rate(server: PostgresServer, served: Backend, photos: int, *, most: int, count: int) -> float:
    """Return the requests a second of so many hosts, from the first request to the last answer."""
    with running(server.prepared(opening.init), served, most=most, count=count) as (hosts, folder):
        served.stats()
        hosts.arrive(_photos(folder / "card", photos))
        until(lambda: hosts.sidecars() == photos)
        return served.stats().rate


@contextmanager
def _database(**settings: str) -> Iterator[PostgresServer]:
    server = PostgresServer(durable=True, settings=settings)
    try:
        yield server
    finally:
        server.close()


def throughput(photos: int) -> Iterator[Figure]:
    """Compare one and four hosts with what a plain client gets out of the backend."""
    with _database() as server, backend(SLOTS, SECONDS) as served:
        few = rate(server, served, photos // 4, most=FEW, count=1)
        one = rate(server, served, photos, most=SLOTS, count=1)
        before = served.capacity(10 * SLOTS, REQUEST_BYTES).rate
        four = rate(server, served, photos, most=SLOTS, count=4)
        capacity = (before + served.capacity(10 * SLOTS, REQUEST_BYTES).rate) / 2
    of = f"a backend of {SLOTS} slots × {SECONDS * 1000:.0f} ms"  # noqa: RUF001 - a multiplication sign
    for what, value, least in (("1 host", one, None), ("4 hosts", four, 90.0)):
        yield Figure(
            f"{what} on {of}, {photos:,} small photos", value / capacity * 100, "%",
            at_least=least, against=f"a plain client: {capacity:.1f} requests a second",
            detail=f"{value / ROLES:.1f} photos a second",
        )  # fmt: skip
    yield Figure(
        f"4 hosts, {SLOTS} requests at once, beside 1 host with {FEW}", four / few, "×",  # noqa: RUF001 - a multiplication sign
        at_least=3.5, against=f"1 host: {few / ROLES:.1f} photos a second",
        detail=f"{four / ROLES:.1f} photos a second",
    )  # fmt: skip


def takeover() -> Iterator[Figure]:
    """Kill a host that has photos in hand, watches and journals."""
    with (
        _database() as server,
        backend(FEW, SECONDS) as served,
        running(server.prepared(opening.init), served, most=FEW, count=2) as (hosts, folder),
    ):
        served.answer(0)
        hosts.arrive(_photos(folder / "card", photos := 2 * FEW))
        served.stats()
        until(lambda: served.stats().first > 0)
        hosts.hosts[0].kill()
        began = time.monotonic()
        served.answer(1000)
        until(lambda: hosts.sidecars() == photos)
        took = time.monotonic() - began
        yield Figure(
            "a dead host's photos are tagged by another after", took, "s", TAKEOVER_SECONDS
        )
        _photos(folder / "more", 1).rename(hosts.tree / "more")
        until(lambda: hosts.sidecars() == photos + 1)
        yield Figure(
            "a new photo in the folder that the dead host watched is tagged after",
            time.monotonic() - began, "s", TAKEOVER_SECONDS,
        )  # fmt: skip


def idle(seconds: float = IDLE_SECONDS) -> Iterator[Figure]:
    """Count what two hosts that have nothing to do say to the database."""
    with (
        _database(log_statement="all") as server,
        backend(FEW, 0.0) as served,
        running(server.prepared(opening.init), served, most=FEW, count=2) as (hosts, _),
    ):
        log = server.folder / "log"
        began, size = time.monotonic(), log.stat().st_size
        time.sleep(seconds)
        took = (time.monotonic() - began) * len(hosts.hosts)
        said = _STATEMENT.findall(log.read_bytes()[size:])
        framing = sum(text.upper().startswith(_FRAME) for text in said)
        yield Figure(
            "statements a second of a host that has nothing to do", len(said) / took, "", 1.0,
            detail=f"{framing / took:.2f} of them BEGIN and COMMIT",
        )  # fmt: skip
