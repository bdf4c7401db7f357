"""What was paid for is on the platter before anybody builds on it; one sync serves many."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from support.ledger import DIGEST, answer, file, record

from taggerd.errors import StorageError
from taggerd.ledger import Failed, Finished, Released
from taggerd.ledger.durability import Durability

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from support.ledger import SqliteState

    from taggerd.ledger import SqliteLedger


class Slow(Durability):
    """A disk that syncs when it may."""

    def __init__(self, database: Path) -> None:
        """Hold every sync until :attr:`go` is released once for it."""
        super().__init__(database)
        self.begun = 0
        self.go = threading.Semaphore(0)
        self.fails = False

    def _sync(self) -> None:
        self.begun += 1
        self.go.acquire()
        if self.fails:
            raise OSError(5, "Input/output error")
        super()._sync()


async def syncs(disk: Slow, times: int) -> None:
    """Wait until the disk has begun to sync so many *times*; threads do it, when they get to it."""
    async with asyncio.timeout(180):
        while disk.begun < times:  # noqa: ASYNC110 - a thread counts
            await asyncio.sleep(0.005)


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(20):
        await asyncio.sleep(0.005)


async def test_whoever_comes_during_a_sync_waits_for_the_next(tmp_path: Path) -> None:
    """It may have begun before their commit; all of them share the next one."""
    disk = Slow(tmp_path / "x.sqlite")
    first = asyncio.create_task(disk.reached())
    await syncs(disk, 1)
    later = [asyncio.create_task(disk.reached()) for _ in range(5)]
    disk.go.release()
    await first
    await syncs(disk, 2)
    await settle()
    assert not any(task.done() for task in later)
    disk.go.release()
    await asyncio.gather(*later)
    assert disk.begun == 2
    disk.close()


async def test_one_who_gives_up_waiting_does_not_spoil_it_for_others(tmp_path: Path) -> None:
    """A cancelled photo ends its own wait alone."""
    disk = Slow(tmp_path / "x.sqlite")
    waiting = [asyncio.create_task(disk.reached()) for _ in range(2)]
    await syncs(disk, 1)
    waiting[0].cancel()
    await settle()
    disk.go.release()
    await waiting[1]
    disk.close()


async def test_a_disk_that_cannot_sync_is_a_storage_error(tmp_path: Path) -> None:
    """Everybody who waited hears of it; the next sync is another try."""
    disk = Slow(tmp_path / "x.sqlite")
    disk.fails = True
    disk.go.release()
    with pytest.raises(StorageError, match="cannot be synced"):
        await disk.reached()
    disk.fails = False
    disk.go.release()
    await disk.reached()
    disk.close()


@pytest.mark.parametrize("step", ["checkpoint", "finish", "fail", "release", "outbox"])
async def test_a_paid_step_ends_when_it_is_on_the_platter(
    ledger: SqliteLedger, state: SqliteState, step: str
) -> None:
    """Answers, records, and lines on their way into the journal: none before the sync."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    if step == "outbox":
        await ledger.end(claim, Finished(DIGEST, record()))
    ledger._state.durability.close()
    disk = ledger._state.durability = Slow(state.directory / "ledger.sqlite")
    steps: dict[str, Callable[[], Coroutine[None, None, object]]] = {
        "checkpoint": lambda: ledger.checkpoint(claim, DIGEST, answer()),
        "finish": lambda: ledger.end(claim, Finished(DIGEST, record())),
        "fail": lambda: ledger.end(claim, Failed("bad", final=True, record=record())),
        "release": lambda: ledger.end(claim, Released(record())),
        "outbox": lambda: ledger.outbox(9),
    }
    doing = asyncio.ensure_future(steps[step]())
    await syncs(disk, 1)
    await settle()
    assert disk.begun == 1
    assert not doing.done()
    assert await ledger.counts()  # the database goes on meanwhile
    disk.go.release()
    await doing
