"""The SQLite ledger that this folder's tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ledger import SqliteState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from taggerd.ledger import SqliteLedger


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqliteState]:
    """A state directory of its own; whoever is still there at the end is closed."""
    made = SqliteState(tmp_path / "state")
    yield made
    for ledger in made.opened:
        await ledger.close()


@pytest.fixture
async def ledger(state: SqliteState) -> SqliteLedger:
    """An open ledger, the oldest photo first."""
    return await state.open()
