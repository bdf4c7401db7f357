"""What the catalogue's entries are made of: records, the ledger's states, the words on the disk."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from taggerd.catalogue import NO_WORD, Entry, Word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd.catalogue import State
    from taggerd.journal import Record
    from taggerd.ledger import Correction, PhotoState
    from taggerd.metadata import SidecarView, Written
    from taggerd.metadata.views import Words
    from taggerd.settings import Settings

_STATES: Mapping[str, State] = {
    "queued": "queued",
    "claimed": "queued",
    "unwritten": "queued",
    "held": "held",
    "undone": "rejected",
    "dropped": "rejected",
    "quarantined": "failed",
}
"""What the ledger's states are for people."""


def with_record(known: Entry | None, record: Record, day: str) -> Entry:
    """Return the entry of a photo with what its *record* says, unless a later one was heard."""
    at = record.finished_at.timestamp() if record.finished_at else 0.0
    if known is not None and known.at > at:
        return known
    entry = known or Entry(path=record.image)
    if record.has_words or known is None:
        models, answers = record.models, _digest(record)
        # The words are those of before where held ones are written: they were accepted already.
        since = entry.answered_at if answers == entry.answers else at
        entry = replace(
            entry,
            caption=Word(record.caption, "machine", models.get("caption", "")),
            description=Word(record.description, "machine", models.get("description", "")),
            keywords=tuple(
                Word(word, "machine", models.get("keywords", "")) for word in record.words
            ),
            own=record.own,
            models=models,
            inherited_from=record.inherited_from,
            written=record.metadata_written,
            answers=answers,
            answered_at=since,
        )
    return replace(
        entry,
        day=day,
        run=record.run,
        digest=record.digest or entry.digest,
        error=record.error,
        at=at,
        stamps={},  # the sidecar is read again
    )


def _digest(record: Record) -> str:
    words = (record.caption, record.description, record.words, sorted(record.own.items()))
    return hashlib.blake2b(repr(words).encode("utf-8", "replace"), digest_size=12).hexdigest()


def with_photo(known: Entry | None, photo: PhotoState) -> Entry:
    """Return the entry of a photo that the ledger knows, and of which no record may tell."""
    if known is not None:
        return known
    finished = photo.state.state not in {"queued", "claimed"}
    day = datetime.fromtimestamp(photo.state.since).astimezone().date().isoformat()
    return Entry(
        path=photo.photo.primary.path,
        day=day if finished else "",
        digest=photo.digest,
        at=photo.state.since if finished else 0.0,
        answered_at=photo.state.since if finished else 0.0,
    )


def with_state(entry: Entry, photo: PhotoState | None, corrections: Iterable[Correction]) -> Entry:
    """Return *entry* in the state that the ledger and a human have brought it into.

    Args:
        entry: with its latest record.
        photo: what the ledger knows of it; None: nothing.
        corrections: what people did with it.
    """
    judged = [
        each.kind
        for each in corrections
        if each.kind in {"accepted", "rejected"}
        and each.undone_at is None
        and each.at >= entry.answered_at
    ]
    error = entry.error
    if photo is None or photo.state.state == "recorded":
        error = "" if photo is not None else error
        state: State = "failed" if error else "tagged" if entry.at else "queued"
        if judged:
            state = "reviewed" if judged[-1] == "accepted" else "rejected"
    else:
        state, error = _STATES.get(photo.state.state, "queued"), photo.state.reason
        if error and photo.state.state == "unwritten":
            state = "failed"
    return replace(entry, state=state, error=error)


def with_words(entry: Entry, written: Written, settings: Settings) -> Entry:
    """Return *entry* with the words that stand on the disk."""
    views = [view for view in written.sidecars if not view.refused]
    models: dict[str, str] = {}
    for view in views:
        models |= view.models
    inherited = next((view.inherited_from for view in views if view.inherited_from), "")
    machine = dict.fromkeys(word for view in views for word in view.machine)
    human = dict.fromkeys((*(word for view in views for word in view.human), *written.own_keywords))
    caption, description = (
        _word(words, models.get(part, ""))
        for words, part in zip(written.texts, ("caption", "description"), strict=True)
    )
    keywords = [Word(word, "machine", models.get("keywords", "")) for word in machine]
    own = {
        role: text
        for role, table in settings.roles.own.items()
        if (text := _text(views, table.fields))
    }
    if not entry.written:  # answered, and none of it is on the disk yet
        caption = _shown(caption, entry.caption, entry)
        description = _shown(description, entry.description, entry)
        keywords = [word for word in entry.keywords if word.whose == "machine"]
        own, models = {**entry.own, **own}, {**entry.models, **models}
        inherited = entry.inherited_from
    rejected = dict.fromkeys(word for view in views for word in view.rejected)
    keywords = [word for word in keywords if word.text not in {**human, **rejected}]
    return replace(
        entry,
        caption=caption,
        description=description,
        keywords=(*keywords, *(Word(word, "human") for word in human)),
        rejected=tuple(rejected),
        own=own,
        models=models,
        inherited_from=inherited,
        stamps={file.path: file.stamp for file in written.files},
    )


def _shown(written: Word, answered: Word, entry: Entry) -> Word:
    """Return what stands on the disk, else what was answered.

    Where that waits to be accepted, it is looked at instead of what the machine wrote before.
    """
    older = entry.state == "held" and written.whose == "machine"
    return written if written.text and not older else answered


def _word(words: Words | None, model: str) -> Word:
    if words is None:
        return NO_WORD
    return Word(words.text, "machine", model) if words.machine else Word(words.text, "human")


def _text(views: Sequence[SidecarView], fields: Sequence[str]) -> str:
    """Return the text in the first of *fields* that holds one."""
    texts = {words.field: words.text for view in reversed(views) for words in view.texts}
    return next((texts[field] for field in fields if field in texts), "")
