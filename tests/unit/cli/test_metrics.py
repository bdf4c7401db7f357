"""``taggerd metrics``: a history over days."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.records import noon, record_of

from taggerd.cli import main
from taggerd.journal import Entry, Journal

DAYS = ("2025-11-18", "2025-11-19", "2025-11-20")


@pytest.fixture(autouse=True)
def _three_days(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A journal of three days: a photo on the first, two on the second, …; the last one fails."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TAGGERD__JOURNAL__DIRECTORY", str(tmp_path / "outputs"))
    monkeypatch.chdir(tmp_path)
    journal = Journal(tmp_path / "outputs", retention_days=0, compress_after_days=0)
    journal.open()
    for count, day in enumerate(DAYS, 1):
        journal.deliver([made(day, number, of=count) for number in range(count)])


def made(day: str, number: int, *, of: int) -> Entry:
    """Make the record of one photo of six seconds."""
    begun: datetime = noon(day) + timedelta(seconds=6 * number)
    record = record_of(
        number,
        id=f"{day}-{number}",
        image=Path(f"/srv/in/{day}/{number}.jpg"),
        started_at=begun,
        seconds=6.0,
        run=f"scan-of-{day}",
        models={"caption": "qwen", "keywords": "qwen"},
        error="empty" if number == 2 else "",
        usage={"completion_tokens": 10 * of},
    )
    return Entry(record.id, day, json.dumps(record.to_json()))


def test_since_a_day_each_day_and_each_run_has_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A line a day with its runs below it, and the sum; all of it fits 80 columns."""
    assert main(["metrics", "--since", "2025-11-19"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["day", "photos", "failed", "photos/h", "p50", "s", "p90", "s"]
    assert [line.split()[:5] for line in lines[1:]] == [
        ["2025-11-19", "2", "0", "600", "6.0"],
        ["scan-of-2025-11-19", "2", "0", "600", "6.0"],
        ["2025-11-20", "3", "1", "400", "6.0"],
        ["scan-of-2025-11-20", "3", "1", "400", "6.0"],
        ["all", "5", "1", "480", "6.0"],
    ]
    assert lines[2].endswith("qwen")
    assert max(map(len, lines)) <= 80


def test_as_json_it_holds_the_metrics_of_each_day(capsys: pytest.CaptureFixture[str]) -> None:
    """The same as in the metrics files, and their sum."""
    assert main(["metrics", "--json", "--since", "2025-11-19"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [day["day"] for day in told["days"]] == list(DAYS[1:])
    assert told["days"][1]["runs"][0]["models"] == {"caption: qwen": 3, "keywords: qwen": 3}
    assert told["all"]["counts"]["photos"] == 5
    assert told["all"]["usage"] == {"completion_tokens": 130}
    assert told["all"]["throughput"]["photos_per_hour"] == 480


def test_without_a_day_it_is_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """The history begins where the records do."""
    assert main(["metrics", "--json"]) == 0
    assert [day["day"] for day in json.loads(capsys.readouterr().out)["days"]] == list(DAYS)


def test_what_is_no_day_and_what_has_no_records_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line each, with what to write instead."""
    assert main(["metrics", "--since", "yesterday"]) == 2
    assert "YYYY-MM-DD" in capsys.readouterr().err
    assert main(["metrics", "--since", "2030-01-01"]) == 0
    assert capsys.readouterr().out == "no records since 2030-01-01; the latest are of 2025-11-20\n"
