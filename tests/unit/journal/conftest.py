"""What the journal's tests share: records as the pipeline makes them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from taggerd.journal import Entry, Journal
from taggerd.photo import Keyword, Photo, PhotoFile, Record, Stamp, Tags

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = "2025-11-20"
START = datetime(2025, 11, 20, 9, 0, tzinfo=UTC)


class MakesEntries(Protocol):
    """Makes one entry; *number* tells photos apart, *changes* replace fields of the record."""

    def __call__(self, number: int = ..., day: str = ..., **changes: object) -> Entry:
        """Make one."""


def record_of(number: int = 1, **changes: Any) -> Record:  # noqa: ANN401 (any field of a record)
    """Return a record of photo *number*, started *number* minutes after nine."""
    image = changes.pop("image", Path(f"/srv/import/card/IMG_{number}.JPG"))
    begun = changes.pop("started_at", START + timedelta(minutes=number))
    seconds = changes.pop("seconds", 3.0)
    fields: dict[str, Any] = {
        "id": f"record-{number}",
        "photo": Photo((PhotoFile(image, Stamp(1, 2, 3, 4)),)),
        "digest": f"{number:064x}",
        "tags": Tags(
            caption=f"Caption {number}",
            description=f"Description {number}.",
            keywords=(Keyword("tree", 0.9), Keyword(f"word {number}")),
        ),
        "roles": {},
        "models": {"caption": "model-a", "keywords": "model-a", "description": "model-b"},
        "backend": "http://gpu.lan:8000/v1",
        "prompt_profile": "default",
        "sidecars": (),
        "notes": (),
        "error": "",
        "attempts": 1,
        "started_at": begun,
        "finished_at": begun + timedelta(seconds=seconds),
        "stages": {"decode": 0.1, "caption": 1.0},
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "requests": 3},
        "dry_run": False,
        "version": "0.1.0",
    }
    return Record(**fields | changes)


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
