"""What only the SQLite ledger has: files, locks, damage, two processes at once."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Literal

import pytest
from support.ledger import DIGEST, ROOT, answer, file, names, record

from taggerd.errors import LedgerDamaged, StartError, StorageError
from taggerd.ledger import Counts, Finished
from taggerd.ledger.database import queries
from taggerd.ledger.owners import Lock, Owners

if TYPE_CHECKING:
    from pathlib import Path

    from support.ledger import SqliteState

    from taggerd.ledger import SqliteLedger

# ── Opening ──────────────────────────────────────────────────────────────────────────────────────


async def test_the_state_directory_is_made_for_this_user_alone(state: SqliteState) -> None:
    """It holds what was said of private photos."""
    state.directory = state.directory / "deep" / "er"
    await state.open()
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700


async def test_an_unusable_state_directory_is_one_clear_line(state: SqliteState) -> None:
    """A file in its place: named, with what to do, and nothing is left locked."""
    state.directory.write_text("not a folder")
    with pytest.raises(StartError, match=r"state.*cannot be used.*state_directory") as caught:
        await state.open()
    assert "\n" not in str(caught.value)
    state.directory.unlink()
    await state.open(exclusive=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere: run as another user")
async def test_a_read_only_state_directory_is_one_clear_line(state: SqliteState) -> None:
    """Permissions are said as such."""
    state.directory.mkdir(mode=0o500)
    with pytest.raises(StartError, match="Permission denied"):
        await state.open()


async def test_one_daemon_on_a_state_directory(state: SqliteState) -> None:
    """A second is refused with the first one's pid; a scan beside it works; it ends, next goes."""
    daemon = await state.open(exclusive=True)
    with pytest.raises(StartError, match=f"another taggerd uses .*, pid {os.getpid()}"):
        await state.open(exclusive=True)
    scan = await state.open()
    assert scan.daemon_pid() == daemon.daemon_pid() == os.getpid()
    await daemon.close()
    assert scan.daemon_pid() is None
    await state.open(exclusive=True)
    assert scan.daemon_pid() == os.getpid()


