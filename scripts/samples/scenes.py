"""Landscapes drawn from noise: what the sample photos show.

Every scene is a function of width, height (pixels) and a random generator, and returns 8-bit RGB of
shape (height, width, 3). Inside, a canvas is float RGB from 0 to 1, in sRGB as it is seen.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

Pixels: TypeAlias = NDArray[np.uint8]
Canvas: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Mask: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Colour: TypeAlias = tuple[float, float, float]
Scene: TypeAlias = "Callable[[int, int, Generator], Pixels]"
"""Width, height and generator to picture."""


def rgb(colour: Colour) -> Canvas:
    """Return *colour* as something to calculate with."""
    values: Canvas = np.asarray(colour, np.float32)
    return values


def noise(rng: Generator, width: int, height: int, cells: tuple[float, float]) -> Mask:
    """Return fractal noise from 0 to 1; *cells*: how many bumps across and down."""
    total = np.zeros((height, width), np.float32)
    weight, sum_of_weights = 1.0, 0.0
    across, down = cells
    while across < width / 2 and weight > 0.02:  # noqa: PLR2004 - fainter is not seen
        small = rng.random((max(2, int(down) + 2), max(2, int(across) + 2)), np.float32)
        layer = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer) * weight
        sum_of_weights += weight
        weight, across, down = weight * 0.5, across * 2, down * 2
    bumps: Mask = np.clip(total / max(sum_of_weights, 1.0), 0, 1)
    return bumps


def ridge(rng: Generator, width: int, bumps: float, *, sharp: bool = False) -> Mask:
    """Return a skyline: one value from 0 to 1 for each column."""
    line = noise(rng, width, 2, (bumps, 1))[0]
    if sharp:
        line = 1 - np.abs(2 * line - 1)
    low, high = line.min(), line.max()
    skyline: Mask = (line - low) / max(float(high - low), 1e-6)
    return skyline


def gradient(width: int, height: int, *stops: tuple[float, Colour]) -> Canvas:
    """Return a canvas shaded from top to bottom; *stops*: (position from 0 to 1, colour)."""
    at = np.linspace(0, 1, height, dtype=np.float32)
    positions = [position for position, _ in stops]
    bands = [np.interp(at, positions, [colour[i] for _, colour in stops]) for i in range(3)]
    column = np.stack(bands, axis=-1).astype(np.float32)
    canvas: Canvas = np.repeat(column[:, None, :], width, axis=1)
    return canvas


def rows_and_columns(canvas: Canvas) -> tuple[Mask, Mask]:
    """Return each pixel's row and column number, to be broadcast."""
    height, width = canvas.shape[:2]
    rows = np.arange(height, dtype=np.float32)[:, None]
    return rows, np.arange(width, dtype=np.float32)[None, :]


def lay(canvas: Canvas, mask: Mask, colour: Colour | Canvas) -> None:
    """Paint *colour* over *canvas* where *mask* is 1."""
    canvas += mask[..., None] * (np.asarray(colour, np.float32) - canvas)


def under(canvas: Canvas, skyline: Mask) -> Mask:
    """Return the mask of all that lies under *skyline* (row for each column), soft by a pixel."""
    rows, _ = rows_and_columns(canvas)
    return np.clip(rows - skyline[None, :], 0, 1)


def glow(canvas: Canvas, centre: tuple[float, float], radius: float, colour: Colour) -> None:
    """Add light around *centre* (column, row), falling off over *radius* pixels."""
    rows, columns = rows_and_columns(canvas)
    square = (columns - centre[0]) ** 2 + (rows - centre[1]) ** 2
    light = np.exp(-square / (2 * radius**2))
    canvas += light[..., None] * np.asarray(colour, np.float32)


def disc(canvas: Canvas, centre: tuple[float, float], radius: float) -> Mask:
    """Return the mask of a disc."""
    rows, columns = rows_and_columns(canvas)
    return np.clip(radius - np.hypot(columns - centre[0], rows - centre[1]), 0, 1)


def clouds(canvas: Canvas, rng: Generator, cover: float, colour: Colour = (1, 1, 1)) -> None:
    """Draw clouds, flatter towards the middle of the picture; *cover* from 0 to 1."""
    height, width = canvas.shape[:2]
    billows = noise(rng, width, height, (4, 9))
    rows, _ = rows_and_columns(canvas)
    fade = np.clip(1.15 - rows / (height * 0.62), 0, 1)
    lay(canvas, np.clip((billows - (0.72 - 0.35 * cover)) * 5, 0, 0.95) * fade, colour)


