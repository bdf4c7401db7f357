"""The summary of a day for people, in Markdown."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from taggerd.journal.metrics import counts
from taggerd.photo import escape_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taggerd.journal.day import Day, Folder
    from taggerd.journal.record import Record

_KEYWORDS_OF_DAY = 50
_KEYWORDS_OF_FOLDER = 12
"""Only the most frequent ones are listed; the JSONL has them all."""

_SPECIAL = re.compile(r"[\\`*{}\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|(?<!#)#+$")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown(day: Day) -> str:
    """Return the summary of *day* as CommonMark with tables: errors, keywords, then folders."""
    return "\n".join(_lines(day)) + "\n"


def escaped(text: str) -> str:
    r"""Return *text* so that Markdown readers show it as it is: in a line, heading or table cell.

    Underscores inside a word (``IMG_1234``) mean nothing to CommonMark and stay readable.
    """
    text = escape_controls(" ".join(text.split()))
    text = re.sub(r"[&<>]", lambda m: _ENTITIES[m[0]], text)
    return _SPECIAL.sub(lambda m: "".join("\\" + c for c in m[0]), text)


def _lines(day: Day) -> Iterator[str]:
    yield f"# {'Photos of ' if _is_day(day.title) else ''}{escaped(day.title)}"
    yield ""
    yield _counted(day)
    for name, values in (("Backend", day.values("backend")), ("Models", day.models)):
        if values:
            yield ""
            yield f"{name}: {escaped(', '.join(values))}"
    if day.failed:
        yield from _heading("Errors")
        rows = (
            (p.name, p.folder, p.error, str(p.attempts), "; ".join(p.notes)) for p in day.failed
        )
        yield from _table(("file", "folder", "error", "attempts", "notes"), rows)
    if day.keywords:
        yield from _heading("Keywords")
        frequencies = ((word, str(n)) for word, n in day.keywords[:_KEYWORDS_OF_DAY])
        yield from _table(("keyword", "photos"), frequencies)
        if len(day.keywords) > _KEYWORDS_OF_DAY:
            yield ""
            yield f"and {len(day.keywords) - _KEYWORDS_OF_DAY} more"
    for folder in day.folders:
        yield from _folder(folder)


def _counted(day: Day) -> str:
    figures = counts(day)
    photos = "photo" if figures["photos"] == 1 else "photos"
    parts = [f"{figures['photos']} {photos}", f"{figures['tagged']} tagged"]
    parts += [
        f"{number} {words}"
        for number, words in (
            (figures["failed"], "failed"),
            (figures["dry_run"], "in a dry run (no sidecar written)"),
            (figures["no_meta"], "with --no-meta (no sidecar written)"),
            (figures["held"], "held until somebody accepts them (no sidecar written)"),
            (figures["damaged_lines"], "damaged lines skipped"),
            (
                figures["records"] - figures["photos"],
                "processed more than once (the latest result is shown)",
            ),
        )
        if number
    ]
    return "; ".join(parts) + "."


def _folder(folder: Folder) -> Iterator[str]:
    yield from _heading(f"{folder.path} ({len(folder.photos)})")
    if folder.keywords:
        words = ", ".join(f"{word} ({n})" for word, n in folder.keywords[:_KEYWORDS_OF_FOLDER])
        yield f"Most frequent: {escaped(words)}"
        yield ""
    own = tuple(dict.fromkeys(role for photo in folder.photos for role in photo.own))
    header = ("file", "caption", "description", "keywords", *map(escaped, own), "notes")
    yield from _table(header, (_row(photo, own) for photo in folder.photos))


def _row(photo: Record, own: Iterable[str]) -> tuple[str, ...]:
    notes = ["dry run"] if photo.dry_run else ["--no-meta"] if photo.no_meta else []
    notes += ["held"] if photo.held else []
    notes += [f"not tagged: {photo.error}"] if photo.error else []
    return (
        photo.name,
        photo.caption,
        photo.description,
        ", ".join(photo.words),
        *(photo.own.get(role, "") for role in own),
        "; ".join([*notes, *photo.notes]),
    )


def _heading(text: str) -> tuple[str, ...]:
    return ("", f"## {escaped(text)}", "")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"


def _is_day(title: str) -> bool:
    try:
        date.fromisoformat(title)
    except ValueError:
        return False
    return True
