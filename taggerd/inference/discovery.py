"""Discovery: what ``base_url = "auto"`` finds on this machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import BackendError, BackendUnreachable
from taggerd.inference.client import Client, json_of
from taggerd.inference.models import choose, listed_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

LOOK_SECONDS = 2.0
"""Longest wait for one place; what runs on this machine answers a listing at once."""


class Found(NamedTuple):
    """A place where a backend is, or may be."""

    name: str
    base_url: str


PLACES = (
    Found("Ollama", "http://127.0.0.1:11434/v1"),
    Found("LM Studio", "http://127.0.0.1:1234/v1"),
    Found("llama-server", "http://127.0.0.1:8080/v1"),
    Found("vLLM", "http://127.0.0.1:8000/v1"),
)
"""Where backends listen unless told otherwise, in the order in which they are taken."""

_READY, _EMPTY, _LOCKED, _NOTHING = 3, 2, 1, 0


async def discover(
    places: Sequence[Found] = PLACES, *, transport: httpx.AsyncBaseTransport | None = None
) -> Found:
    """Return the first of *places* that serves a model.

    All are asked at once, without any key. One that has no model loaded, or that wants a key, is
    taken only if no other is better.

    Raises:
        BackendUnreachable: there is none; the message tells where was looked.
    """
    ranks = await asyncio.gather(*(_look(place, transport) for place in places))
    best = max(ranks, default=_NOTHING)
    if best > _NOTHING:
        return places[ranks.index(best)]
    tried = ", ".join(f"{name} ({base_url})" for name, base_url in places)
    message = f"no backend found on this machine; looked for {tried}; set backend.base_url"
    raise BackendUnreachable(message)


async def _look(place: Found, transport: httpx.AsyncBaseTransport | None) -> int:
    """Rank one place."""
    client = Client(place.base_url, timeout_seconds=LOOK_SECONDS, transport=transport)
    try:
        reply = await client.send("/models")
    except BackendError:
        return _NOTHING
    finally:
        await client.close()
    body = json_of(reply)
    if reply.status == 401 and isinstance(body, dict):  # noqa: PLR2004 - Unauthorized
        return _LOCKED
    listed = listed_models(body) if reply.status == 200 else None  # noqa: PLR2004 - OK
    if listed is None:
        return _NOTHING
    return _READY if choose(listed) else _EMPTY
