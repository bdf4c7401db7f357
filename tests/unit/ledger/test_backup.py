"""A backup: of one moment, checked, whole or not at all, and never over a file that is there."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest
from support.ledger import DIGEST, answer, file

from taggerd.errors import LedgerDamaged, StartError, StorageError
from taggerd.ledger import Counts, LedgerReader, back_up, read_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from support.ledger import SqliteState

    from taggerd.ledger import SqliteLedger


def restored(target: Path, directory: Path) -> Path:
    """Put a backup into an empty state directory."""
    directory.mkdir(mode=0o700)
    target.rename(directory / "ledger.sqlite")
    return directory


def leftovers(folder: Path) -> list[str]:
    """Return the names of what is hidden in *folder*."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


async def test_a_ledger_in_use_is_copied_whole(
    ledger: SqliteLedger, state: SqliteState, tmp_path: Path
) -> None:
    """What was committed last, too; its user goes on meanwhile, and the copy opens as a ledger."""
    await ledger.admit([file("A.JPG"), file("B.JPG")])
    claim = (await state.claim(ledger, 1))[0]
    await ledger.checkpoint(claim, DIGEST, answer())
    target = tmp_path / "my backup.sqlite"
    made = await asyncio.to_thread(back_up, state.directory, target)
    assert made == (Counts(queued=1, claimed=1), target.stat().st_size)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert leftovers(tmp_path) == []
    await ledger.admit([file("C.JPG")])
    assert await ledger.counts() == Counts(queued=2, claimed=1)
    await ledger.close()
    state.directory = restored(target, tmp_path / "restored")
    again = await state.open()
    assert again.notices == ()
    assert await again.counts() == Counts(queued=2)  # whoever had claimed it is not here
    assert [held.answer for held in await again.answers(DIGEST)] == [answer()]


async def test_a_closed_ledger_is_copied_and_left_alone(
    ledger: SqliteLedger, state: SqliteState, tmp_path: Path
) -> None:
    """No log is made beside it."""
    await ledger.admit([file()])
    await ledger.close()
    before = sorted(path.name for path in state.directory.rglob("*"))
    target = tmp_path / "backup"
    assert back_up(state.directory, target).counts == Counts(queued=1)
    assert sorted(path.name for path in state.directory.rglob("*")) == before
    directory = restored(target, tmp_path / "restored")
    assert read_ledger(directory, LedgerReader.counts) == Counts(queued=1)


@pytest.mark.parametrize("kind", ["file", "link"])
async def test_a_file_that_is_there_stays(
    ledger: SqliteLedger, state: SqliteState, tmp_path: Path, kind: str
) -> None:
    """It may be the backup of yesterday."""
    await ledger.admit([file()])
    target, other = tmp_path / "backup", tmp_path / "other"
    other.write_text("precious")
    target.hardlink_to(other) if kind == "file" else target.symlink_to(other)
    with pytest.raises(StartError, match="name another file, or remove it"):
        back_up(state.directory, target)
    assert other.read_text() == "precious"
    assert leftovers(tmp_path) == []


def _refused(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize("links", [True, False])
async def test_a_file_that_comes_meanwhile_stays(
    ledger: SqliteLedger,
    state: SqliteState,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,
) -> None:
    """Two backups at once, also where the file system has no links: one is made, one is refused."""
    await ledger.admit([file()])
    target = tmp_path / "backup"
    if not links:
        monkeypatch.setattr("taggerd.ledger.backup.os.link", _refused)
    reads = read_ledger

    def slow(directory: Path, work: object) -> object:
        found = reads(directory, work)  # type: ignore[arg-type]  # as it came
        target.write_text("theirs")
        return found

    monkeypatch.setattr("taggerd.ledger.backup.read_ledger", slow)
    with pytest.raises(StartError, match="exists"):
        back_up(state.directory, target)
    assert target.read_text() == "theirs"
    monkeypatch.setattr("taggerd.ledger.backup.read_ledger", reads)
    target.unlink()
    back_up(state.directory, target)
    assert target.read_bytes().startswith(b"SQLite format 3")
    assert leftovers(tmp_path) == []


async def test_a_damaged_ledger_makes_no_backup(
    ledger: SqliteLedger, state: SqliteState, tmp_path: Path
) -> None:
    """Deep inside, where no look at the first pages meets it: the copy is read back."""
    await ledger.admit([file(f"{n}.JPG") for n in range(3000)])
    await ledger.close()
    path = state.directory / "ledger.sqlite"
    with path.open("r+b") as damaged:
        damaged.seek(40 * 4096)
        damaged.write(b"\xff" * 4096)
    with pytest.raises(LedgerDamaged):
        back_up(state.directory, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    assert leftovers(tmp_path) == []


async def test_what_cannot_be_written_is_one_clear_line(
    ledger: SqliteLedger,
    state: SqliteState,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No ledger, no folder, a full disk: said as such, and nothing is left lying."""
    with pytest.raises(StartError, match="there is no ledger"):
        back_up(tmp_path / "nowhere", tmp_path / "backup")
    await ledger.admit([file()])
    with pytest.raises(StartError, match="make its folder first"):
        back_up(state.directory, tmp_path / "nowhere" / "backup")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("taggerd.ledger.schema.os.fsync", full)
    with pytest.raises(StorageError, match="make space on its disk") as told:
        back_up(state.directory, tmp_path / "backup")
    assert "\n" not in str(told.value)
    assert not (tmp_path / "backup").exists()
    assert leftovers(tmp_path) == []
