"""Backends for a new user: which there are, which of their models see, and what to load if none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from taggerd import inference  # its parts load the HTTP client, at first use
from taggerd.errors import BackendBlind, BackendDenied, BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.inference import Candidate
    from taggerd.settings import Backend as Options

_LIST_SECONDS = 4.0
"""Longest wait for a list of models: somebody is waiting."""
MOST_PROBED = 6
"""Models of a backend that are probed: each has to be loaded, and some are paid for."""


@dataclass(frozen=True, slots=True)
class Served:
    """What one address serves."""

    name: str
    """Of the program, for people: ``"Ollama"``; the address where that is not known."""
    base_url: str
    models: tuple[str, ...] = ()
    """Those that may see, the likeliest first; at most :data:`MOST_PROBED`."""
    listed: int = 0
    """How many models it lists in all."""
    locked: bool = False
    """It wants a key, or another one."""
    error: str = ""
    """Why it cannot be used; empty: it can."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the probe of one model found."""

    model: str
    sees: bool
    seconds: float = 0.0
    """What the probe took: the first time the model is loaded as well."""
    error: str = ""
    """Why it cannot be used, one line."""
    blind: bool = False
    """It answers, but does not see pictures."""


class Hint(NamedTuple):
    """A model to load, for one who has none."""

    model: str
    gigabytes: float
    """Size of the download."""
    runs_on: str


HINTS = (
    Hint("qwen2.5vl:7b", 6.0, "8 GB graphics card"),
    Hint("qwen2.5vl:3b", 3.2, "4 GB graphics card; slow without"),
    Hint("qwen2.5vl:32b", 21, "24 GB graphics card"),
)
"""Models that Ollama has, with the sizes of https://ollama.com/library."""


def hints_for(served: Sequence[Served]) -> list[str]:
    """Return what to do where no model sees, one line each; a command begins with a space."""
    names = {each.name for each in served if not each.error}
    if "Ollama" in names or not names:
        first = "Load one that sees, for example:"
        if not names:
            first = "Install Ollama (https://ollama.com/download), and load a model that sees:"
        return [first] + [
            f" ollama pull {hint.model:<15} {hint.gigabytes:>4} GB; {hint.runs_on}"
            for hint in HINTS
        ]
    how = {
        "LM Studio": "Search for a model marked Vision, e.g. Qwen2.5-VL-7B (6 GB), and load it",
        "llama-server": "Start it with a model that has an mmproj:\n"
        " llama-server -hf ggml-org/Qwen2.5-VL-7B-Instruct-GGUF    6 GB",
        "vLLM": "Start it with a model that sees:\n"
        " vllm serve Qwen/Qwen2.5-VL-7B-Instruct    17 GB",
    }
    lines = [f"{how[name]}" for name in sorted(names) if name in how]
    return "\n".join(lines or ["Load a model that sees pictures."]).splitlines()


def on_this_machine() -> list[Candidate]:
    """Return the addresses at which backends listen by default."""
    return [*inference.CANDIDATES]


def addresses_of(text: str) -> list[Candidate]:
    """Return the addresses that a person may mean by *text*: a name, with or without a port.

    Without a port it is each at which a backend listens by default.
    """
    text = text.strip().rstrip("/")
    if text == "builtin:":
        return [inference.Candidate("the built-in describer", text)]
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return []
    if not parts.hostname or parts.scheme not in {"http", "https"}:
        return []
    names = {urlsplit(each.base_url).port: each.name for each in inference.CANDIDATES}
    if port is None and parts.scheme == "http" and not parts.path:
        urls = {f"http://{parts.netloc}:{port}/v1": name for port, name in names.items()}
        return [inference.Candidate(name, url) for url, name in urls.items()]
    name = names.get(port, parts.netloc.rpartition("@")[2])
    return [inference.Candidate(name, url if parts.path else f"{url}/v1")]


async def find(options: Options, addresses: Sequence[Candidate]) -> list[Served]:
    """Ask each of *addresses* for its models, all at once; return those that answer, in order.

    Where only one was meant it is returned, whatever it says.

    Args:
        options: the settings; their key is sent to their own address alone.
        addresses: whom to ask.
    """
    found = await asyncio.gather(*(_served(options, each) for each in addresses))
    return [each for each in found if not each.error or each.locked or len(addresses) == 1]


async def probe(options: Options, served: Served, model: str) -> Asked:
    """Show two pictures to a *model* and return whether it sees."""
    backend = inference.Backend(_options(options, served.base_url, options.timeout_seconds, model))
    try:
        report = await backend.preflight([model])
    finally:
        await backend.close()
    seconds = sum(each.seconds for each in report.probes)
    blind = isinstance(report.fault, BackendBlind)
    return Asked(model, report.ok, seconds, report.error, blind)


async def _served(options: Options, address: Candidate) -> Served:
    backend = inference.Backend(_options(options, address.base_url, _LIST_SECONDS))
    try:
        listed = await backend.list_models()
    except BackendDenied as error:
        return Served(*address, locked=True, error=str(error))
    except BackendError as error:
        return Served(*address, error=str(error))
    finally:
        await backend.close()
    return Served(*address, _likeliest(listed), len(listed))


def _likeliest(listed: Sequence[str]) -> tuple[str, ...]:
    """Return the models to probe: those whose names say that they see, else the others."""
    named = inference.vision_models(listed)
    others = [model for model in inference.chat_models(listed) if model not in named]
    return tuple([*named, *others][:MOST_PROBED])


def _options(options: Options, base_url: str, seconds: float, model: str = "") -> Options:
    """Return the settings for one address."""
    changes: dict[str, object] = {
        "base_url": base_url,
        "endpoints": [],
        "model": model,
        "timeout_seconds": seconds,
    }
    if base_url != options.base_url:
        changes["api_key"] = None
    return options.model_copy(update=changes)
