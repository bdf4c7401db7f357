"""Whether each part of the service moves: systemd's watchdog is answered only while all do.

A part moves when its loop comes round, not when it has work: an idle service moves, and so does one
whose backend is slow or away. What waits for a disk is no reason for a restart either: the next
process would wait for the same one, again and again. A thread that waits for a lock is: no disk and
no backend holds it, so nothing but a restart ends that.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from taggerd.daemon.systemd import Notifier, watchdog_interval
from taggerd.errors import StorageError
from taggerd.logs import get_logger
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taggerd.arrivals import Pulse

log = get_logger(__name__)

MOST_SECONDS = 120.0
"""How long a part may stand still. The slowest of them comes round every minute."""
_BEAT_SECONDS = 30.0
"""Between two checks where no service manager waits for them."""


class Ledger(Protocol):
    """The part of the ledger that is needed here."""

    async def ping(self) -> int:
        """Return the native id of the thread that owns the database, once it has time for that."""


class Arrivals(Protocol):
    """The part of the arrivals that is needed here."""

    def pulses(self) -> Iterable[Pulse]:
        """Return how long the task of each import folder has not come round."""


class Runner(Protocol):
    """The part of the runner that is needed here."""

    @property
    def still_seconds(self) -> float:
        """How long its loop has not come round."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What has to move."""

    ledger: Ledger
    arrivals: Arrivals
    runner: Runner
    waiting: Callable[[], bool] = bool
    """Whether what has arrived waits for room in the ledger."""


class ThreadState(NamedTuple):
    """What a thread does, as the kernel says (proc(5), stat and wchan)."""

    state: str
    ticks: int
    """Processor time that it has used."""
    waits_in: str
    """The function of the kernel that it waits in; ``0``: not known."""

    @classmethod
    def of(cls, thread: int) -> ThreadState | None:
        """Return the state of a thread of this process by its native id; None if it is gone."""
        folder = Path(f"/proc/self/task/{thread}")
        try:
            fields = (folder / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            waits_in = "0"
            with suppress(OSError):
                waits_in = (folder / "wchan").read_text("ascii", "replace").strip()
            return cls(fields[0], int(fields[11]) + int(fields[12]), waits_in)
        except (OSError, IndexError, ValueError):
            return None

    @property
    def waits_for_a_lock(self) -> bool:
        """Whether it sleeps, and not in a file system."""
        return self.state == "S" and (self.waits_in == "0" or "futex" in self.waits_in)


class Watchdog:
    """Answers the service manager as long as every part moves."""

    def __init__(
        self,
        notifier: Notifier,
        *,
        clock: Callable[[], float] = time.monotonic,
        state_of: Callable[[int], ThreadState | None] = ThreadState.of,
    ) -> None:
        """Prepare to answer through *notifier*.

        Args:
            notifier: talks to systemd.
            clock: monotonic seconds.
            state_of: what a thread does, by its native id.
        """
        self._notifier = notifier
        self._clock = clock
        self._state_of = state_of
        self._parts: Parts | None = None
        self._ping: asyncio.Task[int] | None = None
        self._pinged_at = 0.0
        self._ledger_thread = 0
        self._before: dict[int, ThreadState | None] = {}
        """What each thread did at the last check."""
        self.stuck = ""
        """Which part stands still, at the last check; empty if none does."""

    def attend(self, parts: Parts | None) -> None:
        """Check these *parts* from now on; None: there are none, while services open or close."""
        self._parts = parts
        if self._ping is not None and not self._ping.cancel():
            self._answer(self._ping)
        self._ping, self._ledger_thread, self._before = None, 0, {}

    async def run(self) -> None:
        """Check and answer until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(watchdog_interval() or _BEAT_SECONDS)

    def beat(self) -> None:
        """Check every part once, and answer if none is stuck."""
        stuck = self._stuck(self._parts) if self._parts is not None else ""
        if stuck and not self.stuck:
            log.critical("a part is stuck: systemd's watchdog restarts the service", part=stuck)
        self.stuck = stuck
        if not stuck:
            self._notifier.watchdog()

    def _stuck(self, parts: Parts) -> str:
        """Return which part is stuck; empty if none is."""
        silent = self._silent_seconds(parts.ledger)
        if silent > 0:
            # Whoever waits for the ledger stands still as well.
            return "ledger" if silent > MOST_SECONDS and self._is_stuck(self._ledger_thread) else ""
        for pulse in () if parts.waiting() else parts.arrivals.pulses():
            late = pulse.seconds > MOST_SECONDS
            if late and (not pulse.thread or self._is_stuck(pulse.thread)):
                return f"arrivals {printable(pulse.path)}"
        return "pipeline" if parts.runner.still_seconds > MOST_SECONDS else ""

    def _silent_seconds(self, ledger: Ledger) -> float:
        """Return for how long the ledger has not answered; 0 once it has."""
        answered = self._ping is not None and self._ping.done()
        silent = 0.0 if self._ping is None or answered else self._clock() - self._pinged_at
        if self._ping is not None and answered:
            self._answer(self._ping)
        if silent == 0:
            self._ping = asyncio.create_task(_ping(ledger), name="ping")
            self._pinged_at = self._clock()
        return silent

    def _answer(self, ping: asyncio.Task[int]) -> None:
        if not ping.cancelled():
            with suppress(StorageError, RuntimeError):  # it is being closed
                self._ledger_thread = ping.result()

    def _is_stuck(self, thread: int) -> bool:
        """Say whether a thread waits for a lock, and has done nothing else since the last check."""
        before, now = self._before.get(thread), self._state_of(thread)
        self._before[thread] = now
        if not thread or now is None:
            return True  # nobody is left to do the work
        return now == before and now.waits_for_a_lock


async def _ping(ledger: Ledger) -> int:
    return await ledger.ping()
