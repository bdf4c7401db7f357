"""The schema: created in an empty database, brought up to date, and nothing else is a ledger."""

from __future__ import annotations

import asyncio
import os
import shlex
import sqlite3
import stat
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.ledger import SqliteState, file

from taggerd.errors import LedgerDamaged, LedgerInUse, StartError, StorageError
from taggerd.ledger import Counts, LedgerReader, read_ledger, schema
from taggerd.ledger.schema import Step

if TYPE_CHECKING:
    from pathlib import Path


def pragma(path: Path, value: str) -> int:
    """Read or set a pragma of the database *path*."""
    with closing(sqlite3.connect(path)) as connection:
        row = connection.execute(f"PRAGMA {value}").fetchone()
    return int(row[0]) if row else 0


async def test_an_empty_database_becomes_a_ledger(state: SqliteState) -> None:
    """A kill came before the tables were created."""
    state.directory.mkdir()
    (state.directory / "ledger.sqlite").touch()
    ledger = await state.open()
    await ledger.admit([file()])
    await state.tag(ledger, await state.claim_one(ledger))
    assert await ledger.counts() == Counts(recorded=1)


@pytest.mark.parametrize(
    ("version", "word"), [(schema.newest_version() + 1, "newer"), (4, "older")]
)
async def test_another_version_is_refused_and_left_alone(
    state: SqliteState, version: int, word: str
) -> None:
    """After the program was downgraded, or upgraded: one line that says so, nothing touched."""
    await (await state.open()).close()
    path = state.directory / "ledger.sqlite"
    pragma(path, f"user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(StartError, match=f"{word} taggerd .schema {version}") as caught:
        await state.open()
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert not list(state.directory.glob("*damaged*"))


@pytest.mark.parametrize("table", ["photos", "songs"])
async def test_somebody_else_s_database_is_refused_and_left_alone(
    state: SqliteState, table: str
) -> None:
    """A sound SQLite file that is not ours, whatever its tables are called."""
    state.directory.mkdir()
    path = state.directory / "ledger.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE {table} (mine TEXT)")
    with pytest.raises(StartError, match="not created by taggerd"):
        await state.open()
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    assert names == [(table,)]


# ── Migrations ───────────────────────────────────────────────────────────────────────────────────

OLD = schema.newest_version()
NEW = Step(
    OLD + 1,
    (
        "ALTER TABLE photos ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'",
        "CREATE TABLE moods (name TEXT PRIMARY KEY) STRICT",
    ),
)


def update(monkeypatch: pytest.MonkeyPatch, *added: Step) -> None:
    """Install a taggerd whose schema has more steps."""
    every = (*schema.steps(), *added)
    monkeypatch.setattr(schema, "steps", lambda: every)


def downgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the present one again."""
    every = tuple(step for step in schema.steps() if step.version <= OLD)
    monkeypatch.setattr(schema, "steps", lambda: every)


@pytest.fixture
async def old(state: SqliteState) -> Path:
    """Return a ledger of the old version, with two photos, that nobody uses."""
    state.directory = state.directory / "my state"
    ledger = await state.open()
    await ledger.admit([file("A.JPG"), file("B.JPG")])
    await ledger.close()
    return state.directory / "ledger.sqlite"


def test_steps_are_numbered_without_a_gap() -> None:
    """A step is one file; its number is the version that it makes."""
    versions = [step.version for step in schema.steps()]
    assert versions == list(range(5, 5 + len(versions)))


async def test_every_version_becomes_the_newest(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever steps a ledger lacks, it ends with the same tables as a new one, and its photos."""
    every = schema.steps()
    tables = {}
    for number in range(1, len(every) + 1):
        monkeypatch.setattr(schema, "steps", lambda number=number: every[:number])
        ledger = await state.open()
        await ledger.admit([file()])
        await ledger.close()
        monkeypatch.setattr(schema, "steps", lambda: every)
        ledger = await state.open()
        assert await ledger.counts() == Counts(queued=1)
        await ledger.close()
        with closing(sqlite3.connect(state.directory / "ledger.sqlite")) as database:
            rows = database.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2")
            tables[number] = rows.fetchall()
        state.renew()
    assert all(found == tables[len(every)] for found in tables.values())


