"""The daemon's life beside its service manager: upgrades, faults at start, signals, reloads."""

from __future__ import annotations

import json
import re
import shutil
import threading
from typing import TYPE_CHECKING

import pytest
from support.program import REPOSITORY, SECONDS, photo, until

if TYPE_CHECKING:
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


def test_a_photo_in_flight_at_an_upgrade_is_ended_by_the_living_workers(
    taggerd: Program, inbox: Path, installed: Path, backend: CountingBackend
) -> None:
    """What was asked about before is tagged before the daemon ends, and no more is claimed."""
    go_on = threading.Event()

    def wait(_path: str, body: bytes) -> Reply | None:
        if any(each["role"] == "system" for each in json.loads(body or b"{}").get("messages", [])):
            go_on.wait(SECONDS)
        return None

    taggerd.base_url = backend.base_url
    backend.script = wait
    taggerd.environment["TAGGERD__QUEUE__PHOTOS_IN_FLIGHT"] = "1"
    for number in range(8):
        photo(inbox / f"{number}.jpg", number)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: backend.photo_requests >= 1)
    upgrade(installed)
    go_on.set()
    assert daemon.wait(SECONDS) == RESTART, taggerd.log()
    counts = taggerd.status()["counts"]
    assert (counts["recorded"], counts["queued"], counts["quarantined"]) == (1, 7, 0)
