"""A picture's fingerprint: it tells whether the next photo shows the same."""

from __future__ import annotations

from PIL import Image, ImageFilter, ImageStat

from taggerd.photo import FINGERPRINT_EDGE, Fingerprint

_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


def fingerprint_of(image: Image.Image) -> Fingerprint:
    """Return the fingerprint of *image*, as it is sent: no model sees more of it."""
    grey = image.convert("L")
    size = (FINGERPRINT_EDGE, FINGERPRINT_EDGE)
    tiny = grey.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    return Fingerprint(tiny.tobytes(), ImageStat.Stat(grey.filter(_LAPLACIAN)).var[0])
