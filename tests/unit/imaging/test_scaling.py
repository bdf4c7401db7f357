"""Scaling: exact sizes, right colours, whichever library does it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from taggerd.imaging import scaling

EDGE = 320


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize(
    "size", [(1, 1), (320, 7), (321, 320), (640, 480), (1001, 3), (2, 5000), (1283, 999)]
)
def test_a_picture_comes_out_as_long_as_wanted(mode: str, size: tuple[int, int]) -> None:
    """Its long side to the pixel, the other by its proportions; a small one is left as it is."""
    image = Image.new(mode, size, 120 if mode == "L" else (120,) * len(mode))
    image.info["icc_profile"] = b"kept"
    scaled = scaling.to_edge(image, EDGE)
    factor = min(1, EDGE / max(size))
    assert scaled.size == tuple(max(1, round(side * factor)) for side in size)
    assert scaled.mode == mode
    assert scaled.info["icc_profile"] == b"kept"
    assert set(np.asarray(scaled).ravel().tolist()) <= {119, 120, 121}


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(480, 360), (640, 427), (1280, 960), (1283, 999), (960, 40)])
def test_both_libraries_scale_alike(mode: str, size: tuple[int, int]) -> None:
    """No edge moves by a pixel, and no band changes places."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    waves = [128 + 120 * np.sin(x / (9 + n)) * np.cos(y / (7 + n)) for n in range(4)]
    bands = [Image.fromarray(wave.astype(np.uint8)) for wave in waves]
    image = Image.merge(mode, bands[: Image.getmodebands(mode)])
    scaled = scaling.to_edge(image, EDGE)
    expected = image.resize(scaled.size, Image.Resampling.LANCZOS, reducing_gap=2)
    difference = np.abs(np.asarray(scaled, int) - np.asarray(expected, int))
    assert difference.max() <= 10
    assert difference.mean() < 1
