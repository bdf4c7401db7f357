"""The index of days: one row a day, the newest first, with a link to its page and tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from taggerd.pages import plots
from taggerd.pages.environment import environment
from taggerd.pages.static import static_files

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = 60
"""So many days the plot goes back."""


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day."""

    day: str
    """``YYYY-MM-DD``."""
    photos: int
    failed: int
    page: str = ""
    """Address of its page from the index; empty: it has none."""
    tables: Sequence[tuple[str, str]] = ()
    """Names and addresses of what lies beside the page."""

    @property
    def said(self) -> str:
        """``Thursday, 20``: the month is above."""
        day = date.fromisoformat(self.day)
        return f"{day:%A}, {day.day}"


def index_of_days(rows: Sequence[DayRow]) -> bytes:
    """Return the page; *rows* in any order."""
    newest_first = sorted(rows, key=lambda row: row.day, reverse=True)
    months = groupby(newest_first, key=lambda row: f"{date.fromisoformat(row.day):%B %Y}")
    page = environment().get_template("days.html")
    return page.render(
        count=len(rows),
        photos=sum(row.photos for row in rows),
        failed=sum(row.failed for row in rows),
        months=[(month, list(days)) for month, days in months],
        plot=plots.columns(_columns(newest_first), title="Photos per day"),
        style_hash=static_files()["export.css"].source_hash,
    ).encode()


def _columns(newest_first: Sequence[DayRow]) -> list[plots.Bar]:
    """Return a bar for each of the last days, also for those without a photo."""
    if not newest_first:
        return []
    last = date.fromisoformat(newest_first[0].day)
    first = max(date.fromisoformat(newest_first[-1].day), last - timedelta(days=_COLUMNS - 1))
    photos = {row.day: row.photos for row in newest_first}
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [plots.Bar(f"{day.day} {day:%b}", photos.get(day.isoformat(), 0)) for day in days]
