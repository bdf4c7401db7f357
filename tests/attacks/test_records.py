"""No record and no day keeps the others from the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.site import Site

from taggerd import logs
from taggerd.attempt import RunOptions
from taggerd.ledger import Outgoing, Released
from taggerd.runner.runner import Runner

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.services import Services

BAD_LINES = {
    "two lines": Outgoing("two", "2025-06-30", '{"id": "two"}\n{"id": "three"}'),
    "no day": Outgoing("day", "../../../etc", '{"id": "day"}'),
    "half a surrogate pair": Outgoing("half", "2025-06-\ud800", '{"id": "half \ud800"}'),
}


@pytest.fixture(autouse=True)
def _logging() -> None:
    logs.set_up()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty import folder with all that serves it."""
    return Site.below(tmp_path)


async def tag(site: Site, services: Services) -> None:
    """Tag whatever is in the folder."""
    options = RunOptions(run="r", within=(site.folder,))
    runner = Runner(services, options, on_outcome=[], more_to_come=lambda: False)
    await runner.work(drain_seconds=0)


async def smuggle(site: Site, *lines: Outgoing) -> None:
    """Put *lines* into the outbox, as a fault in whatever makes records would."""
    (seed,) = await site.arrive("seed.jpg")
    for line in lines:
        claim = await site.claim()
        await site.ledger.end(claim, Released(line))
    seed.unlink()


@pytest.mark.parametrize("kind", BAD_LINES)
async def test_a_line_that_no_day_file_takes_does_not_block_those_behind_it(
    kind: str, site: Site
) -> None:
    """It is kept beside the day files, the others are delivered, and the outbox is empty."""
    bad = BAD_LINES[kind]
    async with site.services() as services:
        await smuggle(site, bad)
        await site.arrive("a.jpg", "b.jpg")
        await tag(site, services)
        await services.relay.finish()
        torn = [file.read_text() for file in services.journal.results.glob("*.torn")]
        days = [day for day in services.journal.days() if day != "2025-06-30"]
        assert (services.journal.summaries / f"{days[-1]}.md").exists()
    assert await site.ledger.outbox(9) == []
    assert bad.id in torn[0]
    assert len(torn) == 1


@pytest.mark.long
async def test_a_day_whose_page_cannot_be_made_does_not_stop_the_relay(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are in the day file; whatever its summary raises, the relay goes on."""
    async with site.services() as services:
        made: list[str] = []
        begun, loop = asyncio.Event(), asyncio.get_running_loop()
        summarise = services.journal.summarise

        def odd(day: str) -> Any:  # noqa: ANN401 - as the original
            made.append(day)
            loop.call_soon_threadsafe(begun.set)
            if len(made) == 1:
                raise RecursionError
            return summarise(day)

        monkeypatch.setattr(services.journal, "summarise", odd)
        stop = asyncio.Event()
        relaying = asyncio.create_task(services.relay.run(stop))
        await site.arrive("a.jpg")
        await tag(site, services)
        services.relay.wake()
        await asyncio.wait_for(begun.wait(), 180)
        stop.set()
        await relaying
        await site.arrive("b.jpg")
        await tag(site, services)
        await services.relay.finish()
    assert len(made) == 2


async def test_whatever_the_outbox_raises_the_relay_goes_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so until the queue answers again."""
    monkeypatch.setattr("taggerd.relay.outbox.DELIVER_SECONDS", 0.001)
    async with site.services() as services:
        outbox, troubles = services.ledger.outbox, list[str]()
        errors = iter([KeyError("row"), MemoryError(), KeyError("row")])
        stop, read = asyncio.Event(), asyncio.Event()

        async def failing(limit: int, stream: str = "") -> list[Outgoing]:
            troubles.append(services.relay.trouble)
            if error := next(errors, None):
                raise error
            read.set()
            return await outbox(limit, stream)

        monkeypatch.setattr(services.ledger, "outbox", failing)
        await site.arrive("a.jpg")
        await tag(site, services)
        relaying = asyncio.create_task(services.relay.run(stop))
        await asyncio.wait_for(read.wait(), 180)
        stop.set()
        await relaying
        assert services.relay.trouble == ""
    assert troubles[:4] == ["", "KeyError: 'row'", "MemoryError", "KeyError: 'row'"]
