"""The models that an endpoint lists, and which of them to take."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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


def listed_models(body: object) -> tuple[str, ...] | None:
    """Return the model ids in the JSON of ``GET /models``; None if it is no such list.

    OpenAI's form is ``{"data": [{"id": …}]}``; Ollama without a model sends ``"data": null``.
    """
    if not isinstance(body, dict) or not ({"data", "models"} & body.keys()):
        return None
    entries = body.get("data") if "data" in body else body["models"]
    if entries is None:
        return ()
    if not isinstance(entries, list):
        return None
    ids = []
    for entry in entries:
        fields = entry if isinstance(entry, dict) else {"id": entry}
        name = next((fields[k] for k in ("id", "name", "model") if k in fields), None)
        if isinstance(name, str) and name:
            ids.append(name)
    return tuple(dict.fromkeys(ids))


def choose(listed: Sequence[str]) -> str:
    """Return the first model that is not plainly for something other than chat; empty if none."""
    return next((model for model in listed if not _NO_CHAT.search(model)), "")


def with_sight(listed: Sequence[str]) -> tuple[str, ...]:
    """Return the models whose names say that they see pictures."""
    return tuple(m for m in listed if _SEES.search(m) and not _NO_CHAT.search(m))


def same_model(asked: str, answered: str) -> bool:
    """Say whether two names may be one model's.

    Servers add a tag, a date, a path or a file ending: ``llava`` and ``llava:latest``, ``gpt-4o``
    and ``gpt-4o-2024-08-06``. A server that names none (empty) is believed.
    """
    one, other = _plain(asked), _plain(answered)
    return not other or one.startswith(other) or other.startswith(one)


def serves(listed: Sequence[str], model: str) -> bool:
    """Say whether *model* is in a listing: as it is, or with the tag that Ollama adds."""
    return model in listed or f"{model}:latest" in listed


def near(listed: Sequence[str], model: str, most: int = 3) -> tuple[str, ...]:
    """Return the listed models to name when *model* is not among them, the nearest first."""
    by_folded = {name.casefold(): name for name in listed}
    close = get_close_matches(model.casefold(), by_folded, n=most, cutoff=0.4)
    named = tuple(by_folded[name] for name in close)
    return named or with_sight(listed)[:most] or tuple(listed[:most])


def _plain(model: str) -> str:
    """Return a model's name without path, tag ``latest`` and file ending."""
    name = model.casefold().replace("\\", "/").rsplit("/", 1)[-1]
    return name.removesuffix(":latest").removesuffix(".gguf").split("@", 1)[0]
