"""When the settings for sidecars changed, so that a scan knows which photos were written before."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taggerd.ledger import Json, Ledger
    from taggerd.settings import Settings

_HISTORY = "sidecars.settings"
"""Key of the note: pairs of a time and a digest, oldest first."""
_LONGEST = 200
"""Changes that are kept."""


@dataclass(frozen=True, slots=True)
class SettingsHistory:
    """Which settings for sidecars were in force since when."""

    changes: tuple[tuple[float, str], ...] = ()
    """Time and digest, oldest first; the last ones are in force now."""

    def changed_since(self, when: float) -> bool:
        """Say whether a photo that was written at *when* would be written otherwise now."""
        if not self.changes:
            return False
        before = [digest for at, digest in self.changes if at <= when]
        return (before or [self.changes[0][1]])[-1] != self.changes[-1][1]


async def recall_history(
    ledger: Ledger, settings: Settings, now: float, *, keep: bool
) -> SettingsHistory:
    """Return the history with the *settings* at its end; *keep* it in the ledger, if asked to.

    Raises:
        StorageError: the ledger's disk is full or failing.
    """
    known, digest = _changes(await ledger.recall(_HISTORY)), settings_digest(settings)
    if known and known[-1][1] == digest:
        return SettingsHistory(known)
    known = (*known, (now, digest))[-_LONGEST:]
    if keep:
        await ledger.note(_HISTORY, [[at, each] for at, each in known])
    return SettingsHistory(known)


def _changes(note: Json) -> tuple[tuple[float, str], ...]:
    """Read the note; what is not understood is left out."""
    changes: list[tuple[float, str]] = []
    for each in note if isinstance(note, list) else ():
        match each:
            case [int() | float() as at, str() as digest]:
                changes.append((at, digest))
    return tuple(changes)


def settings_digest(settings: Settings) -> str:
    """Return a digest of the settings that decide how given answers are written.

    Not of ``sidecar.naming``: a sidecar that exists keeps its name.
    """
    metadata, keywords = settings.metadata, settings.keywords
    vocabulary = b""
    if keywords.vocabulary:
        with suppress(OSError):  # whoever reads it for its words says so
            vocabulary = keywords.vocabulary.read_bytes()
    said = [
        metadata.target,
        metadata.fields.model_dump(mode="json"),
        metadata.language,
        {role: list(table.fields) for role, table in settings.roles.own.items()},
        settings.ownership.keyword,
        [keywords.stop, keywords.mode],
        hashlib.blake2b(vocabulary).hexdigest(),
    ]
    return hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()
