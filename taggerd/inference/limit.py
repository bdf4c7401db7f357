"""The limit: how many requests an endpoint is given at once, found out as it goes.

Additive increase, multiplicative decrease, as TCP does it (RFC 5681): a refusal (429, 503) halves
the limit, once for all requests that were under way; an answer adds 1/limit, that is one more place
a round. Rising latency shrinks it as in Netflix's concurrency-limits (``Gradient2Limit``): by the
ratio of how long answers take in the long run, times a tolerance of 1.5, to how long they take now.
The long run follows, so that a slower normal is a normal soon.

Unlike there, it begins at the largest limit: this is set by somebody who knows the machine, and
servers that batch are slower a request, and faster in all, the more they have to do. And where a
number of requests was refused, that number is not tried again for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TOLERANCE = 1.5
"""So much slower than usual is still usual."""
LONG_RUN, SHORT_RUN = 200, 10
"""Answers over which latency is averaged."""
SMOOTHING = 0.2
"""Share of a change by latency that one answer brings about."""
FIRST_HOLD_SECONDS, LONGEST_HOLD_SECONDS = 30.0, 600.0
"""So long what was refused is not tried again; it doubles when it is refused again."""


class Limit:
    """Places for requests under way, at most ``most``, at least one."""

    def __init__(self, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with *most* places; *clock* is monotonic, seconds."""
        self.most = most
        self.under_way = 0
        self._clock = clock
        self._size = float(most)
        self._ceiling = float(most)
        self._hold = FIRST_HOLD_SECONDS
        self._held_until = self._cut_at = float("-inf")
        self._usual: dict[str, tuple[int, float]] = {}
        self._slowness = 1.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def size(self) -> int:
        """Number of places now."""
        return int(self._size)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Take a place for the time of the block, first come, first served."""
        if self._waiting or self.under_way >= self.size:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn  # whoever wakes us has counted us already
            except asyncio.CancelledError:
                if turn.cancelled():
                    with suppress(ValueError):  # passed over already
                        self._waiting.remove(turn)
                else:
                    self._leave()
                raise
        else:
            self.under_way += 1
        try:
            yield
        finally:
            self._leave()

    def answered(self, kind: str, seconds: float) -> None:
        """Note that a request was answered after *seconds*.

        Args:
            kind: requests of one kind take about as long as each other, e.g. the role.
            seconds: from sending to the last byte.
        """
        number, usual = self._usual.get(kind, (0, seconds))
        ratio = seconds / usual if usual > 0 else 1.0
        number = min(number + 1, LONG_RUN)
        self._usual[kind] = number, usual + (seconds - usual) / number
        self._slowness += (min(ratio, 10.0) - self._slowness) / SHORT_RUN
        full = self.under_way >= self.size  # a limit that nobody needs says nothing of the server
        if self._slowness > TOLERANCE:
            shrunk = self._size * max(0.5, TOLERANCE / self._slowness)
            self._size = max(1.0, self._size + (shrunk - self._size) * SMOOTHING)
        elif full or self._waiting:
            self._size = min(self._size + 1 / self._size, self._top())
        self._let_in()

    def refused(self, begun_at: float) -> None:
        """Note that a request that was sent at *begun_at* came back with 429 or 503.

        While it is still under way itself: one that was alone was not refused for being too many.
        """
        if begun_at < self._cut_at or self.under_way <= 1:
            return  # it was under way when the limit was cut: the same news once more
        now = self._clock()
        again = now < self._held_until + self._hold
        self._hold = min(self._hold * 2, LONGEST_HOLD_SECONDS) if again else FIRST_HOLD_SECONDS
        self._cut_at, self._held_until = now, now + self._hold
        self._ceiling = max(1.0, min(self.under_way, self.size) - 1.0)
        self._size = max(1.0, self._size / 2)

    def _top(self) -> float:
        """Return what the limit may grow to by now."""
        return self._ceiling if self._clock() < self._held_until else float(self.most)

    def _leave(self) -> None:
        """Give a place back."""
        self.under_way -= 1
        self._let_in()

    def _let_in(self) -> None:
        """Give free places to those who wait."""
        while self._waiting and self.under_way < self.size:
            turn = self._waiting.popleft()
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)
