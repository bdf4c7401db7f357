"""One thread a root: in order, off the event loop, and never waited for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from taggerd.arrivals.executor import Executor


async def test_calls_run_in_order_in_one_thread() -> None:
    """Calls run one after the other in the same thread, so that they may share state."""
    executor = Executor("executor")
    seen: list[tuple[int, str]] = []

    def call(number: int) -> int:
        seen.append((number, threading.current_thread().name))
        return number

    assert await asyncio.gather(*(executor.run(call, n) for n in range(20))) == list(range(20))
    assert seen == [(n, "executor") for n in range(20)]
    executor.close()


async def test_errors_reach_the_caller_and_the_thread_goes_on() -> None:
    """Whatever a call raises is its caller's; the next call is served."""
    executor = Executor("executor")

    def broken() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await executor.run(broken)
    assert await executor.run(len, "abc") == 3
    executor.close()


async def test_a_call_that_hangs_is_seen_and_blocks_nobody() -> None:
    """The loop goes on, the time is told, a cancelled caller is free, the thread is a daemon's."""
    clock = 100.0
    executor = Executor("hung", lambda: clock)
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(180)

    task = asyncio.create_task(executor.run(hang))
    assert await asyncio.to_thread(entered.wait, 180)
    clock = 140.0
    assert executor.busy_seconds() == 40
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "hung")
    release.set()
    assert await executor.run(len, "abc") == 3
    assert executor.busy_seconds() == 0
    executor.close()
