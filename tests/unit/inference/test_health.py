"""Health: it waits for a backend that is away, and finds it when it is back."""

from __future__ import annotations

import asyncio

import pytest

from taggerd.errors import (
    BackendBusy,
    BackendDenied,
    BackendError,
    BackendUnreachable,
    NotProbed,
)
from taggerd.inference.health import REFUSALS_AFTER_PROBE, Health, probing


class Backend:
    """A backend that is away for a number of probes."""

    def __init__(self, away: int, error: BackendError | None = None) -> None:
        """Be away for *away* probes."""
        self.away = away
        self.error = error or BackendUnreachable("away")
        self.probes = 0
        self.slept: list[float] = []
        self.health = Health(chance=lambda: 0.0)
        self.health.error = NotProbed()

    async def probe(self) -> BackendError | None:
        """Say what is wrong."""
        self.probes += 1
        return self.error if self.probes <= self.away else None

    async def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.slept.append(seconds)

    async def recover(self) -> None:
        """Probe until it is back, in simulated time."""
        await self.health.recover(self.probe, sleep=self.sleep)


async def test_the_first_probe_does_not_wait() -> None:
    """Nothing is known to be wrong yet."""
    backend = Backend(away=0)
    await backend.recover()
    assert (backend.health.error, backend.probes, backend.slept) == (None, 1, [])


async def test_waits_double_up_to_a_minute() -> None:
    """An outage of an hour costs a probe a minute, not thousands."""
    backend = Backend(away=10)
    await backend.recover()
    assert backend.slept == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


async def test_a_wait_that_was_asked_for_is_kept_to() -> None:
    """Retry-After of half an hour means half an hour."""
    backend = Backend(away=1, error=BackendBusy("busy", retry_after_seconds=1800))
    await backend.recover()
    assert backend.slept == [1800]


async def test_the_first_fault_is_kept() -> None:
    """Requests that were in flight fail too; the first reason stays."""
    health = Health()
    first = BackendUnreachable("first")
    health.fault(first)
    health.fault(BackendUnreachable("second"))
    assert health.error is first


async def test_an_outage_is_counted_once() -> None:
    """However many requests and probes fail in it; the first look at a backend is none."""
    backend = Backend(away=0)
    await backend.recover()
    assert backend.health.outages == 0
    backend.health.fault(BackendUnreachable("gone"))
    backend.health.fault(BackendUnreachable("gone as well"))
    backend.away = 4
    await backend.recover()
    assert backend.health.outages == 1
    backend.health.probed(BackendUnreachable("gone again"))
    assert backend.health.outages == 2


async def test_an_answer_makes_the_next_outage_start_small() -> None:
    """Short waits again after things went well; without an answer, waits go on growing."""
    backend = Backend(away=4)
    await backend.recover()
    backend.health.answered()
    backend.health.fault(BackendUnreachable("again"))
    backend.away = 5
    await backend.recover()
    assert backend.slept[-1] == 1


async def test_a_few_photos_may_be_refused_after_a_probe() -> None:
    """The others are asked about meanwhile; until one is answered, or the backend wants less."""
    backend = Backend(away=0)
    health = backend.health
    for answered in (False, True):
        health.error = BackendDenied("401")
        await backend.recover()
        if answered:
            health.answered()
        refused = 0
        while health.error is None:
            refused += 1
            health.fault(BackendDenied("403"))
        assert refused == (1 if answered else REFUSALS_AFTER_PROBE + 1)
    await backend.recover()
    health.fault(BackendBusy("429"))
    assert health.error is not None


async def test_what_is_known_to_be_at_fault_is_sent_probes_alone() -> None:
    """A request about a photo that waited for a permit meanwhile fails as the first one did."""
    health = Health()
    assert health.may_send()
    health.fault(BackendUnreachable("away"))
    with pytest.raises(BackendUnreachable, match="away"):
        health.may_send()
    with probing():
        assert health.may_send()


async def test_requests_wait_for_the_verdict_and_probes_do_not() -> None:
    """While it is found out whose fault an error is, no other photo meets it."""
    health = Health()
    with health.in_doubt():
        waiting = asyncio.create_task(health.wait_for_verdict())
        await asyncio.sleep(0)
        assert not waiting.done()
        assert not health.may_send()
        with probing():
            await health.wait_for_verdict()
            assert health.may_send()
    await waiting
    assert health.may_send()
