"""The pages of photos: the overview, the grid, and one photo with its words.

They work as plain pages and forms; ``static/app.js`` adds keys and saves the reload. What the
forms do is in :mod:`taggerd.web.actions`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from taggerd.catalogue import STATES, Query
from taggerd.pages.text import day_title
from taggerd.web.addresses import FIELDS, address, query_of, title_of, within
from taggerd.web.site import page, site_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.requests import Request

    from taggerd.catalogue import Catalogue, Entry, Group, Kind, State
    from taggerd.web.recent import Done

PAGE = 60
"""Photos on one page of the grid; a script appends the next page when the end comes near."""
STRIP = 5
"""Photos to each side in the strip below a photo."""
_URGENT, _DAYS, _FOLDERS, _KEYWORDS, _OTHERS = 6, 24, 60, 60, 20
"""At most so many photos and groups of each kind on the overview."""
_WAITING: tuple[State, ...] = ("tagged", "held")
"""States in which a photo waits for a human's look, those that come first in front."""
_CHOICES, _SUGGESTED = 400, 300
"""At most so many days or folders in a filter, and keywords while one is typed."""
LIMITS = {"caption": 1000, "description": 10_000, "keyword": 200}
"""Characters of what a person types."""
_PICTURES = "private, max-age=604800"
"""How long a browser may keep a picture: a week."""
_NO_PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"/>'
NEXT_STEPS = {
    "failed": "Mend the cause, then ask again; or write the words yourself.",
    "rejected": "You rejected what the model said. Ask again, or write the words yourself.",
    "held": "Held: nothing is in the sidecar until you accept it.",
    "queued": "Waits to be tagged.",
}


class Link(NamedTuple):
    """Photos that have something in common, as a link."""

    title: str
    address: str
    photos: int
    entries: Sequence[Entry] = ()


class Choice(NamedTuple):
    """What a filter offers."""

    value: str
    title: str


class Contested(NamedTuple):
    """A text that somebody else changed after it was read."""

    field: str
    mine: str
    theirs: str


async def overview(request: Request) -> Response:
    """Serve the first page: what needs a human, days, folders, keywords."""
    return page(
        request, "overview.html", **await asyncio.to_thread(overview_of, _catalogue(request))
    )


def overview_of(catalogue: Catalogue) -> dict[str, Any]:
    """Return what the first page shows."""
    counts = dict.fromkeys(STATES, 0) | {g.value: g.photos for g in catalogue.groups("state")}
    urgent: list[Entry] = []
    for state in ("failed", "rejected"):
        if counts[state]:
            urgent += catalogue.find(Query(state=state), limit=_URGENT).entries
    days = [
        link._replace(entries=_cover(catalogue.find(Query(day=group.value), limit=12).entries))
        for group in catalogue.groups("day", limit=_DAYS)
        for link in [_link("day", group)]
    ]
    kinds: tuple[tuple[str, Kind, int], ...] = (
        ("Folders", "folder", _FOLDERS),
        ("Keywords", "keyword", _KEYWORDS),
        ("Models", "model", _OTHERS),
        ("Batches", "run", _OTHERS),
    )
    return {
        "total": sum(counts.values()),
        "counts": counts,
        "waiting": sum(counts[state] for state in _WAITING),
        "first": next(
            (
                entry
                for state in _WAITING
                if counts[state]
                for entry in catalogue.find(Query(state=state), limit=1).entries
            ),
            None,
        ),
        "urgent": urgent[:_URGENT],
        "next_steps": NEXT_STEPS,
        "days": days,
        "lists": [
            (title, kind, [_link(kind, group) for group in catalogue.groups(kind, limit=most)])
            for title, kind, most in kinds
        ],
    }


