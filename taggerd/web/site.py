"""What each area of the review uses: the site it belongs to, pages, forms and answers.

An area is a module with ``routes`` that :mod:`taggerd.web.app` lists. Whoever reaches one of them
is logged in, asked by a name of this machine, and, in a POST, sent the session's own token.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from markupsafe import Markup
from starlette.datastructures import ImmutableMultiDict
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from taggerd.pages import render
from taggerd.review import open_review
from taggerd.web.recent import Recent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from taggerd.review import Review
    from taggerd.settings.configuration import Configuration
    from taggerd.web.sessions import Session

_FIRST_SECONDS = 5.0
"""So long the first page waits for the photos that there are."""
Form = ImmutableMultiDict[str, str]
"""What a form sent: ``form["caption"]``, ``form.getlist("key")``."""

SECTIONS = ("/photos", "/suggestions", "/compare", "/help")
"""Beginnings of the paths that the navigation names; ``/`` is the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the server was started with."""

    configuration: Configuration
    review: Review
    recent: Recent = field(default_factory=Recent)


@asynccontextmanager
async def open_site(configuration: Configuration) -> AsyncIterator[Site]:
    """Open what the review of these settings needs.

    Raises:
        StartError: the state directory cannot be used.
        StorageError: a disk is full or failing.

    """
    async with open_review(configuration) as review:
        with suppress(TimeoutError):  # a library that is read for the first time takes minutes
            async with asyncio.timeout(_FIRST_SECONDS):
                await review.library.refresh()
        following = asyncio.create_task(review.library.run())
        try:
            yield Site(configuration=configuration, review=review)
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


def site_of(request: Request) -> Site:
    """Return the site that *request* was sent to."""
    return cast("Site", request.app.state.site)


def session_of(request: Request) -> Session | None:
    """Return whose request it is; None on the few pages that need no log-in."""
    return cast("Session | None", getattr(request.state, "session", None))


def who(request: Request) -> str:
    """Return who asks, for people: what is done in the review is done by them."""
    session = session_of(request)
    return session.who if session else ""


def form_of(request: Request) -> Form:
    """Return what the form of a POST sent."""
    return Form(getattr(request.state, "form", ()))


def page(request: Request, template: str, *, status: int = 200, **values: object) -> Response:
    """Return the page that *template* makes of *values*.

    Every template also has ``csrf_input()`` (for each form), ``csrf`` (for scripts, as the header
    ``X-CSRF-Token``), ``who``, ``section`` (of :data:`SECTIONS`) and ``notices``.
    """
    session = session_of(request)
    csrf = session.csrf if session else ""
    notices = list(session.notices) if session else []
    if session:
        session.notices.clear()
    hidden = Markup('<input type="hidden" name="csrf" value="{}">').format(csrf)
    given = {
        "csrf": csrf,
        "csrf_input": lambda: hidden,
        "notices": notices,
        "section": _section(request.url.path),
        "who": who(request),
    }
    return HTMLResponse(render(template, **{**given, **values}), status)


def notice(request: Request, text: str) -> None:
    """Show *text* on the next page, once."""
    if session := session_of(request):
        session.notices.append(text)


def wants_json(request: Request) -> bool:
    """Say whether a script asks."""
    return "application/json" in request.headers.get("accept", "")


def done(request: Request, to: str, *, status: int = 200, **values: object) -> Response:
    """Answer a POST: a script gets *values* as JSON, a browser without one goes on to *to*.

    Args:
        request: the POST.
        to: a path of this site; what is none becomes ``/``.
        status: of the JSON.
        values: what JSON can say.

    """
    if wants_json(request):
        return JSONResponse(values, status)
    return RedirectResponse(local(to), 303)


def local(to: str) -> str:
    """Return *to* if it is a path of this site, else ``/``: no log-in leads elsewhere."""
    wrong = not to.startswith("/") or to.startswith(("//", "/\\"))
    return "/" if wrong or not to.isprintable() or "\\" in to else to


def _section(path: str) -> str:
    return next((each for each in SECTIONS if path == each or path.startswith(f"{each}/")), "/")
