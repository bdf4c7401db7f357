"""systemd's watchdog is answered while every part moves, whatever disks and backends do."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from taggerd.arrivals import Pulse
from taggerd.daemon.systemd import Notifier
from taggerd.daemon.watchdog import MOST_SECONDS, Parts, ThreadState, Watchdog

LOCKED = ThreadState("S", 7, "futex_wait_queue")
ON_A_SHARE = ThreadState("S", 7, "request_wait_answer")
ON_A_DISK = ThreadState("D", 7, "0")
WORKER = 4711
LONG = MOST_SECONDS + 1


class Heard(Notifier):
    """Counts the answers."""

    answers = 0

    def watchdog(self) -> None:
        """Count one."""
        self.answers += 1


@dataclass
class Service:
    """A service whose parts stand still when a test says so."""

    answering: asyncio.Event = field(default_factory=asyncio.Event)
    root: Pulse = field(default_factory=lambda: Pulse(Path("/import"), 0, 0))
    still_seconds: float = 0.0
    state: ThreadState | None = LOCKED
    now: float = 0.0
    waiting: bool = False
    heard: Heard = field(default_factory=Heard)

    async def ping(self) -> int:
        """Answer once it may."""
        await self.answering.wait()
        return WORKER

    def pulses(self) -> tuple[Pulse, ...]:
        """Return the one of the only import folder."""
        return (self.root,)

    def watchdog(self) -> Watchdog:
        """Return what attends to it."""
        dog = Watchdog(self.heard, clock=lambda: self.now, state_of=lambda _thread: self.state)
        dog.attend(Parts(self, self, self, lambda: self.waiting))
        return dog


async def answered(service: Service, dog: Watchdog) -> bool:
    """Say whether systemd hears anything after a while in which parts stand as they do."""
    for _ in range(3):
        dog.beat()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        service.now += LONG
    before = service.heard.answers
    dog.beat()
    return service.heard.answers > before


@pytest.fixture
def service() -> Service:
    """Return a service that moves."""
    well = Service()
    well.answering.set()
    return well


async def test_a_service_that_moves_is_answered_for(service: Service) -> None:
    """Also where it has nothing to do, and while its services open or close."""
    dog = service.watchdog()
    assert await answered(service, dog)
    dog.attend(None)
    service.still_seconds = LONG
    assert await answered(service, dog)


@pytest.mark.parametrize(
    ("state", "well"),
    [
        (LOCKED, False),
        (None, False),
        (ON_A_SHARE, True),
        (ON_A_DISK, True),
        (ThreadState("R", 7, "0"), True),
    ],
)
async def test_a_thread_that_waits_for_a_lock_is_stuck_and_one_that_waits_for_a_disk_is_not(
    service: Service, state: ThreadState | None, *, well: bool
) -> None:
    """The next process would wait for the same disk; a lock is gone with this one."""
    dog = service.watchdog()
    assert await answered(service, dog)
    service.root, service.state = Pulse(Path("/import"), LONG, WORKER), state
    assert await answered(service, dog) is well
    service.root = Pulse(Path("/import"), 0, 0)
    service.answering.clear()
    assert await answered(service, dog) is well
    service.answering.set()
    assert await answered(service, dog)


async def test_a_loop_that_does_not_come_round_is_stuck(service: Service) -> None:
    """The task of an import folder, or the one that starts photos."""
    dog = service.watchdog()
    service.root = Pulse(Path("/import"), LONG, 0)
    assert not await answered(service, dog)
    service.root = Pulse(Path("/import"), 1, 0)
    service.still_seconds = LONG
    assert not await answered(service, dog)
    service.still_seconds = 0
    assert await answered(service, dog)


async def test_whoever_waits_for_the_disk_of_the_ledger_is_not_stuck(service: Service) -> None:
    """Everything stands still then, and no restart helps; nor where arrivals wait for room."""
    dog = service.watchdog()
    assert await answered(service, dog)
    service.root, service.still_seconds = Pulse(Path("/import"), LONG, 0), LONG
    service.answering.clear()
    service.state = ON_A_DISK
    assert await answered(service, dog)
    service.answering.set()
    service.still_seconds, service.waiting = 0, True
    assert await answered(service, dog)


def test_the_kernel_says_what_a_thread_does() -> None:
    """One that waits for a lock is told from one that has ended."""
    lock = threading.Lock()
    lock.acquire()
    began = threading.Event()

    def wait() -> None:
        began.set()
        with lock:
            pass

    thread = threading.Thread(target=wait)
    thread.start()
    began.wait()
    number = thread.native_id or 0
    while (state := ThreadState.of(number)) is not None and state.state != "S":
        pass
    assert state is not None
    assert state.waits_for_a_lock
    lock.release()
    thread.join()
    while ThreadState.of(number) is not None:
        pass
