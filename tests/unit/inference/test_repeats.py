"""A model that says the same of every picture is blind, whatever its preflight says."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taggerd.errors import BackendBlind
from taggerd.inference import describer
from taggerd.inference.endpoint import control_picture
from taggerd.inference.health import SUSPICIOUS_REPEATS
from taggerd.inference.profiles import load_profile
from taggerd.inference.service import InferenceService
from taggerd.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.scripted import Scripted

    from taggerd.photo import Picture

CONTROL = base64.b64encode(control_picture().jpeg).decode()


async def _said(service: InferenceService, picture: Picture, *digests: str) -> list[str]:
    """Ask for the caption of pictures that differ in their digests."""
    return [
        answer.text
        for digest in digests
        async for answer in service.describe(replace(picture, digest=digest), service.questions[:1])
    ]


async def at_once(_: float) -> None:
    """Wait no time."""
    await asyncio.sleep(0)


async def _service(
    scripted: type[Scripted], reply: Callable[[dict[str, Any]], Any], *, preflight: bool = False
) -> tuple[InferenceService, Scripted]:
    """Ask a backend that answers as *reply* says; preflight's own questions by what it sees."""

    def answered(body: dict[str, Any]) -> httpx.Response:
        if any(message["role"] == "system" for message in body["messages"]):
            answer: httpx.Response = reply(body)
            return answer
        probe = json.dumps(body | {"model": describer.MODEL}).encode()
        status, said = describer.respond("POST", "/v1/chat/completions", probe)
        return httpx.Response(status, json=said | {"model": "eye"})

    server = scripted(reply=answered)
    settings = Settings.model_validate({"backend": {"preflight": preflight, "model": "eye"}})
    service = InferenceService(
        settings, load_profile("default"), {"": server.backend()}, sleep=at_once
    )
    assert await service.probe() is None
    server.requests.clear()
    return service, server


@pytest.mark.parametrize("preflight", [True, False])
async def test_the_same_caption_for_every_picture_is_held_back(
    scripted: type[Scripted],
    say: Callable[..., Any],
    picture: Picture,
    preflight: bool,
) -> None:
    """The backend is at fault, no photo; it stays so until the control picture is told apart."""
    mended = False

    def reply(body: dict[str, Any]) -> Any:  # noqa: ANN401 - a response
        seen = mended and CONTROL in json.dumps(body)
        return say("Hills under a blue sky" if seen else "A person standing outside")

    service, _ = await _service(scripted, reply, preflight=preflight)
    few = [f"{n}" for n in range(SUSPICIOUS_REPEATS - 1)]
    assert await _said(service, picture, *few, *few) == ["A person standing outside"] * 2 * len(few)
    with pytest.raises(BackendBlind, match=r"same caption for every picture.*person standing"):
        await _said(service, picture, "another")
    assert isinstance(await service.probe(), BackendBlind)
    mended = True
    await asyncio.wait_for(service.wait_usable(), 180)
    assert await _said(service, picture, "another") == ["A person standing outside"]


async def test_a_burst_of_one_scene_is_no_fault(
    scripted: type[Scripted], say: Callable[..., Any], picture: Picture
) -> None:
    """The control picture is asked about once for one caption, and told apart."""

    def reply(body: dict[str, Any]) -> Any:  # noqa: ANN401 - a response
        control = CONTROL in json.dumps(body)
        return say("Hills under a blue sky" if control else "A grey wall")

    service, server = await _service(scripted, reply)
    digests = [f"{n}" for n in range(4 * SUSPICIOUS_REPEATS)]
    assert await _said(service, picture, *digests) == ["A grey wall"] * len(digests)
    assert len(server.chats) == len(digests) + 1


async def test_captions_that_differ_cost_no_other_request(
    scripted: type[Scripted], say: Callable[..., Any], picture: Picture
) -> None:
    """One other caption in between, and the count restarts."""
    count = iter(range(1000))
    service, server = await _service(
        scripted, lambda _body: say("A wall" if next(count) % SUSPICIOUS_REPEATS else "A door")
    )
    digests = [f"{n}" for n in range(5 * SUSPICIOUS_REPEATS)]
    assert len(await _said(service, picture, *digests)) == len(digests)
    assert len(server.chats) == len(digests)
