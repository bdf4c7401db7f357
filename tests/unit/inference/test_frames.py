"""A traceback out of a request is short enough to be read."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from taggerd import inference, settings
from taggerd.inference import Backend, InferenceService, load_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.photo import Picture

MOST_FRAMES = 7
PACKAGE = str(Path(inference.__file__).parent)


async def test_a_request_passes_few_frames_from_the_pipeline_to_httpx(
    say: Callable[..., httpx.Response], picture: Picture
) -> None:
    """Whoever reads a traceback sees the whole of inference at once."""
    stacks: list[list[str]] = []

    def reply(_: httpx.Request) -> httpx.Response:
        stack = traceback.extract_stack()
        stacks.append([f.name for f in stack if f.filename.startswith(PACKAGE)])
        return say("A boat on a lake at noon")

    options = settings.Backend(base_url="http://gpu.test/v1", model="eye", preflight=False)
    backend = Backend(options, transport=httpx.MockTransport(reply))
    service = InferenceService(
        settings.Settings(backend=options), load_profile("default"), {"": backend}
    )
    assert await service.probe() is None
    stacks.clear()
    async for _ in service.describe(picture, service.questions[:1]):
        pass
    assert len(stacks[0]) <= MOST_FRAMES, stacks[0]
