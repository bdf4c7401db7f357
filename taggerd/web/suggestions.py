"""What corrections suggest to set, in the browser: one click takes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from taggerd.catalogue import key_of
from taggerd.errors import TaggerdError
from taggerd.photo import printable
from taggerd.review.suggestions import dismiss, suggestions, take
from taggerd.web.site import done, notice, page, site_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response

_SHOWN = 6
"""Photos that are shown as evidence; the others are counted."""


async def _list(request: Request) -> Response:
    """Serve all that is offered, with what speaks for it."""
    try:
        offered = await asyncio.to_thread(suggestions, site_of(request).configuration)
    except TaggerdError as error:
        return page(request, "suggestions.html", status=422, problem=str(error), suggestions=[])
    shown = [
        (each, [(key_of(path), printable(path.name)) for path in each.photos[:_SHOWN]])
        for each in offered
    ]
    return page(request, "suggestions.html", problem="", suggestions=shown)


async def _decide(request: Request) -> Response:
    """Take one suggestion, or dismiss it."""
    configuration = site_of(request).configuration
    decision, key = request.path_params["decision"], request.path_params["key"]
    if decision not in {"take", "dismiss"}:
        raise HTTPException(404)
    error = ""
    try:
        offered = await asyncio.to_thread(suggestions, configuration)
        suggestion = next((each for each in offered if each.key == key), None)
        if suggestion is None:
            said = "It was taken or dismissed already."
        elif decision == "take":
            what = await asyncio.to_thread(take, suggestion, configuration)
            said = f"“{suggestion.text}”: {what}. A running service reads it when it is reloaded."
        else:
            await dismiss(suggestion, configuration)
            said = f"“{suggestion.text}” is not offered again."
    except TaggerdError as fault:
        said = error = str(fault)
    notice(request, said)
    status = 422 if error else 200
    return done(request, "/suggestions", status=status, message=said, error=error)


routes: Sequence[BaseRoute] = (
    Route("/suggestions", _list),
    Route("/suggestions/{key}/{decision}", _decide, methods=["POST"]),
)
