"""Killed at random instants, again and again: nothing is lost, doubled or left behind."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from program import Program, photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from program import CountingBackend

PHOTOS = 60
KILLS = 25


def undated(sidecar: Path) -> str:
    """Return a sidecar's text without the one line that differs from run to run."""
    lines = sidecar.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if "<taggerd:date>" not in line)


@pytest.mark.long
@pytest.mark.parametrize("command", ["run", "scan"])
def test_random_kills(
    taggerd: Program, inbox: Path, tmp_path: Path, backend: CountingBackend, command: str
) -> None:
    """Every photo ends with the sidecar of an undisturbed run and one record; nothing else is left.

    At most one request a photo in flight is paid for again at each kill.
    """
    seed = random.randrange(1 << 32)  # noqa: S311 - instants, no secrets
    print(f"seed {seed}")  # noqa: T201 - to be tried again
    chance = random.Random(seed)  # noqa: S311 - likewise
    for number in range(PHOTOS):
        photo(inbox / f"{number:02}.jpg", number)
    calm = Program(tmp_path / "calm")
    calm.home.mkdir()
    assert calm("scan", inbox, seconds=120).returncode == 0
    expected = {sidecar.name: undated(sidecar) for sidecar in inbox.glob("*.xmp")}
    for sidecar in inbox.glob("*.xmp"):
        sidecar.unlink()

    thinking = threading.Event()

    def script(_path: str, _body: bytes) -> None:
        thinking.wait(0.15)  # so that kills find requests on their way

    backend.script = script
    taggerd.base_url = backend.base_url
    arguments = ["run", "--input-dir", inbox] if command == "run" else ["scan", inbox]
    kills = 0
    while kills < KILLS and len(taggerd.records()) < PHOTOS:
        victim = subprocess.Popen(
            taggerd.command(*arguments),
            env=taggerd.surroundings(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            victim.wait(chance.uniform(0.3, 2.5))
        except subprocess.TimeoutExpired:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            kills += 1
    print(f"{kills} kills")  # noqa: T201 - to be judged
    thinking.set()
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) >= PHOTOS)
    taggerd.stop(daemon)

    records = taggerd.records()
    assert sorted({record["image"] for record in records}) == sorted(map(str, inbox.glob("*.jpg")))
    assert len(records) == PHOTOS
    assert {record["error"] for record in records} == {""}
    assert {sidecar.name: undated(sidecar) for sidecar in inbox.glob("*.xmp")} == expected
    assert len(list(inbox.iterdir())) == 2 * PHOTOS, "something was left behind"
    assert backend.photo_requests <= 3 * PHOTOS + KILLS * 8
    with sqlite3.connect(taggerd.state / "ledger.sqlite") as ledger:
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
