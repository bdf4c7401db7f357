"""Photos that hold up a process hold up no other photo."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pytest
from support.site import Site

from taggerd import imaging
from taggerd.attempt import RunOptions
from taggerd.errors import WorkerLost, WorkerOverMemory, WorkerOverTime
from taggerd.runner.runner import Runner
from taggerd.testing import ThreadWorkers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from taggerd.runner.outcome import Outcome

P = ParamSpec("P")
T = TypeVar("T")
SLOW = [f"slow {number}.jpg" for number in range(10)]
GOOD = [f"good {number}.jpg" for number in range(20)]


class Swamped(ThreadWorkers):
    """Processes that slow photos end."""

    error: type[WorkerLost] = WorkerOverTime

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Fail over slow photos."""
        if function is imaging.prepare and "/slow" in str(getattr(args[0], "path", "")):
            raise self.error
        return await super().run(function, *args, **kwargs)


class Patient(ThreadWorkers):
    """One process that takes slow photos, and as long as somebody lets it."""

    def __init__(self, *args: object, may_end: asyncio.Event, **kwargs: object) -> None:
        """Let no photo end before *may_end*."""
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as Workers
        self.may_end = may_end
        self.at_once = self.most_at_once = self.decoded = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Count how many there are at once."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may_end.wait()
            self.decoded += function is imaging.prepare
            return await super().run(function, *args, **kwargs)
        finally:
            self.at_once -= 1


@pytest.mark.parametrize("error", [WorkerOverTime, WorkerOverMemory])
async def test_slow_photos_are_decoded_one_at_a_time_while_the_others_go_on(
    error: type[WorkerLost], tmp_path: Path
) -> None:
    """Every good photo ends while the first slow one is still in flight; then the slow ones do."""
    site = Site.below(tmp_path)
    await site.arrive(*GOOD, *SLOW)  # the newest first: all that is slow
    heard: list[Outcome] = []
    good_ended, in_flight = asyncio.Event(), set[int]()

    def listen(outcome: Outcome) -> None:
        heard.append(outcome)
        in_flight.add(runner.in_flight)
        if sum(each.kind == "tagged" for each in heard) == len(GOOD):
            good_ended.set()

    async with site.services() as services:
        services.decoders = swamped = Swamped(site.settings.workers)
        swamped.error = error
        services.slow_decoder = slow = Patient(site.settings.workers, may_end=good_ended)
        options = RunOptions(run="r", within=(site.folder,))
        runner = Runner(services, options, on_outcome=[listen], more_to_come=lambda: False)
        await asyncio.wait_for(runner.work(drain_seconds=0), 180)
    tagged = [outcome.photo.name for outcome in heard if outcome.kind == "tagged"]
    assert {*tagged[: len(GOOD)]} == {*GOOD}
    assert {*tagged[len(GOOD) :]} == {*SLOW}
    assert (slow.most_at_once, slow.decoded) == (1, len(SLOW))
    most = 2 * services.inference.requests_at_once
    assert max(in_flight) <= most + 1
    records = [outcome.record for outcome in heard if outcome.record]
    assert {r.attempts for r in records if r.image.name in SLOW} == {2}


async def test_a_slow_photo_has_two_attempts_in_all(tmp_path: Path) -> None:
    """Then it is given up on; what ended its process otherwise has as many as any other."""
    site = Site.below(tmp_path)
    await site.arrive(*GOOD[:2], *SLOW[:2])
    for kind, attempts in ((WorkerOverTime, 2), (WorkerLost, 3)):
        heard: list[Outcome] = []
        async with site.services() as services:
            services.decoders = services.slow_decoder = swamped = Swamped(site.settings.workers)
            swamped.error = kind
            options = RunOptions(run="r", within=(site.folder,))
            runner = Runner(
                services, options, on_outcome=[heard.append], more_to_come=lambda: False
            )
            await asyncio.wait_for(runner.work(drain_seconds=0), 180)
        failed = [each.record for each in heard if each.kind == "failed" and each.record]
        assert [record.attempts for record in failed] == [attempts] * 2
        assert [record.error_kind for record in failed] == [kind.__name__] * 2
        for name in SLOW[:2]:
            (site.folder / name).write_bytes((site.folder / name).read_bytes() + b"changed")
            await site.admit(site.folder / name)
