"""Connections to the server, each of which is given up if it hangs.

The kernel knows nothing of a server that is stopped or a proxy that hangs: whoever waits for their
answer waits for ever. One thread of the program looks after all of its connections.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import psycopg
from psycopg.adapt import Dumper, Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import DictRow, dict_row

from taggerd.errors import StartError

if TYPE_CHECKING:
    from psycopg.abc import Buffer

DEFAULTS = {
    "application_name": "taggerd",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""For what ``ledger.url`` does not say. A host that is cut off knows within 25 s, as its claims end
after 30."""
GUARD_SECONDS = 5.0
"""Between two checks of how long the server has not answered."""
SILENT_SECONDS = 30.0
"""An answer that takes longer is given up if the server answers nobody."""


class _Plain(Dumper):
    """A number as text whose type the server infers: one statement is prepared, not one a size."""

    def dump(self, obj: int) -> Buffer:
        return str(int(obj)).encode()


class _Whole(Loader):
    """Our numerics are whole."""

    def load(self, data: Buffer) -> int:
        return int(bytes(data))


class Connection(psycopg.Connection[DictRow]):
    """A connection that knows how long it has been waiting for an answer."""

    address = ""
    longest_seconds = math.inf
    """No answer is waited for longer, whoever else gets one."""
    _waiting_since: float | None = None

    def wait(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - psycopg's own
        """Wait for the server, as psycopg does, which calls it for every answer."""
        self._waiting_since = time.monotonic()
        try:
            return super().wait(*args, **options)
        finally:
            self._waiting_since = None

    @property
    def waiting_seconds(self) -> float:
        """How long an answer has been waited for; 0: none is. From any thread."""
        since = self._waiting_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def hangs(self) -> bool:
        """Whether the answer that is waited for will not come. From any thread; takes seconds."""
        since, seconds = self._waiting_since, self.waiting_seconds
        if seconds <= self.longest_seconds and (
            seconds <= SILENT_SECONDS or _is_answered(self.address)
        ):
            return False
        return self._waiting_since == since  # it may have come by now

    def hang_up(self) -> None:
        """Cut it: whoever waits for its answer fails at once. From any thread."""
        with (
            suppress(OSError, psycopg.Error),  # it is gone already
            socket.socket(fileno=os.dup(self.pgconn.socket)) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)


class _Guard:
    """Gives connections up on which no answer comes, unless others get theirs."""

    def __init__(self) -> None:
        self._guarded: WeakSet[Connection] = WeakSet()
        self._thread: threading.Thread | None = None
        self._changing = threading.Lock()

    def add(self, connection: Connection) -> None:
        """Look after *connection* until it is closed."""
        with self._changing:
            self._guarded.add(connection)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="silence", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while connections := self._open():
            for connection in connections:
                if connection.hangs:
                    connection.hang_up()
            del connections  # else none would ever be forgotten
            time.sleep(GUARD_SECONDS)

    def _open(self) -> list[Connection]:
        """Return the connections that are open; if there is none, the thread ends."""
        with self._changing:
            found = [connection for connection in self._guarded if not connection.closed]
            self._guarded = WeakSet(found)
            if not found:
                self._thread = None
            return found


_GUARD = _Guard()


def connect(url: str) -> Connection:
    """Connect to the database at *url*, with our defaults for what it does not say.

    Raises:
        psycopg.Error: it cannot be reached, or refuses; the message names no password.
    """
    address = _address(url)
    connection = Connection.connect(address, autocommit=True, row_factory=dict_row)
    connection.address = address
    connection.adapters.register_dumper(int, _Plain)
    connection.adapters.register_loader("numeric", _Whole)
    _GUARD.add(connection)
    return connection


def _address(url: str) -> str:
    said = parameters(url)
    return make_conninfo(url, **{k: v for k, v in DEFAULTS.items() if k not in said})


def _is_answered(address: str) -> bool:
    """Say whether the server answers somebody who connects now."""
    try:
        psycopg.connect(address, connect_timeout=10).close()
    except psycopg.Error:
        return False
    return True


def parameters(url: str) -> dict[str, Any]:
    """Return what *url* says.

    Raises:
        StartError: it is no address of a database. libpq's own message may quote all of it.
    """
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        message = "ledger.url is not understood: postgresql://USER@HOST:PORT/DATABASE?NAME=VALUE"
        raise StartError(message) from None
