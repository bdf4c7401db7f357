"""``taggerd status``: the lines for people."""

from __future__ import annotations

import asyncio
import re
import threading
from dataclasses import replace
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from taggerd.cli.instances import Target
from taggerd.cli.live import watched
from taggerd.cli.status import lines
from taggerd.daemon.causes import Cause, FailedPhoto
from taggerd.daemon.health import Health, Problem, health_of
from taggerd.daemon.status import (
    DaemonStatus,
    EndpointStatus,
    RootStatus,
    ServiceStatus,
    Spent,
)
from taggerd.ledger import Counts
from taggerd.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

AWAY = (
    "cannot connect to http://gpu.lan:8000/v1: connection refused; is the backend running? "
    "Start it, or set backend.base_url to the address where it listens"
)
LIVE = DaemonStatus(
    pid=4711,
    version="0.1.0",
    started_at=0.0,
    updated_at=0.0,
    backend="http://gpu.lan:8000/v1",
    backend_away=True,
    endpoints=(
        EndpointStatus(
            base_url="http://gpu.lan:8000/v1",
            error=AWAY,
            model="",
            warnings=(),
            requests=0,
            limit=4,
            max_concurrency=4,
        ),
    ),
    models={},
    paused="",
    problems=(Problem(kind="backend", subject="http://gpu.lan:8000/v1", text=AWAY),),
    in_flight=0,
    queued=0,
    tagged=0,
    quarantined=0,
    roots=(RootStatus(path="/srv/my photos/in", mode="inotify", state="watching", detail=""),),
)
WELL = replace(
    LIVE,
    backend_away=False,
    problems=(),
    endpoints=(replace(LIVE.endpoints[0], error="", model="qwen2.5-vl-7b-instruct"),),
)
AWAY_HEALTH = LIVE.health
STATUS = ServiceStatus(
    health=WELL.health,
    running=True,
    live=WELL,
    counts=Counts(queued=1200, claimed=8, recorded=50123, quarantined=12),
    failed=(),
    causes=(Cause(reason="truncated: 45% is there; copy it again", count=12, example="/a/b.jpg"),),
    paused="",
    today={"records": 1, "photos": 1, "tagged": 1},
    spent=Spent(requests=0, prompt_tokens=0, completion_tokens=0, price="", budget=""),
    photos_per_hour=600.0,
    seconds_left=7248.0,
    state_directory="/var/lib/taggerd-kim",
    outputs="/var/lib/taggerd-kim/outputs",
)


def shown(status: ServiceStatus) -> str:
    """Return the status as one line of text."""
    return " ".join(" ".join(lines(status)).split())


def beginning(told: Sequence[str], word: str) -> list[str]:
    """Return the lines that begin with *word*."""
    return [line for line in told if line.startswith(f"{word} ")]


def test_photos_that_failed_for_one_reason_are_one_line() -> None:
    """A cause is named once, with how many photos it struck and one of them."""
    told = beginning(lines(STATUS), "failed")
    assert told == ["failed   12 photos: truncated: 45% is there; copy it again"]
    assert "e.g. /a/b.jpg" in shown(STATUS)
    one = replace(STATUS, causes=(Cause(reason="empty", count=1, example="/a/b.jpg"),))
    assert "failed   /a/b.jpg: empty" in lines(one)
    assert "failed   and 11 more" in lines(one)


@pytest.mark.parametrize(
    ("health", "paused", "line"),
    [
        (Health(word="healthy"), "", "healthy"),
        (Health(word="healthy"), "paused until 22:00", "healthy, paused until 22:00"),
        (AWAY_HEALTH, "", "waiting for backend"),
        (Health(word="degraded"), "", "degraded"),
        (Health(word="down"), "", "down"),
    ],
)
def test_the_health_comes_first(health: Health, paused: str, line: str) -> None:
    """One word answers most who look."""
    assert lines(replace(STATUS, health=health, paused=paused))[0] == line


def test_a_thing_is_said_once() -> None:
    """Why a backend is away stands at the problem; the backend's own row is short."""
    away = replace(STATUS, health=AWAY_HEALTH, live=LIVE)
    assert shown(away).count("connection refused") == 1
    assert "backend  http://gpu.lan:8000/v1: cannot be used" in lines(away)
    full = Problem(kind="photos disk", subject="/srv/in", text="the disk is full")
    other = replace(away, health=health_of((full, *LIVE.problems)))
    assert beginning(lines(other), "problem")[0] == "problem  the disk is full"


def test_one_cause_is_one_row_however_many_things_it_strikes() -> None:
    """Three import folders on a disk that is not mounted are one problem to solve."""
    folders = [f"/srv/cards/{number}" for number in range(3)]
    offline = [
        Problem(kind="root", subject=folder, text=f"{folder} is offline: it does not exist")
        for folder in folders
    ]
    told = lines(replace(STATUS, health=health_of(offline)))
    assert beginning(told, "problem") == [
        "problem  3 import folders: /srv/cards/0 is offline: it does not exist"
    ]
    assert "         also /srv/cards/1, /srv/cards/2" in told


