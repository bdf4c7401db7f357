"""Burst sets with known truth: frames of made scenes, with what a camera says about each."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from PIL.TiffImagePlugin import IFDRational

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HEIGHT = 640, 427
_MARGIN = 40
_START = datetime(2026, 5, 1, 12, 0, 0)  # noqa: DTZ001 - cameras know no zone
_MAKE, _MODEL, _TAKEN, _BIAS, _SUBSECONDS, _MODE, _SERIAL = (
    *(0x010F, 0x0110, 0x9003, 0x9204, 0x9291, 0xA402, 0xA431),
)
_EXIF = 0x8769


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One photo: what it shows, how, and when it was taken."""

    scene: int
    """Another number is another subject."""
    at: float = 0.0
    """Seconds."""
    across: float = 0.0
    """How far the camera moved, in pixels of the frame; also :attr:`down`."""
    down: float = 0.0
    turned: float = 0.0
    """Degrees."""
    stops: float = 0.0
    """Brighter by so much."""
    subject: float = 0.0
    """How far the subject moved, in pixels."""
    blur: float = 0.0
    camera: tuple[str, str, str] = ("Canon", "EOS R6", "1")
    bias: float = 0.0
    mode: int = 0
    """2: the camera varies the exposure by itself."""
    bare: bool = False
    """Without EXIF."""

    def jpeg(self) -> bytes:
        """Return the photo."""
        image = _scene(self.scene, self.subject)
        image = image.rotate(self.turned, Image.Resampling.BICUBIC)
        left, top = _MARGIN * 4 + self.across, _MARGIN + self.down
        image = image.crop((int(left), int(top), int(left) + WIDTH, int(top) + HEIGHT))
        image = image.point([min(255, round(v * 2 ** (self.stops / 2.2))) for v in range(256)] * 3)
        image = image.filter(ImageFilter.GaussianBlur(self.blur)) if self.blur else image
        made = BytesIO()
        image.save(made, "JPEG", quality=90, exif=Image.Exif() if self.bare else self._exif())
        return made.getvalue()

    def _exif(self) -> Image.Exif:
        exif = Image.Exif()
        exif[_MAKE], exif[_MODEL] = self.camera[:2]
        taken = _START + timedelta(seconds=self.at)
        exif.get_ifd(_EXIF).update(
            {
                _TAKEN: f"{taken:%Y:%m:%d %H:%M:%S}",
                _SUBSECONDS: f"{taken.microsecond // 10000:02d}",
                _SERIAL: self.camera[2],
                _BIAS: IFDRational(round(self.bias * 3), 3),
                _MODE: self.mode,
            }
        )
        return exif


def write(folder: Path, frames: list[Frame], name: str = "IMG_") -> list[Path]:
    """Write *frames* as photos, in their order."""
    paths = [folder / f"{name}{number:04d}.jpg" for number, _ in enumerate(frames)]
    for path, frame in zip(paths, frames, strict=True):
        path.write_bytes(frame.jpeg())
    return paths


def handheld(scene: int, count: int, *, start: float = 0.0, seed: int = 0) -> list[Frame]:
    """Return a burst as a hand holds the camera: 1 % to and fro, a subject that moves."""
    dice = random.Random(seed * 1000 + scene)  # noqa: S311 - the same each time
    return [
        Frame(
            scene=scene,
            at=start + number * 0.1,
            across=dice.uniform(-0.005, 0.005) * WIDTH,
            down=dice.uniform(-0.005, 0.005) * WIDTH,
            turned=dice.uniform(-0.2, 0.2),
            stops=dice.uniform(-0.1, 0.1),
            subject=dice.uniform(-8, 8),
            blur=dice.choice((0.0, 0.6, 1.2)),
        )
        for number in range(count)
    ]


def slide(number: int, at: float) -> Frame:
    """Return one slide of a talk: the same frame, other words."""
    return Frame(scene=-1 - number, at=at)


def _scene(number: int, subject: float) -> Image.Image:
    """Return a scene that is wider than a frame: hills of light, things in it, and a subject."""
    dice = random.Random(number)  # noqa: S311 - the same each time
    size = WIDTH + 8 * _MARGIN, HEIGHT + 2 * _MARGIN
    if number < 0:
        return _slide(dice, size)
    grid = Image.new("L", (13, 7))
    grid.putdata([dice.randrange(40, 216) for _ in range(13 * 7)])
    light = grid.resize(size, Image.Resampling.BICUBIC)
    tint = tuple(dice.randrange(120, 255) for _ in range(3))
    image = Image.merge("RGB", [light.point([v * t // 255 for v in range(256)]) for t in tint])
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y, r = dice.randrange(size[0]), dice.randrange(size[1]), dice.randrange(4, 40)
        colour = tuple(dice.randrange(256) for _ in range(3))
        shape = dice.choice((draw.ellipse, draw.rectangle))
        shape((x, y, x + r, y + dice.randrange(4, 40)), fill=colour)
    middle, top = size[0] / 2 + subject, size[1] / 2 - 40
    draw.ellipse((middle - 30, top, middle + 30, top + 110), fill=(150, 90, 60))
    draw.ellipse((middle - 18, top - 34, middle + 18, top + 4), fill=(225, 180, 150))
    return ImageEnhance.Sharpness(image).enhance(1.2)


def _slide(dice: random.Random, size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, (248, 248, 246))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, size[0], _MARGIN + 60), fill=(170, 40, 40))
    draw.text((220, _MARGIN + 15), _words(dice, 3), fill="white", font_size=28)
    for line in range(dice.randrange(3, 8)):
        words = _words(dice, dice.randrange(3, 8))
        draw.text((200, _MARGIN + 90 + line * 45), words, fill=(30, 30, 30), font_size=20)
    return image


def _words(dice: random.Random, count: int) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    return " ".join("".join(dice.choices(letters, k=dice.randrange(3, 9))) for _ in range(count))
