"""Pauses and hours, as the daemon is told of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from taggerd.errors import ConfigurationError
from taggerd.ledger import Pause, SqliteLedger
from taggerd.runner.pause import end_of_pause, pause_reason
from taggerd.settings.hours import Hours

if TYPE_CHECKING:
    from pathlib import Path

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
