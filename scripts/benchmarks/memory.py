"""How much memory a worker takes for large photos: `scripts/bench memory`.

What a worker has had at most is read from the kernel, libraries and what it shares included.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import figures, pictures
from benchmarks.figures import NOTHING, Figure
from benchmarks.program import Program, peak_megabytes, tree
from benchmarks.serving import backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from PIL import Image

ANYTHING = 512
"""MB that a worker may take for whatever is accepted."""
PROGRESSIVE = "45 MP JPEG, progressive"
"""libjpeg keeps all coefficients of one, two bytes each, whatever the scale: `djpeg`, too."""
PHOTOS: dict[str, tuple[tuple[int, int], str, Callable[[Image.Image], bytes], float]] = {
    "45 MP JPEG": (pictures.SIZE_45, ".jpg", pictures.jpeg, 120),
    PROGRESSIVE: (
        pictures.SIZE_45, ".jpg", lambda image: pictures.jpeg(image, progressive=True), 120,
    ),
    "45 MP HEIC": (pictures.SIZE_45, ".heic", pictures.heic, ANYTHING),
    "100 MP 16-bit TIFF": (pictures.SIZE_100, ".tif", pictures.tiff_16, 400),
    "100 MP PNG": (pictures.SIZE_100, ".png", pictures.png, ANYTHING),
    "100 MP progressive JPEG": (
        pictures.SIZE_100, ".jpg", lambda image: pictures.jpeg(image, progressive=True), ANYTHING,
    ),
}  # fmt: skip


def peak(data: bytes, suffix: str) -> tuple[float, str]:
    """Tag one photo; return the most memory that one of its workers had, and what went wrong."""
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder, backend(8, 0) as served:
        program = Program(Path(folder), served.url)
        photo = program.photos / f"photo{suffix}"
        photo.write_bytes(data)
        most = 0.0
        with program.started("scan", "--yes", str(photo)) as scan:
            while scan.poll() is None:
                most = max([most, *map(peak_megabytes, tree(scan.pid)[1:])])
                time.sleep(0.005)
            said = scan.communicate()[0]
        return most, "" if scan.returncode == 0 else said.strip().splitlines()[-1]


def djpeg_peak(data: bytes) -> str:
    """Say what `djpeg` has at most when it decodes a JPEG to an eighth of its edges."""
    with tempfile.NamedTemporaryFile(suffix=".jpg") as photo:
        photo.write(data)
        photo.flush()
        # A process of its own: the kernel tells only the most of all that were waited for.
        line = ["djpeg", "-scale", "1/8", "-outfile", os.devnull, photo.name]
        code = (
            "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        said = subprocess.run(  # noqa: S603 - our own line
            [sys.executable, "-I", "-c", code, *line], check=True, stdout=subprocess.PIPE
        ).stdout
    return f"`djpeg -scale 1/8`: {int(said) * 1.024 / 1000:.0f} MB"


def measured(only: list[str]) -> Iterator[Figure]:
    """Yield the figures."""
    drawn: dict[tuple[int, int], Image.Image] = {}
    for name, (size, suffix, make, at_most) in PHOTOS.items():
        if not only or name in only:
            if size not in drawn:
                drawn = {size: pictures.scene(size, noise=0)}  # it takes time, and no memory
            data = make(drawn[size])
            megabytes, fault = peak(data, suffix)
            against = djpeg_peak(data) if suffix == ".jpg" else NOTHING
            yield Figure(
                f"peak of a worker, {name}", megabytes, "MB", at_most,
                against=against, detail=fault,
            )  # fmt: skip


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("memory", __doc__)
    parser.add_argument("--only", action="append", default=[], choices=list(PHOTOS))
    options = parser.parse_args()
    return figures.say(measured(options.only), options)


if __name__ == "__main__":
    sys.exit(main())
