"""A state directory whose ledger was moved to a database server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.errors import StartError
from taggerd.ledger import SqliteLedger, read_ledger
from taggerd.ledger.moved import FILE, Departure, refuse_moved

if TYPE_CHECKING:
    from pathlib import Path

GONE = Departure(
    id="ab12", to="postgresql://taggerd@db/taggerd", at=1_000_000.0, kept="ledger.sqlite.moved-1"
)


async def test_no_empty_ledger_begins_where_one_was_moved_away(tmp_path: Path) -> None:
    """A service with its old settings is told where the ledger is, and makes nothing."""
    GONE.write(tmp_path)
    for opening in (
        SqliteLedger.open(tmp_path, exclusive=True),
        SqliteLedger.open(tmp_path),
    ):
        with pytest.raises(StartError, match=r"moved to postgresql://taggerd@db/taggerd on 1970"):
            await opening
    with pytest.raises(StartError, match=r"set ledger\.url"):
        read_ledger(tmp_path, lambda ledger: ledger.counts())
    assert not (tmp_path / "ledger.sqlite").exists()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Nobody else reads it; a directory without it is refused by nobody."""
    assert Departure.of(tmp_path) is None
    refuse_moved(tmp_path)
    GONE.write(tmp_path)
    assert Departure.of(tmp_path) == GONE
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"id": 1}'])
def test_one_that_cannot_be_read_is_no_leave_to_begin(tmp_path: Path, content: str) -> None:
    """Whatever happened to it: an empty queue would cost every photo again."""
    (tmp_path / FILE).write_text(content)
    with pytest.raises(StartError, match="says where the ledger is"):
        refuse_moved(tmp_path)
