"""What is shown of the daemon, from when on, and what it costs."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

import pytest
from prometheus_client.parser import text_string_to_metric_families

from taggerd.arrivals.dependencies import RootHealth
from taggerd.observe import observer as observing
from taggerd.observe import textfile
from taggerd.observe.figures import (
    ROOT_STATES,
    DiskFigures,
    EndpointFigures,
    Figures,
    RootFigures,
)
from taggerd.observe.metrics import OUTCOMES
from taggerd.observe.observer import Observer
from taggerd.runner.outcome import Kind
from taggerd.settings import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

SECONDS = 180.0
ON = Metrics(listen="127.0.0.1:0")


@dataclass
class Problem:
    """One thing that is wrong."""

    kind: str = "backend"
    subject: str = "http://b/v1"
    text: str = "cannot connect"


@dataclass
class Record:
    """What is journalled."""

    stages: Mapping[str, float] = field(default_factory=lambda: {"decode": 0.3, "caption": 3.0})
    duration_seconds: float = 4.0
    error_kind: str = ""


@dataclass
class Outcome:
    """How an attempt ended."""

    kind: str = "tagged"
    record: Record | None = field(default_factory=Record)


FIGURES = Figures(
    health="waiting for backend",
    healths=("healthy", "waiting for backend", "degraded", "down"),
    problems=(Problem(),),
    kinds=("backend", "photos disk"),
    paused=False,
    queue={"queued": 7, "claimed": 2, "recorded": 100, "unwritten": 0, "quarantined": 1},
    oldest_queued_at=1_750_000_000.0,
    endpoints=(
        EndpointFigures(
            base_url="http://b/v1",
            error="cannot connect",
            outages=1,
            in_flight=0,
            limit=4,
            requests={"answered": 9, "BackendBusy": 2},
            tokens={"prompt": 500, "completion": 60},
        ),
    ),
    roots=(
        RootFigures(
            path="/srv/photos",
            state="watching",
            reconciles=3,
            overflows=1,
            last_reconcile=1_750_000_100.0,
        ),
    ),
    disks=(DiskFigures(use="state", path="/var/lib/taggerd", free=10, size=20),),
)


async def _gather() -> Figures:
    return FIGURES


@pytest.fixture
async def observer() -> AsyncIterator[Observer]:
    """Return an observer that shows nothing yet."""
    observer = Observer(
        waits_for=lambda: "the disk is full", sleep=lambda _seconds: asyncio.sleep(0)
    )
    yield observer
    await observer.close()


async def _until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not what():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0)


async def _get(observer: Observer, path: str) -> tuple[int, str]:
    """Return status and body of a page."""
    assert observer._server is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", observer._server.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(SECONDS):
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


def _samples(text: str) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_figure_is_a_sample(observer: Observer) -> None:
    """Under its name and labels, with its value."""
    await observer.configure(ON)
    with observer.serving(_gather):
        observer.ended(Outcome())
        observer.ended(Outcome("failed", Record({"decode": 0.1}, 0.2, "PhotoUndecodable")))
        observer.ended(Outcome("waiting", None))
        status, text = await _get(observer, "/metrics")
    assert status == 200
    expected = {
        ("taggerd_ready",): 1,
        ("taggerd_health", "waiting_for_backend"): 1,
        ("taggerd_health", "healthy"): 0,
        ("taggerd_problems", "backend"): 1,
        ("taggerd_problems", "photos_disk"): 0,
        ("taggerd_paused",): 0,
        ("taggerd_attempts_total", "tagged"): 1,
        ("taggerd_attempts_total", "failed"): 1,
        ("taggerd_attempts_total", "waiting"): 1,
        ("taggerd_attempts_total", "already_tagged"): 0,
        ("taggerd_failures_total", "PhotoUndecodable"): 1,
        ("taggerd_attempt_duration_seconds_count",): 2,
        ("taggerd_stage_duration_seconds_sum", "decode"): 0.4,
        ("taggerd_stage_duration_seconds_count", "caption"): 1,
        ("taggerd_stage_duration_seconds_bucket", "2.5", "caption"): 0,
        ("taggerd_stage_duration_seconds_bucket", "5.0", "caption"): 1,
        ("taggerd_queue_photos", "queued"): 7,
        ("taggerd_queue_photos", "quarantined"): 1,
        ("taggerd_queue_oldest_timestamp_seconds",): 1_750_000_000,
        ("taggerd_backend_breaker_open", "http://b/v1"): 1,
        ("taggerd_backend_outages_total", "http://b/v1"): 1,
        ("taggerd_backend_requests_total", "http://b/v1", "BackendBusy"): 2,
        ("taggerd_backend_requests_in_flight", "http://b/v1"): 0,
        ("taggerd_backend_requests_limit", "http://b/v1"): 4,
        ("taggerd_backend_tokens_total", "http://b/v1", "completion"): 60,
        ("taggerd_root_state", "/srv/photos", "watching"): 1,
        ("taggerd_root_state", "/srv/photos", "offline"): 0,
        ("taggerd_root_reconciles_total", "/srv/photos"): 3,
        ("taggerd_root_overflows_total", "/srv/photos"): 1,
        ("taggerd_root_last_reconcile_timestamp_seconds", "/srv/photos"): 1_750_000_100,
        ("taggerd_disk_free_bytes", "/var/lib/taggerd", "state"): 10,
        ("taggerd_disk_size_bytes", "/var/lib/taggerd", "state"): 20,
    }
    found = _samples(text)
    assert {key: pytest.approx(found.get(key)) for key in expected} == expected
    assert found[("process_open_fds",)] > 0
    assert ("taggerd_build_info", "taggerd", "3") not in found
    assert any(key[0] == "taggerd_build_info" for key in found)
    assert not [key for key in found if key[0].endswith("_created")]


async def test_the_values_of_labels_are_those_of_the_program() -> None:
    """What this package may not import, it names as its owners do."""
    assert get_args(Kind) == OUTCOMES
    assert get_args(get_type_hints(RootHealth, localns={"Path": Path})["state"]) == ROOT_STATES


async def test_health_says_alive_and_ready_says_how(observer: Observer) -> None:
    """A backend that is away is named, and is no reason not to be ready: photos are queued."""
    await observer.configure(ON)
    assert await _get(observer, "/healthz") == (200, "ok\n")
    status, body = await _get(observer, "/readyz")
    assert status == 503
    assert json.loads(body) == {"ready": False, "health": "down", "waits_for": "the disk is full"}
    with observer.serving(_gather):
        assert await _get(observer, "/healthz") == (200, "ok\n")
        status, body = await _get(observer, "/readyz")
    assert status == 200
    assert json.loads(body) == {
        "ready": True,
        "health": "waiting for backend",
        "backends": {"http://b/v1": "cannot connect"},
        "problems": [{"kind": "backend", "subject": "http://b/v1", "text": "cannot connect"}],
    }
    status, _ = await _get(observer, "/readyz")
    assert status == 503


async def test_a_part_that_stands_still_is_named() -> None:
    """By /healthz, as systemd's watchdog sees it."""
    observer = Observer(stuck=lambda: "ledger")
    await observer.configure(ON)
    assert await _get(observer, "/healthz") == (503, "stuck: ledger\n")
    await observer.close()


