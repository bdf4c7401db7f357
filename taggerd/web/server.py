"""The server that the review runs in: uvicorn, with limits on what a connection may cost.

Whoever connects can make it neither wait nor grow: the head of a request comes in
:data:`HEAD_SECONDS`, an answer is taken within :data:`TAKE_SECONDS`, there are at most
:data:`MOST_CONNECTIONS`, and a head is at most :data:`LONGEST_HEAD` long. uvicorn itself waits
without end for the first two.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from taggerd.errors import StartError
from taggerd.web.app import make_app
from taggerd.web.door import Keys
from taggerd.web.passwords import Passwords, Throttle
from taggerd.web.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taggerd.settings import Address
    from taggerd.settings.configuration import Configuration
    from taggerd.web.site import Site

PORT = 8437
"""Where ``taggerd web`` listens, if no other program does."""
HEAD_SECONDS = 10.0
TAKE_SECONDS = 30.0
IDLE_SECONDS = 30
"""For how long a connection is kept for a next request."""
MOST_CONNECTIONS = 128
LONGEST_HEAD = 16384
"""Bytes."""
END_SECONDS = 3
"""For requests in flight when the server ends."""


class _Protocol(H11Protocol):
    """A connection that ends when the other side sends or takes nothing."""

    _late: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Of a request that keeps the connection the head may come slowly as well.
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._wait_for_head()
        elif self._late is not None:
            self._late.cancel()
            self._late = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(TAKE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._late, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the command has those of all commands."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals as they are."""
        yield


def listening(address: Address, *, instead: bool = False) -> socket.socket:
    """Return a socket that listens at *address*.

    Args:
        address: where.
        instead: take any free port if another program listens there.

    Raises:
        StartError: it cannot be listened at.

    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    for port in (address.port, 0) if instead else (address.port,):
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((address.host, port))
            bound.listen(MOST_CONNECTIONS)
        except OSError as error:
            bound.close()
            reason = error.strerror
        else:
            bound.setblocking(False)  # noqa: FBT003 - its only form
            return bound
    message = f"{address}: cannot listen there: {reason}; choose another with --listen ADDRESS"
    raise StartError(message)


def address_of(bound: socket.socket) -> str:
    """Return where a browser on this machine finds what listens at *bound*: ``http://…``."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - to compare
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def make_keys(
    configuration: Configuration, port: int, link_used: Callable[[], object] = lambda: None
) -> Keys:
    """Return who may come in, by the settings."""
    web, names = configuration.settings.web, set(configuration.settings.web.hosts)
    own = socket.gethostname().lower().rstrip(".")
    if own:
        short = own.partition(".")[0]
        names |= {own, short, f"{short}.local", f"{short}.lan", f"{short}.home.arpa"}
    given = web.password_hash.get_secret_value() if web.password_hash else ""
    return Keys(
        sessions=Sessions(time.monotonic),
        passwords=Passwords(configuration.settings.state_directory, given),
        throttle=Throttle(time.monotonic),
        cookie=f"taggerd-{port}",
        names=frozenset(names),
        link_used=link_used,
    )


async def serve(site: Site, keys: Keys, bound: socket.socket) -> None:
    """Serve *site* at *bound* until it is cancelled."""
    options: dict[str, Any] = {
        "http": _Protocol,
        "ws": "none",
        "loop": "asyncio",
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "proxy_headers": False,
        "server_header": False,
        "limit_concurrency": MOST_CONNECTIONS,
        "timeout_keep_alive": IDLE_SECONDS,
        "timeout_graceful_shutdown": END_SECONDS,
        "h11_max_incomplete_event_size": LONGEST_HEAD,
    }
    # It says on stderr what anybody who connects has it say. What fails in a page, the app logs.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").propagate = False
    server = _Server(uvicorn.Config(make_app(site, keys), **options))
    serving = asyncio.create_task(server.serve(sockets=[bound]), name="web")
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
