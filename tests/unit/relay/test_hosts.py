"""Records of several hosts: one of them writes the day files, and each stands in them once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.postgres import name_in
from support.records import DAY, noon, record_of

from taggerd.journal import Entry, Journal
from taggerd.ledger import HostFacts
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.ledger.postgres.reading import SharedJournal
from taggerd.relay import OutboxRelay
from taggerd.services.services import JournalLease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.postgres import PostgresServer

FACTS = HostFacts(version="1", duties=("journal",))
RETENTION_DAYS = 10


class Machines:
    """Hosts with outputs of their own, on one database."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        """Begin with none."""
        self._server = server
        self._folder = folder
        self.url = server.prepared(opening.init)
        self.ledgers: list[PostgresLedger] = []
        self.today = DAY

    async def start(self, host: str) -> tuple[PostgresLedger, OutboxRelay]:
        """Start a program on *host*."""
        state = self._folder / host
        ledger = await PostgresLedger.open(self.url, directory=state, host=host)
        self.ledgers.append(ledger)
        await ledger.fleet.beat(FACTS)
        relay = OutboxRelay(
            ledger,
            self.journal(host),
            now=lambda: noon(self.today),
            trouble="not opened yet",
            lease=JournalLease(ledger.fleet, FACTS.duties, retention_days=RETENTION_DAYS),
        )
        return ledger, relay

    def journal(self, host: str) -> Journal:
        """Return the journal in the outputs of *host*."""
        folder = self._folder / host / "outputs"
        return Journal(folder, retention_days=0, compress_after_days=0)

    async def kill(self, ledger: PostgresLedger) -> None:
        """Let it give no more signs of life, and have given the last one long ago."""
        await ledger._abandon()
        self.execute(
            "UPDATE taggerd.procrastinate_workers SET last_heartbeat = now() - interval '1 hour' "  # noqa: S608 - ours
            f"FROM taggerd.owners WHERE id = worker AND owner = '{ledger._me}'"
        )
        self.execute("UPDATE taggerd.leases SET until = now() - interval '1 second'")

    def record(self, *numbers: int) -> None:
        """Let photos end, on any host."""
        for number in numbers:
            record = record_of(number)
            self.execute(
                "INSERT INTO taggerd.outbox (record, day, line, stream) VALUES "  # noqa: S608 - ours
                f"('{record.id}', '{DAY}', $line${json.dumps(record.to_json())}$line$, '')"
            )

    def execute(self, statement: str) -> None:
        """Execute it in the database."""
        self._server.execute(statement, database=name_in(self.url))

    def ids(self, host: str) -> list[str]:
        """Return the ids of the records in the day files of *host*, in order."""
        return [record.id for record in self.journal(host).read(DAY).records]


@pytest.fixture
async def machines(postgres_server: PostgresServer, tmp_path: Path) -> AsyncIterator[Machines]:
    """Return no host yet; whoever is still there at the end is closed."""
    made = Machines(postgres_server, tmp_path)
    yield made
    for ledger in made.ledgers:
        await ledger.close()


def _ids(*numbers: int) -> list[str]:
    return [record_of(number).id for number in numbers]


async def test_only_who_holds_the_lease_writes_day_files(machines: Machines) -> None:
    """It writes the records of all hosts, in order; the next holder goes on where it ended."""
    first, relay = await machines.start("first")
    second, other = await machines.start("second")
    machines.record(1, 2)
    await relay.deliver()
    machines.record(3)
    await other.deliver()
    assert (machines.ids("first"), machines.ids("second")) == (_ids(1, 2), [])
    await first.fleet.leave()
    await other.deliver()
    machines.record(4)
    await relay.deliver()
    await other.deliver()
    assert (machines.ids("first"), machines.ids("second")) == (_ids(1, 2), _ids(3, 4))
    assert await second.fleet.holders() == {"journal": "second"}


async def test_a_record_in_the_day_file_of_a_killed_host_is_in_no_other(machines: Machines) -> None:
    """It was killed before it could say that the records are there; it says so when it is back."""
    killed, _ = await machines.start("first")
    assert await killed.fleet.hold("journal")
    machines.record(1, 2)
    journal = machines.journal("first")
    journal.open()
    journal.deliver([Entry(e.id, e.day, e.line) for e in (await killed.outbox(9))[:1]])
    await killed.outbox(9)
    await machines.kill(killed)

    second, other = await machines.start("second")
    await second.recover()
    machines.record(3)
    await other.deliver()
    assert machines.ids("second") == _ids(3), "the others may be in the first one's"

    _, back = await machines.start("first")
    await back.deliver()
    assert machines.ids("first") == _ids(1, 2)
    await other.deliver()
    assert machines.ids("second") == _ids(3)
    assert not await second.outbox(9)
    whole = SharedJournal(machines.url)
    assert [json.loads(line)["id"] for line in whole.lines(DAY)] == _ids(3, 1, 2)


async def test_records_of_a_host_that_never_returns_are_not_lost(machines: Machines) -> None:
    """After ten minutes another host writes what it may have written."""
    killed, _ = await machines.start("first")
    assert await killed.fleet.hold("journal")
    machines.record(1)
    assert len(await killed.outbox(9)) == 1
    await machines.kill(killed)
    second, other = await machines.start("second")
    await second.recover()
    await other.deliver()
    assert machines.ids("second") == []
    machines.execute("UPDATE taggerd.outbox SET lent_at = now() - interval '11 minutes'")
    await other.deliver()
    assert machines.ids("second") == _ids(1)


async def test_who_lost_the_lease_still_ends_what_it_began(machines: Machines) -> None:
    """Nobody else takes the records that it was lent; it writes no others."""
    first, relay = await machines.start("first")
    assert await first.fleet.hold("journal")
    machines.record(1)
    await first.outbox(9)
    machines.record(2)
    machines.execute("UPDATE taggerd.leases SET until = now() - interval '1 second'")
    _, other = await machines.start("second")
    await other.deliver()
    await relay.deliver()
    assert (machines.ids("first"), machines.ids("second")) == (_ids(1), _ids(2))
    await relay.deliver()
    assert machines.ids("first") == _ids(1)


async def test_who_writes_the_journal_forgets_old_records_for_all(machines: Machines) -> None:
    """Once day files of that day would be deleted, and not by a host that only could write them."""
    _, relay = await machines.start("one")
    _, other = await machines.start("two")
    machines.record(1, 2)
    await relay.deliver()
    whole = SharedJournal(machines.url)
    machines.today = "2025-11-30"
    await relay.summarise()
    assert whole.days() == [DAY]
    machines.today = "2025-12-01"
    await other.summarise()
    assert whole.days() == [DAY]
    await relay.summarise()
    assert whole.days() == []
