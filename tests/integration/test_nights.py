"""Whole nights in simulated time: days roll over, summer time comes and goes, clocks are set."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from support.program import photo

from taggerd.arrivals.find import find
from taggerd.arrivals.walk import Seen, see
from taggerd.attempt import RunOptions
from taggerd.journal import Entry
from taggerd.ledger import Deferred
from taggerd.scan import Scan
from taggerd.services import make_journal, open_services
from taggerd.settings import Settings
from taggerd.settings.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from taggerd.runner.outcome import Outcome
    from taggerd.scan import Estimate, Tally

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass
class Night:
    """A clock on the wall, that a photo after the other moves on: by so many hours each."""

    at: datetime
    hours: Sequence[float]
    zone: ZoneInfo = BERLIN
    ended: int = 0

    def now(self) -> datetime:
        """Return the local time with a fixed offset, as :func:`taggerd.services.local_now` does."""
        local = self.at.astimezone(self.zone)
        return self.at.astimezone(datetime.fromtimestamp(local.timestamp(), self.zone).tzinfo)

    async def proceeds(self, estimate: Estimate) -> bool:  # noqa: ARG002 - Observer's form
        """Begin."""
        return True

    def probing(self, base_url: str) -> None:
        """Let the probe pass."""

    def read_only(self, reason: str) -> None:
        """No disk is."""

    def first_jpegs(self) -> None:
        """Say nothing of programs."""

    def settings_changed(self) -> None:
        """No setting does."""

    def warned(self, warning: str) -> None:
        """Let the describer say what it is."""

    def paused(self, reason: str) -> None:
        """Let a pause be known."""

    def begun(self, todo: int, tally: Tally) -> None:
        """Let work begin."""

    def outcome(self, outcome: Outcome, tally: Tally) -> None:  # noqa: ARG002 - Show's form
        """Move the clock after each photo."""
        self.at += timedelta(hours=self.hours[self.ended])
        self.ended += 1


def settled(home: Path) -> Configuration:
    """Return settings for one photo at a time."""
    return Configuration(
        Settings.model_validate(
            {
                "state_directory": home / "state",
                "backend": {"base_url": "builtin:"},
                "arrivals": {"settle_seconds": 0.0},
                "queue": {"photos_in_flight": 1, "order": "oldest"},
            }
        ),
        {},
        None,
    )


async def through(night: Night, inbox: Path, home: Path) -> Path:
    """Tag a photo for each of the night's hours; return the outputs."""
    for number in range(len(night.hours)):
        photo(inbox / f"{number:02}.jpg", number, (64, 48))
    settings = settled(home)
    async with open_services(settings, now=night.now) as services:
        work = Scan(services, RunOptions(run="night"), night)
        found = await asyncio.to_thread(find, [inbox], settings.settings)
        wanted: list[Seen] = [
            seen for f in found.seen if isinstance(seen := see(f.file.path), Seen)
        ]
        await work.wanted(found)
        await work.run(wanted)
        await services.relay.finish()
        return services.journal.directory


