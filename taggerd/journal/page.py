"""The report page: the day as a contact sheet in one HTML file, without scripts."""

from __future__ import annotations

import os
from datetime import date
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from taggerd.journal.metrics import counts

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Template

    from taggerd.journal.day import Day
    from taggerd.journal.record import Record

_KEYWORDS_SHOWN = 24
"""Of the day, in the header."""


def page(day: Day, page_folder: Path, thumbnails: Path) -> str:
    """Return the page of *day*.

    Args:
        day: the photos.
        page_folder: where the page will lie; thumbnails are addressed from there.
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
        keywords=day.keywords[:_KEYWORDS_SHOWN],
        thumbnail=thumbnail,
        address=address,
    )


def address(path: Path) -> str:
    """Return the ``file:`` address of a photo; empty if its path is not absolute."""
    return f"file://{quote(os.fsencode(path))}" if path.is_absolute() else ""


def _headline(title: str) -> str:
    """Return a day as people say it (``Thursday, 20 November 2025``), anything else as it is."""
    try:
        day = date.fromisoformat(title)
    except ValueError:
        return title
    return f"{day:%A}, {day.day} {day:%B %Y}"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("taggerd", "data/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("day.html")
