"""A ledger of its own for each test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.ledger import State

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from taggerd.ledger import SqliteLedger


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    """A state directory of its own; whoever is still there at the end is closed."""
    made = State(tmp_path / "state")
    yield made
    for ledger in made.opened:
        await ledger.close()


@pytest.fixture
async def ledger(state: State) -> SqliteLedger:
    """An open ledger, the oldest photo first."""
    return await state.open()
