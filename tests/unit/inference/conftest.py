"""A scripted backend, and pictures made on the spot."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from support.scripted import Scripted, chat

from taggerd.inference.questions import Question
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx


@pytest.fixture
def scripted() -> type[Scripted]:
    """The class of scripted backends."""
    return Scripted


@pytest.fixture
def say() -> Callable[..., httpx.Response]:
    """Make a chat completion."""
    return chat


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    """Make a JPEG of one colour."""

    def make(
        colour: tuple[int, int, int] = (40, 90, 200), size: tuple[int, int] = (96, 64)
    ) -> bytes:
        out = io.BytesIO()
        Image.new("RGB", size, colour).save(out, "JPEG", quality=90)
        return out.getvalue()

    return make


@pytest.fixture
def picture(jpeg: Callable[..., bytes]) -> Picture:
    """A picture, ready to be sent."""
    return Picture(
        jpeg=jpeg(), width=96, height=64, thumbnail=b"", digest="d", stamp=Stamp(1, 2, 3, 4)
    )


@pytest.fixture
def question() -> Callable[..., Question]:
    """Make a question."""

    def make(role: str = "caption", **changes: Any) -> Question:  # noqa: ANN401 - fields of several types
        fields: dict[str, Any] = {
            "role": role,
            "model": "eye",
            "system": "You describe photographs for a photo library. Say only what can be seen.",
            "prompt": f"Write the {role} for this photo in plain words of your own please.",
            "max_tokens": 100,
            "wants": "keywords" if role == "keywords" else "text",
        }
        return Question(**(fields | changes))

    return make
