"""How long the program takes until it does something: `scripts/bench start`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.program import TAGGERD, Program
from benchmarks.serving import backend

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = ("--help", "status")
PLAIN = "`python -c pass`"


def measured(starts: int) -> Iterator[Figure]:
    """Yield the figures: the shortest of several rounds, each of which measures everything once.

    A start only waits longer where others use the machine; the medians are beside them.
    """
    ready, plain = [], []
    commands: dict[str, list[float]] = {command: [] for command in COMMANDS}
    with tempfile.TemporaryDirectory(prefix="taggerd-bench-") as folder, backend() as served:
        program = Program(Path(folder), served.url)
        for _ in range(starts):
            with program.daemon() as daemon:
                ready.append(daemon.ready_seconds)
                time.sleep(1)  # until the backend has been probed, too
                for command, times in commands.items():
                    plain.append(_seconds(program, sys.executable, "-c", "pass"))
                    times.append(_seconds(program, str(TAGGERD), command))
    against = f"{PLAIN}: {min(plain) * 1000:.0f} ms"
    detail = f"median {median(ready):.2f} s"
    yield Figure("start to READY", min(ready), "s", 0.6, against=against, detail=detail)
    for command, times in commands.items():
        beyond = (min(times) - min(plain)) * 1000
        yield Figure(
            f"`taggerd {command}`, beyond {PLAIN}", beyond, "ms", 250, against=against,
            detail=f"{min(times) * 1000:.0f} ms in all, median {median(times) * 1000:.0f}",
        )  # fmt: skip


def _seconds(program: Program, *line: str) -> float:
    began = time.perf_counter()
    subprocess.run(  # noqa: S603 - our own program, or Python
        line, env=program.environment, cwd=program.home, stdout=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - began


def main() -> int:
    """Measure and print; 1 if a target is missed."""
    parser = figures.parser_of("start", __doc__)
    parser.add_argument("--starts", type=int, default=7)
    options = parser.parse_args()
    return figures.say(measured(options.starts), options)


if __name__ == "__main__":
    sys.exit(main())
