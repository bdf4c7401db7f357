"""What a request takes of the processor, and what a request for all roles saves.

`scripts/bench inference` measures it; how well a backend is used is `scripts/bench saturation`.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog
from PIL import Image

from benchmarks import figures, pictures
from benchmarks.figures import Figure
from benchmarks.program import Program
from benchmarks.serving import SECONDS, SLOTS, backend
from taggerd import settings
from taggerd.inference import Backend, load_profile
from taggerd.inference.questions import questions
from taggerd.photo import Picture, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator


def picture() -> Picture:
    """Make a picture of the usual size."""
    random = np.random.default_rng(6)
    small = Image.fromarray(random.integers(0, 256, (128, 192, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize((1024, 683), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return Picture(out.getvalue(), 1024, 683, b"", "d", Stamp(1, 1, 1, 1))


async def cpu(requests: int) -> Figure:
    """Ask about a picture again and again, of a backend that answers at once."""
    asked = questions(settings.Roles(), load_profile("default", None), "eye", 15)
    shown = picture()
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as slots, backend(8, 0) as served:
        options = settings.Backend(base_url=f"{served.url}/v1", max_concurrency=SLOTS)
        asking = Backend(options, slots_folder=Path(slots))

        async def some(photos: int) -> None:
            for _ in range(photos):
                async for _ in asking.describe(shown, asked):
                    pass

        await asyncio.gather(*(some(2) for _ in range(SLOTS)))  # connections stand, code is warm
        began = time.process_time()
        each = requests // 3 // SLOTS
        await asyncio.gather(*(some(each) for _ in range(SLOTS)))
        milliseconds = (time.process_time() - began) / (each * 3 * SLOTS) * 1000
        await asking.close()
    what = f"processor time a request, a picture of {len(shown.jpeg) // 1000} KB"
    return Figure(what, milliseconds, "ms", 2)


def combined(count: int) -> Figure:
    """Tag photos by three requests each, and by one."""
    seconds = []
    for mode in ("per-role", "combined"):
        with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as name, backend() as served:
            program = Program(
                Path(name), served.url, BACKEND__MAX_CONCURRENCY=str(SLOTS),
                BACKEND__REQUEST_MODE=mode, ARRIVALS__SETTLE_SECONDS="0",
            )  # fmt: skip
            # Small photos: decoding is not to be what is waited for.
            data = pictures.jpeg(pictures.scene((1200, 800)))
            pictures.copies(data, program.photos, range(count))
            program.run("scan", "--yes")
            stats = served.stats()
            seconds.append(stats.last - stats.first)
    many, once = seconds
    return Figure(
        "`combined` against three requests, photos a minute", many / once, "×", at_least=2.7,  # noqa: RUF001 - a multiplication sign
        against=f"three requests: {count / many * 60:,.0f} a minute",
        detail=f"{count / once * 60:,.0f} a minute, {SLOTS} slots × {SECONDS * 1000:.0f} ms",  # noqa: RUF001 - as above
    )  # fmt: skip


def measured(count: int, only: str | None) -> Iterator[Figure]:
    """Yield the figures."""
    if only in {None, "cpu"}:
        yield asyncio.run(cpu(1500))
    if only in {None, "combined"}:
        yield combined(count)


def main() -> int:
    """Print the table; exit 1 where a target is missed."""
    parser = figures.parser_of("inference", __doc__)
    parser.add_argument("--photos", type=int, default=160, help="how many are tagged")
    parser.add_argument("--only", choices=["cpu", "combined"], help="one part")
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    return figures.say(measured(options.photos, options.only), options)


if __name__ == "__main__":
    sys.exit(main())