async def test_an_older_ledger_is_migrated_and_a_copy_is_kept(
    state: SqliteState, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost; a line says from where to where, where the copy is and how to go back."""
    update(monkeypatch, NEW)
    ledger = await state.open(exclusive=True)
    assert pragma(old, "user_version") == NEW.version
    assert await ledger.counts() == Counts(queued=2)
    copy = old.with_name(f"ledger.sqlite.schema-{OLD}")
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert f"from schema {OLD} to {NEW.version}" in ledger.migrated
    assert "\n" not in ledger.migrated
    await ledger.admit([file("C.JPG")])
    # The way back, as it is said: also after a kill, which leaves the log of the newer ledger.
    await state.kill(ledger)
    state.opened.remove(ledger)
    old.with_name("ledger.sqlite-wal").write_bytes(b"the log of the newer one")
    command = ledger.migrated.partition("and: ")[2]
    assert shlex.split(command)[0] == "rm"
    await asyncio.to_thread(subprocess.run, ["sh", "-c", command], check=True)
    downgrade(monkeypatch)
    again = await state.open()
    assert again.notices == ()
    assert again.migrated == ""
    assert await again.counts() == Counts(queued=2)


async def test_a_new_ledger_and_one_up_to_date_are_not_copied(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to go back to."""
    update(monkeypatch, NEW)
    ledger = await state.open()
    await ledger.close()
    ledger = await state.open()
    assert ledger.migrated == ""
    assert not list(state.directory.glob("*schema-*"))


@pytest.mark.parametrize("exclusive", [True, False])
async def test_nobody_migrates_what_an_older_taggerd_uses(
    state: SqliteState, old: Path, monkeypatch: pytest.MonkeyPatch, exclusive: bool
) -> None:
    """It would meet tables that it does not know, and refuse its own ledger for good."""
    daemon = await state.open(exclusive=not exclusive)
    update(monkeypatch, NEW)
    with pytest.raises(LedgerInUse, match=r"in use by an older taggerd.*restart the serv") as told:
        await state.open(exclusive=exclusive)
    assert told.value.exit_code == 2
    assert "\n" not in str(told.value)
    assert pragma(old, "user_version") == OLD
    assert not list(state.directory.glob("*schema-*"))
    await daemon.admit([file("C.JPG")])
    await daemon.close()
    assert await (await state.open(exclusive=exclusive)).counts() == Counts(queued=3)


async def test_nobody_migrates_while_a_daemon_starts(
    state: SqliteState, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds its lock, and has not opened the ledger yet."""
    update(monkeypatch, NEW)
    monkeypatch.setattr("taggerd.ledger.opening.daemon_pid", lambda _: 4711)
    with pytest.raises(LedgerInUse, match="pid 4711"):
        await state.open()
    assert pragma(old, "user_version") == OLD


async def test_whoever_only_reads_does_not_migrate(
    state: SqliteState, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer ``taggerd status`` shows the older service's ledger as it is."""
    update(monkeypatch, NEW)
    assert read_ledger(state.directory, LedgerReader.counts) == Counts(queued=2)
    assert pragma(old, "user_version") == OLD
    assert [path.name for path in state.directory.glob("ledger.sqlite*")] == ["ledger.sqlite"]


async def test_a_step_that_fails_changes_nothing(
    state: SqliteState, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps, or none: the older taggerd goes on with the ledger as it was."""
    update(monkeypatch, NEW, Step(NEW.version + 1, ("INSERT INTO photos (id) VALUES (1)",)))
    with pytest.raises(StartError, match="NOT NULL"):
        await state.open()
    assert pragma(old, "user_version") == OLD
    downgrade(monkeypatch)
    ledger = await state.open()
    assert await ledger.counts() == Counts(queued=2)


async def test_a_disk_too_full_for_the_copy_stops_the_migration(
    state: SqliteState, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passes once the disk has space: the service waits for that."""
    update(monkeypatch, NEW)
    monkeypatch.setattr(schema, "fsync_folder", _full)
    with pytest.raises(StorageError, match="No space left"):
        await state.open()
    assert pragma(old, "user_version") == OLD
    assert not list(state.directory.glob(".*"))


def _full(_: object) -> None:
    raise OSError(28, os.strerror(28))


async def test_a_damaged_ledger_is_not_migrated(
    state: SqliteState, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is too large to be checked whole at each start is read whole for its copy."""
    ledger = await state.open()
    await ledger.admit([file(f"{n}.JPG") for n in range(3000)])
    await ledger.close()
    monkeypatch.setattr("taggerd.ledger.opening.CHECKED_BYTES", 0)
    with old.open("r+b") as damaged:
        damaged.seek(40 * 4096)
        damaged.write(b"\xff" * 4096)
    update(monkeypatch, NEW)
    with pytest.raises(LedgerDamaged):
        await state.open()
    assert pragma(old, "user_version") == OLD
    assert not list(state.directory.glob("*schema-*"))
    assert len((await state.open()).notices) == 1  # the next one starts over, as for any damage
