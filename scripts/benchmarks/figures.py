"""What a benchmark measured, and the Markdown table that says so."""

from __future__ import annotations

import json
import math
import signal
import sys
from argparse import SUPPRESS, ArgumentParser
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Iterator

HEAD = "| figure | measured | against | target | |\n|---|---|---|---|---|"
NOTHING = "–"  # noqa: RUF001 - a dash
"""What a cell without content says."""
_WHOLE, _ONE_DECIMAL = 100, 10
"""From so much on a number is shown without decimals, or with one."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: a number, and what it has to be."""

    what: str
    value: float | None
    """None: not measured; *detail* says why."""
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    against: str = NOTHING
    """A peer or a limit of the same run, and its own number."""
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met; what has none meets it, what was not measured does not."""
        if self.value is None or math.isnan(self.value):
            return self.at_most is None and self.at_least is None
        high = self.at_most is not None and self.value > self.at_most
        low = self.at_least is not None and self.value < self.at_least
        return not (high or low)

    @property
    def lower_is_better(self) -> bool:
        """Whether less of it is an improvement."""
        return self.at_least is None

    @property
    def measured(self) -> str:
        """The number, with its unit."""
        shown = "not measured" if self.value is None else shown_number(self.value, self.unit)
        return f"{shown} ({self.detail})" if self.detail else shown

    @property
    def target(self) -> str:
        """The bound, with its unit."""
        if self.at_most is not None:
            return f"≤ {_bound(self.at_most, self.unit)}"
        return f"≥ {_bound(self.at_least, self.unit)}" if self.at_least is not None else NOTHING

    @property
    def verdict(self) -> str:
        """The word of the last column."""
        if self.at_most is None and self.at_least is None:
            return ""
        return "met" if self.met else "**missed**"

    @property
    def row(self) -> str:
        """The line of the table."""
        cells = (self.what, self.measured, self.against, self.target, self.verdict)
        return f"| {' | '.join(cells)} |"


def shown_number(value: float, unit: str) -> str:
    """Return a number with three digits or so, and its unit."""
    size = abs(value)
    decimals = 0 if size >= _WHOLE or value == int(value) else 1 if size >= _ONE_DECIMAL else 2
    return f"{value:,.{decimals}f} {unit}".rstrip()


def _bound(value: float, unit: str) -> str:
    return f"{value:,.10g} {unit}".rstrip()


def ratio(  # noqa: PLR0913 - a line of the table has as many columns
    what: str, value: float, peer: float, unit: str, *, against: str, at_most: float
) -> Figure:
    """Return how many times as much as a *peer* something took, both in *unit*."""
    detail = shown_number(value, unit)
    return Figure(
        what, value / peer, "×", at_most,  # noqa: RUF001 - a multiplication sign
        against=f"{against}: {shown_number(peer, unit)}", detail=detail,
    )  # fmt: skip


def parser_of(part: str, description: str | None) -> ArgumentParser:
    """Return a part's parser, with the option by which `scripts/bench` reads its figures.

    From now on SIGTERM leaves the part in order: what it has started and made does not stay behind.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = ArgumentParser(f"scripts/bench {part}", description=description)
    parser.add_argument("--json", action="store_true", help=SUPPRESS)
    return parser


def say(figures: Iterable[Figure], options: Namespace) -> int:
    """Print a part's figures as they come, and return the exit code.

    It is 1 where a target is missed; but not with JSON, whose reader sees that, and takes another
    code than 0 for a failure.
    """
    all_met = True
    if not options.json:
        print(HEAD, flush=True)  # noqa: T201 - the result
    for figure in figures:
        all_met = all_met and figure.met
        line = json.dumps(asdict(figure)) if options.json else figure.row
        print(line, flush=True)  # noqa: T201 - the result
    return 0 if all_met or options.json else 1


def read(lines: Iterable[str]) -> Iterator[Figure]:
    """Read what :func:`say` printed as JSON."""
    for line in lines:
        yield Figure(**json.loads(line))
