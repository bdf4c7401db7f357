"""How many requests an endpoint is given at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from taggerd.inference.concurrency import Limit, Rank, Waiter
from taggerd.retry import CONCURRENCY

if TYPE_CHECKING:
    import pytest


class Clock:
    """A clock that is put forward."""

    def __init__(self) -> None:
        """Begin at nought."""
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def busy(limit: Limit, permits: int) -> AsyncExitStack:
    """Take permits."""
    held = AsyncExitStack()
    for _ in range(permits):
        await held.enter_async_context(limit.permit())
    return held


async def test_it_begins_at_the_most_and_lets_nobody_else_in() -> None:
    """Permits are taken up to the limit; the next ones wait in order, and none is lost."""
    limit = Limit(2)
    order: list[int] = []

    async def ask(number: int) -> None:
        async with limit.permit():
            order.append(number)
            assert limit.in_flight <= 2
            await asyncio.sleep(0)

    await asyncio.gather(*map(ask, range(9)))
    assert order == list(range(9))
    assert limit.in_flight == 0


async def test_who_gives_up_waiting_leaves_no_hole() -> None:
    """Cancelled before or after it was granted, a waiting request gives its permit to the next."""
    limit = Limit(1)
    held = await busy(limit, 1)
    waiting = [asyncio.create_task(busy(limit, 1)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await held.aclose()  # its permit goes to the second ...
    waiting[1].cancel()  # ... which does not want it any more
    await asyncio.gather(*waiting[:2], return_exceptions=True)
    await (await waiting[2]).aclose()
    assert limit.in_flight == 0


async def test_permits_are_given_by_rank() -> None:
    """What is begun, then new photos in their order; what could wait only while nothing else is."""
    limit = Limit(1)
    held = await busy(limit, 1)
    order: list[str] = []

    async def ask(name: str, waiter: Waiter) -> None:
        async with limit.permit(waiter):
            order.append(name)

    ranks = {"idle": Rank.SPARE, "hurried": Rank.SPARE, "new": Rank.NEW, "begun": Rank.BEGUN}
    waiters = {name: Waiter(rank) for name, rank in ranks.items()}
    asking = [asyncio.create_task(ask(*each)) for each in waiters.items()]
    await asyncio.sleep(0)
    limit.hurry(waiters["hurried"])
    await held.aclose()
    await asyncio.gather(*asking[1:])
    assert order == ["begun", "hurried", "new"]
    limit.lend(idle=True)
    await asking[0]
    assert order[3:] == ["idle"]
    assert waiters["idle"].taken is Rank.SPARE
    assert limit.in_flight == 0


async def test_a_permit_waits_a_moment_for_the_next_question(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A new photo gets it only where no next question comes: the photo may have failed."""
    monkeypatch.setattr("taggerd.inference.concurrency.RESERVED_SECONDS", 0.001)
    limit = Limit(1)
    limit.reserve(briefly=True)
    waiter = Waiter(Rank.NEW, more=True)
    order: list[str] = []

    async def another() -> None:
        async with limit.permit(Waiter(Rank.NEW)):
            order.append("another")

    async with limit.permit(waiter):
        waiting = asyncio.create_task(another())
        await asyncio.sleep(0)
    async with limit.permit(waiter):  # its question is asked again
        order.append("next")
    async with asyncio.timeout(180):
        await waiting
    assert order == ["next", "another"]
    async with limit.permit(Waiter(Rank.NEW)):
        assert limit.in_flight == 1


async def test_a_refusal_halves_it_once_for_all_that_was_in_flight() -> None:
    """Eight requests refused together are one piece of news."""
    clock = Clock()
    limit = Limit(8, clock=clock)
    held = await busy(limit, 8)
    clock.now = 1.0
    for _ in range(8):
        limit.refused(begun_at=0.0)
    assert limit.size == 4
    clock.now = 2.0
    limit.refused(begun_at=1.5)
    assert limit.size == 2
    await held.aclose()


async def test_it_grows_again_but_not_to_what_was_refused_for_a_while() -> None:
    """One more a round of answers, up to one less than was refused; after the hold to the most."""
    clock = Clock()
    limit = Limit(8, clock=clock)
    held = await busy(limit, 8)
    clock.now = 1.0
    limit.refused(begun_at=0.0)
    for _ in range(100):
        limit.answered()
    assert limit.size == 7
    clock.now += CONCURRENCY.first + 1
    for _ in range(20):
        limit.answered()
    assert limit.size == 8
    limit.refused(begun_at=clock.now)
    clock.now += CONCURRENCY.first + 1
    for _ in range(100):
        limit.answered()
    assert limit.size == 7, "refused again, it is tried again later than the first time"
    await held.aclose()


async def test_it_never_shuts() -> None:
    """However much is refused, one request may go."""
    clock = Clock()
    limit = Limit(3, clock=clock)
    held = await busy(limit, 3)
    for second in range(10):
        clock.now = float(second)
        limit.refused(begun_at=float(second))
    assert limit.size == 1
    await held.aclose()


async def test_one_that_was_alone_was_not_too_many() -> None:
    """A server that is down refuses a single request too: that says nothing of its capacity."""
    limit = Limit(4)
    held = await busy(limit, 1)
    limit.refused(begun_at=1.0)
    assert limit.size == 4
    await held.aclose()


async def test_a_limit_that_nobody_needs_does_not_grow() -> None:
    """With one request in flight an answer says nothing about four."""
    clock = Clock()
    limit = Limit(8, clock=clock)
    held = await busy(limit, 8)
    limit.refused(begun_at=0.0)
    await held.aclose()
    clock.now = 1000.0
    held = await busy(limit, 1)
    for _ in range(50):
        limit.answered()
    assert limit.size == 4
    await held.aclose()
