"""How large a picture a model's own processor takes in: what ``image.max_edge = "auto"`` sends.

Every model scales what it is sent: to a fixed size, into tiles, or to multiples of its patches.
The size of a family is the smallest from which it sees no less than from a picture of the default
size, at proportions of up to 2:1; none is larger. What is not listed is sent the default: it takes
that in whole (OpenAI's tiles of 512 pixels and patches of 32, Qwen3-VL's of 32, Pixtral's of 16),
or scales it up (Gemma 3, Llama 3.2 Vision, SmolVLM, InternVL, MiniCPM-V, Moondream).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Family(NamedTuple):
    """Models that take pictures in alike."""

    names: re.Pattern[str]
    """What is found in their names: whoever serves them adds paths and tags."""
    edge: int
    """Longest side, pixels."""


def _family(names: str, edge: int) -> Family:
    return Family(re.compile(names, re.IGNORECASE), edge)


FAMILIES = (
    # Qwen2VLImageProcessor, patch_size 14, merge_size 2: each side is rounded to a multiple of 28
    # (`smart_resize` in transformers and qwen_vl_utils). 1024 pixels are paid for as 37 columns.
    _family(r"qwen[-_]?2([._]5)?[-_]?vl", 36 * 28),
    # Glm4vImageProcessor and Glm46VImageProcessor: the same rule and sizes.
    _family(r"glm-?4\.\d-?v|glm-?ocr", 36 * 28),
    # PixtralProcessor, patch_size 14, spatial_merge_size 2: rounded up to a multiple of 28.
    _family(r"mistral-small-?3\.[1-9]|mistral-small.*-250[3-9]", 36 * 28),
    # CLIP ViT-L/14-336. LLaVA 1.5 scales the shorter side to 336, so the longer one of a photo of
    # 2:1 to 672. LLaVA-NeXT (1.6) fits the photo into 672 by 672 (`image_grid_pinpoints`).
    _family(r"\b(bak)?llava(\Z|:|-?v?1\.[56]|-(phi|llama)-?3)|\bllama3-llava-next", 2 * 336),
    # They name the square that every picture is scaled to (ai.google.dev/gemma/docs).
    _family(r"paligemma.*\b224\b", 2 * 224),
    _family(r"paligemma.*\b448\b", 2 * 448),
)
"""Sources: ``preprocessor_config.json`` and the processor's code of each family, in transformers.
The tokens that follow are listed in ``taggerd/docs/backends.md``."""


def picture_edge(models: Iterable[str]) -> int | None:
    """Return the longest side of one picture for all of *models*, pixels: what the neediest takes.

    None: the default, as for a model that is not listed, and while one is not known (empty).
    """
    edges = [_edge(model) for model in models]
    sizes = [edge for edge in edges if edge is not None]
    return max(sizes) if sizes and len(sizes) == len(edges) else None


def _edge(model: str) -> int | None:
    return next((family.edge for family in FAMILIES if family.names.search(model)), None)
