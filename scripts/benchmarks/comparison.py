"""Two checkouts side by side: what differs by more than each of them differs from itself."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.figures import NOTHING, shown_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.figures import Figure

HEAD = "| figure | here | there | change | |\n|---|---|---|---|---|"
LEAST_ROUNDS = 3
"""With fewer nobody can say what a checkout differs from itself."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of both checkouts, by rounds."""

    figure: Figure
    """For its name, its unit and what is better."""
    here: Sequence[float]
    there: Sequence[float]

    @property
    def change(self) -> float:
        """How much more it is here than there: the difference of the medians."""
        return median(self.here) - median(self.there)

    @property
    def noise(self) -> float:
        """How much one checkout differs from itself: the larger of the two spreads."""
        return max(max(self.here) - min(self.here), max(self.there) - min(self.there))

    @property
    def verdict(self) -> str:
        """Which is better, where that is beyond noise."""
        rounds = min(len(self.here), len(self.there))
        if rounds < LEAST_ROUNDS:
            return f"measured {rounds} times: too few to tell"
        if abs(self.change) <= self.noise:
            return "within noise"
        better = (self.change < 0) == self.figure.lower_is_better
        return f"beyond noise: {'better' if better else 'worse'} here"

    @property
    def row(self) -> str:
        """The line of the table."""
        sides = [_side(values, self.figure.unit) for values in (self.here, self.there)]
        change = NOTHING
        if self.here and self.there:
            share = self.change / abs(median(self.there)) * 100 if median(self.there) else 0.0
            change = f"{share:+.1f} %"
        return f"| {' | '.join((self.figure.what, *sides, change, self.verdict))} |"


def _side(values: Sequence[float], unit: str) -> str:
    if not values:
        return "not measured"
    spread = f"{shown_number(min(values), '')} to {shown_number(max(values), '')}"
    return f"{shown_number(median(values), unit)} ({spread})"


def compared(
    here: Iterable[Iterable[Figure]], there: Iterable[Iterable[Figure]]
) -> Iterator[Comparison]:
    """Compare the rounds of two checkouts, figure by figure, in the order in which they came."""
    known: dict[str, Figure] = {}
    sides: tuple[dict[str, list[float]], ...] = ({}, {})
    for rounds, values in zip((here, there), sides, strict=True):
        for figures in rounds:
            for figure in figures:
                known.setdefault(figure.what, figure)
                if figure.value is not None:
                    values.setdefault(figure.what, []).append(figure.value)
    for what, figure in known.items():
        yield Comparison(figure, sides[0].get(what, ()), sides[1].get(what, ()))
