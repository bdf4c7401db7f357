"""The schema: created in an empty database, and nothing else is taken for a ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.ledger import SqliteState, file

from taggerd.errors import StartError
from taggerd.ledger import Counts

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


@pytest.mark.parametrize(("step", "word"), [(1, "newer"), (-1, "older")])
async def test_another_version_is_refused_and_left_alone(
    state: SqliteState, step: int, word: str
) -> None:
    """After the program was downgraded, or upgraded: one line that says so, nothing touched."""
    await (await state.open()).close()
    path = state.directory / "ledger.sqlite"
    version = pragma(path, "user_version") + step
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
