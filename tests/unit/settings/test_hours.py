"""The hours in which the backend may be asked."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from taggerd.settings.hours import Hours, spoken

BERLIN = ZoneInfo("Europe/Berlin")


def at(day: str, clock: str, zone: ZoneInfo | None = None) -> datetime:
    """Return a local time; 2025-06-02 is a Monday."""
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=zone or UTC)


@pytest.mark.parametrize(
    ("windows", "day", "clock", "closed_until"),
    [
        ([], "2025-06-02", "12:00", None),
        (["22:00-07:00"], "2025-06-02", "22:00", None),
        (["22:00-07:00"], "2025-06-02", "23:59:59", None),
        (["22:00-07:00"], "2025-06-02", "06:59:59", None),
        (["22:00-07:00"], "2025-06-02", "07:00", "2025-06-02T22:00"),
        (["22:00-07:00"], "2025-06-02", "21:59", "2025-06-02T22:00"),
        (["08:00-09:00", "12:30-13:00"], "2025-06-02", "12:45", None),
        (["08:00-09:00", "12:30-13:00"], "2025-06-02", "09:00", "2025-06-02T12:30"),
        (["08:00-09:00", "12:30-13:00"], "2025-06-02", "13:00", "2025-06-03T08:00"),
        # The days are those on which a window begins: Friday's night goes on on Saturday.
        (["Mon-Fri 22:00-07:00"], "2025-06-07", "03:00", None),
        (["Mon-Fri 22:00-07:00"], "2025-06-07", "22:30", "2025-06-09T22:00"),
        (["Mon-Fri 22:00-07:00"], "2025-06-09", "03:00", "2025-06-09T22:00"),
        (["Sat, Sun 00:00-24:00"], "2025-06-08", "23:59:59", None),
        (["sat,sun 00:00-24:00"], "2025-06-09", "00:00", "2025-06-14T00:00"),
        (["Fri-Mon 1:00-2:00"], "2025-06-02", "01:30", None),
        (["Fri-Mon 1:00-2:00"], "2025-06-03", "01:30", "2025-06-06T01:00"),
        (["monday 08:00-09:00"], "2025-06-02", "08:00", None),
        (["Mon 08:00-09:00"], "2025-06-02", "09:00", "2025-06-09T08:00"),
    ],
)
def test_a_time_is_in_the_hours_or_before_they_begin(
    windows: list[str], day: str, clock: str, closed_until: str | None
) -> None:
    """The begin counts, the end does not; over midnight and by days."""
    expected = datetime.fromisoformat(closed_until) if closed_until else None
    assert Hours.of(windows).closed_until(at(day, clock)) == expected


@pytest.mark.parametrize(
    ("utc", "open_"),
    [
        # 30 March 2025: 02:00 CET is 03:00 CEST; there is no 02:30.
        ("2025-03-30T00:59", True),  # 01:59
        ("2025-03-30T01:00", True),  # 03:00
        ("2025-03-30T01:30", False),  # 03:30
        # 26 October 2025: 03:00 CEST is 02:00 CET; there are two 02:30.
        ("2025-10-26T00:30", True),  # 02:30, the first
        ("2025-10-26T01:30", True),  # 02:30, the second
        ("2025-10-26T02:30", False),  # 03:30
    ],
)
def test_the_clock_on_the_wall_decides_when_it_is_put_forward_or_back(
    utc: str, open_: bool
) -> None:
    """A window ends when the clock says so, in the night of a change as in any other."""
    now = datetime.fromisoformat(utc).replace(tzinfo=UTC).astimezone(BERLIN)
    assert (Hours.of(["22:00-03:30"]).closed_until(now) is None) is open_


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a time window"),
        ("22-7", "not a time window"),
        ("22:00", "not a time window"),
        ("22:00-25:00", "'25:00' is not a time of day"),
        ("22:60-23:00", "'22:60' is not a time of day"),
        ("22:00-22:00", "is an empty window"),
        ("24:00-07:00", "is an empty window"),
        ("Foo 22:00-07:00", "'Foo' is not a weekday"),
        ("Mon-Fry 22:00-07:00", "'Fry' is not a weekday"),
        ("Mo 22:00-07:00", "'Mo' is not a weekday"),
        ("Mon,, 22:00-07:00", "'' is not a weekday"),
    ],
)
def test_a_bad_window_is_one_clear_line(text: str, words: str) -> None:
    """It says what is wrong."""
    with pytest.raises(ValueError, match=words) as caught:
        Hours.of([text])
    assert len(str(caught.value).splitlines()) == 1


def test_a_time_is_said_as_people_do() -> None:
    """The hour alone today, the day of the week within one, the date beyond."""
    now = at("2025-06-02", "12:00")
    assert spoken(datetime.fromisoformat("2025-06-02T22:00"), now) == "22:00"
    assert spoken(datetime.fromisoformat("2025-06-03T07:00"), now) == "Tuesday 07:00"
    assert spoken(datetime.fromisoformat("2025-06-20T07:00"), now) == "2025-06-20 07:00"