async def test_counts_survive_a_reload(observer: Observer) -> None:
    """And so does the address."""
    await observer.configure(ON)
    with observer.serving(_gather):
        observer.ended(Outcome())
    server = observer._server
    await observer.configure(ON)
    assert observer._server is server
    with observer.serving(_gather):
        observer.ended(Outcome())
        _, text = await _get(observer, "/metrics")
    assert _samples(text)[("taggerd_attempts_total", "tagged")] == 2


async def test_figures_that_hang_delay_an_answer_only(
    observer: Observer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs no disk is answered, and a crowd waits for one and the same."""
    monkeypatch.setattr(observing, "GATHER_SECONDS", 0.05)
    asked = 0

    async def hang() -> Figures:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        return FIGURES

    await observer.configure(ON)
    with observer.serving(hang):
        observer.ended(Outcome())
        pages = await asyncio.gather(*(_get(observer, "/metrics") for _ in range(20)))
        status, _ = await _get(observer, "/readyz")
    assert asked == 1
    assert status == 503
    for code, text in pages:
        found = _samples(text)
        assert code == 200
        assert found[("taggerd_ready",)] == 0
        assert found[("taggerd_attempts_total", "tagged")] == 1
        assert ("taggerd_queue_photos", "queued") not in found


async def test_figures_that_fail_are_left_out(observer: Observer) -> None:
    """The ledger's disk may be gone: that is when somebody looks."""

    async def fail() -> Figures:
        raise OSError

    await observer.configure(ON)
    with observer.serving(fail):
        status, text = await _get(observer, "/metrics")
    assert status == 200
    assert _samples(text)[("taggerd_ready",)] == 0


async def test_who_asks_often_costs_the_ledger_nothing(observer: Observer) -> None:
    """Within a second the same figures are told."""
    asked = 0

    async def count() -> Figures:
        nonlocal asked
        asked += 1
        return FIGURES

    await observer.configure(ON)
    loop = asyncio.get_running_loop()
    with observer.serving(count):
        began = loop.time()
        for _ in range(20):
            await _get(observer, "/metrics")
    assert asked <= 1 + (loop.time() - began) / observing.FRESH_SECONDS


async def test_a_port_that_is_taken_stops_nothing(observer: Observer) -> None:
    """It is said which, and tried again until it is free."""
    other = Observer()
    await other.configure(ON)
    assert other._server is not None
    taken = Metrics(listen=f"127.0.0.1:{other._server.port}")
    await observer.configure(taken)
    assert "in use" in observer.troubles["metrics.listen"]
    await other.close()
    await _until(lambda: not observer.troubles)
    assert (await _get(observer, "/healthz"))[0] == 200


async def test_a_text_file_is_whole_and_readable(observer: Observer, tmp_path: Path) -> None:
    """By other users too, whatever the umask, without what node_exporter says of itself."""
    path = tmp_path / "taggerd.prom"
    umask = os.umask(0o077)
    try:
        await observer.configure(Metrics(textfile=path))
        with observer.serving(_gather):
            observer.ended(Outcome())
            assert observer._writing is not None
            await observer._writing
            found = _samples(path.read_text())
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert found[("taggerd_ready",)] == 1
    assert found[("taggerd_attempts_total", "tagged")] == 1
    assert not [key for key in found if key[0].startswith(("process_", "python_"))]
    assert list(tmp_path.iterdir()) == [path]  # noqa: ASYNC240 - the only one in this test
    await observer.close()
    assert _samples(path.read_text())[("taggerd_ready",)] == 0


async def test_a_text_file_is_renewed_on_changes_and_not_too_often(tmp_path: Path) -> None:
    """The first change is written at once, the rest together after a minute; then none."""
    path = tmp_path / "taggerd.prom"
    waits: list[float] = []
    over = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await over.wait()
        over.clear()

    async def written() -> float:
        await _until(lambda: bool(waits) and not over.is_set())
        return _samples(path.read_text())[("taggerd_attempts_total", "tagged")]

    observer = Observer(sleep=sleep)
    await observer.configure(Metrics(textfile=path))
    with observer.serving(_gather):
        observer.ended(Outcome())
        assert await written() == 1
        for _ in range(200):
            observer.ended(Outcome())
            await asyncio.sleep(0)
        assert (await written(), waits) == (1, [60.0])
        over.set()
        await _until(lambda: len(waits) == 2)
        assert await written() == 201
        over.set()
        assert observer._writing is not None
        await observer._writing  # ends by itself: nothing changes any more
        assert waits == [60.0, 60.0]
    await observer.close()


@dataclass
class SlowDisk:
    """A disk that takes the text file only once it may."""

    may: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def replace(self, path: Path, content: bytes) -> None:
        """Put *content* at *path*; only the first time slowly."""
        if self.begun.is_set():
            _replace(path, content)
            return
        self.begun.set()
        self.may.wait(SECONDS)
        _replace(path, content)
        self.ended.set()


_replace = textfile.replace


@pytest.fixture
async def slow_disk(
    observer: Observer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SlowDisk]:
    """Have the figures of a service that is ready on their way to a slow disk."""
    disk = SlowDisk()
    monkeypatch.setattr(textfile, "replace", disk.replace)
    with observer.serving(_gather):
        await observer.configure(Metrics(textfile=tmp_path / "taggerd.prom"))
        observer.changed()
        await _until(disk.begun.is_set)
        yield disk
    disk.may.set()


async def test_the_last_figures_are_the_last_in_the_text_file(
    observer: Observer, slow_disk: SlowDisk, tmp_path: Path
) -> None:
    """Also where a slow disk still writes the ones before when the service ends."""
    observer._gather = None
    ending = asyncio.create_task(observer.close())
    await asyncio.wait([ending], timeout=0.3)  # it may not end before the slow one
    slow_disk.may.set()
    await ending
    await _until(slow_disk.ended.is_set)
    assert _samples((tmp_path / "taggerd.prom").read_text())[("taggerd_ready",)] == 0


async def test_a_text_file_that_is_not_wanted_any_more_does_not_come_back(
    observer: Observer, slow_disk: SlowDisk, tmp_path: Path
) -> None:
    """Also where a slow disk still writes it when the settings change."""
    changing = asyncio.create_task(observer.configure(Metrics()))
    await asyncio.wait([changing], timeout=0.3)
    slow_disk.may.set()
    await changing
    await _until(slow_disk.ended.is_set)
    assert not (tmp_path / "taggerd.prom").exists()


async def test_a_text_file_that_cannot_be_written_stops_nothing(
    observer: Observer, tmp_path: Path
) -> None:
    """It is said why; a file that is not wanted any more is removed, or it would tell old news."""
    missing = tmp_path / "missing" / "taggerd.prom"
    await observer.configure(Metrics(textfile=missing))
    with observer.serving(_gather):
        assert observer._writing is not None
        await observer._writing
        assert "taggerd.prom" in observer.troubles["metrics.textfile"]
        missing.parent.mkdir()
        observer.changed()
        await observer._writing
        assert not observer.troubles
        assert missing.exists()
    await observer.configure(Metrics())
    assert not missing.exists()


async def test_nothing_is_done_while_it_is_off(observer: Observer) -> None:
    """No task, no timer, no server."""
    await observer.configure(Metrics())
    before = asyncio.all_tasks()
    with observer.serving(_gather):
        observer.ended(Outcome())
        observer.changed()
        assert asyncio.all_tasks() == before
    assert observer._metrics is None
    assert observer._server is None


def test_nothing_is_loaded_while_it_is_off() -> None:
    """The client and the server are 1.2 MB and 0.07 s, which only those pay who want them."""
    script = "import sys, taggerd.daemon.daemon; print(*sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "taggerd.observe.observer" in loaded
    heavy = {"prometheus_client", "wsgiref", "taggerd.observe.metrics", "taggerd.observe.server"}
    assert not heavy.intersection(loaded)


async def test_an_empty_queue_has_no_oldest_photo(observer: Observer) -> None:
    """A zero would look like a photo that waits since 1970."""

    async def empty() -> Figures:
        return replace(FIGURES, oldest_queued_at=None)

    await observer.configure(ON)
    with observer.serving(empty):
        _, text = await _get(observer, "/metrics")
    assert ("taggerd_queue_oldest_timestamp_seconds",) not in _samples(text)
