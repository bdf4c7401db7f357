"""Queries as they stand in addresses, and what a page of them is called."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from taggerd.catalogue import STATES, Query
from taggerd.pages.text import day_title

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELDS: Mapping[str, str] = {
    "q": "text",
    "day": "day",
    "folder": "folder",
    "run": "run",
    "keyword": "keyword",
    "model": "model",
    "state": "state",
}
"""Names in addresses, and what they are in a query."""
TITLES: Mapping[str, str] = {
    "failed": "Failed",
    "rejected": "Rejected",
    "held": "Held",
    "queued": "Queued",
    "tagged": "To review",
    "reviewed": "Accepted",
}
"""What people call the states."""
_LONGEST = 4096
"""Characters of a value: a path."""


def query_of(given: Mapping[str, str]) -> Query:
    """Return the query that an address asks; what is unknown in it asks for nothing."""
    values = {name: given.get(name, "").strip()[:_LONGEST] for name in FIELDS}
    return Query(
        text=values["q"],
        day=values["day"],
        folder=values["folder"],
        run=values["run"],
        keyword=values["keyword"],
        model=values["model"],
        state=next((each for each in STATES if each == values["state"]), ""),
    )


def within(query: Query, **more: str) -> str:
    """Return *query*, and *more*, as they stand in an address behind the question mark."""
    values = {name: getattr(query, part) for name, part in FIELDS.items()} | more
    return urlencode({name: value for name, value in values.items() if value})


def address(query: Query, **more: str) -> str:
    """Return the address of the grid of *query*."""
    chosen = within(query, **more)
    return f"/photos?{chosen}" if chosen else "/photos"


def photo_address(key: str, query: Query, **more: str) -> str:
    """Return the address of the photo with *key* as one of those of *query*."""
    chosen = within(query, **more)
    return f"/photos/{key}?{chosen}" if chosen else f"/photos/{key}"


def title_of(query: Query) -> str:
    """Return what a page of *query* is called."""
    parts = (
        day_title(query.day),
        query.folder,
        query.keyword and f"“{query.keyword}”",
        query.model,
        query.run,
        query.text and f"“{query.text}”",
    )
    return " · ".join(filter(None, parts)) or TITLES.get(query.state, "All photos")