def drawn(canvas: Canvas, *shapes: tuple[str, list[tuple[float, float]], Colour]) -> Mask:
    """Draw ``polygon``, ``ellipse`` or ``line`` shapes with smooth edges; return where they are."""
    height, width = canvas.shape[:2]
    everywhere = np.zeros((height, width), np.float32)
    for colour, group in itertools.groupby(shapes, key=lambda shape: shape[2]):
        sheet = Image.new("L", (width * 2, height * 2))
        pen = ImageDraw.Draw(sheet)
        for kind, points, _ in group:
            doubled = [(2 * x, 2 * y) for x, y in points]
            if kind == "line":
                pen.line(doubled, fill=255, width=max(2, width // 300))
            elif kind == "ellipse":
                pen.ellipse(doubled, fill=255)
            else:
                pen.polygon(doubled, fill=255)
        small = sheet.resize((width, height), Image.Resampling.BOX)
        mask = np.asarray(small, np.float32) / 255
        lay(canvas, mask, colour)
        everywhere = np.maximum(everywhere, mask)
    return everywhere


def firs(canvas: Canvas, rng: Generator, feet: Mask, size: float, colour: Colour) -> None:
    """Plant firs of about *size* pixels with their feet on the line *feet*."""
    height, width = canvas.shape[:2]
    sheet = Image.new("L", (width, height))
    pen = ImageDraw.Draw(sheet)
    for x in rng.integers(0, width, width // 8):
        tall = size * (0.6 + 0.7 * rng.random())
        foot = float(feet[x]) + size * 0.1
        for tier in range(5):
            top = foot - tall * (1 - tier * 0.17)
            half = tall * (0.05 + 0.045 * tier)
            pen.polygon([(x, top), (x - half, top + tall * 0.3), (x + half, top + tall * 0.3)], 255)
    mask = np.asarray(sheet.filter(ImageFilter.GaussianBlur(0.8)), np.float32) / 255
    texture = 0.75 + 0.5 * noise(rng, width, height, (200, 140))
    lay(canvas, mask, np.asarray(colour, np.float32) * texture[..., None])


def crown(
    canvas: Canvas, rng: Generator, foot: tuple[float, float], size: float, colour: Colour
) -> None:
    """Draw a leafy tree of *size* pixels on *foot* (column, row), lit from the upper left."""
    left, top = max(0, int(foot[0] - size * 0.6)), max(0, int(foot[1] - size * 1.15))
    part = canvas[
        top : int(foot[1]) + 2, left : int(foot[0] + size * 0.6)
    ]  # a view: drawn in place
    x, y = foot[0] - left, foot[1] - top
    trunk = [(x - size * 0.04, y), (x - size * 0.02, y - size * 0.5),
             (x + size * 0.02, y - size * 0.5), (x + size * 0.04, y)]  # fmt: skip
    drawn(part, ("polygon", trunk, (0.22, 0.16, 0.11)))
    for shade in (0.5, 0.75, 1.0, 1.25):
        leaves = _leaves(part.shape[:2], rng, (x, y - size * 0.66), size, shade)
        lay(part, leaves * 0.9, rgb(colour) * shade)


def _leaves(
    shape: tuple[int, ...], rng: Generator, centre: tuple[float, float], size: float, shade: float
) -> Mask:
    """Return the mask of a crown's leaves of one *shade*: the brighter, the smaller and higher."""
    sheet = Image.new("L", (shape[1], shape[0]))
    pen = ImageDraw.Draw(sheet)
    away = (1.25 - shade) * size * 0.12
    fine = max(1.0, size / 150)  # large trees have more leaves, not larger ones
    for _ in range(int(170 * fine**1.5)):
        angle, far = rng.random() * 2 * np.pi, np.sqrt(rng.random()) * size * 0.36
        radius = size * (0.02 + 0.045 * rng.random()) * (1.7 - shade) / fine**0.7
        right, down = far * np.cos(angle) * 1.1 + away, far * np.sin(angle) * 0.85 + away
        if shade > 1 and right + down > size * rng.normal(0.02, 0.12):
            continue
        x, y = centre[0] + right, centre[1] + down
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(sheet.filter(ImageFilter.GaussianBlur(size / 300)), np.float32) / 255


def mirror(canvas: Canvas, rng: Generator, shore: int, tint: Colour, strength: float) -> None:
    """Turn all rows under *shore* into water that mirrors what lies above it."""
    height, width = canvas.shape[:2]
    deep = height - shore
    above = np.clip(canvas[max(0, shore - deep) : shore][::-1], 0, 1)
    above = np.concatenate([above, np.repeat(above[-1:], deep - len(above), axis=0)])
    depth = np.linspace(0, 1, deep, dtype=np.float32)[:, None]
    waves = noise(rng, width, deep, (6, 70)) - 0.5
    rows = np.clip(np.arange(deep)[:, None] + waves * (4 + 50 * depth), 0, deep - 1).astype(int)
    columns = np.clip(np.arange(width)[None, :] + waves * 14, 0, width - 1).astype(int)
    water = above[rows, columns]
    share = strength * (1 - 0.35 * depth)[..., None]
    water = water * share + np.asarray(tint, np.float32) * (1 - share)
    canvas[shore:] = water + waves[..., None] * 0.07


def photographed(canvas: Canvas, rng: Generator, grain: float = 0.018) -> Pixels:
    """Give *canvas* what a camera adds: darker corners, a little softness and grain."""
    rows, columns = rows_and_columns(canvas)
    height, width = canvas.shape[:2]
    corner = ((columns / width - 0.5) ** 2 + (rows / height - 0.5) ** 2) * 2
    grains = rng.normal(0, grain, (height, width, 1)) + rng.normal(0, grain / 2, canvas.shape)
    seen = canvas * (1 - 0.28 * corner[..., None] ** 1.5) + grains
    pixels: Pixels = (np.clip(seen, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels
