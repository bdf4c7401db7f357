"""The review as a process: beside a daemon that tags, on the network behind a password, alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from support.program import SECONDS, free_port, photo, until

from taggerd.cli.ending import INTERRUPTED

if TYPE_CHECKING:
    from support.program import Program

pytestmark = pytest.mark.slow

WORDS = "a heron by the weir"


@pytest.fixture
def address(taggerd: Program) -> str:
    """Return where the review is to be served."""
    port = free_port()
    taggerd.environment["TAGGERD__WEB__LISTEN"] = f"127.0.0.1:{port}"
    return f"http://127.0.0.1:{port}"


def set_password(taggerd: Program, words: str = WORDS) -> subprocess.CompletedProcess[str]:
    """Set the password as a script does."""
    return subprocess.run(
        taggerd.command("web", "--set-password"),
        env=taggerd.full_environment(),
        cwd=taggerd.home,
        input=words + "\n",
        capture_output=True,
        text=True,
        check=False,
    )


def answer(address: str, path: str = "/login") -> int:
    """Return the status of a page; 0 while nobody listens."""
    with suppress(httpx.TransportError):
        return httpx.get(address + path, trust_env=False).status_code
    return 0


def served_by(daemon: int) -> int:
    """Return the process that serves the review for the *daemon*; 0: none does."""
    for child in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split():
        with suppress(OSError):
            if b"--supervised" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def test_the_daemon_serves_once_there_is_a_password(
    taggerd: Program, inbox: Path, address: str
) -> None:
    """Until then the status says what to do, nothing is served, and photos are tagged."""
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: "--set-password" in taggerd.problem("settings"))
    assert answer(address) == 0
    photo(inbox / "a.jpg")
    until((inbox / "a.jpg.xmp").exists)
    assert set_password(taggerd, "short").returncode == 2
    assert set_password(taggerd).returncode == 0
    until(lambda: answer(address) == 200)
    until(lambda: not taggerd.problem("settings"))
    with httpx.Client(base_url=address, trust_env=False, timeout=SECONDS) as client:
        assert client.post("/login", data={"password": "wrong"}).status_code == 401
        until(lambda: client.post("/login", data={"password": WORDS}).status_code == 303)
        assert client.get("/").status_code == 200
    assert taggerd.stop(daemon) == 0
    assert answer(address) == 0
    assert WORDS not in taggerd.log()


@pytest.mark.long
def test_it_is_started_again_and_ends_with_the_daemon(
    taggerd: Program, inbox: Path, address: str
) -> None:
    """Neither a kill of it nor of the daemon leaves half of them behind."""
    set_password(taggerd)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: answer(address) == 200)
    first = served_by(daemon.pid)
    os.kill(first, signal.SIGKILL)
    until(lambda: served_by(daemon.pid) not in {0, first} and answer(address) == 200)
    photo(inbox / "a.jpg")
    until((inbox / "a.jpg.xmp").exists)
    second = served_by(daemon.pid)
    taggerd.stop(daemon, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{second}/cmdline").exists() or answer(address) == 0)


def test_without_a_password_the_network_is_not_served(taggerd: Program) -> None:
    """Nor does a password alone take the link's place on this machine."""
    ended = taggerd("web", "--listen", "0.0.0.0:0")
    assert ended.returncode == 2
    assert "taggerd web --set-password" in ended.stderr
    assert ended.stdout == ""


def test_beside_a_daemon_that_serves_somebody_at_the_machine_gets_a_link(
    taggerd: Program, address: str
) -> None:
    """web.listen is the daemon's; a command serves this machine, at a port that is free."""
    port = int(address.rpartition(":")[2])
    with socket.socket() as daemons:
        daemons.bind(("127.0.0.1", port))
        daemons.listen()
        web = subprocess.Popen(
            taggerd.command("web"),
            env=taggerd.full_environment(),
            cwd=taggerd.home,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert web.stdout
            line = web.stdout.readline()
        finally:
            web.send_signal(signal.SIGINT)
            assert web.wait(SECONDS) == INTERRUPTED
    assert "http://127.0.0.1:" in line
    assert "/?token=" in line
    assert f":{port}/" not in line


def test_a_port_that_is_taken_is_named(taggerd: Program) -> None:
    """One that was asked for is not exchanged for another."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = taggerd("web", "--listen", listen)
    assert ended.returncode == 2
    assert listen in ended.stderr
    assert "already in use" in ended.stderr
