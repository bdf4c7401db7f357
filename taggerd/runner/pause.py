"""Times in which no photo starts because somebody said so: paused, off schedule, budget spent.

A pause is kept in the ledger: it survives a restart, and a running daemon finds it there.
"""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError
from taggerd.settings.hours import Hours, minutes_of, spoken

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.ledger import Json, Ledger, Pause
    from taggerd.services import Services

ASK_SECONDS = 2.0
"""How long photos start on before a shared ledger is asked again whether they may."""
_SCHEDULE = "schedule"
"""Key of the note: which windows were set last, and by which host."""
_LENGTH = re.compile(
    r"(?:(\d{1,4})d)?(?:(\d{1,5})h)?(?:(\d{1,6})(?:m|min))?(?:(\d{1,7})s)?", re.IGNORECASE
)


def pause_message(pause: Pause, now: datetime) -> str:
    """Return *pause* in words, as seen at *now*."""
    end = "taggerd resume"
    if pause.until is not None:
        end = spoken(datetime.fromtimestamp(pause.until).astimezone(), now)
    return f"paused until {end}" + (f" ({pause.reason})" if pause.reason else "")


async def pause_reason(ledger: Ledger, hours: Hours, now: datetime) -> str:
    """Return why no photo may start at *now*, and until when; empty: start.

    Args:
        ledger: holds the pause, if there is one.
        hours: the windows in which the backend may be used.
        now: local and aware.

    Raises:
        StorageError: the ledger cannot be read.

    """
    return closed_reason(await ledger.paused(now.timestamp()), hours, now)


async def why_nothing_starts(services: Services) -> str:
    """Return why the daemon starts no photo now; empty: it does.

    It is paused, off schedule, or today's budget is spent.

    Raises:
        StorageError: the ledger cannot be read.

    """
    reason = await pause_reason(services.ledger, services.hours, services.now())
    return reason or await services.inference.budget.reason()


class PauseWatch:
    """Asks for the runner why nothing starts, which asks before it claims each photo.

    Where hosts share the ledger that would cost as much as a step of the photo: there it is asked
    again after :data:`ASK_SECONDS`, and at once while nothing starts. No claim is made in a pause.
    """

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask the ledger of *services*; *clock*: monotonic, seconds."""
        self._services = services
        self._clock = clock
        self._asked_at = -math.inf

    async def reason(self) -> str:
        """Return what :func:`why_nothing_starts` does. Raises StorageError."""
        shared, now = self._services.ledger.fleet is not None, self._clock()
        if shared and now - self._asked_at < ASK_SECONDS:
            return ""
        self._asked_at = -math.inf
        reason = await why_nothing_starts(self._services)
        if not reason:
            self._asked_at = now
        return reason


async def share_hours(services: Services) -> None:
    """Keep to the schedule of another host, where this one has none and they share a ledger.

    The one that was set last counts, until its host has none any more.

    Raises:
        StorageError: the ledger cannot be used.

    """
    ledger, own = services.ledger, services.settings.schedule.active
    if ledger.fleet is None:
        return
    kept = await ledger.recall(_SCHEDULE)
    host, active = "", list[str]()
    match kept:
        case {"host": str() as host, "active": [*texts]}:
            active = [text for text in texts if isinstance(text, str)]
    if own or host == ledger.fleet.host:
        services.hours = services.settings.schedule.hours
        value: Json = {"host": ledger.fleet.host, "active": [*own]} if own else None
        if value != kept and (value is None or not services.hours_noted):
            await ledger.note(_SCHEDULE, value)
        services.hours_noted = True
        return
    try:
        services.hours = Hours.of(active)
    except ValueError:  # another version's
        services.hours = Hours()


def closed_reason(pause: Pause | None, hours: Hours, now: datetime) -> str:
    """Return the same, where it is known which *pause* holds at *now*."""
    if pause:
        return pause_message(pause, now)
    begins = hours.closed_until(now)
    return f"off schedule until {spoken(begins, now)}" if begins else ""


def end_of_pause(length: str | None, until: str | None, now: datetime) -> float | None:
    """Return when a pause of *length* (``2h``, ``1h30m``) or *until* (``22:00``) is over.

    Raises:
        ConfigurationError: both are given, or one is no such text.

    """
    if length and until:
        message = "--for and --until exclude each other: give one of the two"
        raise ConfigurationError(message)
    if length:
        form = _LENGTH.fullmatch(length.replace(" ", ""))
        numbers = [int(n or 0) for n in form.groups()] if form else [0]
        if not any(numbers):
            message = f"--for {length!r} is not a length of time: write 2h, 90m or 1h30m"
            raise ConfigurationError(message)
        days, hours, minutes, seconds = numbers
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return now.timestamp() + span.total_seconds()
    return _time_of_day(until, now) if until else None


def _time_of_day(until: str, now: datetime) -> float:
    """Return the next moment at which the clock on the wall says *until*."""
    try:
        minutes = minutes_of(until) % (24 * 60)
    except ValueError:
        message = f"--until {until!r} is not a time of day: write 22:00"
        raise ConfigurationError(message) from None
    wall = now.replace(tzinfo=None)
    at = wall.replace(hour=minutes // 60, minute=minutes % 60, second=0, microsecond=0)
    # Made aware only when the day is known: its offset may be another than today's.
    return (at if at > wall else at + timedelta(days=1)).astimezone().timestamp()
