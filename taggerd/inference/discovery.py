"""Discovery: what ``base_url = "auto"`` finds on this machine, and which of its models to take."""

from __future__ import annotations

import asyncio
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import BackendError, BackendUnreachable
from taggerd.inference.client import Client, json_of
from taggerd.inference.completion import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx

_PROBE_SECONDS = 2.0
"""Longest wait for one candidate; what runs on this machine lists its models at once."""

_NO_CHAT = re.compile(
    r"embed|rerank|\bbge\b|\be5\b|\bgte\b|minilm|colbert|\bclip\b|siglip|whisper|\btts\b|dall-e"
    r"|moderation|transcribe|realtime|babbage|davinci|\bsora\b|gpt-image|stable-diffusion|\bflux\b",
    re.IGNORECASE,
)
_SEES = re.compile(
    r"\bvl\b|-vl|vl-|vision|visual|llava|bakllava|moondream|minicpm-?v|internvl|gemma-?[34]|pixtral"
    r"|molmo|smolvlm|paligemma|florence|qwen[\d.]*vl|gpt-4o|gpt-4\.1|gpt-5|gemini|claude|glm-4.*v"
    r"|granite.*vision|phi-.*(?:vision|multimodal)|describer",
    re.IGNORECASE,
)


class Candidate(NamedTuple):
    """A backend that may be running."""

    name: str
    base_url: str


CANDIDATES = (
    Candidate("Ollama", "http://127.0.0.1:11434/v1"),
    Candidate("LM Studio", "http://127.0.0.1:1234/v1"),
    Candidate("llama-server", "http://127.0.0.1:8080/v1"),
    Candidate("vLLM", "http://127.0.0.1:8000/v1"),
)
"""Where backends listen by default, the preferred first."""

MOST_MODELS = 5000
"""Models of a listing that are read; the largest known, of a router, has some hundreds."""
_MOST_COMPARED = 500
"""Models among which a similar name is looked for: each costs up to a millisecond."""

_READY, _EMPTY, _LOCKED, _NOTHING = 3, 2, 1, 0


async def discover(
    candidates: Sequence[Candidate] = CANDIDATES,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Candidate:
    """Return the first of *candidates* that serves a model.

    All are asked at once, without a key. One that has no model loaded or wants a key is taken only
    if no other is better.

    Raises:
        BackendUnreachable: there is none; the message names the addresses.
    """
    ranks = await asyncio.gather(*(_rank(candidate, transport) for candidate in candidates))
    best = max(ranks, default=_NOTHING)
    if best > _NOTHING:
        return candidates[ranks.index(best)]
    tried = ", ".join(f"{name} ({base_url})" for name, base_url in candidates)
    message = f"no backend found on this machine; tried {tried}; set backend.base_url"
    raise BackendUnreachable(message)


async def _rank(candidate: Candidate, transport: httpx.AsyncBaseTransport | None) -> int:
    """Rank one candidate."""
    client = Client(candidate.base_url, timeout_seconds=_PROBE_SECONDS, transport=transport)
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
    return _READY if first_chat_model(listed) else _EMPTY


def listed_models(body: object) -> tuple[str, ...] | None:
    """Return the model ids in the JSON of ``GET /models``; None if it is something else.

    OpenAI's form is ``{"data": [{"id": …}]}``; Ollama without a model sends ``"data": null``. A
    name longer than any model has is left out: a part of it would name another. Of more models than
    anybody serves the rest are left out.
    """
    if not isinstance(body, dict) or not ({"data", "models"} & body.keys()):
        return None
    entries = body.get("data") if "data" in body else body["models"]
    if entries is None:
        return ()
    if not isinstance(entries, list):
        return None
    ids: dict[str, None] = {}
    for entry in entries:
        if len(ids) == MOST_MODELS:
            break
        fields = entry if isinstance(entry, dict) else {"id": entry}
        name = next((fields[k] for k in ("id", "name", "model") if k in fields), None)
        if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME:
            ids[name] = None
    return tuple(ids)


def first_chat_model(listed: Sequence[str]) -> str:
    """Return the first model not named as one for something other than chat; empty if none."""
    return next(iter(chat_models(listed)), "")


def chat_models(listed: Sequence[str]) -> tuple[str, ...]:
    """Return the models not named as ones for something other than chat."""
    return tuple(model for model in listed if not _NO_CHAT.search(model))


def vision_models(listed: Sequence[str]) -> tuple[str, ...]:
    """Return the models whose names say that they take pictures."""
    return tuple(m for m in listed if _SEES.search(m) and not _NO_CHAT.search(m))


def same_model(asked: str, answered: str) -> bool:
    """Return whether two names may mean one model.

    Servers add a tag, a date, a path or a file ending: ``llava`` and ``llava:latest``, ``gpt-4o``
    and ``gpt-4o-2024-08-06``. A server that gives no name (empty) is believed.
    """
    one, other = _plain(asked), _plain(answered)
    return not other or one.startswith(other) or other.startswith(one)


def serves(listed: Sequence[str], model: str) -> bool:
    """Return whether *model* is listed, as it is or with the tag that Ollama adds."""
    return model in listed or f"{model}:latest" in listed


def similar_models(listed: Sequence[str], model: str, most: int = 3) -> tuple[str, ...]:
    """Return the listed models to suggest instead of *model*, the most similar first."""
    by_folded = {name.casefold(): name for name in listed[:_MOST_COMPARED]}
    close = get_close_matches(model.casefold(), by_folded, n=most, cutoff=0.4)
    named = tuple(by_folded[name] for name in close)
    return named or vision_models(listed)[:most] or tuple(listed[:most])


def _plain(model: str) -> str:
    """Return a model's name without path, tag ``latest`` and file ending."""
    name = model.casefold().replace("\\", "/").rsplit("/", 1)[-1]
    return name.removesuffix(":latest").removesuffix(".gguf").split("@", 1)[0]
