"""Backends that die, slots over programs, pauses and hours: the program as a whole."""

from __future__ import annotations

import asyncio
import fcntl
import json
import signal
import subprocess
import threading
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest
from support.program import CountingBackend, Program, photo, until

from taggerd.attempt import RunOptions
from taggerd.inference import Backend, InferenceService, describer, load_profile
from taggerd.runner.outcome import Outcome
from taggerd.runner.runner import Runner
from taggerd.services import open_services
from taggerd.settings import configuration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from taggerd import settings
    from taggerd.arrivals import Seen


@pytest.fixture
def other() -> Iterator[CountingBackend]:
    """Return a second backend that counts."""
    serving = CountingBackend()
    yield serving
    serving.close()


def ask_both(taggerd: Program, *backends: CountingBackend) -> None:
    """Have the program ask several backends."""
    taggerd.base_url = "auto"
    taggerd.environment["TAGGERD__BACKEND__ENDPOINTS"] = json.dumps(
        [backend.base_url for backend in backends]
    )


@pytest.mark.long
def test_one_of_two_backends_dies_in_the_middle(
    taggerd: Program, card: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """Both are used; the photos of the dead one go on at the other; none is charged or lost."""
    for number in range(5, 40):
        photo(card / f"IMG_{number:04}.jpg", number)
    ask_both(taggerd, backend, other)
    used_before: list[int] = []

    def dies(path: str, _body: bytes) -> None:
        if "chat" in path and backend.photo_requests > 20:
            # On a busy machine it may have been found well later than this one.
            used_before.append(until(lambda: other.photo_requests > 3 and other.photo_requests))
            backend.die()
            raise ConnectionAbortedError

    backend.script = dies
    done = taggerd("scan", card, seconds=120)
    assert "tagged 40 of 40 photos" in done.stdout, done.stdout + done.stderr
    assert used_before[0] > 3
    assert {record["attempts"] for record in taggerd.records()} == {1}
    # What was answered before the death was not asked for again.
    in_flight = 4
    assert backend.photo_requests + other.photo_requests <= 120 + 2 * in_flight


class Clockwork(httpx.AsyncBaseTransport):
    """The describer, in a time that passes only where somebody sleeps; and an outage in it."""

    def __init__(self) -> None:
        """Begin at nought, and well."""
        self.now = 0.0
        self.down_until = 0.0
        self.requests_when_down = 0

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        await asyncio.sleep(0)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer, or refuse the connection."""
        await asyncio.sleep(0.001)  # so that requests are in flight at once
        if self.now < self.down_until:
            self.requests_when_down += 1
            message = "refused"
            raise httpx.ConnectError(message)
        path = request.url.raw_path.decode()
        status, answer = describer.respond(request.method, path, await request.aread())
        return httpx.Response(status, json=answer, request=request)


@pytest.mark.long
async def test_an_outage_of_a_minute_in_the_middle_of_500_photos(tmp_path: Path) -> None:
    """All are tagged afterwards, no attempt is charged, and it costs ten requests at most."""
    inbox = tmp_path / "import"
    for number in range(500):
        photo(inbox / f"{number}.jpg", number, (96, 64))
    given = {
        "state_directory": tmp_path / "state",
        "arrivals": {"roots": [inbox]},
        "backend": {"base_url": "http://gpu.test/v1"},
    }
    loaded = configuration.load(given, cwd=tmp_path, config=_nothing(tmp_path))
    world, outcomes = Clockwork(), list[Outcome]()

    def told(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if Counter(o.kind for o in outcomes)["tagged"] == 250 and not world.down_until:
            world.down_until = world.now + 60.0

    async with open_services(loaded) as services:
        services.inference = InferenceService(
            loaded.settings,
            load_profile("default", None),
            {"": Backend(loaded.settings.backend, transport=world)},
            sleep=world.sleep,
        )
        options = RunOptions(run="scan", within=(inbox,))
        files = [seen.file for seen in _seen(inbox, loaded.settings)]
        await services.ledger.admit(files, run="scan")
        runner = Runner(services, options, on_outcome=[told], more_to_come=lambda: False)
        await runner.work(drain_seconds=0)
        await services.relay.finish()
        records = [json.loads(line) for line in _lines(tmp_path / "state")]
        await services.inference.close()
    assert world.now >= 60.0
    assert 0 < world.requests_when_down <= 10
    assert len(records) == 500
    assert {(r["error"], r["attempts"]) for r in records} == {("", 1)}
    assert len(list(inbox.glob("*.xmp"))) == 500


def _nothing(folder: Path) -> Path:
    """Return an empty settings file."""
    empty = folder / "empty.toml"
    empty.write_text("")
    return empty


def _seen(folder: Path, own: settings.Settings) -> list[Seen]:
    from taggerd.arrivals.find import find  # noqa: PLC0415 - used here only

    return list(find([folder], own).seen)


def _lines(state: Path) -> list[str]:
    files = (state / "outputs" / "results").glob("*.jsonl")
    return [line for file in files for line in file.read_text().splitlines()]


def slow(seconds: float = 0.05) -> object:
    """Return a script that takes its time and then lets the describer answer."""

    def script(path: str, _body: bytes) -> None:
        if "chat" in path:
            threading.Event().wait(seconds)

    return script


def test_three_programs_share_the_slots_of_one_backend(
    tmp_path: Path, backend: CountingBackend
) -> None:
    """Two slots and three scans at once: never more than two requests, and all is tagged."""
    backend.script = slow()  # type: ignore[assignment]
    runtime = tmp_path / "run"
    runtime.mkdir()
    programs = []
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        program = Program(tmp_path / name, base_url=backend.base_url)
        program.environment = {
            "XDG_RUNTIME_DIR": str(runtime),
            "TAGGERD__BACKEND__MAX_CONCURRENCY": "2",
        }
        for number in range(4):
            photo(tmp_path / name / "card" / f"{number}.jpg", number)
        programs.append(program)
    scans = [
        subprocess.Popen(
            p.command("scan", p.home / "card"),
            env=p.full_environment(),
            cwd=p.home,
            stdout=subprocess.DEVNULL,
        )
        for p in programs
    ]
    assert [scan.wait(180) for scan in scans] == [0, 0, 0]
    assert backend.most_at_once == 2
    assert backend.photo_requests == 3 * 4 * 3


def is_locked(path: Path) -> bool:
    """Say whether somebody holds the lock of a file."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_another_program_runs_within_the_same_limit(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """While taggerd slot runs a command in the only slot, a scan waits; then it goes on."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__BACKEND__MAX_CONCURRENCY"] = "1"
    tool = subprocess.Popen(
        taggerd.command("slot", "--", "sh", "-c", "echo in; read line; exit 7"),
        env=taggerd.full_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert tool.stdout is not None
    assert tool.stdout.readline() == b"in\n"
    late = taggerd("slot", "--wait", "0.2", "--", "true")
    assert late.returncode == 1
    address = late.stderr.split()[4].replace(":", "_")
    assert late.stderr.startswith("taggerd: no slot for localhost:")
    scan = subprocess.Popen(
        taggerd.command("scan", card), env=taggerd.full_environment(), stdout=subprocess.DEVNULL
    )
    turnstile = taggerd.state / "slots" / f"slot-{address}.turnstile"
    until(lambda: is_locked(turnstile))
    assert not backend.requests
    tool.communicate(b"\n")
    assert tool.returncode == 7
    assert scan.wait(180) == 0
    assert len(taggerd.records()) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_command_and_frees_the_slot(
    taggerd: Program, number: signal.Signals
) -> None:
    """The command has taken the program's place: the signal is its own, and nothing is left."""
    taggerd.base_url = "http://127.0.0.1:9/v1"
    taggerd.environment["TAGGERD__BACKEND__MAX_CONCURRENCY"] = "1"
    tool = subprocess.Popen(
        taggerd.command("slot", "--", "sh", "-c", "echo in; exec sleep 600"),
        env=taggerd.full_environment(),
        stdout=subprocess.PIPE,
    )
    assert tool.stdout is not None
    assert tool.stdout.readline() == b"in\n"
    tool.send_signal(number)
    tool.communicate()
    assert tool.returncode == -number
    assert taggerd("slot", "--wait", "5", "--", "sh", "-c", "exit 3").returncode == 3


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["slot"], 2, "no command"),
        (["slot", "--wait", "-1", "--", "true"], 2, "--wait"),
        (["slot", "--endpoint", "http://u:pw@h:99999/v1", "--", "true"], 2, "'h:99999/v1'"),
        (["slot", "--", "true"], 2, "--endpoint"),
        (["slot", "--endpoint", "http://h:1/v1", "--", "no-such-command"], 127, "cannot run"),
        (["pause", "--for", "2h", "--until", "22:00"], 2, "one of the two"),
    ],
)
def test_wrong_use_is_one_line(
    taggerd: Program, arguments: list[str], code: int, words: str
) -> None:
    """What is wrong, and the exit code of usage, or the shell's for a command that cannot run."""
    done = taggerd(*arguments)
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_base_url_and_endpoints_in_one_place_contradict_each_other(
    taggerd: Program, card: Path
) -> None:
    """Side by side they are refused; --base-url above endpoints of the file is what is asked."""
    taggerd.environment["TAGGERD__BACKEND__ENDPOINTS"] = '["http://127.0.0.1:9/v1"]'
    done = taggerd("scan", card)
    assert done.returncode == 2
    assert "both given" in done.stderr
    assert "tagged 5 of 5" in taggerd("scan", "--base-url", "builtin:", card).stdout


