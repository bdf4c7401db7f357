"""Where and when figures were measured, and how the README quotes them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import taggerd
from benchmarks import figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.figures import Figure

REPOSITORY = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- figures: scripts/bench --readme -->", "<!-- end of figures -->"


def machine() -> str:
    """Say what this machine is, and how busy it is with other things."""
    named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    processor = named[1].strip() if named else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores of {processor}, {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def version() -> str:
    """Name what is measured: the version, and the commit where it is known."""
    line = ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - our own line
    return f"taggerd {taggerd.__version__}" + (f" ({commit})" if commit else "")


def today() -> str:
    """Return the date, UTC."""
    return datetime.now(UTC).date().isoformat()


def quoted(measured: Sequence[Figure], where: str) -> str:
    """Return what the README says: the figures that have a target."""
    promised = [figure for figure in measured if figure.verdict]
    met = sum(figure.met for figure in promised)
    rows = "\n".join(figure.row for figure in promised)
    return (
        f"{BEGIN}\n<details><summary>{met} of {len(promised)} targets are met:"
        f" {where}</summary>\n\n"
        f"{figures.HEAD}\n{rows}\n\n</details>\n{END}"
    )


def put_into(document: str, quote: str) -> str:
    """Replace what a *document* says between the marks.

    Raises:
        ValueError: it has no such marks.

    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        message = f"no place for the figures: {BEGIN} … {END}"
        raise ValueError(message)
    return f"{before}{quote}{after}"
