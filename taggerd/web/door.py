"""The door of the review: who may come in, what may be sent, and what a browser may do with it.

Each request is checked here before an area sees it, and each answer gets its headers here:

- **Host**: a web page may have its own name resolve to this machine and read what is served there
  (DNS rebinding). It cannot choose what the browser says the host is.
- **Session**: a cookie that scripts cannot read and other sites cannot send. Without one only the
  log-in and the style sheets are served.
- **CSRF**: a POST comes from a page of this site, as the browser says (``Origin``,
  ``Sec-Fetch-Site``), and carries the session's token.
- **Size and time**: a body is at most :data:`LONGEST_BODY` long and is sent in time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from getpass import getuser
from hmac import compare_digest
from ipaddress import ip_address
from math import ceil
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from taggerd.errors import ConfigurationError
from taggerd.logs import get_logger
from taggerd.photo import printable
from taggerd.web.site import form_of, local, page, wants_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from taggerd.web.passwords import Passwords, Throttle
    from taggerd.web.sessions import Session, Sessions

log = get_logger(__name__)

LONGEST_BODY = 1 << 20
"""Bytes: a form with 30,000 photos' keys."""
BODY_SECONDS = 20.0
"""Time for a body to arrive."""
MOST_FIELDS = 50_000
LONGEST_NAME = 64
"""Characters of the name that somebody gives at the log-in."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" browsers would say of our own forms that they come from nowhere.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    # Other people use this browser later. What may be kept, pictures, says so itself.
    "Cache-Control": "no-store",
}
"""Of each answer that does not set its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Who may come in, and by which names."""

    sessions: Sessions
    passwords: Passwords
    throttle: Throttle
    cookie: str
    """Its name has the port: browsers send cookies to all ports of a machine."""
    names: frozenset[str] = field(default=frozenset())
    """The names that browsers may ask by, in lower case, besides ``localhost`` and any number."""
    link_used: Callable[[], object] = lambda: None
    """Called when a one-time link logged somebody in."""

    def version(self) -> str:
        """Name the password in force; empty: there is none, or none that can be used."""
        try:
            return self.passwords.version
        except ConfigurationError as error:
            log.error("nobody can log in with a password", reason=str(error))
            return ""


class Refused(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        """Refuse with *status*; *text* says what to do instead."""
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class Door:
    """Checks each request before the app sees it; see the module's text."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        """Guard *app*; whoever has one of the *keys* comes in."""
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, _with_headers(send))

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have the app answer it."""
        request = Request(scope, receive)
        try:
            self._check_head(request)
            session = self._session(request)
            answer = self._link(request, session)
            if answer is None:
                request.state.session = session
                if request.method == "POST":
                    await self._check_post(request, session)
                    receive = _nothing_more(receive)
                answer = self._sent_to_log_in(request, session)
        except Refused as refused:
            answer = _refusal(request, refused)
        await (answer or self._app)(scope, receive, send)

    def _check_head(self, request: Request) -> None:
        """Refuse a request to a name that is none of ours, or one that no page makes."""
        host = request.headers.getlist("host")
        if len(host) != 1 or not self._is_ours(_hostname(host[0])):
            text = (
                "this is not a name of taggerd: ask by an IP address or localhost, or add the name "
                "to web.hosts in the settings"
            )
            raise Refused(421, text)
        if not request.scope["path"].startswith("/"):
            raise Refused(400, "a path begins with /")
        if {"content-length", "transfer-encoding"} <= {*request.headers}:
            # A proxy may take for two requests what is one to us.
            raise Refused(400, "a body has one length", Connection="close")
        if request.method not in {"GET", "HEAD", "POST"}:
            raise Refused(405, "pages are read with GET and changed with POST", Allow="GET, POST")

    def _is_ours(self, name: str) -> bool:
        """Say whether *name* leads here whatever a name server says."""
        if name == "localhost" or name in self._keys.names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    def _session(self, request: Request) -> Session | None:
        """Return the session whose cookie was sent."""
        name = _cookie(request, self._keys.cookie)
        return self._keys.sessions.find(name, password=self._keys.version()) if name else None

    def _link(self, request: Request, session: Session | None) -> Response | None:
        """Log whoever has the link in, and take the token out of the address."""
        at_start = request.scope["path"] == "/"
        tokens = parse_qs(request.url.query).get("token") if at_start else None
        if not tokens or request.method != "GET":
            return None
        answer = RedirectResponse("/", 303)
        if self._keys.sessions.use_link(tokens[0]):
            begin(self._keys, request, answer, _user(), "")
            self._keys.link_used()
        elif session is None:
            answer = RedirectResponse("/login?used=1", 303)
        return answer

    async def _check_post(self, request: Request, session: Session | None) -> None:
        """Refuse a POST that no page of this site sent, or that is no form; else read the form."""
        if not self._is_from_here(request.headers):
            text = "another site's page sent this: nothing was changed"
            log.warning("a POST was refused", origin=printable(request.headers.get("origin", "")))
            raise Refused(403, text)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await _body(request)
        if body and kind != "application/x-www-form-urlencoded":
            raise Refused(415, "send a form: application/x-www-form-urlencoded")
        try:
            text = body.decode()
            form = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS)
        except ValueError:  # not UTF-8, or too many fields
            raise Refused(400, "this is no form, or has too many fields") from None
        request.state.form = form
        if session is not None and not _has_token(session, request.headers, form):
            text = "this page is from before the last log-in: load it again; nothing was changed"
            raise Refused(403, text)

    def _is_from_here(self, headers: Headers) -> bool:
        """Say whether a page of this site sends the request, as far as the browser says.

        A program that is no browser says nothing; it needs the token all the same.
        """
        if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        try:
            there = urlsplit(origin).netloc.lower()
        except ValueError:  # http://[
            return False
        # A proxy may speak to us by another name than the browser does to it.
        return bool(there) and (
            there == headers["host"].lower() or _hostname(there) in self._keys.names
        )

    def _sent_to_log_in(self, request: Request, session: Session | None) -> Response | None:
        """Send those who are not logged in to the log-in; None: let them pass."""
        path: str = request.scope["path"]  # what routes go by; the URL's may be another
        if session is not None or path == "/login" or path.startswith("/static/"):
            return None
        if request.method == "POST" or wants_json(request):
            raise Refused(401, "log in first")
        to = quote(local(path + (f"?{query}" if (query := request.url.query) else "")))
        return RedirectResponse("/login" if to == "/" else f"/login?next={to}", 303)


def begin(keys: Keys, request: Request, answer: Response, who: str, password: str) -> None:
    """Begin a session with the cookie in *answer*; one that the browser may have had ends."""
    keys.sessions.end(_cookie(request, keys.cookie))
    answer.set_cookie(
        keys.cookie,
        keys.sessions.begin(who, password=password),
        path="/",
        httponly=True,
        samesite="strict",
        secure=_is_https(request),
    )


def _is_https(request: Request) -> bool:
    """Say whether the browser came by HTTPS, to us or to a proxy before us."""
    by_proxy = request.headers.get("origin", "").lower().startswith("https://")
    return by_proxy or request.url.scheme == "https"


async def _log_in(request: Request) -> Response:
    """Show the log-in, or take the password."""
    keys: Keys = request.app.state.keys
    form = form_of(request)
    to = local(form.get("next") or request.query_params.get("next", "/"))
    values = {
        "next": to,
        "by_password": bool(keys.version()),
        "error": "",
        "used": False,
        "name": form.get("name", "")[:LONGEST_NAME],
    }
    if request.method != "POST":
        status = 401 if (used := "used" in request.query_params) else 200
        return page(request, "login.html", status=status, **{**values, "used": used})
    address = request.client.host if request.client else ""
    if (wait := keys.throttle.wait(address)) > 0:
        seconds = ceil(wait)
        error = f"Too many wrong passwords: try again in {seconds} second{'s' * (seconds != 1)}."
        answer = _login_error(request, values, 429, error)
        answer.headers["Retry-After"] = str(seconds)
        return answer
    try:
        version = await keys.passwords.check(form.get("password", ""))
    except ConfigurationError as failed:
        log.error("nobody can log in with a password", reason=str(failed))
        version = ""
    if not version:
        keys.throttle.renew(address)
        log.warning("a wrong password", address=address)
        return _login_error(request, values, 401, "This is not the password.")
    keys.throttle.forgive(address)
    who = printable(form.get("name", "").strip()[:LONGEST_NAME]) or "web"
    log.info("logged in", who=who, address=address)
    answer = RedirectResponse(to, 303)
    begin(keys, request, answer, who, version)
    return answer


def _login_error(request: Request, values: dict[str, object], status: int, error: str) -> Response:
    if wants_json(request):
        return JSONResponse({"error": error}, status)
    return page(request, "login.html", status=status, **{**values, "error": error})


async def _log_out(request: Request) -> Response:
    """End the session."""
    keys: Keys = request.app.state.keys
    keys.sessions.end(_cookie(request, keys.cookie))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(keys.cookie, path="/", httponly=True, samesite="strict")
    return answer


routes: Sequence[BaseRoute] = (
    Route("/login", _log_in, methods=["GET", "POST"]),
    Route("/logout", _log_out, methods=["POST"]),
)


def _user() -> str:
    """Return the name of whoever started the server: the link was printed to them."""
    try:
        return getuser()
    except (KeyError, OSError):
        return "web"


def _hostname(host: str) -> str:
    """Return the name in ``name:port`` or ``[address]:port``, in lower case."""
    address, bracket, port = host.removeprefix("[").partition("]")
    if host.startswith("["):
        return address.lower() if bracket and (not port or port.startswith(":")) else ""
    return host.partition(":")[0].lower().rstrip(".")


def _cookie(request: Request, name: str) -> str:
    """Return the cookie *name*; empty: there is none, or more than one that claims to be it."""
    found = [
        value
        for header in request.headers.getlist("cookie")
        for pair in header.split(";")
        for key, equals, value in [pair.strip().partition("=")]
        if equals and key == name
    ]
    return found[0] if len(found) == 1 else ""


def _has_token(session: Session, headers: Headers, form: Sequence[tuple[str, str]]) -> bool:
    """Say whether a POST carries the session's token, in the form or for scripts in a header."""
    given = headers.get("x-csrf-token") or next((text for key, text in form if key == "csrf"), "")
    return compare_digest(given.encode(), session.csrf.encode())


