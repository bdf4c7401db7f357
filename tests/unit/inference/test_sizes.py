"""The size of the picture, by the model that is asked."""

from __future__ import annotations

import math
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from support.scripted import Scripted

from taggerd import settings
from taggerd.inference.profiles import load_profile
from taggerd.inference.service import InferenceService
from taggerd.inference.sizes import picture_edge

if TYPE_CHECKING:
    from collections.abc import Callable

DEFAULT = settings.Image().edge
SHAPES = {"3:2": 3 / 2, "4:3": 4 / 3, "16:9": 16 / 9, "1:1": 1.0, "2:1": 2.0, "2:3": 2 / 3}

NAMES = {
    "qwen2.5vl:7b": 1008,
    "Qwen/Qwen2.5-VL-7B-Instruct": 1008,
    "ggml-org/Qwen2-VL-2B-Instruct-GGUF": 1008,
    "zai-org/GLM-4.1V-9B-Thinking": 1008,
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506": 1008,
    "mistral-small3.1:latest": 1008,
    "llava": 672,
    "llava:13b-v1.6-q4_0": 672,
    "llava-hf/llava-1.5-7b-hf": 672,
    "liuhaotian/llava-v1.6-mistral-7b": 672,
    "bakllava:7b": 672,
    "google/paligemma-3b-mix-224": 448,
    "google/paligemma2-10b-ft-docci-448": 896,
}
UNLISTED = (
    "qwen3-vl:8b",
    "Qwen/Qwen3-VL-8B-Instruct",
    "qwen2.5:7b",
    "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "llava-hf/LLaVA-NeXT-Video-7B-hf",
    "THUDM/glm-4v-9b",
    "gemma3:12b",
    "google/paligemma2-28b-pt-896",
    "llama3.2-vision",
    "mistral-small:24b",
    "gpt-4o-mini",
    "OpenGVLab/InternVL3-8B",
    "taggerd-describer-pixels-only",
    "",
)


@pytest.mark.parametrize(("model", "edge"), NAMES.items())
def test_a_model_is_known_by_its_name(model: str, edge: int) -> None:
    """Whoever serves it, and whatever they put before or behind its name."""
    assert picture_edge([model]) == edge


@pytest.mark.parametrize("model", UNLISTED)
def test_an_unknown_model_is_sent_the_default(model: str) -> None:
    """So is one whose name is only like that of another."""
    assert picture_edge([model]) is None


def test_the_neediest_of_several_models_decides() -> None:
    """One picture is made for all roles; the default is more than any listed size."""
    assert picture_edge(["llava:7b", "qwen2.5vl:7b"]) == 1008
    assert picture_edge(["llava:7b", "llava:13b"]) == 672
    assert picture_edge(["llava:7b", "gemma3:4b"]) is None
    assert picture_edge(["llava:7b", ""]) is None
    assert picture_edge([]) is None


def served(*models: str, **own: Any) -> InferenceService:  # noqa: ANN401 - tables of settings
    """Return the service of a backend that serves *models*, with tables of roles."""
    return InferenceService(
        settings.Settings.model_validate({"roles": own}),
        load_profile("default"),
        {"": Scripted(models=models).backend(model="")},
    )


async def test_the_models_that_are_asked_decide() -> None:
    """Each role's own, else the backend's; until it has said which it serves, the default."""
    service = served("qwen2.5vl:7b", caption={"model": "llava:7b"})
    assert service.picture_edge is None
    await service.choose_models()
    assert service.picture_edge == 1008
    needier = served("qwen2.5vl:7b", caption={"model": "gemma3:4b"})
    await needier.choose_models()
    assert needier.picture_edge is None


# What the processors do, as their documentation has it: tokens, and pixels that are looked at.

Seen = tuple[int, int, int]


def _rounded(factor: int, rounding: Callable[[float], int] = round) -> Callable[[int, int], Seen]:
    """Qwen's `smart_resize`, within its limits; Pixtral rounds up."""

    def seen(width: int, height: int) -> Seen:
        columns, rows = (max(1, rounding(side / factor)) for side in (width, height))
        return columns * rows, min(width, columns * factor), min(height, rows * factor)

    return seen


def _broken_rows(factor: int) -> Callable[[int, int], Seen]:
    """Pixtral: a token ends each row."""

    def seen(width: int, height: int) -> Seen:
        tokens, columns, rows = _rounded(factor, math.ceil)(width, height)
        return tokens + math.ceil(height / factor), columns, rows

    return seen


def _covering(edge: int, tokens: int) -> Callable[[int, int], Seen]:
    """Scaled until the shorter side is *edge*."""

    def seen(width: int, height: int) -> Seen:
        factor = min(1.0, edge / min(width, height))
        return tokens, round(width * factor), round(height * factor)

    return seen


def _llava_next(width: int, height: int) -> Seen:
    """`select_best_resolution`, then tiles of 336 pixels, unpadded, a token at each row's end."""
    grids = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))

    def fitted(grid: tuple[int, int]) -> tuple[int, int]:
        factor = min(grid[0] / width, grid[1] / height)
        return int(width * factor), int(height * factor)

    def gain(grid: tuple[int, int]) -> tuple[int, int]:
        wide, high = fitted(grid)
        useful = min(wide * high, width * height)
        return useful, useful - grid[0] * grid[1]

    wide, high = fitted(max(grids, key=gain))
    columns, rows = round(wide / 14), round(high / 14)
    return 576 + (columns + 1) * rows, min(width, wide), min(height, high)


