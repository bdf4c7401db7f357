"""The Markdown summary: errors first, then keyword frequencies, then every folder's photos."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taggerd.journal.metrics import counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taggerd.journal.day import Day, Folder
    from taggerd.journal.record import Record

_KEYWORDS_OF_DAY = 50
_KEYWORDS_OF_FOLDER = 12
"""The most frequent ones tell enough; all are in the JSONL."""

_SPECIAL = re.compile(r"[\\`*{}\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|#+$")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def escaped(text: str) -> str:
    r"""Return *text* so that Markdown readers show it as it is: in a line, heading or table cell.

    Underscores inside a word (``IMG_1234``) mean nothing to CommonMark and stay readable.
    """
    text = re.sub(r"[&<>]", lambda m: _ENTITIES[m[0]], " ".join(text.split()))
    return _SPECIAL.sub(lambda m: "".join("\\" + c for c in m[0]), text)


def markdown(day: Day) -> str:
    """Return the summary of *day* as CommonMark with tables."""
    return "\n".join(_lines(day)) + "\n"


def _lines(day: Day) -> Iterator[str]:
    yield f"# Photos of {escaped(day.title)}"
    yield ""
    yield _counted(day)
    for name, values in (("Backend", day.told("backend")), ("Models", day.models)):
        if values:
            yield ""
            yield f"{name}: {escaped(', '.join(values))}"
    if day.failed:
        yield from _heading("Errors")
        yield from _table(("file", "folder", "error", "attempts", "notes"), _errors(day.failed))
    if day.keywords:
        yield from _heading("Keywords")
        rows = ((word, str(n)) for word, n in day.keywords[:_KEYWORDS_OF_DAY])
        yield from _table(("keyword", "photos"), rows)
        if len(day.keywords) > _KEYWORDS_OF_DAY:
            yield ""
            yield f"and {len(day.keywords) - _KEYWORDS_OF_DAY} more"
    for folder in day.folders:
        yield from _folder(folder)


def _counted(day: Day) -> str:
    figures = counts(day)
    photos = "photo" if figures["photos"] == 1 else "photos"
    told = [f"{figures['photos']} {photos}", f"{figures['tagged']} tagged"]
    told += [
        f"{figures[key]} {words}"
        for key, words in (
            ("failed", "failed"),
            ("dry_run", "in a dry run (no sidecar written)"),
            ("damaged_lines", "damaged left out"),
        )
        if figures[key]
    ]
    repeated = figures["records"] - figures["photos"]
    told += [f"{repeated} recorded again (the latest record is shown)"] if repeated else []
    return "; ".join(told) + "."


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
    return (
        photo.name,
        photo.caption,
        photo.description,
        ", ".join(photo.words),
        *(photo.own.get(role, "") for role in own),
        "; ".join(marks(photo)),
    )


def marks(photo: Record) -> list[str]:
    """Return what a person should know of *photo*: dry run, no sidecar, its notes."""
    marked = ["dry run"] if photo.dry_run else []
    marked += [f"not tagged: {photo.error}"] if photo.error else []
    return [*marked, *photo.notes]


def _errors(failed: Iterable[Record]) -> Iterator[tuple[str, ...]]:
    for photo in failed:
        notes = "; ".join(photo.notes)
        yield (photo.name, photo.folder, photo.error, str(photo.attempts), notes)


def _heading(text: str) -> tuple[str, ...]:
    return ("", f"## {escaped(text)}", "")


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield f"| {' | '.join(escaped(cell) for cell in row)} |"
