"""A batch: photos that were tagged one after the other, until the queue was empty."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.settings import Hooks

_FOLDERS = 100
"""Folders that a notice names; the photos in others are only counted."""
_FAILED = 20
"""Photos that failed and that a notice names, with the reason."""


@dataclass(slots=True)
class Batch:
    """What has happened since the last batch ended; all times are seconds since the epoch."""

    began: float = 0.0
    last: float = 0.0
    """When its last photo ended."""
    tagged: int = 0
    failed: int = 0
    held: int = 0
    """Photos that are answered, and wait until somebody accepts that."""
    folders: dict[str, int] = field(default_factory=dict)
    """Tagged photos by folder, as they lie now."""
    unsaid: int = 0
    """Photos that failed since on_problem heard of any."""
    unsaid_since: float = 0.0
    unsaid_photos: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, kept: object) -> Batch:
        """Return the batch that :meth:`kept` was given; a damaged one is as good as none."""
        try:
            return TypeAdapter(cls).validate_python(kept) if kept else cls()
        except ValidationError:
            return cls()

    def kept(self) -> dict[str, Any]:
        """Return it as JSON, for :meth:`of`."""
        return asdict(self)

    @property
    def open(self) -> bool:
        """Whether any photo has ended in it."""
        return bool(self.tagged or self.failed or self.held)

    def add(self, record: Mapping[str, Any], folder: str, now: float) -> None:
        """Count the photo of a *record* of the journal; *folder* is where it lies now."""
        began = now - _seconds(record)
        self.began = min(self.began, began) if self.open else began
        self.last = now
        if record.get("error"):
            self.failed += 1
            self.unsaid_since = self.unsaid_since if self.unsaid else now
            self.unsaid += 1
            if len(self.unsaid_photos) < _FAILED:
                photo = {"photo": str(record.get("image", "")), "reason": str(record["error"])}
                self.unsaid_photos.append(photo)
            return
        if record.get("held"):
            self.held += 1
            return
        self.tagged += 1
        if folder in self.folders or len(self.folders) < _FOLDERS:
            self.folders[folder] = self.folders.get(folder, 0) + 1

    def due_in(self, hooks: Hooks, now: float) -> float:
        """Return in how many seconds it is to be asked again whether it is over."""
        quiet = max(0.0, now - self.last)  # the clock may have been set back
        return max(0.0, min(hooks.idle_seconds, hooks.quiet_minutes * 60) - quiet)

    def is_quiet(self, hooks: Hooks, now: float) -> bool:
        """Say whether nothing has ended for so long that it is over whatever waits."""
        return self.open and now - self.last >= hooks.quiet_minutes * 60

    def failures_due(self, hooks: Hooks, now: float) -> bool:
        """Say whether somebody has to hear of failed photos before the batch is over."""
        return bool(self.unsaid) and now - self.unsaid_since >= hooks.quiet_minutes * 60

    def said(self) -> None:
        """Note that on_problem has heard of the photos that failed."""
        self.unsaid, self.unsaid_since, self.unsaid_photos = 0, 0.0, []


def _seconds(record: Mapping[str, Any]) -> float:
    """Return how long the photo of a *record* took."""
    seconds = record.get("duration_seconds")
    return max(0.0, seconds) if isinstance(seconds, int | float) else 0.0


def folder_of(path: str) -> str:
    """Return the folder of a photo."""
    return os.path.dirname(path)  # noqa: PTH120 - a text of the journal, where nothing is opened
