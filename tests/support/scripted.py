"""A backend that replies as a test tells it to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from taggerd import settings
from taggerd.inference.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = "http://backend.test/v1"


def chat(content: str | None, **message: Any) -> httpx.Response:  # noqa: ANN401 - any JSON
    """Return a chat completion of one choice."""
    reason = message.pop("finish_reason", "stop")
    model = message.pop("model", "eye")
    body = {
        "model": model,
        "choices": [{"message": {"content": content, **message}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 300, "completion_tokens": 7},
    }
    return httpx.Response(200, json=body)


@dataclass
class Scripted:
    """A backend whose replies are a list, or come from a function of the request's body."""

    replies: list[httpx.Response | Exception] = field(default_factory=list)
    reply: Callable[[dict[str, Any]], httpx.Response] | None = None
    models: tuple[str, ...] = ("eye",)
    listing: httpx.Response | None = None
    requests: list[httpx.Request] = field(default_factory=list)

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of all chat requests so far."""
        return [json.loads(r.content) for r in self.requests if r.method == "POST"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(request)
        if request.url.path.endswith("/models"):
            listed = {"data": [{"id": model} for model in self.models]}
            return self.listing or httpx.Response(200, json=listed)
        if self.reply:
            return self.reply(json.loads(request.content))
        outcome = self.replies.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def backend(self, **options: Any) -> Backend:  # noqa: ANN401 - settings of several types
        """Return a backend that talks to this."""
        key = options.pop("api_key", None)
        given = {"base_url": BASE, "model": "eye", "max_concurrency": 4} | options
        return Backend(
            settings.Backend(api_key=SecretStr(key) if key else None, **given),
            transport=httpx.MockTransport(self),
            wall_clock=lambda: 1_750_000_000.0,
            random=Random(7),  # noqa: S311 - a test's own lot
        )