@pytest.mark.long
def test_a_pause_of_a_running_daemon(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """What is in flight ends, nothing more is begun, over a restart too; resume goes on."""
    backend.script = slow()  # type: ignore[assignment]
    taggerd.base_url = backend.base_url
    for number in range(40):
        photo(inbox / f"{number}.jpg", number)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: backend.photo_requests > 10)
    paused = taggerd("pause", "--for", "2h", "training", "run")
    assert paused.stdout.startswith("paused until ")
    until(lambda: taggerd.live().get("paused") and not taggerd.live()["in_flight"])
    # Records follow their photos: the relay delivers them.
    until(lambda: len(taggerd.records()) + taggerd.status()["counts"]["queued"] == 40)
    asked, tagged = sum(backend.requests.values()), len(taggerd.records())
    assert 0 < tagged < 40
    status = taggerd.status()
    assert status["live"]["paused"].endswith("(training run)")
    assert f" {status['paused']}\n" in taggerd.status_text()
    photo(inbox / "late.jpg", 41)
    until(lambda: taggerd.status()["counts"]["queued"] == 41 - tagged)
    taggerd.stop(daemon)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: taggerd.live().get("paused"))
    assert sum(backend.requests.values()) == asked
    assert taggerd("resume").stdout == "resumed\n"
    until(lambda: len(taggerd.records()) == 41)
    assert {record["attempts"] for record in taggerd.records()} == {1}
    taggerd.stop(daemon)


