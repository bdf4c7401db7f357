"""Damage is found at the start where there is reason to look, and recognised whenever it is met."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing, suppress
from random import Random
from typing import TYPE_CHECKING

import pytest
from support.ledger import DIGEST, ROOT, answer, file

from taggerd.errors import LedgerDamaged, StorageError
from taggerd.ledger import Counts, opening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.ledger import SqliteState

    from taggerd.ledger import SqliteLedger

PHOTOS = 3000
DEEP = 40
"""Of the pages of a ledger of so many photos, one that no look at the first pages meets."""


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any ledger be too large to be checked whole at every start."""
    monkeypatch.setattr(opening, "CHECKED_BYTES", 0)


async def filled(state: SqliteState) -> Path:
    """Make a ledger with many photos and end it orderly."""
    ledger = await state.open()
    await ledger.admit([file(f"{n}.JPG") for n in range(PHOTOS)])
    await ledger.close()
    path = state.directory / "ledger.sqlite"
    assert path.stat().st_size > 2 * DEEP * 4096
    return path


def damage(path: Path) -> bytes:
    """Damage a page deep inside; return the file as it then is."""
    with path.open("r+b") as damaged:
        damaged.seek(DEEP * 4096)
        damaged.write(b"\xff" * 4096)
    return path.read_bytes()


async def touch_all(ledger: SqliteLedger) -> None:
    """Read and write everything."""
    await ledger.known(ROOT)
    await ledger.retry(None, failed=True)
    await ledger.admit([file(f"{n}.JPG", size=5) for n in range(PHOTOS)])


@pytest.mark.usefixtures("large")
async def test_damage_met_later_is_moved_aside_at_the_next_start(state: SqliteState) -> None:
    """A large ledger is not read whole after an orderly end; what lies deep is met, and said."""
    damaged = damage(await filled(state))
    ledger = await state.open()
    assert ledger.notices == ()
    with pytest.raises(LedgerDamaged, match="restart taggerd, which replaces it"):
        await touch_all(ledger)
    with pytest.raises(LedgerDamaged):
        await ledger.counts()  # nothing more is read of it, nor written
    await ledger.close()
    again = await state.open()
    (aside,) = state.directory.glob("ledger.sqlite.damaged-*[0-9]")
    assert str(aside) in again.notices[0]
    assert aside.read_bytes()[DEEP * 4096 :][:4096] == damaged[DEEP * 4096 :][:4096]
    await again.admit([file()])
    assert await again.counts() == Counts(queued=1)
    await again.close()
    assert (await state.open()).notices == ()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("boot", ["another", "this"])
async def test_after_a_power_cut_all_of_it_is_checked(
    state: SqliteState, tmp_path: Path, boot: str
) -> None:
    """Nobody came to close it: what the cut may have done is found before work begins.

    A kill alone damages nothing, and costs no more at the next start than an orderly end.
    """
    path = await filled(state)
    killed_at = tmp_path / "killed"
    ledger = await state.open()
    await ledger.note("x", 1)
    killed_at.mkdir()
    for part in state.directory.glob("ledger.sqlite*"):
        (killed_at / part.name).write_bytes(part.read_bytes())
    lock = (state.directory / "ledger.lock").read_text()
    (killed_at / "ledger.lock").write_text(lock if boot == "this" else "another boot")
    await ledger.close()
    damage(killed_at / path.name)
    state.directory = killed_at
    ledger = await state.open()
    assert len(ledger.notices) == (boot == "another")
    if boot == "this":
        with pytest.raises(LedgerDamaged):
            await touch_all(ledger)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("part", ["head", "cut", "empty schema"])
async def test_a_large_ledger_is_looked_at_all_the_same(state: SqliteState, part: str) -> None:
    """Not a database, or shorter than it says: found at every start, however large it is."""
    path = await filled(state)
    whole = path.read_bytes()
    match part:
        case "head":
            path.write_bytes(b"x" * 5000 + whole[5000:])
        case "cut":
            path.write_bytes(whole[: len(whole) - 8192])
        case _:
            path.write_bytes(whole[:100] + bytes(4000) + whole[4100:])
    ledger = await state.open()
    assert len(ledger.notices) == 1
    await ledger.admit([file()])


@pytest.mark.usefixtures("large")
async def test_a_false_alarm_costs_one_check(state: SqliteState) -> None:
    """A suspicion that a whole check does not confirm is dropped; nothing is replaced."""
    await filled(state)
    suspicion = state.directory / "ledger.suspect"
    suspicion.touch()
    ledger = await state.open()
    assert ledger.notices == ()
    assert not suspicion.exists()
    assert await ledger.counts() == Counts(queued=PHOTOS)


async def test_damaged_answers_are_as_good_as_none(
    ledger: SqliteLedger, state: SqliteState
) -> None:
    """They are asked for again; the photo goes its way."""
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.checkpoint(claim, DIGEST, answer())
    with closing(sqlite3.connect(state.directory / "ledger.sqlite")) as other, other:
        other.execute("UPDATE answers SET answer = '[1'")
    assert await ledger.answers(DIGEST) == []
    await ledger.checkpoint(claim, DIGEST, answer("description"))
    assert [held.answer for held in await ledger.answers(DIGEST)] == [answer("description")]


# ── No foreign error leaves the room ─────────────────────────────────────────────────────────────


async def test_whatever_sqlite_says_is_a_storage_error(ledger: SqliteLedger) -> None:
    """Also what should not be: tables gone under our feet, a connection closed."""
    await ledger.admit([file()])
    connection = ledger._database._connection
    await ledger._state.run(lambda: connection.execute("DROP TABLE notes"))
    with pytest.raises(StorageError, match="please report it"):
        await ledger.recall("x")
    await ledger._state.run(connection.close)
    with pytest.raises(StorageError, match="closed"):
        await ledger.counts()
    await ledger.close()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "taggerd-test", os.fspath(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: run as root, where mounting is allowed")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


async def test_a_disk_that_is_full_to_the_end(state: SqliteState, tiny: Path) -> None:
    """Every step says StorageError; closing is quiet; with room again, nothing is lost."""
    state.directory = tiny / "state"
    ledger = await state.open()
    await ledger.admit([file("A.JPG"), file("B.JPG")])
    claim, other = await state.claim(ledger)
    await ledger.checkpoint(claim, DIGEST, answer())
    filler = tiny / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as full:
        while True:
            full.write(bytes(4096))
    long = answer(text=Random(1).randbytes(150_000).hex())  # noqa: S311 - not a secret
    with pytest.raises(StorageError, match="make room"):
        await ledger.checkpoint(claim, DIGEST, long)
    await ledger.close()
    filler.unlink()
    ledger = await state.open()
    assert ledger.notices == ()
    assert [held.answer for held in await ledger.answers(DIGEST)] == [answer()]
    again = await state.claim(ledger)
    assert {one.id for one in again} == {claim.id, other.id}
    assert {one.attempt for one in again} == {1}
    await ledger.checkpoint(again[0], DIGEST, long)
