"""How well a backend is used, and how soon: `scripts/bench saturation`.

The backend serves some requests at once and takes so long for each, like a GPU. What a plain client
gets out of it in the same run is its capacity.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import figures, pictures
from benchmarks.figures import Figure
from benchmarks.program import Program, cpu_seconds, until
from benchmarks.serving import SECONDS, SLOTS, backend

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST = {240: 95.0, 48: 85.0}
"""Percent of the capacity, by photos."""
MANY = 100
"""So many photos are scanned once, fewer of them some times."""
ROUNDS = 3
"""Of what is short; the median counts."""
CARD = 12
CALM = 1.0
"""Seconds in which a daemon that waits takes next to nothing of the processor."""
ROLES = 3
REQUEST_BYTES = 360_000
"""A picture of 270 KB in base64."""


def share(card: Path, count: int, each: float) -> Figure:
    """Scan so many photos and compare with what the backend can do before and after."""
    found = []
    for _ in range(ROUNDS if count < MANY else 1):
        with (
            tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder,
            backend(SLOTS, each) as served,
        ):
            program = Program(
                Path(folder), served.url,
                BACKEND__MAX_CONCURRENCY=str(SLOTS), ARRIVALS__SETTLE_SECONDS="0",
            )  # fmt: skip
            for path in sorted(card.iterdir())[:count]:
                shutil.copy2(path, program.photos)
            before = served.capacity(10 * SLOTS, REQUEST_BYTES).rate
            program.run("scan", "--yes")
            rate = served.stats().rate
            capacity = (before + served.capacity(10 * SLOTS, REQUEST_BYTES).rate) / 2
            found.append((rate / capacity, rate, capacity))
    part, rate, capacity = sorted(found)[len(found) // 2]
    return Figure(
        f"saturation of {SLOTS} slots × {each * 1000:.0f} ms, {count} photos",  # noqa: RUF001 - a multiplication sign
        part * 100, "%", at_least=LEAST.get(count),
        against=f"a plain client: {capacity:.1f} requests a second",
        detail=f"{rate:.1f} requests a second",
    )  # fmt: skip


def small_card(card: Path, each: float) -> list[Figure]:
    """Have a daemon tag a card of some photos, some times."""
    found = sorted(_of_card(card, each) for _ in range(ROUNDS))
    _, took, ideal, _ = found[len(found) // 2]
    return [
        Figure(
            f"a card of {CARD} photos: from the last byte to the last sidecar, less settling",
            took / ideal, "×", 1.15,  # noqa: RUF001 - a multiplication sign
            against=f"ideal, its {ROLES * CARD} requests by a plain client: {ideal:.2f} s",
            detail=f"{took:.2f} s",
        ),
        Figure(
            "first request after the first photo has settled",
            median(each.asked for each in found), "s", 0.5,
        ),
    ]  # fmt: skip


class Card(NamedTuple):
    """What one card took."""

    ratio: float
    """Of the ideal."""
    seconds: float
    """From the last byte to the last sidecar, without what photos take to settle."""
    ideal: float
    asked: float
    """Seconds from when the first photo has settled to the first request."""


def _of_card(card: Path, each: float) -> Card:
    """Copy a card of some photos into the folder of a daemon that waits for it."""
    with (
        tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder,
        backend(SLOTS, each) as served,
    ):
        plain = served.capacity(ROLES * CARD, REQUEST_BYTES)
        ideal = plain.last - plain.first
        program = Program(Path(folder), served.url, BACKEND__MAX_CONCURRENCY=str(SLOTS))
        settle = 5.0  # the default
        with program.daemon() as daemon:
            until(lambda: _waits(daemon.pid), every=0)
            for path in sorted(card.iterdir())[:CARD]:
                shutil.copy2(path, program.photos)
            last_byte = time.time()
            first = min(path.stat().st_ctime for path in program.photos.iterdir())
            until(lambda: len(_sidecars(program)) == CARD)
            took = max(path.stat().st_ctime for path in _sidecars(program)) - last_byte - settle
            asked = served.stats().first - first - settle
    return Card(took / ideal, took, ideal, asked)


def _waits(pid: int) -> bool:
    """Say whether a daemon has done all that a start brings; it takes a moment to find out."""
    before = cpu_seconds(pid)
    time.sleep(CALM)
    return cpu_seconds(pid) - before < CALM / 20


def _sidecars(program: Program) -> list[Path]:
    return [path for path in program.photos.iterdir() if path.suffix == ".xmp"]


def measured(counts: list[int], each: float) -> Iterator[Figure]:
    """Yield the figures; photos that all of them use are made once."""
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-card-") as card:
        data = pictures.jpeg(pictures.scene(pictures.SIZE_24))
        pictures.copies(data, Path(card), range(max(counts)))
        os.sync()  # what is written behind our back would be measured
        for count in counts:
            if count == CARD:
                yield from small_card(Path(card), each)
            else:
                yield share(Path(card), count, each)


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("saturation", __doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[240, 48, CARD])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a request takes")
    options = parser.parse_args()
    return figures.say(measured(options.photos, options.seconds), options)


if __name__ == "__main__":
    sys.exit(main())
