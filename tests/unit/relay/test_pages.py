"""When the relay makes the pages of days: late, seldom, and never in the way of a record."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING

import pytest
from support.records import DAY, noon, record_of

from taggerd.journal import Entry, Journal
from taggerd.ledger import Outgoing
from taggerd.relay import OutboxRelay, outbox, publish_day, reports
from taggerd.relay.reports import OutOfTime
from taggerd.testing import InMemoryLedger, InMemoryStore

if TYPE_CHECKING:
    from pathlib import Path

QUIET, BETWEEN = outbox.PUBLISH_QUIET_SECONDS, outbox.PUBLISH_SECONDS


class Machine:
    """A relay between a ledger in memory and a journal on the disk, with a clock that is set."""

    def __init__(self, folder: Path) -> None:
        """Open both."""
        self.now = 1000.0
        self.store = InMemoryStore()
        self.journal = Journal(folder, retention_days=0, compress_after_days=0)
        self.journal.open()
        self.relay = OutboxRelay(
            InMemoryLedger(self.store),
            self.journal,
            now=lambda: noon(DAY),
            clock=lambda: self.now,
        )
        self.page = self.journal.summaries / f"{DAY}.html"

    async def record(self, number: int, day: str = DAY) -> None:
        """Let a photo end, and its record be delivered."""
        record = record_of(number)
        self.store.outbox[record.id] = Outgoing(record.id, day, json.dumps(record.to_json()))
        await self.relay.deliver()

    async def later(self, seconds: float) -> bool:
        """Let so much time pass; say whether pages were made."""
        self.now += seconds
        task = self.relay.publish_if_due()
        if task is not None:
            await task
        return task is not None


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return one."""
    return Machine(tmp_path / "outputs")


async def test_a_page_waits_until_records_are_quiet(machine: Machine) -> None:
    """While photos come no page is made, however long that takes; then one is, with all."""
    for number in range(100):
        await machine.record(number)
        assert not await machine.later(QUIET - 1)
    assert not machine.page.exists()
    assert await machine.later(1)
    assert machine.page.read_text().count("<article>") == 100
    assert (machine.journal.directory / "index.html").exists()
    assert not await machine.later(BETWEEN * 9), "nothing has changed"


async def test_pages_are_minutes_apart(machine: Machine) -> None:
    """A photo a minute makes no page a minute."""
    await machine.record(1)
    assert await machine.later(QUIET)
    await machine.record(2)
    assert not await machine.later(BETWEEN - 1)
    assert await machine.later(1)
    assert "IMG_2.JPG" in machine.page.read_text()


async def test_large_pages_are_rarer(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a minute is made again after most of an hour at the earliest."""

    def slow(journal: Journal, day: str, _has_time: object) -> list[Path]:
        machine.now += 60
        return publish_day(journal, day)

    monkeypatch.setattr(reports, "publish_day", slow)
    await machine.record(1)
    assert await machine.later(QUIET)
    await machine.record(2)
    assert not await machine.later(60 / outbox.PUBLISH_SHARE - 1)
    assert await machine.later(1)


async def test_records_are_delivered_meanwhile(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making a page holds up neither records nor whoever tags; what came meanwhile is owed."""
    go_on, begun = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def held_up(journal: Journal, day: str, _has_time: object) -> list[Path]:
        made = publish_day(journal, day)
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(180)
        return made

    monkeypatch.setattr(reports, "publish_day", held_up)
    await machine.record(1)
    machine.now += QUIET
    task = machine.relay.publish_if_due()
    assert task is not None
    await asyncio.wait_for(begun.wait(), 180)
    await machine.record(2)
    assert len(machine.journal.read(DAY).records) == 2
    assert machine.relay.publish_if_due() is task
    go_on.set()
    await task
    assert machine.journal.unpublished() == [DAY]
    assert await machine.later(BETWEEN)
    assert machine.journal.unpublished() == []


async def test_the_end_makes_the_pages(machine: Machine) -> None:
    """Whoever reads them after a scan finds all photos there."""
    await machine.record(1)
    await machine.relay.finish()
    assert "IMG_1.JPG" in machine.page.read_text()


async def test_a_stop_does_not_wait_for_pages(machine: Machine) -> None:
    """Records and summary are there; the next start makes the page."""
    await machine.record(1)
    await machine.relay.finish(page_seconds=0)
    assert len(machine.journal.read(DAY).records) == 1
    assert (machine.journal.summaries / f"{DAY}.md").exists()
    assert not machine.page.exists()
    assert list(machine.journal.summaries.glob(".*")) == []
    again = Machine(machine.journal.directory)
    await again.relay.summarise()
    assert await again.later(0)
    assert "IMG_1.JPG" in machine.page.read_text()


def test_out_of_time_leaves_the_page_before(machine: Machine) -> None:
    """It is whole: the new one or the one before."""
    machine.page.write_text("before")
    record = record_of(1)
    machine.journal.deliver([Entry(record.id, DAY, json.dumps(record.to_json()))])
    with pytest.raises(OutOfTime):
        publish_day(machine.journal, DAY, lambda: False)
    assert machine.page.read_text() == "before"
