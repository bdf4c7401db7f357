"""The breaker: while the backend is at fault, work waits for it instead of wearing photos out."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from taggerd.errors import BackendError, NotProbed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0


class Breaker:
    """Open while the backend is at fault, and until it was probed first; a good probe closes it.

    Waits double from one second to a minute, with up to a quarter more by chance, so that several
    machines do not return at once. A wait that the backend asked for (Retry-After) is kept to.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[BackendError | None]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
        name: Callable[[], str] = str,
    ) -> None:
        """Take the *probe* that tells what is wrong with the backend (None: nothing).

        Args:
            probe: see above.
            sleep: waits so many seconds.
            chance: from 0 to 1.
            name: gives the backend's name, for the log.
        """
        self._name = name
        self._probe = probe
        self._sleep = sleep
        self._chance = chance
        self._wait = FIRST_WAIT_SECONDS
        self.error: BackendError | None = NotProbed()
        """Why it is open; None while it is closed."""

    def fault(self, error: BackendError) -> None:
        """Open on *error*; further faults of requests already under way change nothing."""
        if self.error is None:
            log.warning("backend at fault, work waits", reason=str(error))
            self.error = error

    def answered(self) -> None:
        """Note an answer: the next outage starts with a short wait again."""
        self._wait = FIRST_WAIT_SECONDS

    async def wait_closed(self) -> None:
        """Return once the backend is usable: probe, sleep, and again."""
        while self.error is not None:
            if not isinstance(self.error, NotProbed):
                asked = self.error.retry_after_seconds or 0.0
                await self._sleep(max(asked, self._wait) * (1 + self._chance() / 4))
                self._wait = min(self._wait * 2, LONGEST_WAIT_SECONDS)
            self.found(await self._probe())

    def found(self, error: BackendError | None) -> None:
        """Take note of what a probe found; each change is logged once."""
        if error is None and self.error is not None:
            log.info("backend is usable", base_url=self._name())
        elif error is not None and str(error) != str(self.error):
            log.warning("backend at fault, work waits", reason=str(error))
        self.error = error
