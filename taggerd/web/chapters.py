"""The chapters of the documentation, in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

from taggerd import docs
from taggerd.pages import markdown
from taggerd.web.site import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.responses import Response


async def _contents(request: Request) -> Response:
    """Serve the list of chapters."""
    return page(request, "help.html", titles=_titles(), chapter="", text="")


async def _chapter(request: Request) -> Response:
    """Serve one chapter."""
    name = request.path_params["topic"]
    text = docs.chapters().get(name)
    if text is None:
        raise HTTPException(404, "There is no such chapter.")
    shown = markdown(text, link=_address)
    return page(request, "help.html", titles=_titles(), chapter=name, text=shown)


def _titles() -> dict[str, str]:
    """Return each chapter's title by its name, by title."""
    return dict(
        sorted(
            ((name, docs.title(name)) for name in docs.chapters()),
            key=lambda each: each[1].casefold(),
        )
    )


def _address(link: str) -> str:
    """Return where a *link* of a chapter leads: ``hooks.md#recipes`` is a page of this site."""
    file, mark, heading = link.partition("#")
    name = file.removesuffix(".md")
    return f"/help/{name}{mark}{heading}" if file != name and name in docs.chapters() else link


routes: Sequence[BaseRoute] = (Route("/help", _contents), Route("/help/{topic}", _chapter))
