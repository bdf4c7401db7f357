"""Damage that SQLite's own check does not see."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.ledger import DIGEST, SqliteState, file, record

from taggerd.errors import LedgerDamaged
from taggerd.ledger import Finished, Outgoing

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.ledger import SqliteLedger


def _aside(state: SqliteState) -> list[Path]:
    return list(state.directory.glob("ledger.sqlite.damaged-*[0-9]"))


async def test_text_that_is_none_is_damage(ledger: SqliteLedger, state: SqliteState) -> None:
    """Met in work, the ledger is replaced at the next start, and once only."""
    await ledger.admit([file()])
    await ledger.close()
    with closing(sqlite3.connect(state.directory / "ledger.sqlite")) as database, database:
        database.execute("UPDATE photos SET reason = CAST(x'ff' AS TEXT)")
    ledger = await state.open()
    assert ledger.notices == ()
    with pytest.raises(LedgerDamaged):
        await state.claim(ledger)
    await state.kill(ledger)
    ledger = await state.open()
    assert len(_aside(state)) == len(ledger.notices) == 1
    await ledger.close()
    assert (await state.open()).notices == ()


async def test_a_ledger_that_lacks_a_table_is_replaced(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """Its pages are whole, and nothing can be done with it."""
    await ledger.close()
    with closing(sqlite3.connect(state.directory / "ledger.sqlite")) as database, database:
        database.execute("DROP TABLE notes")
    ledger = await state.open()
    assert len(_aside(state)) == 1
    await ledger.note("key", 1)


async def test_a_note_that_cannot_be_read_is_none(ledger: SqliteLedger, state: SqliteState) -> None:
    """It does not keep the program from starting."""
    await ledger.note("key", [1])
    await ledger.close()
    with closing(sqlite3.connect(state.directory / "ledger.sqlite")) as database, database:
        database.execute("UPDATE notes SET value = '[1'")
    assert await (await state.open()).recall("key") is None


async def test_records_that_wait_are_taken_over(ledger: SqliteLedger, state: SqliteState) -> None:
    """Their photos are tagged: nobody would ask again, and the journal would lack them."""
    whole = Outgoing("a", "2025-06-30", '{"id": "a"}')
    for number, waiting in enumerate((whole, record(2))):
        await ledger.admit([file(f"{number}.JPG")])
        claim = await state.claim_one(ledger)
        await ledger.end(claim, Finished(DIGEST, waiting))
    await ledger.close()
    with closing(sqlite3.connect(state.directory / "ledger.sqlite")) as database, database:
        database.execute("UPDATE outbox SET line = substr(line, 2) WHERE id = 2")
        database.execute("DROP TABLE files")
    ledger = await state.open()
    assert len(_aside(state)) == 1
    assert await ledger.outbox(10) == [whole]
