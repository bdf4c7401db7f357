"""The summary of a day for people: in Markdown, and as a contact sheet in one HTML file."""

from __future__ import annotations

import os
import re
from datetime import date
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from taggerd.journal.metrics import counts
from taggerd.photo import escape_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from jinja2 import Template

    from taggerd.journal.day import Day, Folder
    from taggerd.journal.record import Record

_KEYWORDS_OF_DAY = 50
_KEYWORDS_OF_FOLDER = 12
_KEYWORDS_OF_PAGE = 24
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


def page(day: Day, page_folder: Path, thumbnails: Path) -> str:
    """Return the contact sheet of *day*, without scripts.

    Args:
        day: the photos.
        page_folder: where the page will be; thumbnails are addressed from there.
        thumbnails: the thumbnails folder; a photo without one gets a neutral tile.
    """
    folder = quote(os.fsencode(os.path.relpath(thumbnails, page_folder)))

    def thumbnail(photo: Record) -> str:
        name = f"{photo.digest[:2]}/{photo.digest}.jpg"
        return f"{folder}/{name}" if photo.digest and (thumbnails / name).is_file() else ""

    return _template().render(
        day=day,
        headline=_headline(day.title),
        counts=counts(day),
        keywords=day.keywords[:_KEYWORDS_OF_PAGE],
        thumbnail=thumbnail,
        address=_address,
    )


def _address(path: Path) -> str:
    """Return the ``file:`` address of a photo; empty if its path is not absolute."""
    return f"file://{quote(os.fsencode(path))}" if path.is_absolute() else ""


def _headline(title: str) -> str:
    """Return a day as people say it (``Thursday, 20 November 2025``), anything else as it is."""
    if not _is_day(title):
        return title
    day = date.fromisoformat(title)
    return f"{day:%A}, {day.day} {day:%B %Y}"


def _is_day(title: str) -> bool:
    try:
        date.fromisoformat(title)
    except ValueError:
        return False
    return True


def _without_controls(value: object) -> object:
    """Return what a template shows of *value*; what is HTML already is our own."""
    return escape_controls(value) if type(value) is str else value


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("taggerd", "data/templates"),
        autoescape=True,
        finalize=_without_controls,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("day.html")
