"""A second connection, in a thread of its own: gives signs of life, and hears what others change.

The ledger's own connection may wait for a disk or a lock, and the program's loop for anything: this
one does nothing else, so that a busy host is not taken for dead. Between two signs of life it sends
nothing; PostgreSQL's LISTEN wakes it.

Behind a pooler in transaction mode nothing is ever heard. Then each sign of life tells whether jobs
came meanwhile.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg

from taggerd.ledger.postgres.jobs import BEAT_SECONDS
from taggerd.logs import described, get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.ledger.fleet import Change
    from taggerd.ledger.queries import Row

log = get_logger(__name__)

JOBS = "procrastinate_any_queue_v1"
"""procrastinate's channel: a job was made."""
OURS = "taggerd"
"""Our channel; what was changed is the payload."""
_LISTEN = f"LISTEN {JOBS}; LISTEN {OURS}".encode()
_RECONNECT_SECONDS = (1.0, 10.0)
_CHANGES: tuple[Change, ...] = ("photos", "outbox", "fleet", "endpoints")


class Listening:
    """Counts what was changed, by anybody and by kind, and lets coroutines wait for more."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Row]],
        beat: Callable[[psycopg.Connection[Row]], int],
        *,
        seconds: float = BEAT_SECONDS,
    ) -> None:
        """Prepare; see :meth:`start`.

        Args:
            connect: opens a connection in autocommit mode; may raise psycopg's errors.
            beat: gives a sign of life; returns a number that differs once jobs were made.
            seconds: between two signs of life.
        """
        self._connect = connect
        self._beat = beat
        self._seconds = seconds
        self._counts: Counter[Change | None] = Counter()
        self._seen: Counter[Change | None] = Counter()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self._lock = threading.Lock()
        self._jobs: int | None = None
        self._told, self._tell = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="ledger listens", daemon=True)

    def start(self) -> None:
        """Begin; the first sign of life follows at once."""
        self._thread.start()

    def close(self) -> None:
        """End; waits a moment for the thread, which a server that is gone may keep for longer."""
        self._closing = True
        with suppress(OSError):
            self._tell.send(b"x")
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        if not self._thread.is_alive():
            self._told.close()
            self._tell.close()

    # Who hears it.

    def stamp(self) -> int:
        """Return what differs once anybody has changed anything."""
        return self._counts[None]

    async def changed(self, seconds: float, of: Change | None = None) -> bool:
        """See :meth:`taggerd.ledger.fleet.Fleet.changed`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            told: asyncio.Future[None] = loop.create_future()
            with self._lock:
                count = self._counts[of]
                if count != self._seen[of]:
                    self._seen[of] = count
                    return True
                self._waiting.add((loop, told))
            try:
                async with asyncio.timeout_at(until):
                    await told
            except TimeoutError:
                return False
            finally:
                with self._lock:
                    self._waiting.discard((loop, told))

    def _heard(self, changes: set[Change]) -> None:
        if not changes:
            return
        with self._lock:
            self._counts.update([None, *changes])
            waiting = list(self._waiting)
            self._waiting.clear()
        for loop, told in waiting:
            with suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_wake, told)

    # The thread.

    def _run(self) -> None:
        wait, longest = _RECONNECT_SECONDS
        while not self._closing:
            try:
                with self._connect() as connection:
                    connection.execute(_LISTEN)
                    self._heard(set(_CHANGES))  # whatever came while nobody listened
                    wait = _RECONNECT_SECONDS[0]
                    self._serve(connection)
            except psycopg.Error as error:
                log.debug("the ledger's server is not heard", reason=described(error))
            except Exception:  # whatever it is, the host may not fall silent
                log.exception("the ledger's server is not heard")
            if not self._closing:
                self._sleep(wait)
                wait = min(2 * wait, longest)

    def _serve(self, connection: psycopg.Connection[Row]) -> None:
        due = time.monotonic()
        while not self._closing:
            if (left := due - time.monotonic()) <= 0:
                jobs = self._beat(connection)
                if self._jobs not in (None, jobs):
                    self._heard({"photos"})
                self._jobs = jobs
                # What came with the answer makes nothing readable: it was heard with the next one.
                self._heard(_changes(connection))
                due = time.monotonic() + self._seconds
                continue
            # Not in notifies() alone: nothing would end that but its time.
            descriptors = [connection.fileno(), self._told.fileno()]
            readable, _, _ = select.select(descriptors, [], [], left)
            if connection.fileno() in readable:
                self._heard(_changes(connection))

    def _sleep(self, seconds: float) -> None:
        select.select([self._told], [], [], seconds)


def _changes(connection: psycopg.Connection[Row]) -> set[Change]:
    """Return what the notifications say that have come."""
    heard: set[Change] = set()
    for notice in connection.notifies(timeout=0):
        if notice.channel == JOBS:
            heard.add("photos")
        else:
            heard.update(change for change in _CHANGES if notice.payload == change)
    return heard


def _wake(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)
