"""The daemon's life beside its service manager: upgrades, faults at start, signals, reloads."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.program import REPOSITORY, SECONDS, listening, photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import CountingBackend, Program, Reply

RESTART = 75
"""Exit code that asks the service manager for a restart."""


@pytest.fixture
def installed(taggerd: Program, tmp_path: Path) -> Path:
    """Install the program into a folder of its own, and return its package."""
    package = tmp_path / "site" / "taggerd"
    shutil.copytree(
        REPOSITORY / "taggerd", package, ignore=shutil.ignore_patterns("__pycache__", "towns.npz")
    )
    shutil.copy(REPOSITORY / "taggerd" / "data" / "towns.npz", package / "data")
    taggerd.environment["PYTHONPATH"] = str(package.parent)
    return package


def upgrade(package: Path) -> None:
    """Replace files of *package* by those of a version that calls a function otherwise."""
    for name in ("imaging/__init__.py", "pipeline.py", "services/pools.py"):
        file = package / name
        text = re.sub(r"(imaging\.|def |\")prepare\b", r"\1made_ready", file.read_text())
        new = file.with_name("new")
        new.write_text(text)
        new.replace(file)


@pytest.mark.long
def test_an_upgrade_under_a_running_daemon_costs_no_photo_an_attempt(
    taggerd: Program, inbox: Path, installed: Path
) -> None:
    """The files of another version lie in place of those that run: it ends for a restart.

    No photo is given up, and the next version tags what was queued.
    """
    daemon = taggerd.start("--input-dir", inbox)
    upgrade(installed)
    for number in range(8):
        photo(inbox / f"{number}.jpg", number)
    assert daemon.wait(SECONDS) == RESTART, taggerd.log()
    assert taggerd.status()["counts"]["quarantined"] == 0
    assert "unexpected" not in taggerd.log()
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == 8)
    assert taggerd.stop(daemon) == 0
    assert not any(record["error"] for record in taggerd.records())


@pytest.mark.long
def test_a_photo_in_flight_at_an_upgrade_is_ended_by_the_living_workers(
    taggerd: Program, inbox: Path, installed: Path, backend: CountingBackend
) -> None:
    """What was asked about before is tagged before the daemon ends; the others stay queued."""
    go_on = threading.Event()
    go_on.set()

    def wait(_path: str, body: bytes) -> Reply | None:
        if any(each["role"] == "system" for each in json.loads(body or b"{}").get("messages", [])):
            go_on.wait(SECONDS)
        return None

    taggerd.base_url = backend.base_url
    backend.script = wait
    taggerd.environment["TAGGERD__QUEUE__PHOTOS_IN_FLIGHT"] = "1"
    photo(inbox / "first.jpg", 99)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == 1)  # the workers live
    asked = backend.photo_requests
    go_on.clear()
    for number in range(8):
        photo(inbox / f"{number}.jpg", number)
    until(lambda: backend.photo_requests > asked)
    upgrade(installed)
    go_on.set()
    assert daemon.wait(SECONDS) == RESTART, taggerd.log()
    counts = taggerd.status()["counts"]
    assert counts["recorded"] >= 2
    assert (counts["recorded"] + counts["queued"], counts["quarantined"]) == (9, 0)


@contextmanager
def systemd(taggerd: Program) -> Iterator[list[str]]:
    """Listen as systemd does; what the daemon says is in the list, line by line."""
    address = taggerd.home / "notify"
    taggerd.environment["NOTIFY_SOCKET"] = str(address)
    with listening(address) as told:
        yield told


def day_file_of_root(taggerd: Program) -> Path:
    """Make a day file that nobody but root may write, as `sudo taggerd scan` leaves one."""
    results = taggerd.outputs / "results"
    results.mkdir(parents=True)
    taggerd.state.chmod(0o700)
    day = results / "2026-01-01.jsonl"
    day.write_text("{}\n")
    day.chmod(0o400)
    return day


def test_outputs_that_cannot_be_written_at_start_delay_nothing(
    powerless: Program, inbox: Path
) -> None:
    """It is READY and degraded, says why once, tags photos, and catches up once they can."""
    day = day_file_of_root(powerless)
    photo(inbox / "a.jpg", 1)
    with systemd(powerless) as told:
        daemon = powerless.start("--input-dir", inbox)
        until((inbox / "a.jpg.xmp").exists)
        until(lambda: any(line.startswith("STATUS=degraded") for line in told))
        assert told.count("READY=1") == 1
        assert day.name in powerless.problem("outputs")
        assert not list(day.parent.glob("*.torn"))
        day.chmod(0o600)
        until(lambda: not powerless.problem("outputs"))
        assert powerless.stop(daemon) == 0
    assert powerless.log().count(day.name) == 1


def test_a_read_only_state_at_start_is_waited_for(taggerd: Program, inbox: Path) -> None:
    """READY at once, so that nothing hangs on the start; it serves once it can write."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root: run the tests as root")
    taggerd.state.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "ro,mode=700", "tmpfs", str(taggerd.state)]
    subprocess.run(mount, check=True)
    try:
        with systemd(taggerd) as told:
            daemon = taggerd.start("--input-dir", inbox, ready=False)
            until(lambda: "READY=1" in told or daemon.poll() is not None)
            assert daemon.poll() is None, taggerd.log()
            until(lambda: any("Read-only" in line for line in told))
            until(lambda: taggerd.log().count("\n") >= 2)
            subprocess.run(["mount", "-o", "remount,rw", taggerd.state], check=True)
            photo(inbox / "a.jpg", 1)
            until((inbox / "a.jpg.xmp").exists)
            assert taggerd.stop(daemon) == 0
        assert taggerd.log().count("Read-only") == 1
    finally:
        taggerd.end()
        subprocess.run(["umount", taggerd.state], check=True)


