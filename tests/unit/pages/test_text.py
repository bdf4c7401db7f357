"""Days, times and figures as people write them."""

from __future__ import annotations

import pytest

from taggerd.pages.text import day_title, moment, number


@pytest.mark.parametrize(
    ("day", "title"),
    [("2025-11-20", "Thursday, 20 November 2025"), ("2025-02-30", "2025-02-30"), ("", "")],
)
def test_a_day_is_said_as_people_say_it(day: str, title: str) -> None:
    """What is no day is shown as it is: it may come from an address."""
    assert day_title(day) == title


def test_a_time_that_no_clock_shows_is_left_out() -> None:
    """A damaged catalogue may hold any figure; the page is made all the same."""
    assert moment(1e300) == ""
    assert len(moment(0.0)) == len("1970-01-01 00:00")


def test_thousands_are_apart() -> None:
    """1204 photos read as 1 204, by a space that does not break."""
    assert number(12) == "12"
    assert number(1_204_000) == "1\u202f204\u202f000"
