"""``taggerd status``: the lines for people."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from taggerd.cli.status import lines
from taggerd.daemon.health import Problem
from taggerd.daemon.status import (
    Cause,
    DaemonStatus,
    EndpointStatus,
    FailedPhoto,
    RootStatus,
    ServiceStatus,
)
from taggerd.ledger import Counts

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
STATUS = ServiceStatus(
    running=True,
    live=WELL,
    counts=Counts(queued=1200, claimed=8, recorded=50123, quarantined=12),
    failed=(),
    causes=(Cause(reason="truncated: 45% is there; copy it again", count=12, example="/a/b.jpg"),),
    paused="",
    today={"records": 1, "photos": 1, "tagged": 1},
    photos_per_hour=600.0,
    state_directory="/var/lib/taggerd-kim",
    outputs="/var/lib/taggerd-kim/outputs",
    disks=(),
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


def test_a_thing_is_said_once() -> None:
    """A backend that is away is a problem too: the reason stands at the backend alone."""
    away = replace(STATUS, live=LIVE, paused="")
    assert shown(away).count("connection refused") == 1
    full = Problem(kind="photos disk", subject="/srv/in", text="the disk is full")
    other = replace(away, live=replace(LIVE, problems=(full, *LIVE.problems)))
    assert "problem  the disk is full" in lines(other)


def test_it_tells_what_decoders_are_not_confined_by() -> None:
    """A kernel that lacks a part of the cage is a row; one that has all is none."""
    assert not beginning(lines(STATUS), "problem")
    text = "decoders are not confined by Landlock (not in this kernel): read"
    less = Problem(kind="confinement", subject="Landlock (not in this kernel): read", text=text)
    assert f"problem  {text}" in lines(replace(STATUS, live=replace(WELL, problems=(less,))))


def test_it_fits_eighty_columns() -> None:
    """Long lines go on below, indented; only a path that is longer itself may stick out."""
    for status in (STATUS, replace(STATUS, live=LIVE), replace(STATUS, running=False)):
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
    ("status", "line"),
    [
        (replace(STATUS, counts=Counts(recorded=5)), "speed    600 photos an hour"),
        (replace(STATUS, paused="paused until 22:00"), "speed    600 photos an hour"),
        (replace(STATUS, live=LIVE), "speed    600 photos an hour"),
        (
            replace(STATUS, counts=Counts(queued=5)),
            "speed    600 photos an hour, less than a minute left",
        ),
        (
            replace(STATUS, counts=Counts(queued=600_000)),
            "speed    600 photos an hour, about 42 days left",
        ),
        (
            replace(STATUS, running=False, counts=Counts(queued=100, claimed=0)),
            "speed    600 photos an hour",
        ),
    ],
)
def test_no_time_is_promised_while_nothing_moves(status: ServiceStatus, line: str) -> None:
    """Paused, blocked, stopped or without a queue there is no time left to tell."""
    assert beginning(lines(status), "speed") == [line]


def test_without_work_of_late_there_is_no_speed() -> None:
    """Nothing was tagged within the hour: no line about it."""
    assert not beginning(lines(replace(STATUS, photos_per_hour=None)), "speed")


def test_failed_photos_are_still_listed_one_by_one_for_programs() -> None:
    """The JSON keeps path and reason of the latest ones."""
    photo = FailedPhoto(path="/a/b.jpg", reason="empty")
    assert replace(STATUS, failed=(photo,)).failed[0].path == "/a/b.jpg"
