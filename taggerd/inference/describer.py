"""The describer: a small OpenAI-compatible backend that says only what pixels show.

It is no vision model and says so in its model id. It serves those who have none yet, the demo, and
tests, which talk to it as to any other backend: in this process (:func:`describer_transport`) or on
a port (:class:`DescriberServer`, ``python -m taggerd.inference.describer --port N``).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

import httpx

from taggerd.inference import depiction
from taggerd.inference.pixels import UnreadablePicture, look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

MODEL = "taggerd-describer-pixels-only"
LARGEST_REQUEST = 32 * 1024 * 1024
"""Bytes."""
_DATA_URL = re.compile(r"data:image/jpe?g;base64,", re.IGNORECASE)


class _Refusal(Exception):
    """A request that cannot be answered, with its HTTP status."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, object] = {
            "error": {"message": message, "type": "invalid_request_error", "code": code or None}
        }


def respond(method: str, path: str, body: bytes) -> tuple[int, dict[str, object]]:
    """Answer one HTTP request: status and JSON body."""
    try:
        return 200, _routed(method, path.split("?", 1)[0].rstrip("/"), body)
    except _Refusal as refusal:
        return refusal.status, refusal.body


def _routed(method: str, route: str, body: bytes) -> dict[str, object]:
    """Answer a request by its route."""
    if route not in {"/v1/models", "/v1/chat/completions"}:
        message = f"no {route or '/'} here; there is /v1/models and /v1/chat/completions"
        raise _Refusal(404, message)
    if method != ("GET" if route == "/v1/models" else "POST"):
        message = f"{method} is not for {route}"
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
    said = messages if isinstance(messages, list) else []
    users = [m for m in said if isinstance(m, dict) and m.get("role") == "user"]
    if not users:
        message = "messages holds no message of the user"
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
    """Return the request's limit on the answer, words being taken for tokens; 0: none."""
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
    """Say what is asked, of what the pixels show."""
    if jpeg is None:
        return "ready" if "ready" in prompt.casefold() else "I can only say what pixels show."
    try:
        seen = look(jpeg)
    except UnreadablePicture as error:
        message = f"the picture cannot be looked at: {error}"
        raise _Refusal(400, message) from None
    return depiction.answers(keys, seen) if len(keys) > 1 else depiction.answer(prompt, seen)


class _DescriberTransport(httpx.AsyncBaseTransport):
    """Carries requests to the describer in this process."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        path = request.url.raw_path.decode("ascii", "replace")
        status, answer = await asyncio.to_thread(respond, request.method, path, body)
        return httpx.Response(status, json=answer, request=request)


def describer_transport() -> httpx.AsyncBaseTransport:
    """Return a transport for httpx that answers in this process; its decoding runs in a thread."""
    return _DescriberTransport()


class _Handler(BaseHTTPRequestHandler):
    """Carries requests to the describer over a socket."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def _serve(self) -> None:
        """Read one request, answer it."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self._refuse(411, "a body needs its Content-Length")
        elif int(length) > LARGEST_REQUEST:
            self._refuse(413, f"more than {LARGEST_REQUEST >> 20} MB")
        else:
            self._send(*respond(self.command, self.path, self.rfile.read(int(length))))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 - names of http.server

    def _refuse(self, status: int, message: str) -> None:
        """Answer without having read the body: the connection cannot go on."""
        self.close_connection = True
        self._send(status, _Refusal(status, message).body)

    def _send(self, status: int, answer: Mapping[str, object]) -> None:
        """Send status and JSON."""
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing: whoever asks keeps the records."""


class _Server(ThreadingHTTPServer):
    """Threads end with the process; a client that goes away is no news."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a connection that broke."""


class DescriberServer:
    """The describer on a port of this machine, as a context manager.

    ::

        with DescriberServer() as server:
            httpx.get(f"{server.base_url}/models")
    """

    def __init__(self, port: int = 0) -> None:
        """Bind *port* of 127.0.0.1; 0: any that is free."""
        self._server = _Server(("127.0.0.1", port), _Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="describer"
        )

    @property
    def base_url(self) -> str:
        """Where it answers, with ``/v1``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        """Start to answer."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and free the port."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def main(arguments: Sequence[str] | None = None, wait: Callable[[], object] | None = None) -> int:
    """Serve on a port until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m taggerd.inference.describer")
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1; 0: any free one")
    port: int = parser.parse_args(arguments).port
    with DescriberServer(port) as server:
        print(f"{MODEL} at {server.base_url}", flush=True)  # noqa: T201 - a program's own output
        try:
            (wait or threading.Event().wait)()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
