"""What pixels show without any model: colours by name, light, shape, sharpness.

Everything is measured on a copy of at most 96 pixels a side. Nothing is guessed about the motif.
"""

from __future__ import annotations

import colorsys
import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image, ImageFilter, ImageStat

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_PIXELS = 80_000_000
"""Larger pictures are refused from their header."""
_SIDE = 96
_SHARP_SIDE = 512

Shape = Literal["landscape", "portrait", "square", "panorama"]

NEUTRALS = ("black", "grey", "white")
_HUES = (
    # Up to this hue in degrees: its name.
    (14, "red"),
    (40, "orange"),
    (68, "yellow"),
    (165, "green"),
    (190, "turquoise"),
    (255, "blue"),
    (292, "purple"),
    (345, "pink"),
    (360, "red"),
)
_WARM = frozenset({"red", "orange", "yellow", "brown", "pink", "beige"})
_COOL = frozenset({"green", "turquoise", "blue", "purple"})


class UnreadablePicture(ValueError):
    """The bytes are not a JPEG that can be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelSummary:
    """What the pixels of one picture show."""

    shape: Shape
    colours: tuple[tuple[str, float], ...]
    """Names with their share of the area, 0 to 1, the largest first."""
    top: str
    """The most frequent colour of the upper third."""
    bottom: str
    """The most frequent colour of the lower third."""
    brightness: float
    """Mean luminance, 0 to 1."""
    contrast: float
    """Standard deviation of luminance, 0 to 0.5."""
    monochrome: bool
    """Whether there is practically no colour in it."""
    sharpness: float
    """Mean strength of edges, 0 to 1: plain surfaces and blur are near 0."""
    brightest: str
    """Where the most light is: "left", "right", "top", "bottom", "middle"; empty if nowhere."""

    @property
    def main(self) -> tuple[str, ...]:
        """The colours that people would name: those of a notable share, at most three."""
        notable = tuple(name for name, share in self.colours if share >= 0.12)[:3]  # noqa: PLR2004 - an eighth of the area
        return notable or (self.colours[0][0],)

    @property
    def accent(self) -> str:
        """The largest real colour beside the main ones, if it is more than a trace."""
        others = (n for n, share in self.colours if share >= 0.02 and n not in self.main)  # noqa: PLR2004 - a fiftieth of the area
        return next((name for name in others if name not in NEUTRALS), "")

    @property
    def warmth(self) -> Literal["warm", "cool", ""]:
        """Whether warm or cool colours clearly prevail."""
        warm = sum(share for name, share in self.colours if name in _WARM)
        cool = sum(share for name, share in self.colours if name in _COOL)
        if max(warm, cool) < 0.25:  # noqa: PLR2004 - mostly grey
            return ""
        if warm > 2 * cool:
            return "warm"
        return "cool" if cool > 2 * warm else ""


def summarise(jpeg: bytes) -> PixelSummary:
    """Measure a JPEG.

    Raises:
        UnreadablePicture: it is not a JPEG, damaged, or larger than :data:`MOST_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as opened:
            size = opened.size
            fits = size[0] * size[1] <= MOST_PIXELS
            if fits:
                opened.draft("RGB", (_SHARP_SIDE, _SHARP_SIDE))
                picture = opened.convert("RGB")
    except Exception as error:  # A decoder raises anything for damaged bytes.
        message = f"not a JPEG that can be decoded ({type(error).__name__})"
        raise UnreadablePicture(message) from error
    if not fits:
        message = f"{size[0]} x {size[1]} pixels are too many"
        raise UnreadablePicture(message)
    return _measured(picture, size)


def _measured(picture: Image.Image, size: tuple[int, int]) -> PixelSummary:
    """Measure a decoded picture whose full *size* is given."""
    small = picture.resize(_within(size), Image.Resampling.BOX)
    names = [_name(pixel) for pixel in _pixels(small)]
    width, height = small.size
    third = max(1, height // 3) * width
    grey = small.convert("L")
    light = ImageStat.Stat(grey)
    shares = Counter(names)
    chroma = sum(max(p) - min(p) for p in _pixels(small)) / (255 * len(names))
    return PixelSummary(
        shape=_shape(size),
        colours=tuple((name, count / len(names)) for name, count in shares.most_common()),
        top=_commonest(names[:third]),
        bottom=_commonest(names[-third:]),
        brightness=light.mean[0] / 255,
        contrast=light.stddev[0] / 255,
        monochrome=chroma < 0.02,  # noqa: PLR2004 - 5 of 255 steps, what JPEG adds by itself
        sharpness=_sharpness(picture),
        brightest=_brightest(grey),
    )


def _pixels(picture: Image.Image) -> list[tuple[int, int, int]]:
    """Return the pixels of an RGB picture, row by row."""
    data = picture.tobytes()
    return list(zip(data[0::3], data[1::3], data[2::3], strict=True))


def _within(size: tuple[int, int]) -> tuple[int, int]:
    """Return *size* scaled so that its longer side is at most :data:`_SIDE`."""
    scale = min(1.0, _SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _commonest(names: Iterable[str]) -> str:
    """Return the most frequent name."""
    return Counter(names).most_common(1)[0][0]


def _name(pixel: tuple[int, int, int]) -> str:
    """Name one colour as most people would.

    Lightness and saturation decide first (HLS), hue after: dark orange is brown, pale orange
    beige, light red pink.
    """
    hue, light, saturation = colorsys.rgb_to_hls(*(channel / 255 for channel in pixel))
    chroma = (max(pixel) - min(pixel)) / 255
    if light < 0.12 or (light < 0.2 and chroma < 0.1):  # noqa: PLR2004 - thresholds by eye
        return "black"
    if light > 0.93 or (light > 0.85 and chroma < 0.08):  # noqa: PLR2004
        return "white"
    degrees = hue * 360
    name = next(name for limit, name in _HUES if degrees <= limit)
    # Shade on snow and stone is a little blue to a camera and grey to an eye.
    faint = 0.12 if name in _COOL else 0.08
    if chroma < faint or saturation < 0.1:  # noqa: PLR2004
        return "grey"
    if name in {"red", "orange", "yellow"}:
        return _earthen(name, light, chroma, degrees)
    if name == "pink" and light < 0.4:  # noqa: PLR2004 - dark pink has other names
        return "purple" if degrees < 330 else "red"  # noqa: PLR2004
    return name


def _earthen(name: str, light: float, chroma: float, degrees: float) -> str:
    """Tell brown, beige and pink from red, orange and yellow."""
    if light > 0.6 and chroma < 0.35:  # noqa: PLR2004 - thresholds by eye
        return "pink" if degrees < 12 or degrees > 345 else "beige"  # noqa: PLR2004
    if name == "red":
        return "brown" if chroma < 0.25 else "pink" if light > 0.72 else "red"  # noqa: PLR2004
    if name == "yellow":
        if degrees > 55 and chroma < 0.45:  # noqa: PLR2004 - olive
            return "green"
        return "brown" if light < 0.42 and chroma < 0.5 else "yellow"  # noqa: PLR2004
    return "brown" if light < 0.45 or chroma < 0.4 else "orange"  # noqa: PLR2004


def _shape(size: tuple[int, int]) -> Shape:
    """Name the proportions."""
    ratio = size[0] / size[1]
    if ratio >= 2.2 or ratio <= 1 / 2.2:  # noqa: PLR2004 - wider than cinema
        return "panorama"
    if 0.95 <= ratio <= 1.05:  # noqa: PLR2004 - within 5 %
        return "square"
    return "landscape" if ratio > 1 else "portrait"


def _sharpness(picture: Image.Image) -> float:
    """Return the mean strength of edges at a common scale, without the frame's own edge."""
    grey = picture.convert("L")
    grey.thumbnail((_SHARP_SIDE, _SHARP_SIDE))
    if min(grey.size) < 8:  # noqa: PLR2004 - nothing to see
        return 0.0
    edges = grey.filter(ImageFilter.FIND_EDGES)
    inner = edges.crop((2, 2, edges.width - 2, edges.height - 2))
    return float(ImageStat.Stat(inner).mean[0]) / 255


def _brightest(grey: Image.Image) -> str:
    """Return the part of a three by three grid's cross that is clearly lighter than its opposite.

    The middle's opposite is the four sides.
    """
    grid = list(grey.resize((3, 3), Image.Resampling.BOX).tobytes())
    left, right = sum(grid[0::3]) / 3, sum(grid[2::3]) / 3
    top, bottom = sum(grid[:3]) / 3, sum(grid[6:]) / 3
    lead = {
        "left": left - right,
        "right": right - left,
        "top": top - bottom,
        "bottom": bottom - top,
        "middle": grid[4] - (left + right + top + bottom) / 4,
    }
    part, most = max(lead.items(), key=lambda item: item[1])
    return part if most > 30 else ""  # noqa: PLR2004 - an eighth of the range
