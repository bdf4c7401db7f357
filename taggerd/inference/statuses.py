"""What a refusal means: from an HTTP status and an error body to one of our errors."""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from taggerd.errors import (
    BackendBlind,
    BackendBusy,
    BackendDenied,
    BackendError,
    BackendFailed,
    BackendTimeout,
    ModelNotFound,
    NotABackend,
    PhotoRefused,
)
from taggerd.inference.client import json_of
from taggerd.inference.completion import one_line, visible
from taggerd.retry import LONGEST_RETRY_AFTER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.inference.client import Reply

_LONGEST_MESSAGE = 200

_MODEL_MISSING = re.compile(
    r"model_not_found|(?:invalid|unknown|no such) model|not a valid model"
    r"|model\b.{0,120}\b(?:not found|(?:does not|doesn't|not) exist|not available"
    r"|not (?:being )?served|not (?:been )?loaded)|no models? (?:is |are )?loaded",
    re.IGNORECASE | re.DOTALL,
)
_BLIND = re.compile(
    r"not a multimodal|image input is not supported|at most 0 image"
    r"|(?:does not|doesn't|not) support(?:ed)?\b.{0,40}\b(?:image|vision|multimodal|picture)"
    r"|(?:image|vision|multimodal)\w*\b.{0,40}\b(?:is|are) not supported (?:by|for|with) this model"
    r"|missing mmproj|no vision",
    re.IGNORECASE | re.DOTALL,
)

_NO_SUCH_KEY = re.compile(r"no_db_connection|no connected db", re.IGNORECASE)
"""What LiteLLM without a database answers, with 400, to any key but its master key."""


def is_success(reply: Reply) -> bool:
    """Return whether the status is one of success."""
    return 200 <= reply.status < 300  # noqa: PLR2004 - success


def is_html(reply: Reply) -> bool:
    """Return whether a reply is a web page."""
    kind = reply.headers.get("content-type", "").lower()
    return "html" in kind or reply.content.lstrip()[:15].lower().startswith(
        (b"<!doctype", b"<html")
    )


def message_in(reply: Reply) -> str:
    """Return what the server says went wrong, on one short line; empty for HTML and binary."""
    if is_html(reply):
        return ""
    body = json_of(reply)
    if is_success(reply):
        text = _error_in_success(body) or ""
    elif body is not None:
        text = _message(body)
    else:
        text = reply.content[:2000].decode("utf-8", "ignore")
    line = one_line(visible(text[: 10 * _LONGEST_MESSAGE]))
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def _message(body: object, depth: int = 0) -> str:
    """Find the message in an error body as OpenAI, FastAPI, Ollama or a proxy form it."""
    if isinstance(body, str):
        return body
    if isinstance(body, list) and depth < 4:  # noqa: PLR2004 - no server nests deeper
        return "; ".join(filter(None, (_message(item, depth + 1) for item in body[:3])))
    if not isinstance(body, dict) or depth >= 4:  # noqa: PLR2004 - see above
        return ""
    for key in ("error", "message", "detail", "msg", "reason"):
        if text := _message(body.get(key), depth + 1):
            at = body.get("loc")
            field = ".".join(map(str, at)) if key == "msg" and isinstance(at, list) else ""
            return f"{field}: {text}" if field else text
    return ""


def _error_in_success(body: object) -> str | None:
    """Return the error in the body of a success: some proxies answer so; None without one."""
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        if choices[0].get("error") or choices[0].get("finish_reason") == "error":
            return _message(choices[0].get("error")) or "no reason given"
        return None
    if body.get("error"):
        return _message(body["error"]) or "no reason given"
    return None


def listing_error(reply: Reply, base_url: str, message: str, now: float) -> BackendError:
    """Return what a refusal of ``GET /models`` means."""
    if reply.status in {404, 405}:
        text = f"{base_url} has no /models ({reply.status}); does the address end in /v1?"
        return NotABackend(text)
    error = chat_error(reply, base_url, "", message, now)
    if isinstance(error, PhotoRefused):
        return without_picture(error)
    return error or not_a_backend(reply, base_url, "a list of models")


def not_a_backend(reply: Reply, base_url: str, wanted: str) -> NotABackend:
    """Return the error for a reply that is not what was *wanted*."""
    came = "a web page" if is_html(reply) else "something else"
    return NotABackend(
        f"{base_url} answers with {came} instead of {wanted}; "
        "is it an OpenAI-compatible API, and does the address end in /v1?"
    )


