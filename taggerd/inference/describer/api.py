"""The describer's API: one request in, one reply out; and a transport for httpx in this process."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import TYPE_CHECKING

import httpx

from taggerd.inference.describer import sentences
from taggerd.inference.describer.pixels import UnreadablePicture, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODEL = "taggerd-describer-pixels-only"
_DATA_URL = re.compile(r"data:image/jpe?g;base64,", re.IGNORECASE)


class _Refusal(Exception):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        """Keep the status, and the body of OpenAI's form with *message* and *code*."""
        super().__init__(message)
        self.status = status
        self.body: dict[str, object] = {
            "error": {"message": message, "type": "invalid_request_error", "code": code or None}
        }


def respond(method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
    """Answer one HTTP request with a status and a JSON body."""
    try:
        return 200, _routed(method, path.split("?", 1)[0].rstrip("/"), body)
    except _Refusal as refusal:
        return refusal.status, refusal.body


def _routed(method: str, route: str, body: bytes) -> dict[str, object]:
    """Answer a request by its route."""
    if route not in {"/v1/models", "/v1/chat/completions"}:
        message = f"no {route or '/'} here; there are /v1/models and /v1/chat/completions"
        raise _Refusal(404, message)
    if method != ("GET" if route == "/v1/models" else "POST"):
        message = f"{route} does not take {method}"
        raise _Refusal(405, message)
    return _listing() if method == "GET" else _chat(body)


def _listing() -> dict[str, object]:
    """Return the list of models."""
    entry = {"id": MODEL, "object": "model", "created": 0, "owned_by": "taggerd"}
    return {"object": "list", "data": [entry]}


def _chat(body: bytes) -> dict[str, object]:
    """Answer a chat request."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        message = "the body is not JSON"
        raise _Refusal(400, message) from None
    if not isinstance(request, dict):
        message = "the body is not a JSON object"
        raise _Refusal(400, message)
    if request.get("model") != MODEL:
        message = f"model {request.get('model')!r:.100} not found; there is {MODEL!r}"
        raise _Refusal(404, message, "model_not_found")
    if request.get("stream"):
        message = "stream is not supported"
        raise _Refusal(400, message)
    prompt, jpeg = _asked(request.get("messages"))
    keys = _keys(request.get("response_format"))
    words, cut = _limited(_answer(prompt, jpeg, keys), _token_limit(request))
    spent = {"prompt_tokens": len(prompt.split()) + (256 if jpeg else 0)}
    spent["completion_tokens"] = len(words.split())
    spent["total_tokens"] = sum(spent.values())
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": words},
        "finish_reason": "length" if cut else "stop",
    }
    return {
        "id": "chatcmpl-pixels",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": spent,
    }


def _asked(messages: object) -> tuple[str, bytes | None]:
    """Return the text and the picture of the last user message."""
    given = messages if isinstance(messages, list) else []
    users = [m for m in given if isinstance(m, dict) and m.get("role") == "user"]
    if not users:
        message = "messages has no message of the user"
        raise _Refusal(400, message)
    content = users[-1].get("content")
    if isinstance(content, str):
        return content, None
    texts, jpeg = [], None
    for part in content if isinstance(content, list) else []:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif part.get("type") == "image_url":
            jpeg = _picture(part.get("image_url"))
    return "\n".join(texts), jpeg


def _picture(image_url: object) -> bytes:
    """Return the bytes of a picture that came as a data URL."""
    url = image_url.get("url") if isinstance(image_url, dict) else image_url
    match = _DATA_URL.match(url) if isinstance(url, str) else None
    if not isinstance(url, str) or not match:
        message = "image_url must be a data URL of a JPEG: data:image/jpeg;base64,..."
        raise _Refusal(400, message)
    try:
        return base64.b64decode(url[match.end() :], validate=True)
    except ValueError:
        message = "the picture's base64 is damaged"
        raise _Refusal(400, message) from None


def _token_limit(request: Mapping[str, object]) -> int:
    """Return the request's limit on the answer; a word counts as a token. 0: none."""
    limit = request.get("max_completion_tokens", request.get("max_tokens"))
    return limit if isinstance(limit, int) and limit > 0 else 0


def _limited(words: str, limit: int) -> tuple[str, bool]:
    """Cut an answer as a model would be cut."""
    parts = words.split()
    return (" ".join(parts[:limit]), True) if limit and len(parts) > limit else (words, False)


def _keys(response_format: object) -> tuple[str, ...]:
    """Return the keys of the object that a JSON schema asks for; none without a schema."""
    at = response_format
    for name in ("json_schema", "schema", "properties"):
        at = at.get(name) if isinstance(at, dict) else None
    return tuple(at) if isinstance(at, dict) else ()


def _answer(prompt: str, jpeg: bytes | None, keys: Sequence[str] = ()) -> str:
    """Answer a prompt by what the pixels show."""
    if jpeg is None:
        return "ready" if "ready" in prompt.casefold() else "I can only say what pixels show."
    try:
        summary = summarise(jpeg)
    except UnreadablePicture as error:
        message = f"the picture cannot be read: {error}"
        raise _Refusal(400, message) from None
    if len(keys) > 1:
        return sentences.answers(prompt, keys, summary)
    return sentences.answer(prompt, summary)


class _DescriberTransport(httpx.AsyncBaseTransport):
    """Carries requests to the describer in this process."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        path = request.url.raw_path.decode("ascii", "replace")
        status, answer = await asyncio.to_thread(respond, request.method, path, body)
        return httpx.Response(status, json=answer, request=request)


def describer_transport() -> httpx.AsyncBaseTransport:
    """Return a transport for httpx that answers in this process; decoding runs in a thread."""
    return _DescriberTransport()
