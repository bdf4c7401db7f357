"""The app: what each area of the review serves, behind the door.

To add an area: a module with ``routes: Sequence[BaseRoute]``, named in :data:`AREAS`; its templates
lie in ``pages/templates``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from taggerd.logs import get_logger
from taggerd.pages import static_file
from taggerd.photo import printable
from taggerd.web import actions, chapters, compare, door, export, photos, suggestions
from taggerd.web.site import page, session_of, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from taggerd.web.door import Keys
    from taggerd.web.site import Site

log = get_logger(__name__)

AREAS: tuple[Sequence[BaseRoute], ...] = (
    door.routes,
    photos.routes,
    actions.routes,
    suggestions.routes,
    chapters.routes,
    export.routes,
    compare.routes,
)
"""The routes of each area; the first that fits a path serves it."""


def make_app(site: Site, keys: Keys) -> door.Door:
    """Return the app that serves *site* to those whom *keys* let in."""
    inner = Starlette(
        routes=[
            *(route for area in AREAS for route in area),
            Route("/static/{name}", _static),
        ],
        exception_handlers={HTTPException: _failed, Exception: _broken},  # type: ignore[dict-item]  # Starlette's handlers take Exception
    )
    inner.state.site, inner.state.keys = site, keys
    return door.Door(inner, keys)


async def _static(request: Request) -> Response:
    """Serve a style sheet, a script or an icon of the package."""
    file = static_file(request.path_params["name"])
    if file is None:
        raise HTTPException(404)
    kept = "immutable" if request.query_params.get("v") == file.version else "no-cache"
    headers = {"Cache-Control": f"max-age=31536000, {kept}" if kept == "immutable" else kept}
    return Response(file.content, headers=headers, media_type=file.media_type)


async def _failed(request: Request, error: HTTPException) -> Response:
    """Answer with an error that the app foresees: what is missing, or not allowed."""
    return _error(request, error.status_code, error.detail)


async def _broken(request: Request, error: Exception) -> Response:
    """Answer with an error that nothing foresees."""
    log.error("a page could not be made", path=printable(request.url.path), exc_info=error)
    return _error(request, 500, "This page could not be made; the log says why.")


def _error(request: Request, status: int, text: str) -> Response:
    if wants_json(request):
        return JSONResponse({"error": text}, status)
    if session_of(request) is None:
        return Response(f"{text}\n", status, media_type="text/plain")
    return page(request, "error.html", status=status, number=status, text=text)