@pytest.mark.long
def test_an_import_folder_that_the_sandbox_shuts_is_told_at_the_start(
    taggerd: Program, inbox: Path
) -> None:
    """Before any photo comes: by what it is shut, and which line of the unit opens it."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root: run the tests as root")
    subprocess.run(["mount", "--bind", inbox, inbox], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", inbox], check=True)
        daemon = taggerd.start("--input-dir", inbox)
        told = until(lambda: taggerd.problem("photos disk"))
        assert f"ReadWritePaths={inbox}" in told
        assert taggerd.log().count("sandbox") == 1
        subprocess.run(["mount", "-o", "remount,bind,rw", inbox], check=True)
        until(lambda: not taggerd.problem("photos disk"))
        subprocess.run(["mount", "-o", "remount,bind,ro", inbox], check=True)
        until(lambda: taggerd.problem("photos disk"))
        assert taggerd.stop(daemon) == 0
    finally:
        taggerd.end()
        subprocess.run(["umount", inbox], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(
    taggerd: Program, inbox: Path, backend: CountingBackend, number: int
) -> None:
    """The first lets photos end for as long as the settings say, the second does not wait."""
    done = threading.Event()

    def wait(_path: str, body: bytes) -> Reply | None:
        if b'"system"' in body:
            done.wait(SECONDS)
        return None

    backend.script = wait
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__SERVICE__DRAIN_SECONDS"] = "600"
    photo(inbox / "a.jpg", 1)
    with systemd(taggerd) as told:
        daemon = taggerd.start("--input-dir", inbox)
        until(lambda: backend.photo_requests)
        daemon.send_signal(number)
        until(lambda: "STOPPING=1" in told)
        daemon.send_signal(number)
        assert daemon.wait(SECONDS) in {-signal.SIGTERM, 130}
    done.set()
    assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in told)
    assert taggerd.status()["counts"]["queued"] + taggerd.status()["counts"]["claimed"] == 1


def test_an_abort_shows_where_the_threads_are(taggerd: Program, inbox: Path) -> None:
    """A watchdog ends the service by SIGABRT: the log says where it hung."""
    daemon = taggerd.start("--input-dir", inbox)
    assert taggerd.stop(daemon, signal.SIGABRT) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in taggerd.log()
    assert "base_events.py" in taggerd.log()
