"""A folder of photos with a ledger, a journal and a catalogue of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from PIL import Image

from support.records import DAY, START, record_of
from taggerd import files
from taggerd.catalogue import key_of
from taggerd.journal import Entry as Line
from taggerd.ledger import Finished
from taggerd.photo import PhotoFile, Stamp
from taggerd.services import make_journal

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.catalogue import Catalogue, Entry
    from taggerd.ledger import Ending
    from taggerd.ledger.sql import SqlLedger
    from taggerd.review.feed import Feed
    from taggerd.settings import Settings


@dataclass
class Photos:
    """What a daemon leaves behind."""

    folder: Path
    settings: Settings
    ledger: SqlLedger
    catalogue: Catalogue
    feed: Feed
    written: int = field(default=0)

    def add(self, name: str = "a.jpg") -> Path:
        """Make a photo."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (32, 16), (40, 90, 160)).save(path, "JPEG")
        return path

    def journal(self, path: Path, day: str = DAY, **changes: Any) -> None:  # noqa: ANN401 - fields of a record
        """Write a record, each a minute after the one before."""
        self.written += 1
        changes.setdefault("metadata_written", True)
        made = record_of(self.written, image=path, **changes)
        journal = make_journal(self.settings)
        journal.open()
        journal.deliver([Line(made.id, day, json.dumps(made.to_json()))])

    async def end(self, path: Path, ending: Ending | None = None) -> None:
        """Take a photo through the queue."""
        await self.ledger.admit([PhotoFile(path, Stamp.of(files.lstat(path)))])
        claims = await self.ledger.claim(9, within=[path], run="run", now=1e12)
        for claim in claims:
            await self.ledger.end(claim, ending or Finished("ab" * 32))

    def entry(self, path: Path) -> Entry:
        """Return what the catalogue knows of a photo."""
        entry = self.catalogue.get(key_of(path))
        assert entry is not None
        return entry

    def at(self, minutes: float) -> float:
        """Return a time so many minutes after the records begin."""
        return (START + timedelta(minutes=minutes)).timestamp()
