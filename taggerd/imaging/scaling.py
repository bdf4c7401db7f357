"""Scaling in two steps: whole blocks of pixels while a picture is decoded, the rest afterwards."""

from __future__ import annotations

from PIL import Image

_KEPT = 2
"""The first step leaves so many times the size wanted: the second one is as good as from the whole
(Pillow's `reducing_gap`)."""


def block(size: tuple[int, int], max_edge: int) -> int:
    """Return the edge of the blocks of pixels that a picture of *size* may be reduced by."""
    return max(1, max(size) // (_KEPT * max_edge))


def fitted(
    image: Image.Image, size: tuple[int, int], by: tuple[float, float], max_edge: int
) -> Image.Image:
    """Scale *image*, which is a picture of *size* reduced *by* so much, to *max_edge*."""
    width, height = size
    factor = min(1.0, max_edge / max(size))
    wanted = max(1, round(width * factor)), max(1, round(height * factor))
    if image.size == wanted:
        return image
    # The last block of a row or column may lie partly outside of the picture.
    inside = min(image.width, width / by[0]), min(image.height, height / by[1])
    scaled = image.resize(wanted, Image.Resampling.LANCZOS, box=(0, 0, *inside))
    scaled.info = image.info
    return scaled
