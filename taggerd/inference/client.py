"""The HTTP client of one endpoint. No error of httpx leaves this module.

Each becomes one of :mod:`taggerd.errors`. What an HTTP *status* means is decided in
:mod:`taggerd.inference.statuses`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import ssl
import time
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

import httpx

from taggerd import __version__
from taggerd.errors import (
    BackendError,
    BackendFailed,
    BackendTimeout,
    BackendUnreachable,
    ConfigurationError,
    NotABackend,
)
from taggerd.photo import storable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

LARGEST_REPLY = 4 * 1024 * 1024
"""Bytes; an answer about a photo is a few thousand."""
LONGEST_TEXT = 65536
"""Characters of one text in a reply that are read; a model that says more is stuck."""
LONGEST_HEADER = 1000
CONNECT_SECONDS = 10.0
"""Longest wait for a connection: a machine that is off does not answer at all."""
WRITE_SECONDS = 30.0
"""Longest wait for a server to read more of a request: no model is slow here."""
_JSON = {"Content-Type": "application/json"}
_IDLE_SECONDS = 4.0
"""A kept connection is closed before uvicorn does so after 5 s, perhaps under a request."""

# httpx logs the whole address of every request at INFO, with a query that may contain a key.
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an endpoint replied, whatever the status."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    content: bytes
    seconds: float
    """From sending to the last byte."""


class Client:
    """One endpoint: its address, its key, its connections."""

    base_url: str
    """The address as it may be shown, without user, password and query."""

    def __init__(  # noqa: PLR0913 - all by name
        self,
        base_url: str,
        *,
        api_key: str = "",
        proxy: str | None = None,
        timeout_seconds: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare to talk to *base_url*; nothing is sent.

        Raises:
            ConfigurationError: the address or the key cannot be used in a request.
        """
        url = _address(base_url)
        via = _address(proxy, "backend.proxy") if proxy and not _on_this_machine(url.host) else None
        self.base_url = _shown(url)
        self._url = url.copy_with(username=None, password=None, fragment=None)
        self._via = f" through the proxy {_shown(via)}" if via else ""
        passwords = url.password, via.password if via else ""
        self._secrets = tuple(s for s in (api_key.strip(), *passwords) if s)
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._headers = _headers(api_key.strip(), url)
        self._extensions = {
            "timeout": httpx.Timeout(
                timeout_seconds,  # for reading; for the whole request see send()
                connect=min(CONNECT_SECONDS, timeout_seconds),
                write=min(WRITE_SECONDS, timeout_seconds),
            ).as_dict()
        }
        # Without httpx's AsyncClient, which looks after redirects, cookies and logins that are not
        # wanted here. And each transport has one connection: one of several looks at every
        # connection, with a few system calls each, as each request begins and ends.
        new = partial(
            httpx.AsyncHTTPTransport,
            limits=httpx.Limits(
                max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_SECONDS
            ),
            proxy=via,
            verify=_authorities(url.scheme),
            # From the environment it would take proxies, which get photos and key, and .netrc.
            trust_env=False,
        )
        self._transports: list[httpx.AsyncBaseTransport] = []
        self._idle: list[httpx.AsyncBaseTransport] = []
        """The one used last is taken first: its connection is the one most surely open."""
        self._new: Callable[[], httpx.AsyncBaseTransport] = lambda: transport or new()
        self._urls: dict[str, httpx.URL] = {}

    def __repr__(self) -> str:
        """Name the endpoint, without secrets."""
        return f"Client({self.base_url!r})"

    async def send(self, path: str, body: bytes | None = None) -> Reply:
        """Ask for *path* below the base address, or post the JSON *body* there.

        Sent once more if a kept connection was closed under it.

        Raises:
            BackendError: there is no reply that could be read.
        """
        started = self._clock()
        answered = repeated = False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while True:
                    try:
                        async with self._asked(path, body) as response:
                            answered = True
                            content = await self._read(response)
                        break
                    except _HTTPX_ERRORS as error:
                        if repeated or answered or not isinstance(error, _CLOSED):
                            raise self._meaning(error, answered=answered) from error
                        repeated = True
        except TimeoutError as error:
            raise self._meaning(error) from None
        return Reply(
            status=response.status_code,
            headers={k.lower(): storable(v, LONGEST_HEADER) for k, v in response.headers.items()},
            content=content,
            seconds=self._clock() - started,
        )

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._transports:
            await transport.aclose()

    def redacted(self, text: str) -> str:
        """Return *text* without the key and the password: servers repeat what they refuse."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    @asynccontextmanager
    async def _asked(self, path: str, body: bytes | None) -> AsyncIterator[httpx.Response]:
        """Send one request and give what begins to come back."""
        if path not in self._urls:
            self._urls[path] = self._url.copy_with(path=self._url.path.rstrip("/") + path)
        request = httpx.Request(
            "GET" if body is None else "POST",
            self._urls[path],
            headers=self._headers if body is None else self._headers | _JSON,
            content=body,
            extensions=self._extensions,
        )
        if not self._idle:
            self._idle.append(self._new())
            self._transports.append(self._idle[-1])
        transport = self._idle.pop()
        try:
            response = await transport.handle_async_request(request)
            response.request = request
            try:
                yield response
            finally:
                await response.aclose()
        finally:
            self._idle.append(transport)

    async def _read(self, response: httpx.Response) -> bytes:
        """Return the decoded body, unless it is too long."""
        if "," in response.headers.get("content-encoding", ""):
            # Unpacking grows one layer a thousandfold before it is noticed, two a millionfold.
            message = f"{self.base_url} sent an answer that is compressed twice"
            raise BackendFailed(message)
        chunks: list[bytes] = []
        length = 0
        async for chunk in response.aiter_bytes():
            length += len(chunk)
            if length > LARGEST_REPLY:
                message = f"{self.base_url} sent an answer of more than {LARGEST_REPLY >> 20} MB"
                raise BackendFailed(message)
            chunks.append(chunk)
        return b"".join(chunks)

    def _meaning(self, error: Exception, *, answered: bool = False) -> BackendError:
        """Return what an error of httpx or of the clock means."""
        where = f"{self.base_url}{self._via}"
        return backend_error(error, where, self._timeout_seconds, answered=answered)


_HTTPX_ERRORS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
_CLOSED = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError)
"""A kept connection that the server closed, if not a byte of the reply has come."""


def backend_error(  # noqa: PLR0911 - a table: one return for each meaning
    error: Exception, base_url: str, timeout_seconds: float, *, answered: bool = False
) -> BackendError:
    """Return what an error of httpx means.

    Args:
        error: any exception class that httpx has, or a TimeoutError.
        base_url: the address as it may be shown.
        timeout_seconds: how long an answer was waited for.
        answered: whether the reply had already begun.
    """
    if isinstance(error, httpx.ConnectTimeout):
        message = f"cannot connect to {base_url}: no answer; is that machine on?"
        return BackendUnreachable(message)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return BackendTimeout(
            f"{base_url} did not answer within {timeout_seconds:g} s; "
            "is it overloaded? see backend.timeout_seconds"
        )
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return BackendUnreachable(f"{base_url} is not a valid address")
    if isinstance(error, httpx.TooManyRedirects):
        return NotABackend(f"{base_url} redirects endlessly")
    if isinstance(error, httpx.ProxyError):
        return BackendUnreachable(
            f"cannot connect to {base_url}: the proxy refuses; see backend.proxy"
        )
    if answered and isinstance(error, httpx.TransportError):
        return BackendFailed(f"{base_url} broke off in the middle of its answer")
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError):
        reason, hint = _reason(error)
        return BackendUnreachable(f"cannot connect to {base_url}: {reason}; {hint}")
    if isinstance(error, httpx.DecodingError):
        return BackendFailed(f"{base_url} sent an answer with damaged compression")
    # The rest are errors in the use of httpx; their texts may quote headers.
    return BackendFailed(f"the connection to {base_url} failed ({type(error).__name__})")


def _causes(error: BaseException | None, depth: int = 8) -> Iterator[BaseException]:
    """Yield *error* and its causes, with those in groups."""
    if error is None or depth == 0:
        return
    yield error
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _causes(inner, depth - 1)
    yield from _causes(error.__cause__ or error.__context__, depth - 1)


_FORBIDDEN = (
    "a firewall of this machine forbids it; of a service it may be the list of addresses that "
    "taggerd service install made: run that again"
)


def _reason(error: Exception) -> tuple[str, str]:
    """Return why a connection failed, from the cause that knows it, and what to do."""
    hint = "is the backend running?"
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return "name not found", "check backend.base_url"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                "its certificate is not trusted",
                "for a certificate authority of your own set SSL_CERT_FILE",
            )
        if isinstance(cause, ssl.SSLError):
            return "it does not speak TLS", "try http:// in backend.base_url"
        if isinstance(cause, OSError) and cause.errno and cause.errno in errno.errorcode:
            forbidden = cause.errno == errno.EPERM
            return os.strerror(cause.errno).lower(), _FORBIDDEN if forbidden else hint
    if isinstance(error, httpx.ConnectError):
        return "connection failed", hint
    return "the connection was closed without an answer", hint


def _authorities(scheme: str) -> ssl.SSLContext:
    """Return what certificates are checked by: authorities of one's own, else the usual ones."""
    if scheme != "https":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nothing is checked, and nothing loaded
    own = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        if any(own):
            return ssl.create_default_context(cafile=own[0], capath=own[1])
        return httpx.create_ssl_context(trust_env=False)
    except OSError as error:  # also an SSLError
        message = f"SSL_CERT_FILE: {own[0] or own[1]}: cannot be used: {error.strerror or error}"
        raise ConfigurationError(message) from error


