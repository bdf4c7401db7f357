"""A line of a day file as it is read back: what the summary, the metrics and the page tell.

Day files outlive versions of taggerd and may have been edited, so nothing of their shape is
trusted: a value of another type than expected counts as absent.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One record, as much of it as people are told. Texts are one line of valid Unicode."""

    id: str
    image: Path
    """Path of the photo; exact also where it is not UTF-8."""
    digest: str
    """64 hex digits, or empty if the file was never read."""
    caption: str
    description: str
    keywords: tuple[str, ...]
    own: Mapping[str, str]
    """What the user's own roles answered, by role, in their order."""
    notes: tuple[str, ...]
    error: str
    error_kind: str
    attempts: int
    started_at: datetime | None
    """Aware; None where the record does not say."""
    finished_at: datetime | None
    duration_seconds: float
    stages: Mapping[str, float]
    """Seconds by stage."""
    usage: Mapping[str, int]
    models: Mapping[str, str]
    backend: str
    prompt_profile: str
    metadata_written: bool
    dry_run: bool
    version: str

    @property
    def name(self) -> str:
        """The file's name, printable."""
        return printable(self.image.name)

    @property
    def folder(self) -> str:
        """The folder that the photo lies in, printable."""
        return printable(self.image.parent)

    @property
    def has_words(self) -> bool:
        """Whether there is something to show of the photo."""
        return bool(self.caption or self.description or self.keywords or self.own)


def parse(stored: bytes) -> Line | None:
    """Read one line of a day file; None if it is no record.

    A record is a JSON object with an ``id``.
    """
    record = _record(stored)
    if record is None:
        return None
    error = _text(record.get("error"))
    image = _image(record)
    return Line(
        id=str(record["id"]),
        image=image,
        digest=_digest(record.get("digest")),
        caption=_text(record.get("caption")),
        description=_text(record.get("description")),
        keywords=_keywords(record.get("keywords")),
        own=_own(record.get("roles")),
        notes=tuple(filter(None, map(_text, _list(record.get("notes"))))),
        error=error,
        error_kind=_error_kind(record, error, image),
        attempts=int(_number(record.get("attempts"))),
        started_at=_moment(record.get("started_at")),
        finished_at=_moment(record.get("finished_at")),
        duration_seconds=_number(record.get("duration_seconds")),
        stages={_text(k): _number(v) for k, v in _table(record.get("stages")).items()},
        usage={_text(k): int(_number(v)) for k, v in _table(record.get("usage")).items()},
        models={_text(k): _text(v) for k, v in _table(record.get("models")).items()},
        backend=_text(record.get("backend")),
        prompt_profile=_text(record.get("prompt_profile")),
        metadata_written=record.get("metadata_written") is True,
        dry_run=record.get("dry_run") is True,
        version=_text(record.get("version")),
    )


def identity(stored: bytes) -> str:
    """Return the ``id`` of one line of a day file; empty if it is no record."""
    record = _record(stored)
    return "" if record is None else str(record["id"])


def _record(stored: bytes) -> dict[str, object] | None:
    try:
        record = json.loads(stored)
    except (ValueError, RecursionError):
        return None
    known = isinstance(record, dict) and isinstance(record.get("id"), str) and record["id"]
    return record if known else None


_CONTROLS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
"""White space, controls, and the marks that turn the direction of all text that follows."""


def _text(value: object) -> str:
    """Return *value* as one line; half surrogate pairs, which no file can hold, become ``?``."""
    if not isinstance(value, str):
        return ""
    return _CONTROLS.sub(" ", value.encode("utf-8", "replace").decode()).strip()


def _number(value: object) -> float:
    """Return *value* as a number that can be added up, else 0."""
    if not isinstance(value, int | float):
        return 0.0
    try:
        number = float(value)
    except OverflowError:
        return 0.0
    return max(number, 0.0) if math.isfinite(number) else 0.0


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _table(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _moment(value: object) -> datetime | None:
    """Return an aware time; one without a zone is taken as UTC so that a re-read is the same."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


def _digest(value: object) -> str:
    """Return a digest that is safe as a file name, else nothing."""
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16,128}", value) else ""


def _keywords(value: object) -> tuple[str, ...]:
    words = (_text(k.get("keyword")) for k in _list(value) if isinstance(k, dict))
    return tuple(dict.fromkeys(filter(None, words)))


_SHOWN_ELSEWHERE = frozenset({"caption", "keywords", "description"})


def _own(value: object) -> dict[str, str]:
    texts = {_text(role): _text(text) for role, text in _table(value).items()}
    return {role: text for role, text in texts.items() if text and role not in _SHOWN_ELSEWHERE}


def _image(record: Mapping[str, object]) -> Path:
    """Return the photo's path; from its base64 where its name is not UTF-8."""
    exact = record.get("image_base64")
    if isinstance(exact, str):
        try:
            return Path(os.fsdecode(base64.b64decode(exact, validate=True)))
        except ValueError:
            pass
    image = record.get("image")
    name = image if isinstance(image, str) and image else "unnamed"
    return Path(os.fsdecode(name.encode("utf-8", "replace")))


def _error_kind(record: Mapping[str, object], error: str, image: Path) -> str:
    """Return the error's class, else its message without what differs from photo to photo."""
    if not error:
        return ""
    kind = _text(record.get("error_kind"))
    if kind:
        return kind
    for own in (printable(image), printable(image.name)):
        error = error.replace(own, "…")
    return re.sub(r"\d+", "N", error)[:120]
