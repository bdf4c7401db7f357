"""What became of one photo's turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.journal import Record
    from taggerd.photo import Photo

log = structlog.get_logger(__name__)

Fate = Literal["tagged", "known", "failed", "again", "waits", "moved"]
"""What became of a photo's turn: ``known``: it was tagged already; ``again``: it failed and has
attempts left; ``waits``: the backend or a disk is at fault; ``moved``: it changed or went."""

_WORDS: Mapping[Fate, str] = {
    "tagged": "tagged",
    "known": "tagged already",
    "failed": "failed",
    "again": "failed, is tried again",
    "waits": "waits",
    "moved": "changed or went",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one photo's turn."""

    photo: Photo
    fate: Fate
    reason: str = ""
    record: Record | None = None

    def tell(self) -> None:
        """Say it in the log."""
        say = log.warning if self.fate in {"failed", "again", "waits"} else log.info
        reason = {"reason": self.reason} if self.reason else {}
        say(_WORDS[self.fate], photo=printable(self.photo.primary.path), **reason)