def _address(base_url: str, setting: str = "backend.base_url") -> httpx.URL:
    """Parse a base address."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        shown = base_url.rsplit("@", 1)[-1]
        message = f"{setting} {shown!r} is not an address like http://127.0.0.1:11434/v1"
        raise ConfigurationError(message)
    return url


def _shown(url: httpx.URL) -> str:
    """Return an address without what may be secret in it."""
    plain = url.copy_with(username=None, password=None, query=None, fragment=None)
    return str(plain).rstrip("/")


def _headers(api_key: str, url: httpx.URL) -> dict[str, str]:
    """Return the headers of every request."""
    headers = {
        "User-Agent": f"taggerd/{__version__}",
        "Accept": "application/json",
        # Answers are short: compression is one more thing that can fail.
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
    }
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        message = "backend.api_key contains a character that no key has; was it copied completely?"
        raise ConfigurationError(message)
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    elif url.userinfo:
        pair = f"{url.username}:{url.password}".encode()
        headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
    return headers


def _on_this_machine(host: str) -> bool:
    """Return whether *host* is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def json_of(reply: Reply) -> object | None:
    """Return the JSON of a reply, with every text in it storable; None if it is not JSON."""
    try:
        return storable_json(json.loads(reply.content.decode("utf-8", "replace")))
    except (ValueError, RecursionError):
        return None


def storable_json(value: object) -> object:
    """Return *value* with every text in it storable, and of a length that somebody may read.

    Raises:
        RecursionError: it is nested too deeply.
    """
    if isinstance(value, str):
        return storable(value, LONGEST_TEXT)
    if isinstance(value, list):
        return [storable_json(item) for item in value]
    if isinstance(value, dict):
        return {storable(key, LONGEST_TEXT): storable_json(item) for key, item in value.items()}
    return value