@pytest.mark.parametrize("damage", ["garbage", "middle", "cut"])
async def test_a_damaged_ledger_is_kept_and_replaced(
    ledger: SqliteLedger, state: SqliteState, damage: str
) -> None:
    """Kept byte for byte under a name that is logged; work goes on in a new one."""
    await ledger.admit([file(f"{n}.JPG") for n in range(2000)])
    await ledger.close()
    path = state.directory / "ledger.sqlite"
    whole = path.read_bytes()
    match damage:
        case "garbage":
            path.write_bytes(b"this is not a database" * 1000)
        case "middle":
            path.write_bytes(whole[:20000] + b"\xff" * 20000 + whole[40000:])
        case _:
            path.write_bytes(whole[: len(whole) // 2])
    damaged = path.read_bytes()
    ledger = await state.open()
    (aside,) = state.directory.glob("ledger.sqlite.damaged-*[0-9]")
    assert aside.read_bytes() == damaged
    assert len(ledger.notices) == 1
    assert str(aside) in ledger.notices[0]
    await ledger.admit([file()])
    assert await ledger.counts() == Counts(queued=1)
    assert (await state.open()).notices == ()


async def test_a_ledger_is_not_replaced_while_another_uses_it(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """While somebody uses it, a damaged one is refused, not renamed: a thing that passes."""
    await ledger.admit([file(f"{n}.JPG") for n in range(2000)])
    connection = ledger._database._connection
    await ledger._state.run(lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
    path = state.directory / "ledger.sqlite"
    path.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(LedgerDamaged, match="once no other taggerd uses it"):
        await state.open()
    assert not list(state.directory.glob("*damaged*"))
    state.opened.remove(ledger)
    await state.kill(ledger)
    fresh = await state.open()
    assert "was damaged" in fresh.notices[0]


# ── The queue's order ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("order", "first"), [("newest", "new.JPG"), ("oldest", "0.JPG")])
async def test_a_backlog_does_not_hold_up_what_arrives(
    state: SqliteState, order: Literal["newest", "oldest"], first: str
) -> None:
    """Behind 100,000 photos a new one is the first by default, the last if that is wanted."""
    ledger = await state.open(order=order)
    await ledger.admit([file("folder.JPG")])
    await state.forget(ledger, file("folder.JPG").path)
    with closing(sqlite3.connect(state.directory / "ledger.sqlite")) as bulk, bulk:
        numbers = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 99999)"
        bulk.execute("INSERT INTO folders VALUES (1, ?)", [os.fsencode(ROOT) + b"/"])
        bulk.execute(
            f"{numbers} INSERT INTO files "  # noqa: S608 - no input
            "SELECT 1, CAST(n AS BLOB), x'2e4a5047', 1, 2, 3, 4, n + 1, NULL FROM n"
        )
        bulk.execute(
            f"{numbers} INSERT INTO photos (id, folder, stem, state, since, queued_at) "  # noqa: S608 - no input
            "SELECT n + 1, 1, CAST(n AS BLOB), 'queued', n, n FROM n"
        )
    await ledger.admit([file("new.JPG")])
    assert await ledger.counts() == Counts(queued=100_001)
    (claim,) = await state.claim(ledger, 1)
    assert names(claim) == [first]


async def test_the_queue_is_walked_by_its_index(ledger: SqliteLedger) -> None:
    """Claiming from a backlog of any length sorts nothing."""
    connection = ledger._database._connection

    def plan(order: str, wanted: int, slow: int) -> list[str]:
        values = {"run": "", "requested": wanted, "slow": slow, "now": 0, "limit": 1}
        values |= {"newest": 1, "owner": ""}
        steps = connection.execute(f"EXPLAIN QUERY PLAN {queries()[order]}", values)
        return [step["detail"] for step in steps]

    for order, wanted, slow in itertools.product(("newest", "oldest"), (0, 1), (0, 1)):
        steps = await ledger._state.run(partial(plan, order, wanted, slow))
        assert steps[0] == "SCAN photos USING INDEX photos_queued"
        assert not any("TEMP B-TREE FOR ORDER BY" in step for step in steps)
    # Of those that are looked for at every claim, few are in the queue: only they are read.
    for query, index in (("slow", "photos_slow"), ("deferred", "photos_deferred")):
        for wanted in (0, 1):
            steps = await ledger._state.run(partial(plan, query, wanted, 1))
            assert any(f"photos USING INDEX {index}" in step for step in steps), steps
            assert not any("INDEX photos_queued" in step for step in steps)
    steps = await ledger._state.run(partial(plan, "waiting", 0, 0))
    assert any("photos USING INDEX photos_deferred" in step for step in steps), steps


# ── Faults of the disk ───────────────────────────────────────────────────────────────────────────


async def test_a_full_disk_loses_nothing_and_passes(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """No room: a StorageError that says so, nothing half-done; room again: the same call works."""
    await ledger.admit([file()])
    connection = ledger._database._connection

    async def allow(pages: int) -> None:
        await ledger._state.run(lambda: connection.execute(f"PRAGMA max_page_count = {pages}"))

    await allow(1)
    many = [file(f"{n}.JPG") for n in range(3000)]
    with pytest.raises(StorageError, match=r"full.*make room"):
        await ledger.admit(many)
    claim = await state.claim_one(ledger)
    # What does not get shorter in storage.
    long = answer(text=Random(1).randbytes(100_000).hex())  # noqa: S311 - not a secret
    with pytest.raises(StorageError, match="full"):
        await ledger.checkpoint(claim, DIGEST, long)
    assert await ledger.answers(DIGEST) == []
    await allow(1_000_000)
    await ledger.checkpoint(claim, DIGEST, long)
    await ledger.end(claim, Finished(DIGEST, record()))
    await ledger.admit(many)
    assert await ledger.counts() == Counts(queued=3000, recorded=1)


async def test_a_state_that_turns_read_only_passes(ledger: SqliteLedger) -> None:
    """Read-only while it is used: a StorageError, reading goes on; writable again: it works."""
    connection = ledger._database._connection

    async def read_only(on: int) -> None:
        await ledger._state.run(lambda: connection.execute(f"PRAGMA query_only = {on}"))

    await ledger.admit([file("A.JPG")])
    await read_only(1)
    with pytest.raises(StorageError, match="readonly"):
        await ledger.admit([file("B.JPG")])
    assert await ledger.counts() == Counts(queued=1)
    await read_only(0)
    await ledger.admit([file("B.JPG")])
    assert await ledger.counts() == Counts(queued=2)


async def test_a_ledger_held_by_another_program_is_a_storage_error(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """Somebody keeps a transaction open for ever: waited for, then said; later it works."""
    await ledger._state.run(
        lambda: ledger._database._connection.execute("PRAGMA busy_timeout = 50")
    )
    other = sqlite3.connect(state.directory / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another program has locked it"):
        await ledger.admit([file()])
    other.execute("ROLLBACK")
    other.close()
    await ledger.admit([file()])


# ── Owners ───────────────────────────────────────────────────────────────────────────────────────


def test_a_forked_child_does_not_keep_a_dead_owner_alive(tmp_path: Path) -> None:
    """A worker process that outlives its killed parent must not hold the parent's locks."""
    path = tmp_path / "lock"
    lock = Lock(path)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done[1])
        os.write(ready[1], b".")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        with pytest.raises(BlockingIOError):
            Lock(path)
        lock.release()
        Lock(path).release()
    finally:
        os.close(done[1])
        os.waitpid(child, 0)


def test_owners_are_alive_while_they_hold_their_lock(tmp_path: Path) -> None:
    """Entered, left, never been."""
    me, other = Owners(tmp_path / "owners"), Owners(tmp_path / "owners")
    me.enter()
    assert other.alive(me.me)
    assert other.all() == {me.me}
    me.leave()
    assert not other.alive(me.me)
    assert not other.alive("never")
    assert other.all() == set()


async def test_the_dead_leave_no_files(ledger: SqliteLedger, state: SqliteState) -> None:
    """An owner's file goes with it, or with whoever buries it."""
    owners = state.directory / "owners"
    (owners / ("0" * 32)).touch()
    await ledger.recover()
    assert len(list(owners.iterdir())) == 1
    await ledger.close()
    assert list(owners.iterdir()) == []


# ── Processes ────────────────────────────────────────────────────────────────────────────────────

CLAIMER = """
import asyncio, sys, time
from pathlib import Path
from taggerd.ledger import Finished, Outgoing, SqliteLedger

async def main(directory, name, stop_after):
    ledger = await SqliteLedger.open(Path(directory))
    print("open", flush=True)
    await asyncio.to_thread(input)
    done = 0
    while claims := await ledger.claim(3, within=[Path("/srv")], run=name, now=time.time()):
        for claim in claims:
            if done == stop_after:
                print("here", flush=True)
                await asyncio.sleep(600)
            record = Outgoing(f"{claim.photo.name}/{claim.attempt}", "2025-06-30", name)
            await ledger.end(claim, Finished("ab" * 32, record))
            done += 1
    await ledger.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


def claimer(state: SqliteState, name: str, *, stop_after: int = -1) -> subprocess.Popen[str]:
    """Start a process that claims and finishes all photos, or stops in the middle of a claim."""
    return subprocess.Popen(  # our own interpreter and script
        [sys.executable, "-c", CLAIMER, str(state.directory), name, str(stop_after)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


async def go(*processes: subprocess.Popen[str]) -> None:
    """Let claimers start at once, when all of them stand."""
    for process in processes:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "open\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


async def test_two_processes_share_the_queue(ledger: SqliteLedger, state: SqliteState) -> None:
    """Every photo is finished by exactly one of them, each first time."""
    photos = 600
    await ledger.admit([file(f"{n}.JPG") for n in range(photos)])
    both = [claimer(state, name) for name in ("one", "two")]
    await go(*both)
    for process in both:
        assert await asyncio.to_thread(process.wait, 180) == 0
    lines = await ledger.outbox(photos)
    assert sorted(line.id for line in lines) == sorted(f"{n}.JPG/1" for n in range(photos))
    assert {line.line for line in lines} == {"one", "two"}
    assert await ledger.counts() == Counts(recorded=photos)


async def test_a_killed_process_loses_no_photo(ledger: SqliteLedger, state: SqliteState) -> None:
    """SIGKILL in the middle of claims: what it finished stays, the rest is done by the next."""
    await ledger.admit([file(f"{n}.JPG") for n in range(10)])
    process = claimer(state, "killed", stop_after=4)
    await go(process)
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "here\n"
    assert await ledger.recover() == 0
    assert await ledger.counts() == Counts(queued=4, claimed=2, recorded=4)
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.wait, 180)
    assert await ledger.recover() == 2
    claims = await state.claim(ledger)
    assert sorted(claim.attempt for claim in claims) == [1] * 6
    assert len({line.id for line in await ledger.outbox(100)}) == 4
    assert {claim.photo.folder for claim in claims} == {ROOT}
