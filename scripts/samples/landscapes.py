"""The landscapes of the sample photos, one function each; see `samples.scenes`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from samples.scenes import (
    clouds,
    crown,
    disc,
    drawn,
    firs,
    glow,
    gradient,
    lay,
    mirror,
    noise,
    photographed,
    rgb,
    ridge,
    rows_and_columns,
    under,
)

if TYPE_CHECKING:
    from numpy.random import Generator

    from samples.scenes import Canvas, Pixels


def sunset_over_sea(width: int, height: int, rng: Generator) -> Pixels:
    """Orange evening: a low sun, its path on the water."""
    canvas = gradient(width, height, (0, (0.20, 0.20, 0.42)), (0.25, (0.55, 0.32, 0.46)),
                      (0.45, (0.95, 0.52, 0.30)), (0.6, (1.0, 0.76, 0.42)),
                      (1, (1, 0.8, 0.5)))  # fmt: skip
    streaks = noise(rng, width, height, (3, 26))
    lay(canvas, np.clip((streaks - 0.52) * 4, 0, 0.6), (0.98, 0.45, 0.33))
    shore, sun = int(height * 0.62), (width * 0.62, height * 0.545)
    glow(canvas, sun, height * 0.22, (0.45, 0.26, 0.06))
    glow(canvas, sun, height * 0.07, (0.5, 0.4, 0.2))
    lay(canvas, disc(canvas, sun, height * 0.042), (1.0, 0.97, 0.82))
    island = shore - ridge(rng, width, 3) * height * 0.07 * np.clip(
        1 - np.linspace(0, 2.6, width), 0, 1)  # fmt: skip
    lay(canvas, under(canvas, island), (0.24, 0.15, 0.22))
    mirror(canvas, rng, shore, (0.16, 0.14, 0.28), 0.62)
    rows, columns = rows_and_columns(canvas)
    depth = np.clip((rows - shore) / (height - shore), 0, 1)
    path = np.exp(-(((columns - sun[0]) / (width * (0.022 + 0.10 * depth))) ** 2))
    glitter = np.clip((noise(rng, width, height, (28, 150)) - 0.5) * 7, 0, 1)
    lay(canvas, path * glitter * (rows > shore), (1.0, 0.86, 0.55))
    return photographed(canvas, rng)


def green_hills(width: int, height: int, rng: Generator) -> Pixels:
    """Rolling meadows under summer clouds."""
    canvas = gradient(width, height, (0, (0.22, 0.47, 0.82)), (0.55, (0.72, 0.86, 0.96)),
                      (1, (0.8, 0.9, 1)))  # fmt: skip
    clouds(canvas, rng, 0.65)
    for i, (top, tint) in enumerate(
        ((0.46, (0.45, 0.60, 0.62)), (0.53, (0.34, 0.55, 0.36)), (0.63, (0.30, 0.57, 0.22)),
         (0.76, (0.26, 0.50, 0.13)))):  # fmt: skip
        skyline = height * (top - 0.09 * ridge(rng, width, 1.5 + i * 0.4))
        texture = 0.78 + 0.45 * noise(rng, width, height, (12 + 30 * i, 40 + 30 * i))
        lay(canvas, under(canvas, skyline), rgb(tint) * texture[..., None])
        if i in (1, 2):
            for x in rng.integers(width // 20, width - width // 20, 7):
                crown(
                    canvas, rng, (float(x), float(skyline[x]) + 6), 34 + 34 * i, (0.16, 0.36, 0.12)
                )
    return photographed(canvas, rng)


def snowy_mountains(width: int, height: int, rng: Generator) -> Pixels:
    """A white range over dark firs."""
    canvas = gradient(width, height, (0, (0.13, 0.33, 0.68)), (0.6, (0.66, 0.80, 0.94)),
                      (1, (0.8, 0.88, 0.95)))  # fmt: skip
    rows, columns = rows_and_columns(canvas)
    for top, rise, haze in ((0.48, 0.24, 0.45), (0.60, 0.42, 0.0)):
        tall = ridge(rng, width, 3.2, sharp=True)
        skyline = height * (top - rise * tall)
        slopes = noise(rng, width, height, (9, 7))
        lit = np.clip(0.5 + 55 * (np.roll(slopes, -3, axis=1) - slopes), 0, 1)
        snow = np.clip((height * (top - 0.02) - rows + (slopes - 0.5) * height * 0.5) / 25, 0, 1)
        light = lit[..., None]
        white = rgb((0.62, 0.71, 0.86)) * (1 - light) + rgb((0.99, 0.98, 0.96)) * light
        rock = rgb((0.20, 0.22, 0.27)) * (1 - light) + rgb((0.47, 0.45, 0.44)) * light
        stone = rock + snow[..., None] * (white - rock)
        lay(canvas, under(canvas, skyline), stone * (1 - haze) + rgb((0.6, 0.74, 0.9)) * haze)
    for top, size, tint in ((0.74, 70, (0.10, 0.20, 0.20)), (0.86, 130, (0.05, 0.12, 0.10))):
        feet = height * (top - 0.05 * ridge(rng, width, 3))
        lay(canvas, under(canvas, feet), tint)
        firs(canvas, rng, feet, size, tint)
    lay(canvas, under(canvas, np.full(width, height * 0.9)) * (columns >= 0), (0.04, 0.09, 0.08))
    return photographed(canvas, rng)


def misty_forest(width: int, height: int, rng: Generator) -> Pixels:
    """Trunks fading into fog above ferns."""
    canvas = gradient(width, height, (0, (0.62, 0.72, 0.62)), (0.6, (0.80, 0.86, 0.74)),
                      (1, (0.35, 0.45, 0.25)))  # fmt: skip
    glow(canvas, (width * 0.55, height * 0.25), height * 0.3, (0.16, 0.15, 0.08))
    for layer in range(6):
        near = (layer + 1) / 6
        floor = height * (0.66 + 0.26 * near) - ridge(rng, width, 4) * height * 0.03
        tint = rgb((0.66, 0.76, 0.62)) * (1 - near) + rgb((0.16, 0.27, 0.09)) * near
        texture = 0.7 + 0.6 * noise(rng, width, height, (60, 80))
        bark = (0.60 - 0.47 * near, 0.68 - 0.57 * near, 0.60 - 0.52 * near)
        trunks = []
        for x in rng.uniform(0, width, 26 - 4 * layer):
            half, lean = width * (0.0025 + 0.011 * near), rng.normal(0, 12)
            foot = float(floor[int(x)]) + 20
            trunk = [(x - half, foot), (x - half * 0.7 + lean, -5.0),
                     (x + half * 0.7 + lean, -5.0), (x + half, foot)]  # fmt: skip
            trunks.append(("polygon", trunk, bark))
        drawn(canvas, *trunks)
        leaves = np.clip(
            (noise(rng, width, height, (22 + 12 * layer, 14 + 8 * layer)) - 0.5) * 6, 0, 1
        )
        rows, _ = rows_and_columns(canvas)
        canopy = np.clip(1 - rows / (height * (0.22 + 0.14 * near)), 0, 1)
        lay(canvas, leaves * canopy * 0.85, tint * rgb((0.85, 1.1, 0.7)))
        lay(canvas, under(canvas, floor), tint * texture[..., None])
    return photographed(canvas, rng)


def moonlit_lake(width: int, height: int, rng: Generator) -> Pixels:
    """A full moon and stars over still water."""
    canvas = gradient(width, height, (0, (0.01, 0.02, 0.07)), (0.6, (0.07, 0.12, 0.27)),
                      (1, (0.07, 0.12, 0.27)))  # fmt: skip
    shore, moon = int(height * 0.68), (width * 0.3, height * 0.24)
    lay(canvas, rng.random((height, width)) ** 3000 * 0.95, (0.95, 0.96, 1.0))  # faint stars
    for x, y in zip(rng.integers(0, width, 60), rng.integers(0, shore, 60), strict=True):
        glow(canvas[max(0, y - 6) : y + 7, max(0, x - 6) : x + 7], (6, 6), 1.3, (0.7, 0.72, 0.8))
    glow(canvas, moon, height * 0.20, (0.10, 0.13, 0.20))
    glow(canvas, moon, height * 0.085, (0.2, 0.22, 0.26))
    seas = 0.82 + 0.25 * noise(rng, width, height, (26, 18))
    lay(canvas, disc(canvas, moon, height * 0.058), rgb((0.97, 0.95, 0.88)) * seas[..., None])
    for top, tint in ((0.60, (0.05, 0.08, 0.17)), (0.665, (0.02, 0.035, 0.07))):
        skyline = height * (top - 0.12 * ridge(rng, width, 3))
        lay(canvas, under(canvas, skyline), tint)
        firs(canvas, rng, skyline, 34, tint)
    mirror(canvas, rng, shore, (0.02, 0.04, 0.10), 0.8)
    rows, columns = rows_and_columns(canvas)
    depth = np.clip((rows - shore) / (height - shore), 0, 1)
    path = np.exp(-(((columns - moon[0]) / (width * (0.02 + 0.05 * depth))) ** 2)) * (rows > shore)
    lay(canvas, path * np.clip((noise(rng, width, height, (30, 170)) - 0.5) * 7, 0, 0.9),
        (0.85, 0.87, 0.9))  # fmt: skip
    return photographed(canvas, rng, grain=0.03)


def red_barn(width: int, height: int, rng: Generator) -> Pixels:
    """A red barn with a grey roof on a meadow."""
    canvas = gradient(width, height, (0, (0.33, 0.58, 0.88)), (0.6, (0.85, 0.92, 0.97)),
                      (1, (0.9, 0.9, 0.9)))  # fmt: skip
    clouds(canvas, rng, 0.45)
    far = height * (0.60 - 0.05 * ridge(rng, width, 3))
    lay(canvas, under(canvas, far), (0.33, 0.45, 0.36))
    meadow = 0.7 + 0.6 * noise(rng, width, height, (40, 90))
    field = under(canvas, height * (0.655 - 0.012 * ridge(rng, width, 2)))
    lay(canvas, field, rgb((0.42, 0.56, 0.20)) * meadow[..., None])
    crown(canvas, rng, (width * 0.19, height * 0.72), height * 0.44, (0.22, 0.40, 0.13))

    def at(x: float, y: float) -> tuple[float, float]:
        return (width * x, height * y)

    red, dark, white, roof = (
        (0.66, 0.13, 0.10),
        (0.48, 0.09, 0.08),
        (0.93, 0.92, 0.88),
        (0.37, 0.36, 0.38),
    )
    barn = drawn(
        canvas,
        ("polygon", [at(0.52, 0.50), at(0.84, 0.50), at(0.84, 0.75), at(0.52, 0.76)], dark),
        ("polygon", [at(0.34, 0.50), at(0.43, 0.33), at(0.52, 0.50), at(0.52, 0.76),
                     at(0.34, 0.75)], red),
        ("polygon", [at(0.43, 0.315), at(0.76, 0.33), at(0.86, 0.51), at(0.53, 0.51)], roof),
        ("polygon", [at(0.43, 0.315), at(0.44, 0.335), at(0.337, 0.51), at(0.325, 0.50)], roof),
        ("polygon", [at(0.39, 0.57), at(0.47, 0.57), at(0.47, 0.758), at(0.39, 0.755)], white),
        ("polygon", [at(0.396, 0.58), at(0.464, 0.58), at(0.464, 0.756), at(0.396, 0.753)], dark),
        ("line", [at(0.396, 0.58), at(0.464, 0.756)], white),
        ("line", [at(0.464, 0.58), at(0.396, 0.753)], white),
        ("ellipse", [at(0.415, 0.43), at(0.445, 0.475)], white),
        *(("polygon", [at(x, 0.58), at(x + 0.04, 0.58), at(x + 0.04, 0.66), at(x, 0.66)], white)
          for x in (0.57, 0.66, 0.75)),
    )  # fmt: skip
    grain_of_wood = 0.9 + 0.2 * noise(rng, width, height, (120, 2))
    canvas *= 1 + (barn * (grain_of_wood - 1))[..., None]
    grass = np.clip((noise(rng, width, height, (160, 20)) - 0.45) * 5, 0, 1)
    near = under(canvas, height * (0.765 - 0.02 * ridge(rng, width, 60)))
    lay(canvas, near * (0.35 + 0.4 * grass), (0.30, 0.44, 0.12))
    return photographed(canvas, rng)


def yellow_field(width: int, height: int, rng: Generator) -> Pixels:
    """Rape in flower up to a line of trees."""
    canvas = gradient(width, height, (0, (0.16, 0.42, 0.80)), (0.5, (0.66, 0.83, 0.96)),
                      (1, (0.8, 0.9, 1)))  # fmt: skip
    clouds(canvas, rng, 0.5)
    horizon = int(height * 0.5)
    trees = height * (0.485 - 0.055 * ridge(rng, width, 40) * ridge(rng, width, 5))
    leaves = 0.6 + 0.7 * noise(rng, width, height, (150, 110))
    lay(canvas, under(canvas, trees), rgb((0.18, 0.32, 0.15)) * leaves[..., None])
    rows, columns = rows_and_columns(canvas)
    depth = np.clip((rows - horizon) / (height - horizon), 0.001, 1)
    flowers = np.zeros((height, width), np.float32)
    for near, cells in ((0.0, (300, 300)), (0.3, (150, 110)), (0.6, (80, 60))):
        layer = noise(rng, width, height, cells)
        flowers += layer * np.clip(1.2 - abs(depth - near - 0.15) * 3, 0, 1)
    tracks = np.abs((columns - width * 0.56) / (width * (0.02 + 0.7 * depth)) % 0.5 - 0.25)
    stalk = np.clip((0.56 - flowers) * 4, 0, 0.85) * depth + np.clip(0.018 - tracks, 0, 1) * 22
    field = rgb((0.95, 0.82, 0.10)) * (0.8 + 0.3 * flowers[..., None])
    lay(canvas, under(canvas, np.full(width, float(horizon))), field)
    lay(canvas, np.clip(stalk, 0, 0.8) * (rows > horizon), (0.42, 0.50, 0.08))
    return photographed(canvas, rng)


def lighthouse(width: int, height: int, rng: Generator) -> Pixels:
    """A striped tower on a rock, upright."""
    canvas = gradient(width, height, (0, (0.20, 0.48, 0.80)), (0.7, (0.80, 0.90, 0.95)),
                      (1, (0.8, 0.9, 0.9)))  # fmt: skip
    clouds(canvas, rng, 0.55)
    shore = int(height * 0.72)
    waves = noise(rng, width, height, (12, 150))
    sea = rgb((0.09, 0.32, 0.45)) * (0.6 + 0.8 * waves[..., None])
    lay(canvas, under(canvas, np.full(width, float(shore))), sea)
    across = np.linspace(-1, 1, width)
    rock = height * (0.86 - 0.20 * np.exp(-((across * 1.5) ** 2)) - 0.03 * ridge(rng, width, 14))
    stone = 0.45 + 0.8 * noise(rng, width, height, (26, 40))
    lay(canvas, under(canvas, rock), rgb((0.42, 0.38, 0.34)) * stone[..., None])

    def ring(low: float, high: float, half: float, narrow: float) -> list[tuple[float, float]]:
        centre = width * 0.5
        return [(centre - width * half, height * low), (centre - width * narrow, height * high),
                (centre + width * narrow, height * high),
                (centre + width * half, height * low)]  # fmt: skip

    red, white, black = (0.76, 0.14, 0.12), (0.94, 0.93, 0.90), (0.13, 0.13, 0.15)
    stripes = [
        ("polygon", ring(0.68 - i * 0.06, 0.615 - i * 0.06, 0.115 - i * 0.007, 0.108 - i * 0.007),
         white if i % 2 else red) for i in range(7)]  # fmt: skip
    tower = drawn(
        canvas,
        *stripes,
        ("polygon", ring(0.26, 0.248, 0.095, 0.095), black),
        ("polygon", ring(0.248, 0.19, 0.05, 0.05), (0.98, 0.90, 0.60)),
        ("polygon", ring(0.19, 0.15, 0.065, 0.004), red),
        *(("line", [(width * x, height * 0.248), (width * x, height * 0.19)], black)
          for x in (0.45, 0.483, 0.517, 0.55)),
        *(("polygon", [(width * 0.487, height * y), (width * 0.487, height * (y - 0.028)),
                       (width * 0.513, height * (y - 0.028)), (width * 0.513, height * y)], black)
          for y in (0.38, 0.50)),
    )  # fmt: skip
    _, columns = rows_and_columns(canvas)
    round_side = np.clip((columns / width - 0.45) * 4, 0, 0.5)
    lay(canvas, tower * round_side, (0.10, 0.08, 0.12))
    foam = np.clip((noise(rng, width, height, (30, 120)) - 0.52) * 6, 0, 1)
    surf = under(canvas, rock + height * 0.025) * np.clip(across**2 * 1.4, 0.2, 1)
    lay(canvas, np.clip(foam * surf, 0, 0.9), (0.93, 0.96, 0.97))
    return photographed(canvas, rng)


def dunes(width: int, height: int, rng: Generator) -> Pixels:
    """Sand dunes in black and white."""
    canvas = gradient(width, height, (0, (0.42,) * 3), (0.4, (0.86,) * 3), (1, (0.9,) * 3))
    rows, columns = rows_and_columns(canvas)
    window = np.hanning(width // 4) / np.hanning(width // 4).sum()
    for i, (top, rise) in enumerate(((0.44, 0.07), (0.56, 0.20), (0.74, 0.26), (0.95, 0.24))):
        wide = ridge(rng, width + width // 4 - 1, 2.5)
        crest = (height * (top - rise * np.convolve(wide, window, "valid"))).astype(np.float32)
        fall = rows - crest[None, :]
        slope = np.gradient(crest)[None, :]
        light = np.clip(0.66 + slope * 1.1 - fall / height * 0.5, 0.10, 0.97)
        bend = noise(rng, width, height, (5, 4)) * 120
        ripple = np.sin((fall * 1.4 + columns * 0.35 + bend) / (1.6 + 1.5 * i)) * 0.05
        sand = (light * (1 + ripple))[..., None] * rgb((1, 1, 1))
        lay(canvas, under(canvas, crest), sand)
        lay(canvas, under(canvas, crest) * np.exp(-np.clip(fall, 0, None) / 5) * 0.3, (1, 1, 1))
    grey = canvas.mean(axis=2, keepdims=True).repeat(3, axis=2)
    pixels = photographed(grey, rng, grain=0.03)
    return np.repeat(pixels[..., 1:2], 3, axis=2)


def sandy_beach(width: int, height: int, rng: Generator) -> Pixels:
    """Turquoise water, surf and warm sand."""
    canvas = gradient(width, height, (0, (0.24, 0.56, 0.87)), (0.4, (0.78, 0.91, 0.97)),
                      (1, (0.8, 0.9, 1)))  # fmt: skip
    clouds(canvas, rng, 0.4)
    horizon = height * 0.42
    rows, _ = rows_and_columns(canvas)
    depth = np.clip((rows - horizon) / (height * 0.36), 0, 1)[..., None]
    waves = noise(rng, width, height, (9, 120))[..., None]
    sea = rgb((0.03, 0.30, 0.52)) * (1 - depth) + rgb((0.36, 0.82, 0.78)) * depth
    lay(canvas, under(canvas, np.full(width, horizon)), sea * (0.82 + 0.36 * waves))
    cape = horizon - 0.075 * height * ridge(rng, width, 6) * np.clip(
        np.linspace(-1.2, 1, width), 0, 1
    )
    lay(canvas, under(canvas, cape) * (rows < horizon), (0.20, 0.36, 0.28))
    edge = height * (
        0.74 + 0.05 * np.sin(np.linspace(0.3, 4.5, width)) + 0.03 * ridge(rng, width, 5)
    )
    grains = 0.88 + 0.24 * noise(rng, width, height, (160, 120))
    sand = rgb((0.90, 0.80, 0.61)) * grains[..., None]
    far = (rows - edge[None, :]) / height
    lay(canvas, under(canvas, edge), sand * (0.74 + 0.26 * np.clip(far * 12, 0, 1))[..., None])
    foam = noise(rng, width, height, (40, 60))
    for position, wide in ((0.0, 0.012), (-0.06, 0.010), (-0.12, 0.006)):
        band = np.exp(-(((far - position + (foam - 0.5) * 0.02) / wide) ** 2))
        lay(canvas, np.clip(band * (foam * 2.4 - 0.5), 0, 0.95), (0.98, 0.99, 0.99))
    return photographed(canvas, rng)


def autumn_tree(width: int, height: int, rng: Generator) -> Pixels:
    """One golden tree on a hill before rain."""
    canvas = gradient(width, height, (0, (0.34, 0.38, 0.46)), (0.7, (0.80, 0.80, 0.78)),
                      (1, (0.8, 0.8, 0.8)))  # fmt: skip
    clouds(canvas, rng, 0.9, (0.60, 0.62, 0.66))
    far = height * (0.68 - 0.07 * ridge(rng, width, 4))
    lay(canvas, under(canvas, far), (0.50, 0.47, 0.46))
    across = np.linspace(-1, 1, width)
    hill = height * (
        0.80 - 0.12 * np.exp(-((across - 0.1) ** 2) * 2.5) - 0.01 * ridge(rng, width, 9)
    )
    grass = 0.65 + 0.7 * noise(rng, width, height, (60, 130))
    lay(canvas, under(canvas, hill), rgb((0.56, 0.46, 0.18)) * grass[..., None])
    crown(canvas, rng, (width * 0.55, height * 0.70), height * 0.62, (0.86, 0.50, 0.08))
    fallen = rng.random((height, width)) ** 160
    rows, columns = rows_and_columns(canvas)
    around = np.exp(-(((columns / width - 0.56) / 0.2) ** 2) - ((rows / height - 0.74) / 0.07) ** 2)
    lay(
        canvas,
        np.clip(fallen * around * 2, 0, 1) * under(canvas, hill),
        (0.88, 0.48, 0.08),
    )
    return photographed(canvas, rng)


def city_at_dusk(width: int, height: int, rng: Generator) -> Pixels:
    """Lit windows over a river."""
    canvas = gradient(width, height, (0, (0.09, 0.11, 0.30)), (0.4, (0.45, 0.27, 0.48)),
                      (0.68, (0.98, 0.60, 0.42)), (1, (1, 0.7, 0.5)))  # fmt: skip
    shore = int(height * 0.72)
    for near, tint in ((0.0, (0.34, 0.24, 0.38)), (1.0, (0.09, 0.08, 0.16))):
        left = 0
        while left < width:
            wide = int(width * rng.uniform(0.025, 0.06))
            storeys = rng.choice((1.0, 1.5), p=(0.85, 0.15))
            tall = int(height * rng.uniform(0.1, 0.38 - 0.08 * near) * storeys)
            canvas[shore - tall : shore, left : left + wide] = tint
            if near:
                _light_windows(canvas, rng, (left, shore - tall, left + wide, shore))
            left += wide + int(rng.integers(0, 6))
    mirror(canvas, rng, shore, (0.10, 0.09, 0.20), 0.75)
    return photographed(canvas, rng, grain=0.025)


def _light_windows(canvas: Canvas, rng: Generator, building: tuple[int, int, int, int]) -> None:
    """Light some of the windows of a *building* (left, top, right, bottom)."""
    left, top, right, bottom = building
    for y in range(top + 8, bottom - 8, 13):
        for x in range(left + 5, right - 8, 11):
            if rng.random() < 0.42:  # noqa: PLR2004 - so many people are at home
                warm = rng.uniform(0.55, 1.0)
                canvas[y : y + 6, x : x + 5] = (warm, warm * 0.82, warm * 0.48)