async def _body(request: Request) -> bytes:
    """Read the body.

    Raises:
        Refused: it is too long, or came too slowly.

    """
    length = request.headers.get("content-length", "0")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            if not length.isascii() or not length.isdecimal() or int(length[:12]) > LONGEST_BODY:
                raise Refused(413, f"at most {LONGEST_BODY} bytes can be sent", Connection="close")
            async for chunk in request.stream():
                body += chunk
                if len(body) > LONGEST_BODY:
                    text = f"at most {LONGEST_BODY} bytes can be sent"
                    raise Refused(413, text, Connection="close")
    except TimeoutError:
        raise Refused(408, "this came too slowly", Connection="close") from None
    except ClientDisconnect:
        raise Refused(400, "this is not whole", Connection="close") from None
    return bytes(body)


def _nothing_more(receive: Receive) -> Receive:
    """Return what tells the app that the body, which was read here, is empty."""
    told = False

    async def receive_rest() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive_rest


def _refusal(request: Request, refused: Refused) -> Response:
    """Return the answer to a request that goes no further."""
    if wants_json(request):
        return JSONResponse({"error": refused.text}, refused.status, refused.headers)
    return Response(f"{refused.text}\n", refused.status, refused.headers, "text/plain")


def _with_headers(send: Send) -> Send:
    """Return what adds :data:`HEADERS` to an answer that does not set them."""

    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with
