"""A program that hooks tell: a small HTTP server that keeps what it is sent."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Heard:
    """One request."""

    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    @property
    def notice(self) -> dict[str, Any]:
        """The body as JSON."""
        said: dict[str, Any] = json.loads(self.body)
        return said


class Listener:
    """Keeps every request, and answers as the test says."""

    def __init__(self, port: int = 0) -> None:
        """Serve at once, on loopback."""
        self.heard: list[Heard] = []
        self.status = 200
        self.held = threading.Event()
        """Clear it, and no request is answered."""
        self.held.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.heard.append(Heard(self.path, headers, body))
                outer.held.wait()
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """Say nothing: the program was killed while it was answered."""

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def notices(self, kind: str) -> list[dict[str, Any]]:
        """Return the notices of one type that were taken."""
        return [heard.notice for heard in self.heard if heard.notice.get("type") == kind]

    def close(self) -> None:
        """End the server; the port is free for another."""
        self.held.set()
        self._server.shutdown()
        self._server.server_close()
