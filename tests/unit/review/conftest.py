"""A folder of photos, with a ledger and a journal of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.reviewing import Photos

from taggerd.arrivals import work_below
from taggerd.catalogue import Catalogue
from taggerd.ledger import SqliteLedger
from taggerd.review.feed import Feed
from taggerd.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def photos(tmp_path: Path) -> AsyncIterator[Photos]:
    """Nothing yet."""
    folder, state = tmp_path / "photos", tmp_path / "state"
    folder.mkdir()
    settings = Settings.model_validate(
        {"arrivals": {"roots": [str(folder)]}, "state_directory": str(state)}
    )
    work_below([], settings)
    ledger = await SqliteLedger.open(state)
    catalogue = Catalogue.open(state)
    yield Photos(folder, settings, ledger, catalogue, Feed(catalogue, settings))
    catalogue.close()
    await ledger.close()
