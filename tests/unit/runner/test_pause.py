"""Pauses and hours, as the daemon is told of them."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from support.fleets import FleetStore, InMemoryFleet

from taggerd.errors import ConfigurationError
from taggerd.ledger import Pause, SqliteLedger
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.runner.pause import (
    ASK_SECONDS,
    PauseWatch,
    end_of_pause,
    pause_reason,
    share_hours,
    why_nothing_starts,
)
from taggerd.settings import Settings
from taggerd.settings.hours import Hours
from taggerd.testing import InMemoryLedger, InMemoryStore, stand_in_services

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgres import PostgresServer

    from taggerd.services import Services

NOON = datetime(2025, 6, 2, 12).astimezone()
ALWAYS = Hours()


async def test_a_pause_holds_over_a_restart_until_it_is_ended(tmp_path: Path) -> None:
    """It lies in the ledger: another program finds it, and can end it."""
    ledger = await SqliteLedger.open(tmp_path)
    await ledger.pause(Pause("training", NOON.timestamp(), None))
    await ledger.close()
    ledger = await SqliteLedger.open(tmp_path)
    later = NOON + timedelta(days=400)
    assert await pause_reason(ledger, ALWAYS, later) == "paused until taggerd resume (training)"
    await ledger.pause(None)
    assert await pause_reason(ledger, ALWAYS, later) == ""
    await ledger.close()


async def test_a_pause_with_an_end_is_over_by_itself(tmp_path: Path) -> None:
    """Up to its last second it holds; then work goes on, and nobody has to do anything."""
    ledger = await SqliteLedger.open(tmp_path)
    end = end_of_pause("2h", None, NOON)
    await ledger.pause(Pause("", NOON.timestamp(), end))
    assert await pause_reason(ledger, ALWAYS, NOON) == "paused until 14:00"
    assert await pause_reason(ledger, ALWAYS, NOON + timedelta(seconds=7199))
    assert await pause_reason(ledger, ALWAYS, NOON + timedelta(seconds=7200)) == ""
    await ledger.close()


async def test_outside_of_the_hours_it_rests(tmp_path: Path) -> None:
    """A pause is told first; an end of the pause does not open the hours."""
    ledger = await SqliteLedger.open(tmp_path)
    night = Hours.of(["22:00-07:00"])
    assert await pause_reason(ledger, night, NOON) == "off schedule until 22:00"
    assert await pause_reason(ledger, night, NOON + timedelta(hours=11)) == ""
    await ledger.pause(Pause("", 0.0, None))
    assert (await pause_reason(ledger, night, NOON)).startswith("paused")
    await ledger.close()


@pytest.mark.parametrize(
    ("length", "hours"),
    [("2h", 2), ("90m", 1.5), ("1h30m", 1.5), ("1h 30min", 1.5), ("2d", 48), ("3600s", 1)],
)
def test_a_length_of_time(length: str, hours: float) -> None:
    """Days, hours, minutes and seconds, alone and together."""
    assert end_of_pause(length, None, NOON) == NOON.timestamp() + hours * 3600


@pytest.mark.parametrize(
    ("until", "hours"), [("22:00", 10), ("12:01", 1 / 60), ("12:00", 24), ("7:30", 19.5)]
)
def test_a_time_of_day(until: str, hours: float) -> None:
    """The next time the clock says it: today if that is to come, else tomorrow."""
    assert end_of_pause(None, until, NOON) == NOON.timestamp() + hours * 3600


@pytest.mark.parametrize(
    ("length", "until"),
    [
        ("2", None),
        ("", "25:00"),
        ("0h", None),
        ("soon", None),
        ("h", None),
        (None, "10"),
        ("9" * 99 + "d", None),
    ],
)
def test_what_is_no_time_is_one_clear_line(length: str | None, until: str | None) -> None:
    """It says which switch, and how it is written."""
    with pytest.raises(ConfigurationError, match=r"--(for|until) .*: write") as caught:
        end_of_pause(length, until, NOON)
    assert len(str(caught.value).splitlines()) == 1


def test_one_end_is_enough() -> None:
    """Two ends contradict each other."""
    with pytest.raises(ConfigurationError, match="one of the two"):
        end_of_pause("2h", "22:00", NOON)


async def test_hosts_that_share_a_ledger_keep_to_one_schedule(tmp_path: Path) -> None:
    """One that has none keeps to the one that another has set, until that has none any more."""
    store, fleets = InMemoryStore(), FleetStore()

    async def started(stack: AsyncExitStack, host: str, *active: str) -> Services:
        settings = Settings.model_validate(
            {
                "state_directory": tmp_path / host,
                "backend": {"base_url": "builtin:"},
                "schedule": {"active": active},
            }
        )
        ledger = InMemoryLedger(store, fleet=InMemoryFleet(fleets, host))
        services = await stack.enter_async_context(
            stand_in_services(settings, ledger, now=lambda: NOON)
        )
        await share_hours(services)
        return services

    async with AsyncExitStack() as stack:
        first = await started(stack, "nas")
        assert await why_nothing_starts(first) == ""
        second = await started(stack, "gpu", "22:00-07:00")
        await share_hours(first)
        assert await why_nothing_starts(first) == "off schedule until 22:00"
        assert await why_nothing_starts(second) == "off schedule until 22:00"
        third = await started(stack, "desk", "11:00-13:00")
        assert await why_nothing_starts(third) == "", "its own counts there"
        assert await why_nothing_starts(second) == "off schedule until 22:00"
        await started(stack, "desk")
        await share_hours(first)
        assert await why_nothing_starts(first) == ""


async def test_a_shared_ledger_is_not_asked_before_each_photo(tmp_path: Path) -> None:
    """For two seconds photos start on; a pause is looked at each time until it is over."""
    settings = Settings.model_validate(
        {"state_directory": tmp_path, "backend": {"base_url": "builtin:"}}
    )
    now = [0.0]
    for fleet, at_once in ((InMemoryFleet(FleetStore(), "nas"), False), (None, True)):
        ledger = InMemoryLedger(fleet=fleet)
        async with stand_in_services(settings, ledger, now=lambda: NOON) as services:
            watch = PauseWatch(services, clock=lambda: now[0])
            assert await watch.reason() == ""
            await ledger.pause(Pause("training", NOON.timestamp(), None))
            assert bool(await watch.reason()) is at_once
            now[0] += ASK_SECONDS
            assert "training" in await watch.reason()
            await ledger.pause(None)
            assert await watch.reason() == ""


async def test_a_pause_ends_for_all_hosts_at_once(postgres_server: PostgresServer) -> None:
    """Whatever their clocks say: one is ten minutes ahead, and pauses for an hour."""
    url = postgres_server.prepared(opening.init)
    ahead = await PostgresLedger.open(url, host="a", clock=lambda: time.time() + 600)
    right = await PostgresLedger.open(url, host="b")
    begun = time.time() + 600
    await ahead.pause(Pause("", begun, begun + 3600))
    seen = await right.paused(time.time())
    assert seen is not None
    assert seen.until == pytest.approx(begun - 600 + 3600, abs=60)
    same = await ahead.paused(time.time() + 600)
    assert same is not None
    assert same.until == pytest.approx(begun + 3600, abs=60)
    await ahead.close()
    await right.close()
