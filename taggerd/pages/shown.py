"""What a page shows of a photo, whether it comes from the catalogue or from the journal.

Pages know neither: they take any object that has the attributes below.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from taggerd.photo import Keyword, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Said(Protocol):
    """A text or keyword, and who wrote it."""

    @property
    def text(self) -> str:
        """The words themselves; empty if there are none."""

    @property
    def whose(self) -> str:
        """``"machine"`` or ``"human"``."""

    @property
    def model(self) -> str:
        """Which model, where it was a machine."""


class Entry(Protocol):
    """A photo with its words as they are now: the catalogue's entry."""

    @property
    def path(self) -> Path | str:
        """Where the photo lies."""

    @property
    def digest(self) -> str:
        """Names the thumbnail; empty if there is none."""

    @property
    def day(self) -> str:
        """``YYYY-MM-DD``, local."""

    @property
    def caption(self) -> Said:
        """One line."""

    @property
    def description(self) -> Said:
        """Some sentences."""

    @property
    def keywords(self) -> Iterable[Said]:
        """In their order."""

    @property
    def rejected(self) -> Iterable[str]:
        """Keywords that a human took away."""

    @property
    def own(self) -> Mapping[str, str]:
        """What the user's own roles answered."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model by role."""

    @property
    def state(self) -> str:
        """What became of it, in one word."""

    @property
    def error(self) -> str:
        """Why it is not tagged; empty if it is."""

    @property
    def at(self) -> float:
        """When it was tagged, seconds since the epoch; 0: unknown."""


class Recorded(Protocol):
    """A photo as the journal recorded it: what the machine answered, and nothing since."""

    @property
    def image(self) -> Path:
        """Where the photo lies."""

    @property
    def digest(self) -> str:
        """Names the thumbnail."""

    @property
    def caption(self) -> str:
        """One line."""

    @property
    def description(self) -> str:
        """Some sentences."""

    @property
    def keywords(self) -> tuple[Keyword, ...]:
        """In their order."""

    @property
    def own(self) -> dict[str, str]:
        """What the user's own roles answered."""

    @property
    def models(self) -> Mapping[str, str]:
        """Model by role."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth saying."""

    @property
    def error(self) -> str:
        """Why it is not tagged; empty if it is."""

    @property
    def attempts(self) -> int:
        """How often it was tried."""

    @property
    def dry_run(self) -> bool:
        """Whether nothing was written."""

    @property
    def no_meta(self) -> bool:
        """Whether the sidecars were left to a later scan."""

    @property
    def finished_at(self) -> datetime | None:
        """Aware."""


@dataclass(frozen=True, slots=True)
class Word:
    """A text or keyword, and who wrote it."""

    text: str
    whose: str = "machine"
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One photo on a page."""

    path: Path
    day: str
    at: datetime | None
    state: str
    """``failed``, ``tagged``, ``dry run``, …: shown as it is where it is not ``tagged``."""
    digest: str = ""
    caption: Said = Word("")
    description: Said = Word("")
    keywords: tuple[Said, ...] = ()
    rejected: tuple[str, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    error: str = ""
    attempts: int = 1

    @property
    def name(self) -> str:
        """The file's name, printable."""
        return printable(self.path.name)

    @property
    def folder(self) -> str:
        """The folder that the photo lies in, printable."""
        return printable(self.path.parent)

    @property
    def address(self) -> str:
        """The ``file:`` address; empty if the path is not absolute."""
        return f"file://{quote(os.fsencode(self.path))}" if self.path.is_absolute() else ""

    @property
    def has_words(self) -> bool:
        """Whether there is something to show besides the picture."""
        return bool(self.caption.text or self.description.text or self.keywords or self.own)

    @property
    def order(self) -> tuple[bytes, list[tuple[int, str]], bytes]:
        """By folder and then by name, IMG_2 before IMG_10."""
        pieces = re.split(r"([0-9]+)", self.path.name.casefold())
        natural = [(int(p[:18]), "") if p.isdigit() and p.isascii() else (-1, p) for p in pieces]
        return (os.fsencode(self.path.parent), natural, os.fsencode(self.path))


def of_entry(entry: Entry) -> Shown:
    """Return what a page shows of an *entry* of the catalogue."""
    return Shown(
        path=Path(entry.path),
        day=entry.day,
        at=datetime.fromtimestamp(entry.at, UTC) if entry.at else None,
        state=entry.state,
        digest=entry.digest,
        caption=entry.caption,
        description=entry.description,
        keywords=tuple(entry.keywords),
        rejected=tuple(entry.rejected),
        own=entry.own,
        models=entry.models,
        error=entry.error,
    )


def of_record(record: Recorded, day: str) -> Shown:
    """Return what a page shows of a *record* of the journal: all its words are the machine's."""
    state = "dry run" if record.dry_run else "not written" if record.no_meta else "tagged"
    return Shown(
        path=record.image,
        day=day,
        at=record.finished_at,
        state="failed" if record.error else state,
        digest=record.digest,
        caption=Word(record.caption, model=record.models.get("caption", "")),
        description=Word(record.description, model=record.models.get("description", "")),
        keywords=tuple(
            Word(keyword.word, model=record.models.get("keywords", ""))
            for keyword in record.keywords
        ),
        own=record.own,
        models=record.models,
        notes=record.notes,
        error=record.error,
        attempts=record.attempts,
    )


def with_words(shown: Shown, entry: Entry) -> Shown:
    """Return *shown* with the words of *entry*: those that it has now, and whose they are."""
    state = entry.state if shown.state == "tagged" else shown.state
    return replace(
        shown,
        caption=entry.caption,
        description=entry.description,
        keywords=tuple(entry.keywords),
        rejected=tuple(entry.rejected),
        own=entry.own,
        state=state,
    )
