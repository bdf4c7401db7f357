"""Servers that nobody here wrote: started on a free port of this machine, and ended for good."""

from __future__ import annotations

import os
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.program import REPOSITORY, free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

START_SECONDS = 180.0
"""Longest wait for a server to listen: these import half of the world first."""
END_SECONDS = 10.0


def peer(name: str, program: str) -> Path:
    """Return a program that scripts/test-peers installed, or skip the test."""
    folder = Path(os.environ.get("TAGGERD_PEERS", REPOSITORY / ".venv-peers"))
    if (folder / name / ".installed").is_file():
        return folder / name / "bin" / program
    with suppress(OSError):
        pytest.skip((folder / f"{name}.why").read_text().strip())
    pytest.skip(f"{program} is not installed: scripts/test-peers installs and runs it")


@contextmanager
def served(
    command: Callable[[int], list[str]], path: str, log: Path, environment: Mapping[str, str]
) -> Iterator[str]:
    """Run a server and yield its address without a path; it and all its children are ended.

    Args:
        command: makes its command line for a port.
        path: what answers as soon as it serves, whatever it answers.
        log: where its output goes.
        environment: over that of the tests.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command(port),
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        until(lambda: server.poll() is not None or _answers(url + path), START_SECONDS)
        assert server.poll() is None, log.read_text(errors="replace")[-2000:]
        yield url
    finally:
        for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.killpg(server.pid, number)
            with suppress(subprocess.TimeoutExpired):
                server.wait(seconds)


def _answers(url: str) -> bool:
    """Say whether anything answers there."""
    try:
        urllib.request.urlopen(url, timeout=30).close()  # noqa: S310 - our own address
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