def _cover(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Return three of *entries*; those that could not be read have no picture to show."""
    return sorted(entries, key=lambda entry: entry.is_urgent)[:3]


def _link(kind: Kind, group: Group) -> Link:
    title = day_title(group.value) if kind == "day" else group.value
    return Link(title, address(query_of({kind: group.value})), group.photos)


async def photos(request: Request) -> Response:
    """Serve a page of the grid."""
    query, after = query_of(request.query_params), request.query_params.get("after", "")
    values = await asyncio.to_thread(_grid, _catalogue(request), query, after)
    return page(request, "photos.html", done=_done(request), **values)


def _grid(catalogue: Catalogue, query: Query, after: str) -> dict[str, Any]:
    found = catalogue.find(query, after, PAGE)
    whatever = catalogue.groups("state", replace(query, state=""))
    counts: dict[str, int] = {group.value: group.photos for group in whatever}
    counts[""] = sum(counts.values())
    every: tuple[State | Literal[""], ...] = ("", *STATES)
    shown = [state for state in every if counts.get(state) or state == query.state]
    kinds: tuple[tuple[Kind, str], ...] = (("day", "Day"), ("folder", "Folder"), ("model", "Model"))
    return {
        "title": title_of(query),
        "count": counts.get(query.state, 0),
        "entries": found.entries,
        "after": after,
        "more": address(query, after=found.next) if found.next else "",
        "states": [
            (state, counts.get(state, 0), address(replace(query, state=state))) for state in shown
        ],
        "choices": [
            (kind, label, _choices(catalogue, kind, getattr(query, kind))) for kind, label in kinds
        ],
        "chosen": {name: getattr(query, part) for name, part in FIELDS.items()},
        "keywords": [group.value for group in catalogue.groups("keyword", limit=_SUGGESTED)],
        "within": within(query),
    }


def _choices(catalogue: Catalogue, kind: Kind, chosen: str) -> list[Choice]:
    values = [group.value for group in catalogue.groups(kind, limit=_CHOICES)]
    if chosen and chosen not in values:
        values.insert(0, chosen)
    return [Choice(value, day_title(value) if kind == "day" else value) for value in values]


async def photo(request: Request) -> Response:
    """Serve one photo, large, with its words as they are now."""
    return await photo_page(request, await entry_of(request))


async def entry_of(request: Request) -> Entry:
    """Return the photo that an address names, with its words as they are on the disk.

    Raises:
        HTTPException: there is none.
    """
    key = str(request.path_params["key"])
    known = await asyncio.to_thread(_catalogue(request).get, key)
    if known is None:
        raise HTTPException(404, "This photo is not known (any more).")
    return await words_of(request, known.path)


async def words_of(request: Request, path: Path) -> Entry:
    """Return the photo at *path* with its words as they are on the disk."""
    return await site_of(request).review.words(path)


async def photo_page(
    request: Request,
    entry: Entry,
    *,
    status: int = 200,
    contested: Contested | None = None,
    problem: str = "",
) -> Response:
    """Return the page of *entry*, with what came of an action where it failed."""
    query = query_of(request.query_params)
    before, after = await asyncio.to_thread(_beside, _catalogue(request), entry.key, query)
    history = await site_of(request).review.history(entry.path)
    undoable = [each for each in history if each.undone_at is None and each.kind != "retagged"]
    models: dict[str, list[str]] = {}
    for role, model in entry.models.items():
        models.setdefault(model, []).append(role)
    return page(
        request,
        "photo.html",
        status=status,
        entry=entry,
        before=before[-1] if before else None,
        after=after[0] if after else None,
        strip=[*before, entry, *after],
        heading=title_of(query),
        within=within(query),
        own=[(role.replace("_", " ").capitalize(), text) for role, text in entry.own.items()],
        models=sorted(models.items()),
        history=history[::-1],
        undoable=undoable[-1].action if undoable else "",
        contested=contested,
        problem=problem,
        next_steps=NEXT_STEPS,
        limits=LIMITS,
        done=_done(request),
    )


def _beside(catalogue: Catalogue, key: str, query: Query) -> tuple[list[Entry], list[Entry]]:
    """Return the photos before and after that with *key*, in the order of the grid."""
    sides = catalogue.neighbours(key, query, STRIP)
    known = catalogue.get_all([each for side in sides for each in side])
    before, after = ([known[each] for each in side if each in known] for side in sides)
    return before, after


async def thumbnail(request: Request) -> Response:
    """Serve a photo small."""
    return _picture(
        await site_of(request).review.pictures.thumbnail(str(request.path_params["key"]))
    )


async def preview(request: Request) -> Response:
    """Serve a photo large."""
    return _picture(await site_of(request).review.pictures.preview(str(request.path_params["key"])))


def _picture(jpeg: bytes | None) -> Response:
    if jpeg is None:  # the frame's own sign shows; an error would fill the browser's console
        return Response(_NO_PICTURE, media_type="image/svg+xml")
    # The address has the digest of the photo in it: another picture has another address.
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": _PICTURES})


def _catalogue(request: Request) -> Catalogue:
    return site_of(request).review.library.catalogue


def _done(request: Request) -> Done | None:
    return site_of(request).recent.get(request.query_params.get("done", ""))


routes = (
    Route("/", overview),
    Route("/photos", photos),
    Route("/photos/{key}", photo),
    Route("/thumbnails/{key}.jpg", thumbnail),
    Route("/previews/{key}.jpg", preview),
)
