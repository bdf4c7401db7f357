"""Whether a long queue is slower than a short one: `scripts/bench queue`.

One daemon a length, all of them ready at the same time; they go one after the other, so that what
else the machine does meets all of them. Of each the fastest round counts: others can only make one
slower. Photos have one pixel and the backend answers at once: what
is measured is taggerd alone.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import figures, pictures
from benchmarks.figures import Figure
from benchmarks.program import Daemon, Program, cpu_seconds, pss_megabytes, until
from benchmarks.serving import SLOTS, backend

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it
LENGTHS = (100, 1_000, 10_000, 100_000)
A_ROUND, RUN_UP = 80, 20
"""Photos that are tagged in a round; so many of them before its time is taken."""
PER_FOLDER = 1000


class Queue:
    """A daemon with so many photos queued, whose backend answers when it may."""

    def __init__(self, home: Path, length: int, stack: ExitStack) -> None:
        """Start it on *length* photos."""
        self.length, self.served = length, stack.enter_context(backend(SLOTS, 0))
        self.program = Program(
            home, self.served.url, BACKEND__MAX_CONCURRENCY=str(SLOTS),
            BACKEND__REQUEST_MODE="combined", BACKEND__TIMEOUT_SECONDS="900",
            ARRIVALS__SETTLE_SECONDS="0",
        )  # fmt: skip
        self.served.answer(0)
        self.made = 0
        self.fill()
        self.daemon: Daemon = stack.enter_context(self.program.daemon())
        self.rates: list[float] = []
        self.cpu = 0.0

    def fill(self) -> None:
        """Have as many photos come as its length lacks after a round; at first all of them."""
        until_now, self.made = self.made, self.made + (A_ROUND if self.made else self.length)
        card, data = self.program.home / f"card-{self.made}", pictures.one_pixel()
        for first in range(until_now, self.made, PER_FOLDER):
            numbers = range(first, min(first + PER_FOLDER, self.made))
            pictures.copies(data, card / f"{first:06}", numbers)
        card.rename(self.program.photos / card.name)

    def is_ready(self) -> bool:
        """Say whether all that came are queued."""
        status = self.daemon.status()
        counts = [status.get("queued"), status.get("in_flight")]
        return sum(count for count in counts if isinstance(count, int)) >= self.length

    def go(self) -> None:
        """Tag some."""
        until(self.is_ready)
        self.served.stats()
        cpu = cpu_seconds(self.daemon.pid)
        self.served.answer(A_ROUND)
        until(lambda: self.served.answered() >= A_ROUND)
        self.cpu += cpu_seconds(self.daemon.pid) - cpu
        ends = self.served.stats().ends
        self.rates.append((A_ROUND - RUN_UP) / (ends[-1] - ends[RUN_UP - 1]))
        self.fill()


def measured(lengths: list[int], times: int) -> Iterator[Figure]:
    """Yield the figures."""
    where = MEMORY if MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="taggerd-bench-", dir=where) as folder,
        ExitStack() as s,
    ):
        queues = [Queue(Path(folder) / str(length), length, s) for length in lengths]
        for number in range(times):
            for queue in queues if number % 2 else reversed(queues):
                queue.go()
        memory = pss_megabytes(queues[-1].daemon.pid)
        shortest, *others = queues
        usual = max(shortest.rates)
        for queue in others:
            yield Figure(
                f"photos a second at {queue.length:,} queued",
                max(queue.rates) / usual * 100, "%", at_least=97,
                against=f"at {shortest.length}: {usual:.0f} photos a second",
                detail=f"{max(queue.rates):.0f} photos a second, "
                f"{queue.cpu / A_ROUND / times * 1000:.1f} ms of a processor each",
            )  # fmt: skip
        what = f"the whole program, two workers, {queues[-1].length:,} photos queued"
        yield Figure(what, memory, "MB (PSS)", 350)


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("queue", __doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--times", type=int, default=5, help="each is measured")
    options = parser.parse_args()
    return figures.say(measured(options.lengths, options.times), options)


if __name__ == "__main__":
    sys.exit(main())
