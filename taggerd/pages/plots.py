"""Plots as SVG, drawn here: no script draws anything, so they print, and are read aloud as text."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from taggerd.pages.environment import environment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Bar(NamedTuple):
    """One bar."""

    label: str
    value: float


_WIDTHS = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(days=1),
)
"""How much time one column of a throughput plot may cover."""
_COLUMNS = 60
"""At most so many, or they are thinner than a hair on a phone."""


def frequencies(bars: Sequence[Bar], *, title: str) -> Markup:
    """Return horizontal bars, the first on top; empty for none."""
    return _drawn("frequencies", bars, title) if bars else Markup()


def columns(bars: Sequence[Bar], *, title: str) -> Markup:
    """Return vertical bars from left to right; empty for fewer than two."""
    return _drawn("columns", bars, title) if len(bars) > 1 else Markup()


def throughput(moments: Iterable[datetime]) -> tuple[list[Bar], str]:
    """Return how many photos were done in each stretch of time, and how long a stretch is.

    *moments* are aware; labels are local time. The stretches with nothing in between are there too.
    """
    times = sorted(moments)
    if not times:
        return [], ""
    span = times[-1] - times[0]
    width = next((w for w in _WIDTHS if span / w < _COLUMNS), None) or timedelta(
        days=math.ceil(span / timedelta(days=_COLUMNS))
    )
    # Stretches of a day begin at local midnight.
    offset = times[0].astimezone().utcoffset() or timedelta()
    epoch = datetime(1970, 1, 1, tzinfo=UTC) - offset
    first = (times[0] - epoch) // width
    found = [0] * ((times[-1] - epoch) // width - first + 1)
    for moment in times:
        found[(moment - epoch) // width - first] += 1
    form = "%-d %b" if width >= timedelta(days=1) else "%H:%M"
    bars = [
        Bar((epoch + (first + number) * width).astimezone().strftime(form), count)
        for number, count in enumerate(found)
    ]
    return bars, _said(width)


def _said(width: timedelta) -> str:
    """Return ``5 minutes``, ``hour``, ``3 days``."""
    units = {"day": timedelta(days=1), "hour": timedelta(hours=1), "minute": timedelta(minutes=1)}
    unit, name = next((unit, name) for name, unit in units.items() if width >= unit)
    return name if width == unit else f"{width // unit} {name}s"


def _drawn(kind: str, bars: Sequence[Bar], title: str) -> Markup:
    drawing = environment().get_template("plots.html").module
    most = max(bar.value for bar in bars) or 1
    return Markup(getattr(drawing, kind)(bars, most, title))  # noqa: S704 - escaped by the template
