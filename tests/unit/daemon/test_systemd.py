"""What systemd hears, on a real socket."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from taggerd.daemon.systemd import Notifier, ascii_line, watchdog_interval

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["path", "abstract"])
def heard(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """Return the socket that systemd would listen on."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@taggerd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        listener.setblocking(False)  # noqa: FBT003 (socket's own signature)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield listener


def messages(heard: socket.socket) -> list[bytes]:
    """Return all that was sent so far."""
    found = []
    while True:
        try:
            found.append(heard.recv(4096))
        except BlockingIOError:
            return found


def test_a_service_life(heard: socket.socket) -> None:
    """Every step of a service's life is told in systemd's own words."""
    notifier = Notifier(clock=lambda: 1_234_567_890)
    notifier.ready()
    notifier.watchdog()
    notifier.reloading()
    notifier.ready()
    notifier.stopping()
    assert messages(heard) == [
        b"READY=1",
        b"WATCHDOG=1",
        b"RELOADING=1\nMONOTONIC_USEC=1234567",
        b"READY=1",
        b"STOPPING=1",
    ]


def test_status_is_sent_when_it_changes(heard: socket.socket) -> None:
    """The same status twice is one message."""
    notifier = Notifier()
    for text in ("3 queued", "3 queued", "2 queued", "3 queued"):
        notifier.status(text)
    assert messages(heard) == [b"STATUS=3 queued", b"STATUS=2 queued", b"STATUS=3 queued"]


def test_status_with_any_text_arrives(heard: socket.socket) -> None:
    """Letters that sdnotify would lose are replaced; a line break cannot smuggle a command in."""
    notifier = Notifier()
    notifier.status("Ärger mit 日本/café.jpg\nREADY=1\x00")
    assert messages(heard) == [b"STATUS=Arger mit ??/cafe.jpg READY=1"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("12 of 30", "12 of 30"),
        ("naïve Straße", "naive Stra?e"),
        ("ﬁne\ttabs", "fine tabs"),
        ("a\u202eb\x1b[31m", "a?b [31m"),
        ("🌲", "?"),
        ("  ", ""),
    ],
)
def test_ascii_line(text: str, plain: str) -> None:
    """Accents go, other letters become ?, white space and controls one blank."""
    assert ascii_line(text) == plain


def test_outside_of_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NOTIFY_SOCKET, or when nobody listens there, the program runs on."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready()
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/notify")
    Notifier().status("alone")


def test_a_manager_that_reads_nothing_holds_nothing_up(heard: socket.socket) -> None:
    """Each message is tried for a moment: a full queue once held up the whole service for ever."""
    notifier = Notifier(send_seconds=0.01)
    filled = 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)  # noqa: FBT003 (socket's own signature)
        other.connect(heard.getsockname())
        with suppress(BlockingIOError):
            while True:
                filled += other.send(b"x")
    notifier.watchdog()
    notifier.stopping()
    assert messages(heard) == [b"x"] * filled
    notifier.watchdog()
    assert messages(heard) == [b"WATCHDOG=1"]


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "77"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], seconds: float | None) -> None:
    """Half of what systemd allows, and only for the process that it watches."""
    assert watchdog_interval(environment, pid=77) == seconds
