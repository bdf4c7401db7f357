"""A small HTTP server for a few pages that are only read: asyncio's streams, parsed by h11.

It shares the loop with the daemon, so whoever connects can make it neither wait nor grow: a
connection carries one request and ends after :data:`LONGEST_SECONDS`, whatever the other side
sends or does not take; there are at most :data:`MOST_CONNECTIONS`; a request is at most
:data:`LONGEST_REQUEST` bytes long. Nothing here runs while nobody is connected.

The server that prometheus-client brings gives each connection a thread, waits for it without end,
and listens at no socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, NamedTuple

import h11

from taggerd.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from taggerd.settings import Address

log = get_logger(__name__)

MOST_CONNECTIONS = 32
LONGEST_SECONDS = 10.0
"""Of a connection. Prometheus waits as long for an answer."""
LONGEST_REQUEST = 16384
"""Bytes, headers included."""
SOCKET_MODE = 0o660
"""The socket is for taggerd's user and group."""


class Page(NamedTuple):
    """What is answered."""

    content: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Pages = dict[str, "Callable[[], Awaitable[Page]]"]
"""What is served, by path."""


class Server:
    """Serves pages at one address."""

    def __init__(
        self,
        address: Address,
        pages: Pages,
        *,
        longest_seconds: float = LONGEST_SECONDS,
        most_connections: int = MOST_CONNECTIONS,
    ) -> None:
        """Prepare to serve *pages* at *address*; nothing is opened."""
        self.address = address
        self._pages = pages
        self._longest_seconds = longest_seconds
        self._most_connections = most_connections
        self._server: asyncio.Server | None = None
        self._socket_id: tuple[int, int] | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port that is listened at; 0 for a socket."""
        if self._server is None or self.address.socket is not None:
            return 0
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the system's reason why not.

        """
        if (path := self.address.socket) is not None:
            listening = _listening_at(path)
            self._socket_id = _identity(path)
            self._server = await asyncio.start_unix_server(self._connected, sock=listening)
        else:
            host, port = self.address.host, self.address.port
            self._server = await asyncio.start_server(self._connected, host, port)

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        if self.address.socket is not None:
            with suppress(OSError):  # another program may listen there by now
                if self._socket_id == _identity(self.address.socket):
                    self.address.socket.unlink()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; nothing is raised, for nobody waits for this task."""
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._most_connections:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            async with asyncio.timeout(self._longest_seconds):
                await self._exchange(reader, writer)
                writer.close()
        except (TimeoutError, OSError, h11.ProtocolError, asyncio.CancelledError):
            # It came too late, or went away, or we did: nobody is left to be told. Of a task that
            # was cancelled asyncio would log a traceback until Python 3.12.
            pass
        except Exception:
            log.exception("a request could not be answered")
        finally:
            writer.transport.abort()  # what is closed in order is not affected
            self._connections.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read a request and write the answer, so that all of it is with the kernel."""
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_REQUEST)
        writer.transport.set_write_buffer_limits(0)
        request: h11.Request | None = None
        try:
            request = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            page = Page(f"{error}\n".encode(), status=error.error_status_hint)
        else:
            page = await self._page(request)
        headers = [
            ("Content-Type", page.content_type),
            ("Content-Length", str(len(page.content))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("Connection", "close"),
        ]
        answer: list[h11.Event] = [
            h11.Response(
                status_code=page.status, headers=headers, reason=HTTPStatus(page.status).phrase
            )
        ]
        if request is None or request.method != b"HEAD":
            answer.append(h11.Data(data=page.content))
        answer.append(h11.EndOfMessage())
        writer.write(b"".join(connection.send(event) or b"" for event in answer))
        await writer.drain()

    async def _page(self, request: h11.Request) -> Page:
        """Return the answer to *request*."""
        if not self._is_meant(request):
            return Page(b"ask by an IP address or localhost\n", status=421)
        if request.method not in {b"GET", b"HEAD"}:
            return Page(b"pages here are only read: GET or HEAD\n", status=405)
        page = self._pages.get(request.target.partition(b"?")[0].decode("ascii", "replace"))
        if page is None:
            return Page(f"there are: {', '.join(self._pages)}\n".encode(), status=404)
        return await page()

    def _is_meant(self, request: h11.Request) -> bool:
        """Say whether whoever asks knows that it asks this machine.

        A web page may have its own name resolve to 127.0.0.1 and read what is served there, the
        names of import folders among it (DNS rebinding). It cannot choose what the browser says
        the host is.
        """
        if self.address.socket is not None or not self.address.is_local:
            return True
        host = next((value for name, value in request.headers if name == b"host"), b"")
        return _is_number(host.decode("ascii", "replace"))


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    """Read the head of a request.

    Raises:
        h11.RemoteProtocolError: it is too long, or none.
        ConnectionError: the other side closed without one.

    """
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            raise ConnectionResetError
        connection.receive_data(await reader.read(4096))


def _is_number(host: str) -> bool:
    """Say whether *host*, with or without a port, is an IP address, or this machine's own name."""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name in {"", "localhost"}:  # empty: HTTP/1.0, which no browser speaks
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _listening_at(path: Path) -> socket.socket:
    """Return a socket that is bound to *path*; one that a killed program left there is replaced.

    Raises:
        OSError: the system's reason why not; another program listens there.

    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        try:
            bound.bind(os.fspath(path))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_left(path):
                raise
            path.unlink()
            bound.bind(os.fspath(path))
        path.chmod(SOCKET_MODE)
    except OSError:
        bound.close()
        raise
    return bound


def _is_left(path: Path) -> bool:
    """Say whether *path* is a socket at which nobody listens."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as tried:
        return tried.connect_ex(os.fspath(path)) == errno.ECONNREFUSED


def _identity(path: Path) -> tuple[int, int]:
    """Return device and inode of what is at *path*."""
    status = path.lstat()
    return status.st_dev, status.st_ino
