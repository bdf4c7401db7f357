"""What one photo takes of the processor, all in: `scripts/bench photos`.

The daemon runs as its user runs it; its processes' time is counted from when the first photos are
done, so that the start is not in it. The backend answers at once, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from benchmarks import figures, pictures
from benchmarks.figures import Figure, ratio
from benchmarks.program import Daemon, Program, cpu_of_children, cpu_seconds, until
from benchmarks.serving import SLOTS, backend
from taggerd import files, imaging, settings
from taggerd.photo import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 5
"""So often taggerd and its peer are measured, one after the other: what else the machine does meets
both. Medians count."""
WARM = 6
"""Photos before the first that counts; of formats that take half a second each fewer."""
WORKERS = 2
MANY = 20
EDGE = 1024
SETTLE_SECONDS = 0.1
WHAT = "processor time a photo, {}, all in, three requests"
BESIDE = "processor time a photo beside imaging, three requests of 270 KB"


class Tagging:
    """A daemon that tags copies of one photo."""

    def __init__(self, home: Path, url: str, photo: Sample, **more: str) -> None:
        """Use the backend at *url*."""
        self._photo = photo
        self.program = Program(
            home, url, BACKEND__MAX_CONCURRENCY=str(SLOTS),
            ARRIVALS__SETTLE_SECONDS=str(SETTLE_SECONDS), **more,
        )  # fmt: skip
        self._card = home / "card"
        self._done = 0

    def tag(self, daemon: Daemon, count: int) -> Taken:
        """Have *count* more photos tagged, each of which is new."""
        numbers = range(self._done, self._done + count)
        pictures.copies(self._photo.data, self._card, numbers, self._photo.suffix)
        self._done += count
        cpu, began = cpu_seconds(daemon.pid), time.perf_counter()
        for path in sorted(self._card.iterdir()):
            path.rename(self.program.photos / path.name)
        until(
            lambda: daemon.process.poll() is not None or self._sidecars() == self._done, every=0.05
        )
        if daemon.process.poll() is not None:
            raise RuntimeError(daemon.log())
        seconds = time.perf_counter() - began - SETTLE_SECONDS
        return Taken((cpu_seconds(daemon.pid) - cpu) / count * 1000, count / seconds)

    def _sidecars(self) -> int:
        names = os.listdir(self.program.photos)  # noqa: PTH208 - thousands of names, many times
        return sum(name.endswith(".xmp") for name in names)


class Sample(NamedTuple):
    """A photo."""

    data: bytes
    suffix: str


class Taken(NamedTuple):
    """What photos took."""

    cpu_ms: float
    """Of the processor, a photo."""
    rate: float
    """Photos a second."""


def taken(
    photo: Sample, count: int, *others: Callable[[], float], **more: str
) -> tuple[Taken, list[float]]:
    """Return what *count* photos took, and what *others* took in between; medians of rounds."""
    with (
        tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder,
        backend(SLOTS, 0) as served,
    ):
        tagging = Tagging(Path(folder), served.url, photo, **more)
        with tagging.program.daemon() as daemon:
            tagging.tag(daemon, WARM if count >= MANY else WORKERS)
            rounds = []
            times: list[list[float]] = [[] for _ in others]
            for _ in range(ROUNDS):
                rounds.append(tagging.tag(daemon, max(count // ROUNDS, 1)))
                for measured_times, other in zip(times, others, strict=True):
                    measured_times.append(other())
    cpu_ms, rate = (median(values) for values in zip(*rounds, strict=True))
    return Taken(cpu_ms, rate), [median(each) for each in times]


def imaging_ms(path: Path) -> float:
    """Return what decoding, scaling and encoding alone take of this process."""
    files.work_below(path.parent)
    began = time.process_time()
    with imaging.open_photo(path) as file:
        imaging.prepare(file, Stamp.of(path.lstat()), settings.Image())
    return (time.process_time() - began) * 1000


def djpeg_ms(photo: Path) -> float:
    """Return what `djpeg -scale 1/4`, a resize and `cjpeg` take for the same picture."""
    big, small = photo.with_suffix(".ppm"), photo.with_suffix(".small.ppm")
    line = ["djpeg", "-scale", "1/4", "-outfile", str(big), str(photo)]
    decoded = cpu_of_children(lambda: _done(line))
    began = time.process_time()
    with Image.open(big) as image:
        image.thumbnail((EDGE, EDGE))
        image.save(small)
    resized = time.process_time() - began
    line = ["cjpeg", "-quality", "85", "-outfile", os.devnull, str(small)]
    return (decoded + resized + cpu_of_children(lambda: _done(line))) * 1000


def vipsthumbnail_ms(photo: Path) -> float:
    """Return what `vipsthumbnail` takes for the same picture."""
    out = photo.with_suffix(".thumbnail.jpg")
    line = ["vipsthumbnail", "--size", str(EDGE), "--output", f"{out}[Q=85]", str(photo)]
    return cpu_of_children(lambda: _done(line)) * 1000


def _done(line: list[str]) -> None:
    # Not our environment: taggerd's forbids libvips some of its loaders.
    own = {"PATH": os.environ["PATH"]}
    done = subprocess.run(line, env=own, check=False, capture_output=True, text=True)  # noqa: S603 - as they are installed
    if done.returncode:
        message = f"{line[0]} exits with {done.returncode}: {done.stderr.strip()}"
        raise RuntimeError(message)


def measured(count: int, only: str | None) -> Iterator[Figure]:
    """Yield the figures."""
    usual = pictures.scene(pictures.SIZE_24)
    if only in {None, "jpeg"}:
        yield from usual_photo(Sample(pictures.jpeg(usual), ".JPG"), count)
    if only in {None, "pixel"}:
        yield from one_pixel(15 * count)
    if only in {None, "formats"}:
        yield from formats(usual, max(count // 5, ROUNDS))


def usual_photo(photo: Sample, count: int) -> list[Figure]:
    """Tag photos as most cameras make them."""
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(photo.data)
        imaging_ms(path)  # what is imported at first is no part of it
        once, (peer, alone) = taken(
            photo, count, lambda: djpeg_ms(path), lambda: imaging_ms(path)
        )  # fmt: skip
    against = "`djpeg -scale 1/4`, resize, `cjpeg`, same size"
    beside = f"imaging alone, in one process: {alone:.0f} ms"
    return [
        ratio(WHAT.format("24 MP JPEG"), once.cpu_ms, peer, "ms", against=against, at_most=1.2),
        Figure(BESIDE, once.cpu_ms - alone, "ms", 12, against=beside),
    ]


def one_pixel(count: int) -> list[Figure]:
    """Tag photos of one pixel: all that is not imaging."""
    photo = Sample(pictures.one_pixel(), ".JPG")
    once, _ = taken(photo, count, BACKEND__REQUEST_MODE="combined")
    what = "a 1 × 1 pixel photo, all in, `combined`"  # noqa: RUF001 - a multiplication sign
    cores = len(os.sched_getaffinity(0))
    return [
        Figure(what, once.cpu_ms, "ms", 10),
        Figure(f"{what}, on {cores} cores", once.rate, "photos a second", at_least=120),
    ]


def formats(usual: Image.Image, count: int) -> Iterator[Figure]:
    """Tag photos of the other formats; the peer of a raw file is given its preview."""
    preview = pictures.jpeg(usual)
    kinds: dict[str, Callable[[], Sample]] = {
        "45 MP JPEG": lambda: Sample(pictures.jpeg(pictures.scene(pictures.SIZE_45)), ".jpg"),
        "progressive": lambda: Sample(pictures.jpeg(usual, progressive=True), ".jpg"),
        "HEIC": lambda: Sample(pictures.heic(usual), ".heic"),
        "16-bit TIFF": lambda: Sample(pictures.tiff_16(usual), ".tif"),
        "PNG": lambda: Sample(pictures.png(usual), ".png"),
        "DNG": lambda: Sample(pictures.raw_dng(usual, preview), ".dng"),
        "CR3 preview": lambda: Sample(pictures.raw_cr3(preview), ".cr3"),
    }
    for name, make in kinds.items():
        photo = make()
        peers = Sample(preview, ".jpg") if photo.suffix in {".dng", ".cr3"} else photo
        with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder:
            path = Path(folder) / f"photo{peers.suffix}"
            path.write_bytes(peers.data)
            once, (peer,) = taken(photo, count, partial(vipsthumbnail_ms, path))
        against = "`vipsthumbnail`" + (" of its preview" if peers is not photo else "")
        yield ratio(WHAT.format(name), once.cpu_ms, peer, "ms", against=against, at_most=1.3)


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("photos", __doc__)
    parser.add_argument("--photos", type=int, default=40, help="of 24 MP that are tagged")
    parser.add_argument("--only", choices=["jpeg", "pixel", "formats"], help="one part")
    options = parser.parse_args()
    return figures.say(measured(options.photos, options.only), options)


if __name__ == "__main__":
    sys.exit(main())