def day_files(outputs: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the records by the day of their file."""
    return {
        file.name.removesuffix(".jsonl"): [json.loads(line) for line in file.open()]
        for file in sorted((outputs / "results").iterdir())
    }


def start(text: str) -> datetime:
    """Read a local time in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("night", "days"),
    [
        pytest.param(
            # 22:00, 23:00 | 00:00, 01:00
            Night(start("2026-11-20T22:00"), [1, 1, 1, 1]),
            {"2026-11-20": 2, "2026-11-21": 2},
            id="over midnight",
        ),
        pytest.param(
            # 23:00 | 00:30, 01:30, 03:30 (there is no 02:30), 23:30 | 00:30
            Night(start("2026-03-28T23:00"), [1.5, 1, 1, 20, 1, 1]),
            {"2026-03-28": 1, "2026-03-29": 4, "2026-03-30": 1},
            id="summer time comes",
        ),
        pytest.param(
            # 23:00 | 00:30, 01:30, 02:30, 02:30 again, 03:30, 23:30 | 00:30
            Night(start("2026-10-24T23:00"), [1.5, 1, 1, 1, 1, 20, 1, 1]),
            {"2026-10-24": 1, "2026-10-25": 6, "2026-10-26": 1},
            id="summer time goes",
        ),
        pytest.param(
            # 23:55 | 00:05 | 23:45, 23:55 | 00:05: set back by half an hour over midnight
            Night(start("2026-11-20T23:55"), [1 / 6, -1 / 3, 1 / 6, 1 / 6, 1]),
            {"2026-11-20": 3, "2026-11-21": 2},
            id="set back over midnight",
        ),
        pytest.param(
            # 10:00, 11:00 | a day back: 11:00, 12:00 | and right again: 12:00
            Night(start("2026-11-20T10:00"), [1, -24, 1, 24, 1]),
            {"2026-11-19": 2, "2026-11-20": 3},
            id="set back by a day and right again",
        ),
        pytest.param(
            # 00:00, 00:30 | 500 days later: a machine without a clock of its own learns better
            Night(start("1970-01-02T00:00"), [0.5, 24 * 500, 0.5]),
            {"1970-01-02": 2, "1971-05-17": 1},
            id="from 1970",
        ),
    ],
)
async def test_a_night(night: Night, days: dict[str, int], inbox: Path, tmp_path: Path) -> None:
    """Each record is in the file of the local day on which it was finished, once, and no other.

    No day file is missing or double, and the summary, page and figures of every day are complete.
    """
    outputs = await through(night, inbox, tmp_path)
    files = day_files(outputs)
    assert {day: len(records) for day, records in files.items()} == days
    assert all(r["finished_at"].startswith(day) for day, rs in files.items() for r in rs)
    records = [record for records in files.values() for record in records]
    assert len({record["id"] for record in records}) == len(records) == len(night.hours)
    assert {record["error"] for record in records} == {""}
    assert all(0 <= record["duration_seconds"] < 60 for record in records)
    for day, count in days.items():
        figures = json.loads((outputs / "metrics" / f"{day}.json").read_text())
        assert figures["counts"]["records"] == count
        for ending in ("md", "html"):
            assert (outputs / "summaries" / f"{day}.{ending}").is_file()
    assert {file.stem for file in (outputs / "metrics").iterdir()} == set(days)


async def test_photos_are_not_frozen_by_a_clock_that_is_set_back(
    inbox: Path, tmp_path: Path
) -> None:
    """A photo that was put off for seconds is tried when the clock is set back by a day."""
    night = Night(start("2026-11-20T10:00"), [0.0])
    path = photo(inbox / "a.jpg", 1, (64, 48))
    seen = see(path)
    assert isinstance(seen, Seen)
    async with open_services(settled(tmp_path), now=night.now) as services:
        await services.ledger.admit([seen.file])

        async def claim() -> int:
            now = services.now().timestamp()
            claims = await services.ledger.claim(1, within=[inbox], run="run", now=now)
            for claim in claims:
                await services.ledger.end(claim, Deferred("wait", now + 300))
            return len(claims)

        assert [await claim(), await claim()] == [1, 0]
        night.at -= timedelta(days=1)
        assert [await claim(), await claim()] == [1, 0]
        night.at += timedelta(days=1)
        assert await claim() == 1


async def test_the_pages_of_an_earlier_day_are_finished_after_a_kill(
    inbox: Path, tmp_path: Path
) -> None:
    """Killed after midnight, with the day's last records on no page: the next start makes them."""
    night = Night(start("2026-11-20T22:00"), [1, 1, 1])
    outputs = await through(night, inbox, tmp_path)
    late = Entry("late", "2026-11-20", json.dumps(one_of(outputs, "2026-11-20") | {"id": "late"}))
    journal = make_journal(settled(tmp_path).settings)
    journal.deliver([late])  # ... and killed; the day after has its pages already

    async def figures() -> int:
        async with open_services(settled(tmp_path), now=night.now) as services:
            await services.relay.finish()
        told = json.loads((outputs / "metrics" / "2026-11-20.json").read_text())
        return int(told["counts"]["records"])

    assert len(day_files(outputs)["2026-11-20"]) == 3
    assert await figures() == 3
    assert journal.stale() == []


def one_of(outputs: Path, day: str) -> dict[str, Any]:
    """Return a record of *day*."""
    return day_files(outputs)[day][0]


@dataclass
class Backwards(Night):
    """A clock that has been set back by an hour whenever it is read."""

    def now(self) -> datetime:
        """Set it back and read it."""
        self.at -= timedelta(hours=1)
        return super().now()


async def test_a_clock_that_is_set_back_while_a_photo_is_worked_on(
    inbox: Path, tmp_path: Path
) -> None:
    """What it took is measured, not told from the wall; the record has the day it finished on."""
    outputs = await through(Backwards(start("2026-11-20T12:00"), [0]), inbox, tmp_path)
    ((day, (record,)),) = day_files(outputs).items()
    assert record["finished_at"] < record["started_at"]
    assert record["finished_at"].startswith(day)
    assert 0 < record["duration_seconds"] < 60
