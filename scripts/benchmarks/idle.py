"""What the daemon takes while nothing happens: `scripts/bench idle`.

It has tagged a photo before, and its workers have had the minute after which they end.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import figures, pictures
from benchmarks.figures import Figure
from benchmarks.program import Program, cpu_seconds, pss_megabytes, tree, until, wakeups
from benchmarks.serving import backend

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_REST = 90
"""Seconds in which the workers have ended; it is measured as soon as they have."""
CALM = 3
"""Seconds from then on until what ends them is done, too."""
SETTLE = 5.0
"""The default."""


def measured(seconds: float) -> Iterator[Figure]:
    """Yield the figures."""
    photo = pictures.jpeg(pictures.scene(pictures.SIZE_24))
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder, backend() as served:
        program = Program(Path(folder), served.url)
        with program.daemon() as daemon:
            _tagged(program, "first.jpg", photo)
            with suppress(TimeoutError):  # a figure says that there are some left
                until(lambda: tree(daemon.pid) == [daemon.pid], LONGEST_REST, every=0.5)
            time.sleep(CALM)
            cpu, woken = cpu_seconds(daemon.pid), wakeups(daemon.pid)
            time.sleep(seconds)
            share = (cpu_seconds(daemon.pid) - cpu) / seconds * 100
            rate = (wakeups(daemon.pid) - woken) / seconds
            memory, processes = pss_megabytes(daemon.pid), len(tree(daemon.pid))
            served.stats()
            arrived = _tagged(program, "second.jpg", photo + b"2")
            asked = served.stats().first - arrived - SETTLE
    yield Figure("idle daemon", share, "% CPU", 0.2)
    yield Figure("idle daemon, all its processes", memory, "MB (PSS)", 70)
    yield Figure("idle daemon", rate, "wake-ups a second", 2)
    yield Figure("worker processes of a daemon that was idle for a minute", processes - 1, "", 0)
    yield Figure("first request after a photo has settled, idle before", asked, "s", 0.5)


def _tagged(program: Program, name: str, data: bytes) -> float:
    """Have a photo tagged, and return when it was written, seconds since the epoch."""
    path = program.photos / name
    path.write_bytes(data)
    until(path.with_name(f"{name}.xmp").exists)
    return path.stat().st_ctime


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("idle", __doc__)
    parser.add_argument("--seconds", type=float, default=30, help="for which it is measured")
    options = parser.parse_args()
    return figures.say(measured(options.seconds), options)


if __name__ == "__main__":
    sys.exit(main())