def _by_proportions(width: int, height: int) -> Seen:
    """InternVL's `dynamic_preprocess`: up to 12 tiles of 448 that are closest in proportions."""
    grids = sorted(
        {(i, j) for i in range(1, 13) for j in range(1, 13) if i * j <= 12},
        key=lambda grid: (grid[0] * grid[1], grid),
    )
    best, closest = (1, 1), math.inf
    for grid in grids:
        differing = abs(width / height - grid[0] / grid[1])
        larger = width * height > 0.5 * 448 * 448 * grid[0] * grid[1]
        if differing < closest or (differing == closest and larger):
            best, closest = grid, differing
    tiles = best[0] * best[1]
    tokens = 256 * (tiles + 1 if tiles > 1 else 1)
    return tokens, min(width, 448 * best[0]), min(height, 448 * best[1])


def _smolvlm(width: int, height: int) -> Seen:
    """The longer side scaled to 1536, also up, then tiles of 384 and the whole, 81 tokens each."""
    factor = 1536 / max(width, height)
    columns, rows = (math.ceil(round(side * factor) / 384) for side in (width, height))
    return 81 * (columns * rows + 1), width, height


def _tiles(width: int, height: int) -> Seen:
    """OpenAI's: the shorter side at most 768, then tiles of 512 pixels."""
    factor = min(1.0, 2048 / max(width, height), 768 / min(width, height))
    wide, high = round(width * factor), round(height * factor)
    return 85 + 170 * math.ceil(wide / 512) * math.ceil(high / 512), wide, high


def _patches(width: int, height: int) -> Seen:
    """OpenAI's small models: patches of 32 pixels, 1.62 tokens each."""
    patches, wide, high = _rounded(32, math.ceil)(width, height)
    return round(patches * 1.62), wide, high


PROCESSORS: dict[str, Callable[[int, int], Seen]] = {
    "Qwen/Qwen2.5-VL-7B-Instruct": _rounded(28),
    "zai-org/GLM-4.1V-9B-Thinking": _rounded(28),
    "Qwen/Qwen3-VL-8B-Instruct": _rounded(32),
    "mistralai/Mistral-Small-3.1-24B-Instruct-2503": _broken_rows(28),
    "mistralai/Pixtral-12B-2409": _broken_rows(16),
    "llava-hf/llava-1.5-7b-hf": _covering(336, 576),
    "llava-hf/llava-v1.6-mistral-7b-hf": _llava_next,
    "google/gemma-3-12b-it": _covering(896, 256),
    "google/paligemma-3b-mix-448": _covering(448, 1024),
    "gpt-4o": _tiles,
    "gpt-4.1-mini": _patches,
    "OpenGVLab/InternVL3-8B": _by_proportions,
    "HuggingFaceTB/SmolVLM-Instruct": _smolvlm,
}


def size(edge: int, proportions: float) -> tuple[int, int]:
    """Return the width and height of a large photo that was scaled to *edge*."""
    return round(edge * min(1, proportions)), round(edge / max(1, proportions))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", PROCESSORS)
def test_nothing_is_lost_and_nothing_more_is_paid(model: str, shape: str) -> None:
    """Against the default: no token more, and all that was seen but a rim of half a patch."""
    auto = picture_edge([model]) or DEFAULT
    seen = PROCESSORS[model]
    tokens, wide, high = seen(*size(auto, SHAPES[shape]))
    tokens_before, wide_before, high_before = seen(*size(DEFAULT, SHAPES[shape]))
    assert auto <= DEFAULT
    assert tokens <= tokens_before
    assert wide >= 0.97 * wide_before
    assert high >= 0.97 * high_before


DOCUMENTED = {
    "Qwen2-VL, Qwen2.5-VL; GLM-4.1V to 4.6V": "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen3-VL": "Qwen/Qwen3-VL-8B-Instruct",
    "Mistral Small 3.1, 3.2": "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
    "Pixtral": "mistralai/Pixtral-12B-2409",
    "LLaVA 1.5, BakLLaVA": "llava-hf/llava-1.5-7b-hf",
    "LLaVA-NeXT (1.6)": "llava-hf/llava-v1.6-mistral-7b-hf",
    "Gemma 3": "google/gemma-3-12b-it",
    "PaliGemma 448": "google/paligemma-3b-mix-448",
    "InternVL 2 to 3": "OpenGVLab/InternVL3-8B",
    "SmolVLM": "HuggingFaceTB/SmolVLM-Instruct",
    "GPT-4o, GPT-4.1": "gpt-4o",
    "GPT-4.1 mini": "gpt-4.1-mini",
}


def test_the_table_of_tokens_in_the_documentation() -> None:
    """Its sizes and tokens follow from the processors' rules, for a photo of 3:2."""
    text = resources.files("taggerd").joinpath("docs", "backends.md").read_text("utf-8")
    row = re.compile(
        r"^\| ([^|]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|", re.MULTILINE
    )
    told = {
        name: [int(n.replace(",", "")) for n in numbers] for name, *numbers in row.findall(text)
    }
    expected = {}
    for name, model in DOCUMENTED.items():
        auto = picture_edge([model]) or DEFAULT
        tokens = [PROCESSORS[model](*size(edge, 1.5))[0] for edge in (512, DEFAULT, auto)]
        expected[name] = [*tokens[:2], auto, tokens[2]]
    assert told == expected