def test_a_problem_says_since_when() -> None:
    """An outage of a minute is another matter than one of a week."""
    problem = Problem(kind="outputs", subject="/out", text="disk full", since=86400.0 * 3)
    (told,) = beginning(lines(replace(STATUS, health=health_of([problem]))), "problem")
    assert re.fullmatch(r"problem  disk full \(since 1970-01-0\d \d\d:\d\d:\d\d\)", told)


def test_it_tells_what_decoders_are_not_confined_by() -> None:
    """A kernel that lacks a part of the cage is a note; one that has all is none."""
    assert not beginning(lines(STATUS), "note")
    text = "decoders are not confined by Landlock (not in this kernel): read"
    less = Problem(kind="confinement", subject="Landlock (not in this kernel): read", text=text)
    told = lines(replace(STATUS, health=health_of([less])))
    assert (told[0], *beginning(told, "note")) == ("healthy", f"note     {text}")


def test_it_fits_eighty_columns() -> None:
    """Long lines go on below, indented; only a path that is longer itself may stick out."""
    long = Problem(kind="root", subject="/srv/in", text="/srv/in is offline: " + "so " * 90)
    for status in (
        STATUS,
        replace(STATUS, health=AWAY_HEALTH, live=LIVE),
        replace(STATUS, running=False, paused="paused until taggerd resume (" + "why " * 30 + ")"),
        replace(STATUS, health=health_of([long, replace(long, subject="/x")])),
    ):
        told = lines(status)
        assert max(map(len, told)) <= 80
        assert all(line[:9].strip() or line.startswith(" " * 9) for line in told)
    deep = f"/srv/{'x' * 90} y/IMG 1.jpg"
    far = replace(STATUS, causes=(Cause(reason="empty", count=12, example=deep),))
    assert any(deep in line for line in lines(far)), "a path can be copied"


def test_it_tells_how_fast_and_how_long() -> None:
    """With a queue: photos an hour of late, and how long the rest takes at that rate."""
    assert "speed    600 photos an hour, about 2 h 1 min left" in lines(STATUS)


@pytest.mark.parametrize(
    ("seconds", "line"),
    [
        (None, "speed    600 photos an hour"),
        (20.0, "speed    600 photos an hour, less than a minute left"),
        (42 * 86400.0, "speed    600 photos an hour, about 42 days left"),
    ],
)
def test_the_time_left_is_told_in_words(seconds: float | None, line: str) -> None:
    """Nobody asks for the seconds of a month."""
    assert beginning(lines(replace(STATUS, seconds_left=seconds)), "speed") == [line]


async def test_watching_shows_it_again_until_somebody_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each status replaces the one before; what was shown last decides on the exit code."""
    statuses = iter([STATUS, replace(STATUS, health=AWAY_HEALTH, live=LIVE)])

    def found(*_: object, **__: object) -> ServiceStatus:
        return next(statuses)

    pauses = iter([None, asyncio.CancelledError()])

    async def sleep(_seconds: float) -> None:
        if error := next(pauses):
            raise error

    monkeypatch.setattr("taggerd.cli.status.service_status", found)
    out = StringIO()
    screen = Console(file=out, force_terminal=True, width=80, highlight=False)
    last = await watched(Target(Settings()), sleep, screen)
    assert last.health.exit_code == 1
    assert "healthy" in out.getvalue()
    assert "waiting for backend" in out.getvalue()


async def test_watching_ends_in_order_also_while_it_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the moment of a look-up is the same: what was shown last decides."""
    blocks, looked, go_on = iter([False, True]), threading.Event(), threading.Event()

    def found(*_: object, **__: object) -> ServiceStatus:
        if next(blocks):
            looked.set()
            go_on.wait(180)
        return replace(STATUS, health=AWAY_HEALTH, live=LIVE)

    async def sleep(_seconds: float) -> None:
        """Wait for nothing."""

    monkeypatch.setattr("taggerd.cli.status.service_status", found)
    screen = Console(file=StringIO(), force_terminal=True, width=80, highlight=False)
    watching = asyncio.create_task(watched(Target(Settings()), sleep, screen))
    await asyncio.to_thread(looked.wait, 180)
    watching.cancel()
    last = await asyncio.gather(watching, return_exceptions=True)
    go_on.set()
    assert [getattr(each, "health", each) for each in last] == [AWAY_HEALTH]


def test_without_work_of_late_there_is_no_speed() -> None:
    """Nothing was tagged within the hour: no line about it."""
    assert not beginning(lines(replace(STATUS, photos_per_hour=None)), "speed")


def test_failed_photos_are_still_listed_one_by_one_for_programs() -> None:
    """The JSON keeps path and reason of the latest ones."""
    photo = FailedPhoto(path="/a/b.jpg", reason="empty")
    assert replace(STATUS, failed=(photo,)).failed[0].path == "/a/b.jpg"
