"""Where a photo was taken, in words."""

from __future__ import annotations

import pytest

from taggerd.context import _COORDINATES, in_words
from taggerd.places import place_name


@pytest.mark.parametrize(
    ("position", "name"),
    [
        ((48.8566, 2.3522), "Paris, Île-de-France, France"),
        ((38.78, -109.6), "near Moab, Utah, United States"),
        ((47.3706, 8.5418), "Zürich, Zurich, Switzerland"),  # not "Zürich (Kreis 1)"
        ((1.29, 103.85), "Singapore"),  # town, region and country of one name, once
        ((0.0, 0.0), ""),  # a receiver without a fix
        ((0.001, -0.002), ""),
        ((-40.0, -30.0), ""),  # the Atlantic
        ((90.0, 0.0), ""),
        ((23.5, 10.5), ""),  # the Sahara: the nearest town says nothing of it
        ((91.0, 0.0), ""),
        ((float("nan"), 2.0), ""),
        ((float("inf"), 2.0), ""),
    ],
)
def test_a_position_becomes_the_nearest_towns_name(
    position: tuple[float, float], name: str
) -> None:
    """Town, region, country; "near" a little way off; nothing at sea and for no position."""
    assert place_name(*position) == name


def test_a_month_is_told_as_people_say_it() -> None:
    """Month and year, or the year alone."""
    assert [in_words(m) for m in ((2024, 6), (1998, 12), (1975, 0))] == [
        "June 2024",
        "December 1998",
        "1975",
    ]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("geo:lat=38.96", True),
        ("geotagged", False),
        ("38.9667,-109.7", True),
        ("38,9667 N", True),
        ("48° 51", True),
        ("2024-06 Utah", False),
        ("Route 66", False),
        ("Canon 5D 2.8", False),
    ],
)
def test_positions_in_names_and_labels_are_known(text: str, position: bool) -> None:
    """A folder or a keyword that may be a position is not told either."""
    assert (_COORDINATES.search(text) is not None) is position
