"""``taggerd scan`` when something comes in between: a kill, a signal, a daemon, another file."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.foreign import exiftool
from support.program import until

if TYPE_CHECKING:
    from support.program import CountingBackend, Program


@pytest.mark.long
def test_a_kill_between_sidecar_and_record_loses_no_record(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """Killed at that very step, the next run owes the record, and sends no request for it."""
    taggerd.base_url = backend.base_url
    killed = (
        "import os, sys; from taggerd.ledger import SqliteLedger; from taggerd.cli import main;"
        "SqliteLedger.{step} = lambda *a, **k: os._exit(9); sys.exit(main(sys.argv[1:]))"
    )
    for number, step in enumerate(("written", "end")):
        target = card / f"IMG_000{number}.jpg"
        done = subprocess.run(
            [sys.executable, "-c", killed.format(step=step), "scan", target],
            env=taggerd.full_environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 9, done.stderr
        assert target.with_name(target.name + ".xmp").exists()
        assert len(taggerd.records()) == number
        assert taggerd("scan", target).returncode == 0
        assert len(taggerd.records()) == number + 1
        assert taggerd.records()[-1]["metadata_written"]
    assert backend.photo_requests == 6


@pytest.mark.long
def test_an_interrupted_overwrite_leaves_the_rest_tagged(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """Photos that were not reached are tagged as they were, not queued for ever."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    begun, go_on = threading.Event(), threading.Event()

    def script(_path: str, body: bytes) -> None:
        if b'"system"' in body:
            begun.set()
            go_on.wait(180)

    backend.script = script
    for number in (signal.SIGTERM, signal.SIGKILL):
        scan = subprocess.Popen(
            taggerd.command("scan", "--overwrite-metadata", card),
            env=taggerd.full_environment(),
            stdout=subprocess.DEVNULL,
        )
        assert begun.wait(180)
        scan.send_signal(number)
        scan.wait(180)
        begun.clear()
        assert "5 tagged before" in taggerd("scan", card).stdout
    go_on.set()


@pytest.mark.long
def test_the_daemon_leaves_an_overwrite_to_the_scan(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """--overwrite-metadata beside a daemon on the same folder still asks about every photo."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    taggerd.start("--input-dir", card)
    done = taggerd("scan", "--overwrite-metadata", card)
    assert "tagged 5 of 5 photos" in done.stdout, done.stdout
    assert backend.photo_requests == 30


def test_a_photo_replaced_while_it_is_asked_about_is_asked_about_again(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """What is written is about the bytes that are there: an answer about earlier ones is not."""
    taggerd.base_url = backend.base_url
    victim, replaced = card / "IMG_0000.jpg", False

    def script(path: str, body: bytes) -> None:
        nonlocal replaced
        if "chat" in path and b'"system"' in body and not replaced:
            replaced = True
            shutil.copy(card / "IMG_0001.jpg", victim)

    backend.script = script
    done = taggerd("scan", victim)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "moved" in done.stdout
    alone = type(taggerd)(taggerd.home / "alone")
    alone.home.mkdir()
    alone("scan", card / "IMG_0001.jpg")
    seen, expected = exiftool(card / "IMG_0000.jpg.xmp"), exiftool(card / "IMG_0001.jpg.xmp")
    assert seen["Headline"] == expected["Headline"]
    assert [record["error"] for record in taggerd.records()] == [""]


def _is_pending(pid: int, number: signal.Signals) -> bool:
    """Say whether a signal has not reached a process yet (proc_pid_status(5))."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = re.findall(r"^ShdPnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("command", ["scan", "run"])
def test_ctrl_c_twice_ends_without_a_traceback(
    taggerd: Program, card: Path, backend: CountingBackend, command: str
) -> None:
    """As on a terminal, where Ctrl-C reaches the worker processes as well; exit 130."""
    asked, answer = threading.Event(), threading.Event()

    def script(_path: str, _body: bytes) -> None:
        if backend.photo_requests:
            asked.set()
            answer.wait(180)

    backend.script = script
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__SERVICE__DRAIN_SECONDS"] = "300"
    words = {"scan": ("scan", card), "run": ("run", "--input-dir", card)}[command]
    process = subprocess.Popen(
        taggerd.command(*words),
        env=taggerd.full_environment(),
        cwd=taggerd.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert asked.wait(180)
        said = ""
        if command == "run":
            os.killpg(process.pid, signal.SIGINT)
            assert process.stderr
            said = next(line for line in process.stderr if "stopping" in line)
        else:
            os.killpg(process.pid, signal.SIGINT)
            until(lambda: not _is_pending(process.pid, signal.SIGINT))  # two would be one
        os.killpg(process.pid, signal.SIGINT)
        said += process.communicate(timeout=180)[1]  # photos in flight would have 300 seconds
    finally:
        answer.set()
        process.kill()
        process.wait()
    assert "Traceback" not in said
    assert process.returncode == 130, said
