"""Sends notices to webhooks, signed as Standard Webhooks says.

The headers ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``, and what is signed:
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from typing import TYPE_CHECKING, NamedTuple

import httpx

from taggerd import __version__
from taggerd.photo import brief

if TYPE_CHECKING:
    from taggerd.settings import Hook

_PREFIX = "whsec_"
_CONNECT_SECONDS = 10.0


class Sent(NamedTuple):
    """How a delivery went."""

    failure: str = ""
    """Empty: the webhook took it."""
    asked_seconds: float = 0.0
    """How long the webhook wants to be left alone (Retry-After)."""
    rejected: bool = False
    """It is this notice that it does not take; perhaps it takes others."""


def signature(secret: str, notice_id: str, timestamp: int, body: bytes) -> str:
    """Return the value of ``webhook-signature``: HMAC-SHA256 over id, time and body.

    A *secret* that begins with ``whsec_`` is base64; any other is taken as it is.
    """
    key = secret.encode()
    if secret.startswith(_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            key = secret.encode()
    signed = b"%s.%d.%s" % (notice_id.encode(), timestamp, body)
    digest = hmac.digest(key, signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def host_of(url: str) -> str:
    """Return who gets the notices: not the path, which is the key of many webhooks."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "an address that is none"
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii', 'replace')}"


class Webhook:
    """One webhook."""

    def __init__(
        self, hook: Hook, *, seconds: float, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        """Prepare to send to *hook*; an answer is waited for as long as *seconds*."""
        self._hook = hook
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS)),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
            transport=transport,
            # Not HTTP_PROXY, not ~/.netrc: notices would go elsewhere unasked. A redirect is a
            # failure, as the specification wants: what it leads to was never named.
            trust_env=False,
            follow_redirects=False,
        )

    async def send(self, notice_id: str, notice: str, timestamp: int) -> Sent:
        """Send *notice*; only a status from 200 to 299 is a success."""
        body = (notice if self._hook.body is None else self._hook.body).encode()
        headers = {
            "content-type": "application/json",
            "user-agent": f"taggerd/{__version__}",
            "webhook-id": notice_id,
            "webhook-timestamp": str(timestamp),
        }
        if self._hook.secret:
            secret = self._hook.secret.get_secret_value()
            headers["webhook-signature"] = signature(secret, notice_id, timestamp, body)
        if self._hook.header:
            name, _, value = self._hook.header.get_secret_value().partition(":")
            headers[name.strip().lower()] = value.strip()
        try:
            # httpx limits each step: a server that sends a byte now and then would hold us.
            async with (
                asyncio.timeout(self._seconds),
                self._client.stream(
                    "POST", self._hook.url or "", content=body, headers=headers
                ) as answer,
            ):
                return _judged(answer)
        except (httpx.TimeoutException, TimeoutError):
            return Sent("does not answer in time")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return Sent(brief(str(error) or type(error).__name__))

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def _judged(answer: httpx.Response) -> Sent:
    """Judge by the status alone; nobody needs to read the rest."""
    if answer.is_success:
        return Sent()
    asked = answer.headers.get("retry-after", "")
    seconds = float(asked) if asked.isascii() and asked.isdigit() else 0.0
    rejected = answer.is_client_error and answer.status_code not in {408, 429}
    return Sent(f"answers HTTP {answer.status_code}", seconds, rejected)
