"""What lies between a host and its database: it can be cut like a cable."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_AT_ONCE = 1 << 16


class Relay:
    """A TCP port on loopback that passes everything on to a server's Unix socket, and back."""

    def __init__(self, target: Path) -> None:
        """Pass on to the server that listens at *target*."""
        self._target = str(target)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._changing = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Drop every connection, and every new one at once: the database's machine is gone."""
        with self._changing:
            self._refuses = True
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _close(*pair)

    def freeze(self) -> None:
        """Pass on nothing, and tell nobody: a switch lost its power."""
        self._flows.clear()

    def mend(self) -> None:
        """Pass on everything again; what was cut stays cut, and what waited arrives."""
        self._refuses = False
        self._flows.set()

    def close(self) -> None:
        """End."""
        self._listener.close()
        self.cut()
        self._flows.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        try:
            if self._refuses:
                raise ConnectionRefusedError
            server.connect(self._target)
        except OSError:
            _close(client, server)
            return
        with self._changing:
            self._pairs.append((client, server))
        for one, other in ((client, server), (server, client)):
            threading.Thread(target=self._pass_on, args=(one, other), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while said := one.recv(_AT_ONCE):
                self._flows.wait()
                other.sendall(said)
        _close(one, other)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
