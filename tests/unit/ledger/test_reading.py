"""A command that only shows something reads the ledger and changes no byte of the state."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.ledger import file

from taggerd.errors import LedgerDamaged, StartError, StorageError
from taggerd.ledger import Counts, LedgerReader, Pause, read_ledger, schema
from taggerd.ledger import reading as module

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.ledger import SqliteState

    from taggerd.ledger import SqliteLedger


def everything(directory: Path) -> dict[str, bytes]:
    """Return each file below *directory* with its bytes."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def counts(directory: Path) -> Counts | None:
    """Read the counts."""
    return read_ledger(directory, LedgerReader.counts)


async def test_one_that_was_closed_is_read_without_a_trace(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """SQLite would make a log and its index, and leave them lying."""
    await ledger.admit([file("A.JPG"), file("B.JPG")])
    await ledger.close()
    before = everything(state.directory)
    assert counts(state.directory) == Counts(queued=2)
    assert everything(state.directory) == before


async def test_one_that_is_in_use_is_read_as_it_is_now(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """What was committed last lies in the log; a reader sees it, and its user is not disturbed."""
    await ledger.admit([file("A.JPG")])
    assert counts(state.directory) == Counts(queued=1)
    pause = Pause("concert", since=1.0, until=None)
    await ledger.pause(pause)
    assert read_ledger(state.directory, lambda read: read.paused(2.0)) == pause
    states = read_ledger(
        state.directory, lambda read: read.file_states([file("A.JPG"), file("B.JPG")])
    )
    assert states is not None
    assert [each.state for each in states.values()] == ["queued", "new"]
    await ledger.admit([file("B.JPG")])
    await ledger.close()
    assert not (state.directory / "ledger.sqlite-wal").exists()


async def test_claims_of_the_dead_are_left_to_those_who_work(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """A reader is no owner, and queues nothing again."""
    await ledger.admit([file()])
    await state.claim_one(ledger)
    state.opened.remove(ledger)
    await state.kill(ledger)
    before = everything(state.directory)
    assert counts(state.directory) == Counts(claimed=1)
    assert everything(state.directory) == before


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 1000)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _certain(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE photos SET state = 'quarantined', reason = CAST(x'ff' AS TEXT)")


@pytest.mark.parametrize("damage", [_not_a_database, _cut, _certain])
async def test_a_damaged_one_is_left_to_the_daemon(
    ledger: SqliteLedger, state: SqliteState, damage: Callable[[Path], None]
) -> None:
    """It is said, not moved aside: the daemon's log must name the file that it keeps."""
    await ledger.admit([file(f"{n}.JPG") for n in range(2000)])
    await ledger.close()
    damage(state.directory / "ledger.sqlite")
    before = everything(state.directory)
    with pytest.raises(LedgerDamaged):
        read_ledger(state.directory, lambda read: (read.counts(), read.quarantined(10)))
    assert everything(state.directory) == before


async def test_where_there_is_none_none_is_made(state: SqliteState) -> None:
    """Neither a folder nor a file."""
    assert counts(state.directory) is None
    assert not state.directory.exists()
    state.directory.mkdir()
    (state.directory / "ledger.sqlite").touch()
    assert counts(state.directory) is None
    assert everything(state.directory) == {"ledger.sqlite": b""}


async def test_a_newer_or_foreign_one_is_one_clear_line(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """Its tables may mean anything."""
    await ledger.close()
    path = state.directory / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 4711")
    with pytest.raises(StartError, match=r"newer taggerd .schema 4711"):
        counts(state.directory)
    path.unlink()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE songs (mine TEXT)")
    with pytest.raises(StartError, match="not created by taggerd"):
        counts(state.directory)


async def test_an_older_one_is_read_where_that_is_possible(
    ledger: SqliteLedger, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer command of an older service: shown what is there, and never migrated."""
    await ledger.admit([file()])
    version = schema.newest_version()
    newer = (*schema.steps(), schema.Step(version + 1, ()))
    monkeypatch.setattr(schema, "steps", lambda: newer)
    assert counts(state.directory) == Counts(queued=1)
    connection = ledger._database._connection
    await ledger._state.run(lambda: connection.execute("ALTER TABLE claims RENAME TO taken"))
    with pytest.raises(StorageError, match=rf"has schema {version} .* restart the service"):
        counts(state.directory)


async def test_one_that_is_opened_meanwhile_is_read_again(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """Read without its log, it may have changed under the reader: that answer is thrown away."""
    await ledger.admit([file("A.JPG")])
    await ledger.close()
    loop = asyncio.get_running_loop()
    asked: list[Counts] = []

    def ask(read: LedgerReader) -> Counts:
        found = read.counts()
        if not asked:
            opening = asyncio.run_coroutine_threadsafe(state.open(), loop).result()
            asyncio.run_coroutine_threadsafe(opening.admit([file("B.JPG")]), loop).result()
        asked.append(found)
        return found

    read = partial(read_ledger, state.directory, ask)
    assert await asyncio.to_thread(read) == Counts(queued=2)
    assert asked == [Counts(queued=1), Counts(queued=2)]


async def test_a_copy_without_its_index_is_not_read_half(
    ledger: SqliteLedger, state: SqliteState, tmp_path: Path
) -> None:
    """Without the log the last photos would be missing, and nobody would know."""
    await ledger.admit([file()])
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        shutil.copy2(state.directory / name, copy / name)
    with pytest.raises(StorageError, match="copied without its -shm file"):
        counts(copy)


async def test_a_reader_gives_up_on_a_ledger_that_never_rests(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """It tries a few times, and then says what it saw last."""
    await ledger.close()
    path = state.directory / "ledger.sqlite"
    tries: list[Counts] = []

    def ask(read: LedgerReader) -> Counts:
        tries.append(read.counts())
        os.utime(path, ns=(len(tries), len(tries)))
        return tries[-1]

    assert read_ledger(state.directory, ask) == Counts()
    assert len(tries) == module.ATTEMPTS


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's files need root: run as root")
async def test_a_file_of_another_user_is_not_read(ledger: SqliteLedger, state: SqliteState) -> None:
    """It decides what a person is shown."""
    await ledger.close()
    os.chown(state.directory / "ledger.sqlite", 65534, 65534)
    with pytest.raises(StartError, match="another user's"):
        counts(state.directory)
