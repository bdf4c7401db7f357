"""What "auto" finds on this machine."""

from __future__ import annotations

import httpx
import pytest

from taggerd import settings
from taggerd.errors import BackendUnreachable
from taggerd.inference import Backend
from taggerd.inference.discovery import discover

VLLM, LLAMA, STUDIO, OLLAMA = 8000, 8080, 1234, 11434


def machine(**replies: httpx.Response) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """Return a machine on which something listens on the ports ``p8000=...``."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        reply = replies.get(f"p{request.url.port}")
        if reply is None:
            message = "refused"
            raise httpx.ConnectError(message)
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    return httpx.MockTransport(answer), seen


def serves(*models: str) -> httpx.Response:
    """Return a listing."""
    return httpx.Response(200, json={"data": [{"id": model} for model in models]})


EMPTY = httpx.Response(200, json={"object": "list", "data": None})
PAGE = httpx.Response(200, html="<html>a development server</html>")
LOCKED = httpx.Response(401, json={"error": "Unauthorized"})


@pytest.mark.parametrize(
    ("replies", "port", "name"),
    [
        ({"p11434": serves("llava"), "p8000": serves("x")}, OLLAMA, "Ollama"),
        ({"p1234": serves("llava"), "p8080": serves("x")}, STUDIO, "LM Studio"),
        ({"p8080": serves("llava"), "p8000": serves("x")}, LLAMA, "llama-server"),
        ({"p8000": serves("llava")}, VLLM, "vLLM"),
        ({"p11434": EMPTY, "p8000": serves("llava")}, VLLM, "vLLM"),
        ({"p11434": serves("nomic-embed-text"), "p8000": serves("llava")}, VLLM, "vLLM"),
        ({"p11434": EMPTY, "p8000": LOCKED}, OLLAMA, "Ollama"),
        ({"p8000": LOCKED, "p8080": PAGE}, VLLM, "vLLM"),
    ],
)
async def test_the_first_that_serves_a_model_is_taken(
    replies: dict[str, httpx.Response], port: int, name: str
) -> None:
    """Order: Ollama, LM Studio, llama-server, vLLM; empty and locked ones only in need."""
    transport, _ = machine(**replies)
    found = await discover(transport=transport)
    assert found == (name, f"http://127.0.0.1:{port}/v1")


@pytest.mark.parametrize(
    "replies", [{}, {"p8080": PAGE, "p8000": httpx.Response(404), "p1234": httpx.Response(302)}]
)
async def test_nothing_found_tells_where_was_looked(replies: dict[str, httpx.Response]) -> None:
    """Other servers on those ports are no backend; the message names all replies on one line."""
    transport, _ = machine(**replies)
    with pytest.raises(BackendUnreachable) as caught:
        await discover(transport=transport)
    text = str(caught.value)
    assert all(str(port) in text for port in (VLLM, LLAMA, STUDIO, OLLAMA))
    assert len(text.splitlines()) == 1


async def test_no_key_is_sent_to_whoever_listens() -> None:
    """The key goes to the place that was taken, never to those that were looked at."""
    transport, seen = machine(p11434=serves("llava"), p8080=PAGE)
    options = settings.Backend(base_url="auto", api_key="sk-1")
    backend = Backend(options, transport=transport)
    assert backend.base_url == "auto"
    assert await backend.choose_model() == "llava"
    assert backend.base_url == "http://127.0.0.1:11434/v1"
    assert ["authorization" in r.headers for r in seen] == [False] * 4 + [True]


async def test_auto_finds_a_backend_that_starts_later_or_elsewhere() -> None:
    """Each preflight looks again while nothing answers where the last one was found."""
    replies: dict[str, httpx.Response] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        if f"p{request.url.port}" not in replies:
            message = "refused"
            raise httpx.ConnectError(message)
        return httpx.Response(200, content=replies[f"p{request.url.port}"].content)

    backend = Backend(settings.Backend(base_url="auto"), transport=httpx.MockTransport(answer))
    report = await backend.preflight()
    assert report.base_url == "auto"
    assert "no backend found" in report.error
    replies["p11434"] = serves("llava")
    assert (await backend.preflight()).base_url == "http://127.0.0.1:11434/v1"
    replies.clear()
    replies["p8000"] = serves("qwen")
    assert (await backend.preflight()).base_url == "http://127.0.0.1:8000/v1"
    await backend.close()
