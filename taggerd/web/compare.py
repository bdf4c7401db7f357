"""Comparisons in the browser: photos down, candidates across; a click votes."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from taggerd.compare import Comparisons
from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.settings import editing
from taggerd.settings.sources import user_file
from taggerd.web.site import done, form_of, notice, page, site_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from starlette.requests import Request

    from taggerd.compare import Comparison
    from taggerd.settings.configuration import Configuration


async def _list(request: Request) -> Response:
    """Serve the list of comparisons, the latest first."""
    kept = _kept(request)
    found = [await asyncio.to_thread(kept.get, number) for number in kept.ids()]
    return page(request, "comparisons.html", comparisons=[each for each in found if each])


async def _show(request: Request) -> Response:
    """Serve one comparison."""
    found = await asyncio.to_thread(_kept(request).get, _number(request))
    if found is None:
        raise HTTPException(404, "There is no such comparison.")
    totals = found.totals
    most = max((total.votes for total in totals), default=0)
    leading = [total for total in totals if most and total.votes == most]
    return page(
        request,
        "compare.html",
        comparison=found,
        totals=totals,
        voted=sum(each.vote is not None for each in found.photos),
        leading=leading[0] if len(leading) == 1 else None,
    )


async def _picture(request: Request) -> Response:
    """Serve a photo as the candidates saw it."""
    photo: int = request.path_params["photo"]
    content = await asyncio.to_thread(_kept(request).picture, _number(request), photo)
    if content is None:
        raise HTTPException(404)
    headers = {"Cache-Control": "private, max-age=86400, immutable"}
    return Response(content, media_type="image/jpeg", headers=headers)


async def _vote(request: Request) -> Response:
    """Count a vote: one a photo; a second click on it takes it away."""
    form = form_of(request)
    photo, candidate = _index(form.get("photo", "")), _index(form.get("candidate", ""))
    if photo is None:
        raise HTTPException(400, "Which photo?")
    votes = await asyncio.to_thread(_voted, _kept(request), _number(request), photo, candidate)
    return done(request, f"/compare/{_number(request)}#photo-{photo}", votes=votes)


def _voted(kept: Comparisons, number: str, photo: int, candidate: int | None) -> list[int]:
    """Keep a vote, and return the votes of each candidate."""
    with kept.changing(number) as comparison:
        if comparison is None or not comparison.vote(photo, candidate):
            raise HTTPException(404, "There is no such photo or candidate.")
        return [total.votes for total in comparison.totals]


async def _choose(request: Request) -> Response:
    """Write the chosen candidate into the settings, once somebody has seen what that changes."""
    form, number = form_of(request), _number(request)
    configuration = site_of(request).configuration
    comparison = await asyncio.to_thread(_kept(request).get, number)
    candidate = _index(form.get("candidate", ""))
    if comparison is None or candidate is None or candidate >= len(comparison.candidates):
        raise HTTPException(404, "There is no such candidate.")
    path = configuration.file or user_file(os.environ)
    values = comparison.settings_for(candidate, configuration.settings)
    try:
        planned = await asyncio.to_thread(editing.plan, path, values)
        if form.get("sure") == "1":
            await asyncio.to_thread(planned.write)
    except ConfigurationError as error:
        raise HTTPException(409, f"The settings were not changed: {error}") from error
    if form.get("sure") != "1":
        return _confirm(request, comparison, candidate, planned, path)
    await asyncio.to_thread(_note_choice, _kept(request), number, candidate)
    text = f"{printable(path)} names {comparison.candidates[candidate].name} now. "
    notice(request, text + _from_when(configuration, values))
    return done(request, f"/compare/{number}", chosen=candidate)


def _confirm(
    request: Request, comparison: Comparison, candidate: int, planned: editing.Change, path: Path
) -> Response:
    """Ask before the settings are changed, and show the lines."""
    changes = "; ".join(
        f"{line.key}: {line.before or '(not set)'} → {line.after}" for line in planned.lines
    )
    return page(
        request,
        "confirm.html",
        question=f"Ask {comparison.candidates[candidate].name} from now on?",
        explanation=f"This changes {printable(path)}: {changes or 'nothing, it says so already'}.",
        action=f"/compare/{comparison.id}/choose",
        fields=[("candidate", str(candidate))],
        button="Write it into the settings",
        back=f"/compare/{comparison.id}",
    )


def _note_choice(kept: Comparisons, number: str, candidate: int) -> None:
    with kept.changing(number) as comparison:
        if comparison is not None:
            comparison.chosen = candidate


def _from_when(configuration: Configuration, values: dict[str, str]) -> str:
    """Say from when the new settings hold; a variable or a switch goes before them."""
    for key in values:
        origin = configuration.origins.get(key, "")
        if origin not in {"", "default", str(configuration.file)}:
            return f"But {key} comes from {origin}, which goes before it: change it there."
    return "taggerd scan asks it at once; a running service after systemctl reload taggerd."


def _kept(request: Request) -> Comparisons:
    return Comparisons(site_of(request).configuration.settings.state_directory)


def _number(request: Request) -> str:
    return str(request.path_params["number"])


def _index(text: str) -> int | None:
    """Return a form's index; None for anything else."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 5 else None  # noqa: PLR2004 - digits


routes: Sequence[BaseRoute] = (
    Route("/compare", _list),
    Route("/compare/{number}", _show),
    Route("/compare/{number}/{photo:int}.jpg", _picture),
    Route("/compare/{number}/vote", _vote, methods=["POST"]),
    Route("/compare/{number}/choose", _choose, methods=["POST"]),
)
