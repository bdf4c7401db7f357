"""The line that systemd shows, and the published file."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from taggerd.daemon import status
from taggerd.daemon.causes import FailedPhoto, causes_of
from taggerd.daemon.health import Problem
from taggerd.daemon.instances import STATUS
from taggerd.daemon.publication import Publisher
from taggerd.daemon.status import (
    DaemonStatus,
    EndpointStatus,
    RootStatus,
    publish,
    seconds_left,
    service_status,
)
from taggerd.ledger import Counts
from taggerd.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

WELL = DaemonStatus(
    pid=1,
    version="1",
    started_at=0.0,
    updated_at=0.0,
    backend="http://gpu/v1",
    backend_away=False,
    endpoints=(
        EndpointStatus(
            base_url="http://gpu/v1",
            error="",
            model="m",
            warnings=("slow",),
            requests=1,
            limit=2,
            max_concurrency=4,
        ),
    ),
    models={"caption": "m"},
    paused="",
    problems=(),
    in_flight=0,
    queued=7,
    tagged=5,
    quarantined=0,
    roots=(RootStatus(path="/srv/in", mode="inotify", state="watching", detail=""),),
)
"""A daemon of which nothing needs a person."""
LOST = Problem(kind="root", subject="/srv/in", text="/srv/in is offline: not mounted")
AWAY = Problem(kind="backend", subject="http://gpu/v1", text="cannot connect")
FULL = Problem(kind="outputs", subject="/var/out", text="disk full")


@pytest.mark.parametrize(
    ("daemon", "word", "end"),
    [
        (WELL, "healthy", ""),
        (replace(WELL, paused="paused until 22:00"), "healthy", ", paused until 22:00"),
        (
            replace(WELL, problems=(AWAY,), backend_away=True),
            "waiting for backend",
            "; cannot connect",
        ),
        (replace(WELL, problems=(AWAY,)), "degraded", "; cannot connect"),
        (replace(WELL, problems=(LOST,)), "degraded", "; /srv/in is offline: not mounted"),
        (
            replace(WELL, paused="paused", problems=(LOST, FULL)),
            "degraded",
            ", paused; disk full (and 1 more)",
        ),
    ],
)
def test_the_line_begins_with_the_word_and_ends_with_the_gravest_problem(
    daemon: DaemonStatus, word: str, end: str
) -> None:
    """A pause is wanted and not a degraded state; the line says when it is over."""
    assert daemon.one_line == f"{word}: 7 queued, 0 in flight, 5 tagged, 0 failed{end}"


async def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    """``taggerd status`` shows every field that the daemon published."""
    settings = Settings(state_directory=tmp_path)
    assert service_status(settings).live is None
    publish(WELL, Publisher(None, tmp_path))
    live = service_status(settings).live
    assert live is not None
    assert replace(live, updated_at=WELL.updated_at) == WELL


def test_of_every_field_that_is_published_the_kind_is_checked(tmp_path: Path) -> None:
    """Another version may have any of them otherwise: a status is no place for tracebacks."""
    told = replace(WELL, problems=(AWAY,))
    table = json.loads(json.dumps(asdict(told)))
    tables = [table, *(table[name][0] for name in ("problems", "roots", "endpoints"))]
    for each in tables:
        for name in set(each) - {"updated_at"}:
            kept, each[name] = each[name], None
            Publisher(None, tmp_path).publish(table, 0.0)
            assert service_status(Settings(state_directory=tmp_path)).live is None, name
            each[name] = kept
    Publisher(None, tmp_path).publish(table, 0.0)
    live = service_status(Settings(state_directory=tmp_path)).live
    assert live is not None
    assert replace(live, updated_at=told.updated_at) == told


@pytest.mark.parametrize("data", [b"", b"[]", b'{"pid": 1}', b"\xff"])
async def test_a_damaged_file_is_no_status(tmp_path: Path, data: bytes) -> None:
    """Half a file, or another program's, stops nobody from seeing the rest."""
    (tmp_path / STATUS).write_bytes(data)
    assert service_status(Settings(state_directory=tmp_path)).live is None


def test_the_time_left_follows_from_the_queue_and_the_speed() -> None:
    """Nothing is promised without a queue, or without a photo in the last hour."""
    assert seconds_left(Counts(queued=90, claimed=10, recorded=5), 600.0) == 600.0
    assert seconds_left(Counts(recorded=5), 600.0) is None
    assert seconds_left(Counts(queued=5), None) is None


@pytest.mark.parametrize(("age", "word"), [(5.0, "healthy"), (500.0, "degraded")])
async def test_a_service_that_hangs_is_not_healthy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: float, word: str
) -> None:
    """It was, by what it had said last: stopped by SIGSTOP it was healthy for ever."""
    said = replace(WELL, updated_at=time.time() - age)
    monkeypatch.setattr(status, "published", lambda _directory: said)
    monkeypatch.setattr(status, "daemon_of", lambda _directory: 1)
    shown = service_status(Settings(state_directory=tmp_path))
    assert shown.health.word == word
    assert [problem.since for problem in shown.health.problems] == [said.updated_at] * (age > 45)


async def test_a_service_that_does_not_run_is_down(tmp_path: Path) -> None:
    """Whatever it said last: its problems of then are not those of now."""
    publish(replace(WELL, problems=(AWAY,)), Publisher(None, tmp_path))
    shown = service_status(Settings(state_directory=tmp_path))
    assert (shown.health.word, shown.health.problems) == ("down", ())


def test_a_cause_is_the_same_whatever_the_photo_is_called() -> None:
    """Names, numbers and what a model said do not tell causes apart; the most frequent is first."""
    photos = [
        FailedPhoto(path=f"/srv/in/IMG_{n}.jpg", reason=reason.format(n=n))
        for n, reason in enumerate(
            [
                "empty file",
                "IMG_{n}.jpg.xmp cannot be written: permission denied",
                "truncated: 4{n}.5% of the picture is there; copy it again",
                "IMG_{n}.jpg.xmp cannot be written: permission denied",
                "the model said 'no, not {n}'",
                "truncated: 4{n}% of the picture is there; copy it again",
                "/srv/in/IMG_{n}.jpg.xmp cannot be written: permission denied",
                "IMG_{n}.jpg.xmp cannot be written: permission denied",
                "the model said 'never'",
            ]
        )
    ]
    causes = causes_of(photos)
    assert [(cause.count, cause.example[-9:]) for cause in causes] == [
        (4, "IMG_1.jpg"),
        (2, "IMG_2.jpg"),
        (2, "IMG_4.jpg"),
        (1, "IMG_0.jpg"),
    ]
    assert causes[0].reason == "IMG_1.jpg.xmp cannot be written: permission denied"


async def test_a_damaged_ledger_is_said_and_left_to_the_daemon(tmp_path: Path) -> None:
    """The status moved it aside before the daemon met it, whose log then never named the file."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "ledger.sqlite").write_bytes(b"this is not a database" * 1000)
    publish(replace(WELL, in_flight=1), Publisher(None, state))
    before = {path: path.read_bytes() for path in state.rglob("*")}
    shown = service_status(Settings(state_directory=state))
    (problem,) = shown.health.problems
    assert (problem.kind, problem.subject) == ("ledger", str(state))
    assert "not a database" in problem.text
    assert shown.counts == Counts(queued=7, claimed=1, recorded=5)
    assert {path: path.read_bytes() for path in state.rglob("*")} == before
