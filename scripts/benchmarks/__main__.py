"""Runs the parts of the benchmark, each in a process of its own: `scripts/bench`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import comparison, figures, report
from benchmarks.figures import Figure
from benchmarks.program import end, ourselves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARTS: dict[str, tuple[str, ...]] = {
    "photos": (),
    "inference": ("--photos", "60"),
    "saturation": (),
    "burst": (),
    "start": (),
    "idle": (),
    "memory": (),
    "queue": ("--times", "3"),
    "metadata": (),
    "arrivals": ("--only", "reconcile", "--only", "burst"),
    "ledger": ("--small",),
    "catalogue": ("--photos", "30000"),
}
"""What a run without arguments measures, in this order; the options keep it below ten minutes."""
APART = "fleet"
"""Measured if it is named: it takes six minutes more, and wants PostgreSQL."""


def run(part: str, options: Sequence[str], python: str = sys.executable) -> Iterator[Figure]:
    """Run one part in the environment of *python* and yield its figures as they come."""
    line = ourselves(part, "--json", *options, python=python)
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True) as process,  # noqa: S603 - ourselves
    ):
        try:
            yield from figures.read(process.stdout or ())
            code = process.wait()
        finally:
            end(process)
        errors.seek(0)
        said = errors.read()
        sys.stderr.write(said)
        if code:
            yield Figure(
                f"the part {part}", None, at_most=0, detail=said.strip().rpartition("\n")[2]
            )


def environment_of(checkout: Path) -> str:
    """Return the Python of another checkout, whose environment its own script makes.

    Raises:
        subprocess.CalledProcessError: it cannot be made; the script has said why.

    """
    script = 'set -eu; . "$1/scripts/environment"; python_environment >&2; echo "$venv/bin/python"'
    line = ["bash", "-c", script, "bench", os.fspath(checkout)]
    own = {key: value for key, value in os.environ.items() if key != "TAGGERD_VENV"}
    done = subprocess.run(line, env=own, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own line
    return done.stdout.splitlines()[-1]


def compare(parts: Mapping[str, Sequence[str]], options: argparse.Namespace) -> int:
    """Compare with another checkout, part by part, in rounds that alternate; always 0."""
    other = environment_of(options.against.resolve())
    rows: list[dict[str, object]] = []
    if not options.json:
        print(f"{report.machine()}\n\n{comparison.HEAD}", flush=True)  # noqa: T201 - the result
    for part, of_part in parts.items():
        here: list[list[Figure]] = []
        there: list[list[Figure]] = []
        for number in range(options.rounds):
            sides = [(here, sys.executable), (there, other)]
            # Each is the first as often as the second: what warms up or tires meets both.
            for figures_of, python in sides if number % 2 else reversed(sides):
                figures_of.append(list(run(part, of_part, python)))
        for each in comparison.compared(here, there):
            rows.append({**asdict(each), "verdict": each.verdict})
            if not options.json:
                print(each.row, flush=True)  # noqa: T201 - the result
    if options.json:
        print(json.dumps({"machine": report.machine(), "comparisons": rows}))  # noqa: T201 - the result
    return 0


def measure(parts: Mapping[str, Sequence[str]], options: argparse.Namespace) -> int:
    """Print one table of the parts; 1 if a target is missed."""
    where = f"{report.version()}, {report.today()}, {report.machine()}"
    began = time.monotonic()
    if not options.json:
        print(f"{where}\n\n{figures.HEAD}", flush=True)  # noqa: T201 - the result
    measured = []
    for part, of_part in parts.items():
        for figure in run(part, of_part):
            measured.append(figure)
            if not options.json:
                print(figure.row, flush=True)  # noqa: T201 - the result
    took = f"measured in {(time.monotonic() - began) / 60:.1f} minutes"
    if options.json:
        rows = [{**asdict(figure), "met": figure.met} for figure in measured]
        print(json.dumps({"where": where, "took": took, "figures": rows}))  # noqa: T201 - the result
    else:
        print(f"\n{took}")  # noqa: T201 - the result
    if options.readme:
        readme = report.REPOSITORY / "README.md"
        readme.write_text(report.put_into(readme.read_text(), report.quoted(measured, where)))
    return 0 if all(figure.met for figure in measured) else 1


def main() -> int:
    """Run all parts, or those that are named."""
    named = sys.argv[1:]
    first_option = next((n for n, each in enumerate(named) if each.startswith("-")), len(named))
    parts, rest = named[:first_option], named[first_option:]
    known = {**PARTS, APART: ()}
    parser = argparse.ArgumentParser(
        "scripts/bench", usage="%(prog)s [PART …] [OPTION …]", epilog=f"Parts: {', '.join(known)}.",
        allow_abbrev=False, add_help=not parts,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--readme", action="store_true", help="also put the table into README.md")
    parser.add_argument(
        "--against", type=Path, metavar="DIR",
        help="compare with another checkout, by the benchmarks of this one",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="how often both are measured then")
    # What is not known here belongs to a part, also its --help.
    options, of_parts = parser.parse_known_args(rest)
    if unknown := [part for part in parts if part not in known]:
        parser.error(f"no such part: {', '.join(unknown)}; there are: {', '.join(known)}")
    if of_parts and len(parts) != 1:
        parser.error(f"{of_parts[0]} belongs to one part: name it")
    if {"-h", "--help"} & set(of_parts):
        os.execv(sys.executable, ourselves(parts[0], "--help"))  # noqa: S606 - ourselves
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was made is removed too
    chosen = {part: of_parts or known[part] * (len(parts) != 1) for part in parts or PARTS}
    return compare(chosen, options) if options.against else measure(chosen, options)


if __name__ == "__main__":
    sys.exit(main())