def test_a_scan_by_hand_asks_during_a_pause_and_says_so(taggerd: Program, card: Path) -> None:
    """Who starts a scan now means now."""
    taggerd("pause", "training")
    done = taggerd("scan", card)
    assert "note: paused until taggerd resume (training); this scan continues anyway" in done.stderr
    assert "tagged 5 of 5 photos" in done.stdout


def test_outside_of_its_hours_the_daemon_sends_no_request(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """No probe, no photo; arrivals go on, and the status says when it goes on."""
    begin = datetime.now().astimezone() + timedelta(hours=3)
    taggerd.base_url = backend.base_url
    window = f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"
    taggerd.environment |= {
        "TAGGERD__SCHEDULE__ACTIVE": json.dumps([window]),
        "TAGGERD__BACKEND__PREFLIGHT_MINUTES": "0.005",
    }
    daemon = taggerd.start("--input-dir", inbox)
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
    until(lambda: taggerd.live().get("queued") == 3)
    assert taggerd.live()["paused"].startswith("off schedule until ")
    assert f"{begin:%H:%M}" in taggerd.status_text()
    taggerd.stop(daemon)
    assert not backend.requests
    del taggerd.environment["TAGGERD__SCHEDULE__ACTIVE"]
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == 3)
    taggerd.stop(daemon)


@pytest.mark.long
def test_preflight_and_status_tell_of_each_endpoint(
    taggerd: Program, inbox: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """One that is down is named beside one that works, which is enough to work."""
    ask_both(taggerd, backend, other)
    other.die()
    shown = taggerd("preflight", "--json")
    assert shown.returncode == 0
    report = json.loads(shown.stdout)
    assert [(e["base_url"], e["ok"]) for e in report["endpoints"]] == [
        (backend.base_url, True),
        (other.base_url, False),
    ]
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: any(not e["error"] for e in taggerd.live()["endpoints"]))
    lines = taggerd.status_text()
    assert f"backend  {backend.base_url}: ready, model {describer.MODEL}, 0 of 4 requests" in lines
    assert f"problem  cannot connect to {other.base_url}" in lines
    assert f"backend  {other.base_url}: cannot be used" in lines
    taggerd.stop(daemon)
    backend.die()
    assert taggerd("preflight").returncode == 3
