"""What the journal's tests share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.records import DAY, MakesEntries, record_of

from taggerd.journal import Entry, Journal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def entry() -> MakesEntries:
    """Return what makes entries."""

    def make(number: int = 1, day: str = DAY, **changes: object) -> Entry:
        record = record_of(number, **changes)
        return Entry(record.id, day, json.dumps(record.to_json(), ensure_ascii=False))

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Return an open journal that keeps everything."""
    journal = Journal(tmp_path / "outputs", retention_days=0, compress_after_days=0)
    journal.open()
    yield journal
    leftovers = list(tmp_path.rglob("*taggerd-tmp"))
    assert leftovers == [], "no temporary file may stay behind"
