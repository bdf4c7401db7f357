"""The same photos for programs: CSV for a spreadsheet, JSON Lines for everything else."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
from typing import TYPE_CHECKING

from taggerd.photo import escape_controls, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taggerd.pages.shown import Said, Shown

_COLUMNS = (
    "path",
    "day",
    "at",
    "state",
    "caption",
    "caption_by",
    "description",
    "description_by",
    "keywords",
    "human_keywords",
    "rejected_keywords",
    "models",
    "notes",
    "error",
)
_FORMULAE = ("=", "+", "-", "@", "\t", "\r")


def as_csv(photos: Iterable[Shown]) -> Iterator[bytes]:
    """Yield a table with a header, as spreadsheets read it without asking (RFC 4180, with a BOM).

    A text that a spreadsheet would take for a formula begins with ``'``, as OWASP recommends
    (https://owasp.org/www-community/attacks/CSV_Injection); the JSON Lines have it as it is.
    """
    shown = list(photos)
    own = list(dict.fromkeys(role for photo in shown for role in photo.own))
    yield b"\xef\xbb\xbf" + _line([*_COLUMNS, *own])
    for photo in shown:
        cells = _cells(photo)
        yield _line([*(cells[name] for name in _COLUMNS), *(photo.own.get(r, "") for r in own)])


def as_json_lines(photos: Iterable[Shown]) -> Iterator[bytes]:
    """Yield one JSON object a photo; a path that is not UTF-8 has its bytes in ``path_base64``."""
    for photo in photos:
        line = escape_controls(json.dumps(as_json(photo), ensure_ascii=False))
        yield line.encode("utf-8", "backslashreplace") + b"\n"


def as_json(photo: Shown) -> dict[str, object]:
    """Return *photo* as JSON values."""
    found: dict[str, object] = {"path": printable(photo.path)}
    path = os.fsencode(photo.path)
    if path != str(found["path"]).encode("utf-8", "replace"):
        found["path_base64"] = base64.b64encode(path).decode()
    return found | {
        "day": photo.day,
        "at": photo.at.isoformat(timespec="seconds") if photo.at else None,
        "state": photo.state,
        "caption": _word(photo.caption),
        "description": _word(photo.description),
        "keywords": [_word(word) for word in photo.keywords],
        "rejected": list(photo.rejected),
        "own": dict(photo.own),
        "models": dict(photo.models),
        "notes": list(photo.notes),
        "error": photo.error,
    }


def _word(word: Said) -> dict[str, str] | None:
    return {"text": word.text, "by": word.whose, "model": word.model} if word.text else None


def _cells(photo: Shown) -> dict[str, str]:
    human = [word.text for word in photo.keywords if word.whose == "human"]
    return {
        "path": printable(photo.path),
        "day": photo.day,
        "at": photo.at.isoformat(timespec="seconds") if photo.at else "",
        "state": photo.state,
        "caption": photo.caption.text,
        "caption_by": photo.caption.whose if photo.caption.text else "",
        "description": photo.description.text,
        "description_by": photo.description.whose if photo.description.text else "",
        "keywords": "; ".join(word.text for word in photo.keywords),
        "human_keywords": "; ".join(human),
        "rejected_keywords": "; ".join(photo.rejected),
        "models": "; ".join(dict.fromkeys(filter(None, photo.models.values()))),
        "notes": "; ".join(photo.notes),
        "error": photo.error,
    }


def _line(cells: Iterable[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written).writerow([_cell(cell) for cell in cells])
    return written.getvalue().encode("utf-8", "replace")


def _cell(text: str) -> str:
    text = escape_controls(text)
    return f"'{text}" if text.startswith(_FORMULAE) else text
