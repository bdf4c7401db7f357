"""What a notice says: JSON with a type, a time, a line for people, and the data.

The envelope (``type``, ``timestamp``, ``data``) is that of Standard Webhooks. No key, password or
setting is ever in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from taggerd.photo import Notice, brief

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from taggerd.hooks.batch import Batch
    from taggerd.hooks.problems import Known

_OF_A_PHOTO = ("caption", "description", "models", "notes", "run")
"""What a notice repeats of the journal's record of a photo."""
_OF_ALL = frozenset({"caption", "keywords", "description"})
"""The roles that are not the user's own."""


def _notice(  # noqa: PLR0913 - the parts of the envelope
    hook: str, notice_id: str, kind: str, *, at: datetime, text: str, data: Mapping[str, Any]
) -> Notice:
    said = {
        "id": notice_id,
        "type": kind,
        "timestamp": at.isoformat(timespec="milliseconds"),
        "text": text,
        "data": data,
    }
    # ASCII, so that it is the same in any encoding; a signature is over bytes.
    return Notice(notice_id, hook, at.timestamp(), json.dumps(said, separators=(",", ":")))


def photo_tagged(record: Mapping[str, Any], moved: Mapping[str, str], at: datetime) -> Notice:
    """Return the notice of one tagged photo.

    Args:
        record: its record in the journal.
        moved: where its files lie now, if they were moved since.
        at: the time.
    """
    data: dict[str, Any] = {
        name: [moved.get(path, path) for path in record.get(name) or ()]
        for name in ("files", "sidecars", "embedded")
    }
    photo = str(record.get("image", ""))
    data |= {"photo": moved.get(photo, photo)}
    data |= {"keywords": [each["keyword"] for each in record.get("keywords") or ()]}
    data |= {name: record[name] for name in _OF_A_PHOTO if name in record}
    said = record.get("roles") or {}
    data |= {"own": {role: text for role, text in said.items() if role not in _OF_ALL}}
    if moved:
        data |= {"released_from": photo}
    text = f"{data['photo']}: {brief(str(record.get('caption') or 'tagged'))}"
    # Without dots: they separate what is signed.
    notice_id = f"photo-{record['id']}".replace(".", "-")
    return _notice("after_photo", notice_id, "photo.tagged", at=at, text=text, data=data)


def batch_ended(batch: Batch, notice_id: str, at: datetime) -> Notice:
    """Return the notice of a *batch* that is over."""
    failed = f", {batch.failed} failed" if batch.failed else ""
    held = f", {batch.held} to be accepted" if batch.held else ""
    data = {
        "tagged": batch.tagged,
        "failed": batch.failed,
        "held": batch.held,
        "folders": batch.folders,
        "seconds": round(max(0.0, batch.last - batch.began), 3),
    }
    text = f"{batch.tagged} {'photo' if batch.tagged == 1 else 'photos'} tagged{held}{failed}"
    return _notice("after_batch", notice_id, "batch.ended", at=at, text=text, data=data)


def photos_failed(batch: Batch, notice_id: str, at: datetime) -> Notice:
    """Return the notice of photos that taggerd gave up on."""
    one = batch.unsaid == 1
    first = batch.unsaid_photos[0]
    text = f"{batch.unsaid} {'photo' if one else 'photos'} failed"
    text += f", {'' if one else 'first '}{first['photo']}: {brief(first['reason'])}"
    data = {"kind": "photos", "failed": batch.unsaid, "photos": batch.unsaid_photos}
    return _notice("on_problem", notice_id, "photos.failed", at=at, text=text, data=data)


def problem_changed(problem: Known, notice_id: str, at: datetime, *, over: bool) -> Notice:
    """Return the notice that a *problem* began or is *over*."""
    data = {
        "kind": problem.kind,
        "subject": problem.subject,
        "reason": problem.text,
        "seconds": round(max(0.0, at.timestamp() - problem.since)),
    }
    named = problem.kind if not problem.subject else f"{problem.kind} {problem.subject}"
    text = f"{named}: all is well again" if over else f"{named}: {problem.text}"
    kind = "problem.ended" if over else "problem.began"
    return _notice("on_problem", notice_id, kind, at=at, text=text, data=data)
