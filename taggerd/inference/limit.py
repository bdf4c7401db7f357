"""The adaptive limit: how many requests an endpoint is sent at once.

Additive increase, multiplicative decrease, as TCP does it (RFC 5681): a refusal (429, 503) or a
timeout halves the limit, once for all requests that were in flight; an answer adds 1/limit, which
is one more a round. It begins at the largest limit, which is set by somebody who knows the machine.
A number of requests that was refused is not tried again for a while (:mod:`taggerd.retry`).

Latency teaches it nothing: servers that batch take longer for a request, and less for all of them,
the more they have to do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from taggerd.retry import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class Limit:
    """Permits for requests in flight, at most ``most``, at least one."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with *most* permits; *clock* is monotonic, seconds."""
        self.most = most
        self.in_flight = 0
        self._clock = clock
        self._size = float(most)
        self._ceiling = float(most)
        self._refusals = 0
        self._hold = CONCURRENCY.first
        self._held_until = self._cut_at = float("-inf")
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def size(self) -> int:
        """Number of permits now."""
        return int(self._size)

    @asynccontextmanager
    async def permit(self) -> AsyncIterator[None]:
        """Hold a permit for the time of the block, first come, first served."""
        if self._waiting or self.in_flight >= self.size:
            granted = asyncio.get_running_loop().create_future()
            self._waiting.append(granted)
            try:
                await granted  # whoever wakes us has counted us already
            except asyncio.CancelledError:
                if granted.cancelled():
                    with suppress(ValueError):  # passed over already
                        self._waiting.remove(granted)
                else:
                    self._release()
                raise
        else:
            self.in_flight += 1
        try:
            yield
        finally:
            self._release()

    def answered(self) -> None:
        """Note that a request was answered, while it still holds its permit."""
        full = self.in_flight >= self.size  # a limit that nobody needs says nothing of the server
        if full or self._waiting:
            held = self._clock() < self._held_until
            self._size = min(self._size + 1 / self._size, self._ceiling if held else self.most)
        self._grant()

    def refused(self, begun_at: float) -> None:
        """Note that a request sent at *begun_at* was too much, while it still holds its permit.

        One that was alone was not refused for being one of too many.
        """
        if begun_at < self._cut_at or self.in_flight <= 1:
            return  # in flight when the limit was cut: the same news once more
        now = self._clock()
        again = now < self._held_until + self._hold
        self._refusals = self._refusals + 1 if again else 1
        self._hold = CONCURRENCY.seconds(self._refusals)
        self._cut_at, self._held_until = now, now + self._hold
        self._ceiling = max(1.0, min(self.in_flight, self.size) - 1.0)
        self._size = max(1.0, self._size / 2)

    def _release(self) -> None:
        """Return a permit."""
        self.in_flight -= 1
        self._grant()

    def _grant(self) -> None:
        """Give free permits to those who wait."""
        while self._waiting and self.in_flight < self.size:
            granted = self._waiting.popleft()
            if not granted.done():
                self.in_flight += 1
                granted.set_result(None)
