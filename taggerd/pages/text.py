"""Markdown as HTML: the chapters of the documentation; HTML in them is shown, not obeyed."""

from __future__ import annotations

import re
from datetime import date, datetime
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from markdown_it.token import Token


def markdown(text: str, *, link: Callable[[str], str] | None = None) -> Markup:
    """Return *text* as HTML; HTML inside it is shown, not obeyed, and headings have ids.

    Args:
        text: CommonMark with tables.
        link: returns the address of a link as it is from the page; None leaves all as they are.
            Addresses that run something (``javascript:``) are no links either way.
    """
    tokens = _reader().parse(text)
    for before, token in pairwise(tokens):
        if before.type == "heading_open":
            before.attrSet("id", heading_id(token.content))
    if link:
        for token in _inside(tokens):
            if token.type == "link_open":
                token.attrSet("href", link(str(token.attrGet("href") or "")))
    html = _reader().renderer.render(tokens, _reader().options, {})
    return Markup(html)  # noqa: S704 - markdown-it has escaped it


def day_title(day: str) -> str:
    """Return a *day*, ``YYYY-MM-DD``, as people say it; anything else as it is."""
    try:
        parsed = date.fromisoformat(day)
    except ValueError:
        return day
    return f"{parsed:%A}, {parsed.day} {parsed:%B %Y}"


def moment(at: float) -> str:
    """Return seconds since the epoch as local day and time."""
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"
    except (OSError, OverflowError, ValueError):
        return ""


def number(value: int) -> str:
    """Return a figure with its thousands apart by a thin space, as SI writes it."""
    return f"{value:,}".replace(",", "\u202f")


def heading_id(heading: str) -> str:
    """Return the id of a *heading*, as GitHub makes it: ``[see](#who-writes-what)``."""
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower()))


def _inside(tokens: Iterable[Token]) -> Iterable[Token]:
    for token in tokens:
        yield token
        yield from _inside(token.children or ())


@cache
def _reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
