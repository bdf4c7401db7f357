"""One thread for one root's file system calls, so that a hung share blocks nothing else."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class Executor:
    """Runs calls one after the other in a thread of its own.

    A daemon thread, not one of asyncio's: the program waits for those at its end, and a call into
    a network share that is gone may never return.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Name the thread *name*."""
        self._name = name
        self._clock = clock
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._since: float | None = None

    def busy_seconds(self) -> float:
        """Return how long the current call has been running; 0 while there is none."""
        since = self._since
        return 0.0 if since is None else self._clock() - since

    @property
    def thread(self) -> int:
        """Native id of the thread, while it runs a call; 0 while it runs none."""
        thread = self._thread
        return (thread.native_id or 0) if thread is not None and self._since is not None else 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run *function* in the thread and return what it returns, or raise what it raises.

        A cancelled caller leaves the call running; the next call waits for its end.
        """
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # so that a cancelled caller does not cancel the call

        def call() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - the caller gets it, whatever it is
                future.set_exception(error)

        self._calls.put(call)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Let the thread end after the calls it has; do not wait for it."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            self._since = self._clock()
            try:
                call()
            finally:
                self._since = None
