"""What bursts save, and whether a photo takes a wrong one's answers: `scripts/bench burst`.

Sets of photos are drawn whose truth is known: real bursts, and what only looks like one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image
from samples import landscapes

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.program import Program
from benchmarks.serving import backend

if TYPE_CHECKING:
    from collections.abc import Iterator

SCENES = (
    landscapes.sunset_over_sea, landscapes.green_hills, landscapes.red_barn,
    landscapes.lighthouse, landscapes.dunes, landscapes.moonlit_lake,
)  # fmt: skip
SIZE = (600, 400)
FRAMES = 6
"""Photos of a burst."""
ROLES = 3


def drawn(scene: int, offset: int = 0, brightness: float = 1.0) -> Image.Image:
    """Draw a scene, a little to the side, with noise of its own."""
    random = np.random.default_rng([7, scene])
    pixels = SCENES[scene % len(SCENES)](*SIZE, random).astype(np.float32)
    noise = np.random.default_rng([scene, offset]).normal(0, 2, pixels.shape)
    moved = np.roll(pixels, offset, axis=1) * brightness + noise
    return Image.fromarray(np.clip(moved, 0, 255).astype(np.uint8))


def save(path: Path, image: Image.Image, milliseconds: int, camera: str = "EOS R6") -> None:
    """Save with the time of capture, counted from noon."""
    exif, tags = Image.Exif(), ExifTags.Base
    exif[tags.Make], exif[tags.Model] = "Canon", camera
    seconds = milliseconds // 1000
    taken = f"2024:07:14 {12 + seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {tags.DateTimeOriginal: taken, tags.SubsecTimeOriginal: f"{milliseconds % 1000:03}"}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=90, exif=exif)


def bursts(folder: Path) -> int:
    """Make one burst a scene and return how many requests may be saved."""
    for scene in range(len(SCENES)):
        for frame in range(FRAMES):
            at = scene * 60_000 + frame * 150
            save(folder / f"B{scene}_{frame}.jpg", drawn(scene, 2 * frame), at)
    return len(SCENES) * (FRAMES - 1) * ROLES


def no_bursts(folder: Path) -> None:
    """Make what is not one: each of these photos has to be asked about."""
    for scene in range(len(SCENES)):
        save(folder / f"P{scene}.jpg", drawn(scene), scene * 300)  # panning to another subject
        save(folder / f"S{scene}.jpg", drawn(0, scene), 600_000 + scene * 30_000)  # slow slide show
    for number, brightness in enumerate((0.25, 1.0, 2.5)):  # an exposure bracket
        save(folder / f"E{number}.jpg", drawn(1, 0, brightness), 1_200_000 + number * 200)
    for number in range(4):  # two cameras
        save(folder / f"C{number}.jpg", drawn(2, number), 1_800_000 + number * 100, f"EOS {number}")


def scanned(folder: Path, made: Path) -> tuple[int, int]:
    """Return how many requests a scan took, and how many photos inherited their answers."""
    with backend(8, 0) as served:
        program = Program(folder, served.url, BURST__ENABLED="true")
        made.rename(program.photos / "card")
        program.run("scan", "--yes")
        requests = len(served.stats().ends)
    results = sorted((folder / "state" / "outputs" / "results").glob("*.jsonl"))
    records = [json.loads(line) for file in results for line in file.read_text().splitlines()]
    return requests, sum(bool(record.get("inherited_from")) for record in records)


def measured() -> Iterator[Figure]:
    """Yield the figures."""
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as name:
        folder = Path(name)
        possible = bursts(folder / "bursts")
        every = possible + len(SCENES) * ROLES
        requests, _ = scanned(folder / "home-1", folder / "bursts")
        yield Figure(
            "bursts: requests saved of those that can be", (every - requests) / possible * 100, "%",
            detail=f"{requests} requests instead of {every}",
        )  # fmt: skip
        no_bursts(folder / "none")
        photos = len(list((folder / "none").iterdir()))
        _, wrong = scanned(folder / "home-2", folder / "none")
        yield Figure("bursts: wrong inheritances", wrong, f"of {photos}", at_most=0)


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("burst", __doc__)
    options = parser.parse_args()
    return figures.say(measured(), options)


if __name__ == "__main__":
    sys.exit(main())
