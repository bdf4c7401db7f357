"""What a benchmark measured, and the Markdown table that says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Figure:
    """One line of the table."""

    what: str
    target: str
    measured: str
    met: bool = True


def print_table(figures: Iterable[Figure]) -> bool:
    """Print the figures as they come; return whether every target is met."""
    all_met = True
    print("| what | target | measured | met |\n| --- | --- | --- | --- |", flush=True)  # noqa: T201 - the result
    for figure in figures:
        all_met = all_met and figure.met
        met = "yes" if figure.met else "no"
        print(f"| {figure.what} | {figure.target} | {figure.measured} | {met} |", flush=True)  # noqa: T201 - the result
    return all_met
