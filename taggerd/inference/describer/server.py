"""What carries requests to the describer: a transport in this process, or a port."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

import httpx

from taggerd.inference.describer.api import Refusal, respond

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

LARGEST_REQUEST = 32 * 1024 * 1024
"""Bytes."""


class _DescriberTransport(httpx.AsyncBaseTransport):
    """Carries requests to the describer in this process."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        path = request.url.raw_path.decode("ascii", "replace")
        status, answer = await asyncio.to_thread(respond, request.method, path, body)
        return httpx.Response(status, json=answer, request=request)


def describer_transport() -> httpx.AsyncBaseTransport:
    """Return a transport for httpx that answers in this process; decoding runs in a thread."""
    return _DescriberTransport()


class _Handler(BaseHTTPRequestHandler):
    """Carries requests to the describer over a socket."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def _serve(self) -> None:
        """Read one request, answer it."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self._refuse(411, "a body needs its Content-Length")
        elif int(length) > LARGEST_REQUEST:
            self._refuse(413, f"more than {LARGEST_REQUEST >> 20} MB")
        else:
            self._send(*respond(self.command, self.path, self.rfile.read(int(length))))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 - names of http.server

    def _refuse(self, status: int, message: str) -> None:
        """Answer without reading the body; the connection cannot be used again."""
        self.close_connection = True
        self._send(status, Refusal(status, message).body)

    def _send(self, status: int, answer: Mapping[str, object]) -> None:
        """Send status and JSON."""
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Log nothing: the client does."""


class _Server(ThreadingHTTPServer):
    """Threads end with the process."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing about a broken connection."""


class DescriberServer:
    """The describer on a port of this machine, as a context manager.

    ::

        with DescriberServer() as server:
            httpx.get(f"{server.base_url}/models")
    """

    def __init__(self, port: int = 0) -> None:
        """Bind *port* of 127.0.0.1; 0: any that is free."""
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="describer"
        )

    @property
    def base_url(self) -> str:
        """Where it answers, with ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        """Start answering."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
