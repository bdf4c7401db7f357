"""Who can connect to the daemon's metrics can read them, and hold up nothing."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from support.observing import address, get
from support.program import SECONDS, photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import Program

pytestmark = pytest.mark.slow

CROWD = 400
MOST = 60
"""Files that the daemon may have open besides: 32 connections, and what photos need."""
BEGINNINGS = (
    b"",  # says nothing
    b"GET /metr",  # never ends
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 100_000,
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 20_000,
    b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n"
    + bytes(9999),
    b"\x00" * 5000,
    b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000,
)


@pytest.mark.long
def test_a_crowd_of_bad_clients_holds_up_no_photo(taggerd: Program, inbox: Path) -> None:
    """Slow, endless, huge and mute ones, hundreds at once: photos are tagged all the same."""
    taggerd.environment["TAGGERD__METRICS__LISTEN"] = "127.0.0.1:0"
    daemon = taggerd.start("--input-dir", inbox)
    at = address(taggerd)
    folder = f"/proc/{daemon.pid}/fd"
    before = len(os.listdir(folder))  # noqa: PTH208 - only counted
    with ExitStack() as clients:
        for number in range(CROWD):
            client = clients.enter_context(
                socket.create_connection(("127.0.0.1", urlsplit(at).port or 0), timeout=SECONDS)
            )
            client.settimeout(0.0)
            with suppress(OSError):  # ended already, or it takes no more
                client.sendall(BEGINNINGS[number % len(BEGINNINGS) if number < CROWD - 100 else 0])
        for number in range(3):
            photo(inbox / f"{number}.jpg", number)
        until(lambda: len(list(inbox.glob("*.xmp"))) == 3)
        assert len(os.listdir(folder)) - before < MOST  # noqa: PTH208
        until(lambda: get(f"{at}/healthz")[0] == 200)  # though all of them are still there
    assert taggerd.stop(daemon) == 0
    assert "Traceback" not in taggerd.log()
