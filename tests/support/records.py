"""Records as the pipeline makes them, for the tests of what is made from records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from taggerd.journal import Entry, Record
from taggerd.photo import Keyword, Tags, printable

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
    tags = changes.pop("tags", None) or Tags(
        caption=f"Caption {number}",
        description=f"Description {number}.",
        keywords=(Keyword("tree", 0.9), Keyword(f"word {number}")),
    )
    fields: dict[str, Any] = {
        "id": f"record-{number}",
        "image": image,
        "digest": f"{number:064x}",
        "files": (printable(image),),
        "keywords": tags.keywords,
        "caption": tags.caption,
        "description": tags.description,
        "roles": {},
        "models": {"caption": "model-a", "keywords": "model-a", "description": "model-b"},
        "inherited_from": "",
        "backend": "http://gpu.lan:8000/v1",
        "prompt_profile": "default",
        "prompt_profile_digest": "",
        "metadata_written": False,
        "sidecars": (),
        "embedded": (),
        "notes": (),
        "error": "",
        "error_kind": "",
        "attempts": 1,
        "started_at": begun,
        "finished_at": begun + timedelta(seconds=seconds),
        "duration_seconds": seconds,
        "stages": {"decode": 0.1, "caption": 1.0},
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "requests": 3},
        "dry_run": False,
        "no_meta": False,
        "held": False,
        "run": "scan-1",
        "version": "0.1.0",
        "raw": {},
    }
    return Record(**fields | changes)


def noon(day: str) -> datetime:
    """Return the middle of *day*."""
    return datetime.fromisoformat(f"{day}T12:00:00+00:00")
