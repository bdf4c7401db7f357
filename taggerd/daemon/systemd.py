"""What the service tells systemd.

Outside of systemd (no ``NOTIFY_SOCKET``) every notification does nothing.
"""

from __future__ import annotations

import os
import time
import unicodedata
from typing import TYPE_CHECKING

from sdnotify import SystemdNotifier

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


SEND_SECONDS = 1.0
"""How long a message waits for room in the queue of whoever should read it; then it is lost."""


class Notifier:
    """Speaks the sd_notify protocol."""

    def __init__(
        self,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        """Connect to ``$NOTIFY_SOCKET``, if there is one.

        Args:
            clock: CLOCK_MONOTONIC in nanoseconds, the clock that systemd compares with.
            send_seconds: how long a message may wait, in seconds.
        """
        self._socket = SystemdNotifier()
        if self._socket.socket is not None:
            # A manager that hangs reads nothing: without a limit the whole service waited for it.
            self._socket.socket.settimeout(send_seconds)
        self._clock = clock
        self._status = ""

    @property
    def is_heard(self) -> bool:
        """Whether a service manager started this process."""
        return "NOTIFY_SOCKET" in os.environ

    def ready(self) -> None:
        """Say that the service is up, or that a reload is done."""
        self._socket.notify("READY=1")

    def reloading(self) -> None:
        """Say that a reload began; end it with :meth:`ready`."""
        self._socket.notify(f"RELOADING=1\nMONOTONIC_USEC={self._clock() // 1000}")

    def stopping(self) -> None:
        """Say that the service is going down."""
        self._socket.notify("STOPPING=1")

    def extend(self, seconds: float) -> None:
        """Ask for so many *seconds* from now for the start or the stop that it is in.

        It counts only where the unit's own time, TimeoutStartSec or TimeoutStopSec, is over.
        """
        self._socket.notify(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}")

    def watchdog(self) -> None:
        """Say that the service is alive."""
        self._socket.notify("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Show *text* in ``systemctl status``; nothing is sent while it stays the same."""
        plain = ascii_line(text)
        if plain != self._status:
            self._status = plain
            self._socket.notify(f"STATUS={plain}")


def ascii_line(text: str) -> str:
    """Return *text* as one line of ASCII: accents dropped, other letters as ``?``.

    sdnotify 0.3.2 sends Latin-1, which systemd refuses as bad UTF-8, and silently loses a
    message with any other letter.
    """
    letters = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    plain = "".join(c if c.isascii() else "?" for c in letters)
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())


def watchdog_interval(
    environment: Mapping[str, str] = os.environ, pid: int | None = None
) -> float | None:
    """Return how often :meth:`Notifier.watchdog` should be called, in seconds.

    Half of what systemd allows (sd_watchdog_enabled(3)); None if systemd does not wait for it, or
    waits for another process than *pid* (this one by default).
    """
    meant = environment.get("WATCHDOG_PID", "")
    if meant and meant != str(os.getpid() if pid is None else pid):
        return None
    try:
        allowed = int(environment.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return allowed / 2e6 if allowed > 0 else None
