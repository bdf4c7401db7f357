"""Scaling in two steps: whole blocks of pixels while a picture is decoded, the rest afterwards.

The rest is libvips's: its vector code takes a third of the time of Pillow's filter of the same kind
(1500 by 1000 pixels to 1024: 6 ms against 18), with differences of at most 4 in 255.
"""

from __future__ import annotations

import pyvips
from PIL import Image

_KEPT = 2
"""The first step leaves so many times the size wanted: the second one is as good as from the whole
(Pillow's `reducing_gap`)."""
_BANDS = {"L": 1, "RGB": 3, "CMYK": 4}
"""Modes whose bands are scaled alike, and their number; those with transparency are not."""


def block(size: tuple[int, int], max_edge: int) -> int:
    """Return the edge of the blocks of pixels that a picture of *size* may be reduced by."""
    return max(1, max(size) // (_KEPT * max_edge))


def to_edge(image: Image.Image, max_edge: int) -> Image.Image:
    """Scale a whole *image* to *max_edge* pixels; ``info`` is kept, and nothing is enlarged."""
    by = block(image.size, max_edge)
    reduced = image.reduce(by) if by > 1 else image
    return fitted(reduced, image.size, (by, by), max_edge)


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
    bands = _BANDS.get(image.mode)
    if bands and inside == image.size:
        scaled = _scaled(image, bands, wanted)
    else:
        scaled = image.resize(wanted, Image.Resampling.LANCZOS, box=(0, 0, *inside))
    scaled.info = image.info
    return scaled


def _scaled(image: Image.Image, bands: int, size: tuple[int, int]) -> Image.Image:
    """Scale *image*, which is small by now, by libvips."""
    whole = pyvips.Image.new_from_memory(image.tobytes(), *image.size, bands, "uchar")
    reduced = whole.resize(size[0] / image.width, vscale=size[1] / image.height)
    pixels = reduced.write_to_memory()
    return Image.frombuffer(image.mode, size, pixels, "raw", image.mode, 0, 1)
