"""The breaker: waits for a backend that is away, and finds it when it is back."""

from __future__ import annotations

from taggerd.errors import BackendBusy, BackendError, BackendUnreachable
from taggerd.inference import Breaker


class Backend:
    """A backend that is away for a number of probes."""

    def __init__(self, away: int, error: BackendError | None = None) -> None:
        """Be away for *away* probes."""
        self.away = away
        self.error = error or BackendUnreachable("away")
        self.probes = 0
        self.slept: list[float] = []

    async def probe(self) -> BackendError | None:
        """Say what is wrong."""
        self.probes += 1
        return self.error if self.probes <= self.away else None

    async def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.slept.append(seconds)

    def breaker(self) -> Breaker:
        """Return a breaker for this backend, in simulated time."""
        return Breaker(self.probe, sleep=self.sleep, chance=lambda: 0.0)


async def test_it_is_open_until_the_first_probe_passes() -> None:
    """Nothing is asked of a backend that was never probed; the first probe does not wait."""
    backend = Backend(away=0)
    breaker = backend.breaker()
    assert breaker.error is not None
    await breaker.wait_closed()
    assert (breaker.error, backend.probes, backend.slept) == (None, 1, [])


async def test_waits_double_up_to_a_minute() -> None:
    """An outage of an hour costs a probe a minute, not thousands."""
    backend = Backend(away=10)
    await backend.breaker().wait_closed()
    assert backend.slept == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


async def test_a_wait_that_was_asked_for_is_kept_to() -> None:
    """Retry-After of half an hour means half an hour."""
    backend = Backend(away=1, error=BackendBusy("busy", retry_after_seconds=1800))
    await backend.breaker().wait_closed()
    assert backend.slept == [1800]


async def test_a_fault_opens_it_and_the_next_faults_change_nothing() -> None:
    """Requests that were under way fail too; the first reason stays."""
    backend = Backend(away=0)
    breaker = backend.breaker()
    await breaker.wait_closed()
    first = BackendUnreachable("first")
    breaker.fault(first)
    breaker.fault(BackendUnreachable("second"))
    assert breaker.error is first


async def test_an_answer_makes_the_next_outage_start_small() -> None:
    """Short waits again after things went well; without an answer, waits go on growing."""
    backend = Backend(away=4)
    breaker = backend.breaker()
    await breaker.wait_closed()
    breaker.answered()
    breaker.fault(BackendUnreachable("again"))
    await breaker.wait_closed()
    assert backend.slept[-1] == 1