def without_picture(error: PhotoRefused) -> BackendFailed:
    """Return what the refusal of a request without a picture means."""
    return BackendFailed(str(error).replace("this picture", "a request without a picture", 1))


def chat_error(  # noqa: PLR0911 - a table: one return for each meaning
    reply: Reply, base_url: str, model: str, message: str, now: float
) -> BackendError | PhotoRefused | None:
    """Return what a refusal of a chat request means; None if it was not refused.

    Args:
        reply: whatever came.
        base_url: as it may be shown.
        model: the one that was asked.
        message: the server's words, without secrets (:func:`message_in`).
        now: seconds since the epoch, for dates in ``Retry-After``.
    """
    status = reply.status
    if is_success(reply):
        text = f"{base_url} answered with an error: {message}"
        return BackendFailed(text) if message else None
    detail = f" ({status}: {message})" if message else f" ({status})"
    if status in {401, 402, 403, 407} or (status == 400 and _NO_SUCH_KEY.search(message)):  # noqa: PLR2004 - Bad Request
        return _denied(status, base_url, message)
    if status in {408, 504}:
        return BackendTimeout(f"{base_url} gave up waiting for its model{detail}")
    if status in {429, 503}:
        what = "asks for fewer requests" if status == 429 else "is busy or loading"  # noqa: PLR2004
        wait = retry_after(reply.headers, now)
        return BackendBusy(
            f"{base_url} {what}{detail}; taggerd tries again", retry_after_seconds=wait
        )
    if 300 <= status < 400:  # noqa: PLR2004 - redirects
        target = reply.headers.get("location", "elsewhere").split("?", 1)[0][:100]
        text = f"{base_url} redirects to {target}; set backend.base_url to the address of the API"
        return NotABackend(text)
    if _BLIND.search(message):
        return BackendBlind(f"model {model!r} at {base_url} accepts no pictures{detail}")
    if 400 <= status < 500:  # noqa: PLR2004 - client errors
        return _refused(reply, base_url, model, message)
    return BackendFailed(f"{base_url} failed{detail}; see its log")


def _denied(status: int, base_url: str, message: str) -> BackendDenied:
    """Return the error for a missing key, a wrong key, or no credit."""
    if status in {400, 401}:
        # Without the server's words: some repeat the key.
        return BackendDenied(f"{base_url} refuses the API key ({status}); check backend.api_key")
    detail = f": {message}" if message else ""
    return BackendDenied(
        f"{base_url} denies access ({status}{detail}); check the permissions of the key"
    )


def _refused(reply: Reply, base_url: str, model: str, message: str) -> BackendError | PhotoRefused:
    """Distinguish a missing model, a wrong address and a refused picture."""
    status = reply.status
    detail = f" ({status}: {message})" if message else f" ({status})"
    if is_html(reply):
        text = f"{base_url} answers with a web page ({status}); does the address end in /v1?"
        return NotABackend(text)
    if status in {400, 422} and not _MODEL_MISSING.search(message):
        return PhotoRefused(f"{base_url} refuses this picture{detail}")
    if status in {413, 415}:
        return PhotoRefused(f"{base_url} refuses this picture{detail}; see image.max_edge")
    if status in {400, 404, 422}:
        sure = "model" in message.lower()
        hint = "see taggerd preflight" if sure else "or the address lacks its /v1"
        return ModelNotFound(f"{base_url} does not serve model {model!r}{detail}; {hint}")
    if status == 405:  # noqa: PLR2004 - Method Not Allowed
        text = f"{base_url} accepts no chat requests{detail}; does the address end in /v1?"
        return NotABackend(text)
    return BackendFailed(f"{base_url} failed{detail}; see its log")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a server asked to wait; None if it did not.

    ``Retry-After`` is seconds or an HTTP date (RFC 9110, 10.2.3). LiteLLM passes its provider's on
    as ``llm_provider-retry-after``, and OpenAI also sends ``retry-after-ms``.
    """
    for name, scale in (
        ("retry-after-ms", 0.001),
        ("retry-after", 1.0),
        ("llm_provider-retry-after", 1.0),
    ):
        seconds = _wait(headers.get(name, "").strip(), scale, now)
        if seconds is not None and seconds <= LONGEST_RETRY_AFTER_SECONDS:
            return max(seconds, 0.0)
    return None


def _wait(value: str, scale: float, now: float) -> float | None:
    """Read a number of seconds or a date."""
    try:
        seconds = float(value) * scale
    except ValueError:
        pass
    else:
        return seconds if math.isfinite(seconds) else None
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
