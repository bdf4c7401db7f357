"""A stop is a stop: whatever hangs, the program ends, says what hung, and loses nothing."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend, Program, photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator

END_SECONDS = 180
"""Far more than a program whose time to drain is one second takes to end."""


@pytest.fixture(autouse=True)
def _quickly(taggerd: Program) -> None:
    """Give photos in flight one second."""
    taggerd.environment["TAGGERD__SERVICE__DRAIN_SECONDS"] = "1"


class Hanging:
    """A disk of the outputs that hangs: somebody holds the lock of today's records."""

    def __init__(self, results: Path) -> None:
        """Let it answer for now."""
        self.path = results / f"{datetime.now().astimezone():%Y-%m-%d}.jsonl"
        self.descriptor = -1

    def begin(self) -> None:
        """Hang from now on."""
        if self.descriptor < 0:
            self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def end(self) -> None:
        """Answer again."""
        os.close(self.descriptor)


@pytest.fixture
def outputs(taggerd: Program) -> Hanging:
    """Return the disk of the outputs."""
    return Hanging(taggerd.outputs / "results")


@pytest.fixture
def endless(backend: CountingBackend) -> Iterator[CountingBackend]:
    """Return a backend that never ends an answer about a photo."""
    over = threading.Event()

    def script(_path: str, body: bytes) -> None:
        if b'"system"' in body:
            over.wait()

    backend.script = script
    yield backend
    over.set()


def children(pid: int) -> list[int]:
    """Return the processes that *pid* has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_disk_of_the_outputs_that_hangs_does_not_keep_the_service(
    taggerd: Program, inbox: Path, outputs: Hanging
) -> None:
    """Exit 1 and one line with what hung; the record waits in the queue, and is told once."""
    daemon = taggerd.start("--input-dir", inbox)
    outputs.begin()
    path = photo(inbox / "a.jpg")
    until(path.with_name("a.jpg.xmp").exists)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(END_SECONDS) == 1, taggerd.log()
    (line,) = [line for line in taggerd.log().splitlines() if "not ended in time" in line]
    assert "dayfile.py" in line
    outputs.end()
    daemon = taggerd.start("--input-dir", inbox)
    (record,) = until(taggerd.records)
    assert (record["image"], record["error"], record["attempts"]) == (str(path), "", 1)
    assert taggerd.stop(daemon) == 0


def test_a_disk_of_the_outputs_that_hangs_does_not_keep_a_scan(
    taggerd: Program, card: Path, outputs: Hanging, backend: CountingBackend
) -> None:
    """Ctrl-C ends it as interrupted; a later scan has nothing left to ask."""

    def script(_path: str, body: bytes) -> None:
        if b'"system"' in body:  # about a photo: the outputs are open by now
            outputs.begin()

    backend.script = script
    taggerd.base_url = backend.base_url
    scan = subprocess.Popen(
        taggerd.command("scan", card),
        env=taggerd.full_environment(),
        cwd=taggerd.home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    taggerd.daemons.append(scan)  # ended with the test
    until(lambda: len(list(card.glob("*.xmp"))) == len(list(card.glob("*.jpg"))))
    scan.send_signal(signal.SIGINT)
    assert scan.wait(END_SECONDS) == 130
    outputs.end()
    assert taggerd("scan", card).returncode == 0
    assert [record["error"] for record in taggerd.records()] == [""] * 5


def test_a_backend_that_never_ends_does_not_keep_the_service(
    taggerd: Program, inbox: Path, endless: CountingBackend
) -> None:
    """An end in order: the photos are queued again, uncharged."""
    taggerd.base_url = endless.base_url
    photo(inbox / "a.jpg")
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: endless.photo_requests)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(END_SECONDS) == 0, taggerd.log()
    assert taggerd.status()["counts"]["queued"] == 1


def test_worker_processes_that_hang_do_not_keep_the_service(
    taggerd: Program, inbox: Path, endless: CountingBackend
) -> None:
    """Stopped as by a debugger, or by a disk: they are killed, and end with the program at last."""
    taggerd.base_url = endless.base_url
    photo(inbox / "a.jpg")
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: endless.photo_requests)
    templates = children(daemon.pid)
    workers = [*templates, *(worker for each in templates for worker in children(each))]
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(END_SECONDS) in {0, 1}, taggerd.log()
    assert workers
    until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    assert taggerd.status()["counts"]["queued"] == 1
