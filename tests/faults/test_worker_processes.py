"""Worker processes of a daemon that tags: killed or stopped, each costs one attempt of one photo.

`test_hostile_files` has one that runs out of memory; the pool's own tests have the rest.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from support.program import photo, until

if TYPE_CHECKING:
    from subprocess import Popen

    from support.program import CountingBackend, Program

PHOTOS = 6
PROCESSES = 2
"""``workers.processes``: so many decode, and as many write."""


def children(pid: int) -> list[int]:
    """Return the process ids of its children, dead ones that nobody waited for included."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    with contextlib.suppress(OSError):
        return sorted(int(pid) for task in tasks for pid in task.read_text().split())
    return []


def templates(daemon: Popen[bytes]) -> list[int]:
    """Return the process ids of what workers are forked from."""
    return children(daemon.pid)


def workers(daemon: Popen[bytes]) -> list[int]:
    """Return the process ids of the workers."""
    return [worker for template in templates(daemon) for worker in children(template)]


def state(pid: int) -> str:
    """Return the letter that says what a process does: R, S, T (stopped), Z (dead) ..."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""  # it has ended


def seen_by_the_system(daemon: Popen[bytes]) -> dict[int, tuple[str, dict[str, str]]]:
    """Return environment and limits of each worker; nothing if one was dead, or ended meanwhile."""
    seen = {}
    for pid in workers(daemon):
        process, environment = Path(f"/proc/{pid}"), ""
        try:
            with contextlib.suppress(PermissionError):  # a decoder, and this is not root
                environment = (process / "environ").read_text()
            lines = (process / "limits").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return {}
        if state(pid) in {"", "Z"}:
            return {}
        seen[pid] = environment, {line[:25].strip(): line[25:].split()[0] for line in lines}
    return seen


def reading(daemon: Popen[bytes], path: Path) -> int:
    """Return the worker that has begun to read *path*; 0: none."""
    for pid in workers(daemon):
        try:
            for file in Path(f"/proc/{pid}/fd").iterdir():
                if file.readlink() == path:
                    position = Path(f"/proc/{pid}/fdinfo/{file.name}").read_text().split()[1]
                    return pid if int(position) else 0
        except OSError:
            continue  # it, or a file of it, has just gone
    return 0


def slow(path: Path) -> Path:
    """Make a photo that takes a second to decode: long enough to meet a worker at it."""
    noise = Image.effect_noise((4000, 3000), 80).convert("RGB")
    noise.save(path, "JPEG", quality=90, progressive=True)
    return path


def several(folder: Path, first: int) -> None:
    """Make some photos."""
    for number in range(first, first + PHOTOS):
        photo(folder / f"{number:02}.jpg", number)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees what a decoder reads")
@pytest.mark.parametrize(
    ("number", "deadline_seconds", "words"),
    [
        (signal.SIGKILL, 120, "SIGKILL"),
        pytest.param(signal.SIGSTOP, 8, "workers.deadline_seconds", marks=pytest.mark.long),
    ],
)
def test_a_worker_that_is_lost_costs_one_attempt_of_one_photo(
    taggerd: Program, inbox: Path, number: signal.Signals, deadline_seconds: int, words: str
) -> None:
    """Its photo is tagged at the next attempt, no other is touched, and the pool is whole again."""
    several(inbox, 0)
    victim = slow(inbox / "slow.jpg")
    taggerd.environment["TAGGERD__WORKERS__DEADLINE_SECONDS"] = str(deadline_seconds)
    daemon = taggerd.start("--input-dir", inbox, "--verbose", ready=False)
    lost = until(lambda: reading(daemon, victim))
    os.kill(lost, number)
    until(lambda: len(taggerd.records()) == PHOTOS + 1)
    several(inbox, PHOTOS)
    until(lambda: len(taggerd.records()) == 2 * PHOTOS + 1)

    again = [line for line in taggerd.log().splitlines() if "will retry" in line]
    assert len(again) == 1
    assert "slow.jpg" in again[0]
    assert words in again[0]
    attempts = {Path(r["image"]).name: r["attempts"] for r in taggerd.records()}
    assert attempts.pop("slow.jpg") == 2
    assert set(attempts.values()) == {1}
    assert {r["error"] for r in taggerd.records()} == {""}
    alive = until(lambda: workers(daemon) if len(workers(daemon)) >= PROCESSES else [])
    assert len(alive) <= 2 * PROCESSES + 1  # those that decode, those that write, the slow one's
    assert lost not in alive
    until(lambda: "Z" not in {state(pid) for pid in workers(daemon)})
    assert taggerd.stop(daemon) == 0


def test_workers_are_limited_replaced_and_know_no_secret(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """As the system sees them: no key in their environment, limits set, new ones after N photos."""
    backend.key = "sk-never-to-be-seen"
    taggerd.base_url = backend.base_url
    taggerd.environment |= {
        "TAGGERD__BACKEND__API_KEY": backend.key,
        "TAGGERD__WORKERS__MEMORY_MEGABYTES": "700",
        "TAGGERD__WORKERS__DEADLINE_SECONDS": "30",
        # 24 photos in all: the last process of each pool is not at its end.
        "TAGGERD__WORKERS__FILES_PER_PROCESS": "5",
    }
    several(inbox, 0)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == PHOTOS)
    first = set(workers(daemon))
    for batch in (1, 2, 3):
        several(inbox, batch * PHOTOS)
    until(lambda: len(taggerd.records()) == 4 * PHOTOS)

    if os.geteuid() == 0:  # for others it is closed
        assert backend.key in Path(f"/proc/{daemon.pid}/environ").read_text()
    # One that has done its tasks takes a moment to end, and may do so while it is looked at.
    replaced = until(lambda: not first & {*workers(daemon)} and seen_by_the_system(daemon))
    for environment, limits in replaced.values():
        assert backend.key not in environment
        assert limits["Max address space"] == str(700 << 20)
        assert 60 < int(limits["Max cpu time"]) < 70  # twice the deadline, and what was used
        assert limits["Max core file size"] == "0"
