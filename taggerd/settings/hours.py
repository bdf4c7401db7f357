"""The hours of the week in which requests may be sent.

A window is written ``22:00-07:00``, or with the days on which it begins: ``Mon-Fri 22:00-07:00``.
Times are local clock time: on the night of a change to or from summer time a window is an hour
shorter or longer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_FORM = re.compile(
    r"(?:(?P<days>[a-z][a-z ,-]*?)\s+)?(?P<begin>\d{1,2}:\d\d)\s*[-–]\s*(?P<end>\d{1,2}:\d\d)",  # noqa: RUF001 - a dash
    re.IGNORECASE,
)
_HOW = 'write it as "22:00-07:00" or "Mon-Fri 22:00-07:00"'
_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class Window:
    """One window, possibly across midnight."""

    days: frozenset[int]
    """Days on which it begins; 0 is Monday."""
    begin: int
    """Minutes after midnight."""
    end: int
    """Minutes after midnight; on the next day if it is not after ``begin``."""

    def holds(self, now: datetime) -> bool:
        """Say whether *now*, local, is in the window; its end is exclusive."""
        minute, day = now.hour * 60 + now.minute, now.weekday()
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        begun_yesterday = (day - 1) % 7 in self.days and minute < self.end
        return begun_yesterday or (day in self.days and minute >= self.begin)

    def next_begin(self, now: datetime) -> datetime:
        """Return when it begins next after *now*, in local clock time (naive)."""
        wall = now.replace(tzinfo=None)
        at = time(self.begin // 60, self.begin % 60)
        begins = (datetime.combine(wall.date() + timedelta(n), at) for n in range(8))
        return next(b for b in begins if b > wall and b.weekday() in self.days)


@dataclass(frozen=True, slots=True)
class Hours:
    """Several windows; without any: always."""

    windows: tuple[Window, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Hours:
        """Parse windows. Raises :class:`ValueError` with one line that says what is wrong."""
        return cls(tuple(_window(text) for text in texts))

    def closed_until(self, now: datetime) -> datetime | None:
        """Return when the next window begins (naive, local); None if *now* is in one."""
        if not self.windows or any(window.holds(now) for window in self.windows):
            return None
        return min(window.next_begin(now) for window in self.windows)


def spoken(when: datetime, now: datetime) -> str:
    """Return *when* as people write it who know what day it is *now*; both local."""
    days = (when.date() - now.date()).days
    if days == 0:
        return f"{when:%H:%M}"
    if 0 < days < 7:  # noqa: PLR2004 - a week
        return f"{DAYS[when.weekday()].capitalize()} {when:%H:%M}"
    return f"{when:%Y-%m-%d %H:%M}"


def minutes_of(text: str) -> int:
    """Parse ``22:00`` into minutes after midnight, 24:00 included. Raises :class:`ValueError`."""
    form = re.fullmatch(r"\s*(\d{1,2}):([0-5]\d)\s*", text)
    minutes = int(form[1]) * 60 + int(form[2]) if form else _DAY + 1
    if minutes > _DAY:
        message = f"{text!r} is not a time of day"
        raise ValueError(message)
    return minutes


def _window(text: str) -> Window:
    """Parse one window."""
    form = _FORM.fullmatch(text.strip())
    if form is None:
        message = f"{text!r} is not a time window: {_HOW}"
        raise ValueError(message)
    begin, end = minutes_of(form["begin"]), minutes_of(form["end"])
    if begin in {_DAY, end}:
        message = f"{text!r} is an empty window: {_HOW}; a whole day is 00:00-24:00"
        raise ValueError(message)
    return Window(_days(form["days"], text), begin, end)


def _days(days: str | None, text: str) -> frozenset[int]:
    """Parse ``Mon-Fri`` or ``Sat, Sun``; None: every day."""
    if days is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in days.split(","):
        first, *rest = (_day(name.strip(), text) for name in part.split("-", 1))
        last = rest[0] if rest else first
        found.update((first + n) % 7 for n in range((last - first) % 7 + 1))
    return frozenset(found)


def _day(name: str, text: str) -> int:
    """Return the number of the weekday that begins with *name*."""
    for number, day in enumerate(DAYS):
        if len(name) >= 3 and day.startswith(name.casefold()):  # noqa: PLR2004 - Mon, Tue, ...
            return number
    message = f"{text!r}: {name!r} is not a weekday (Mon, Tue, Wed, Thu, Fri, Sat, Sun)"
    raise ValueError(message)
