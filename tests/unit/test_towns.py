"""Where a photo was taken, in words."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import settings as testing
from hypothesis import strategies as st

from taggerd import context, settings
from taggerd.context import _COORDINATES, Towns, in_words, nearest_town
from taggerd.workers.pool import Workers

DEGREES = [(89.9, 10.0), (89.0, 170.0), (-89.9, 0.0), (0.0, 179.9), (0.0, -178.0), (51.5, 0.0)]
"""Towns around the poles and the date line."""


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
    assert nearest_town(*position) == name


@pytest.mark.parametrize(
    ("position", "name"),
    [
        ((66.32, -179.12), "Egvekinot, Chukotka, Russian Federation"),
        ((66.32, -180.0), "near Egvekinot, Chukotka, Russian Federation"),
        ((66.32, 180.0), "near Egvekinot, Chukotka, Russian Federation"),
        ((66.32, 179.95), "near Egvekinot, Chukotka, Russian Federation"),
        ((78.2232, 15.6469), "Longyearbyen, Svalbard, Svalbard and Jan Mayen"),
        ((-90.0, 0.0), ""),
        ((10.0, 180.1), ""),
        ((float("-inf"), 0.0), ""),
    ],
)
def test_positions_at_the_edges_of_the_map(position: tuple[float, float], name: str) -> None:
    """The date line is no border, and what lies beyond the map is no position."""
    assert nearest_town(*position) == name


def kilometres(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Return the length of the way between two points on the globe, by the haversine formula."""
    a, b = radians(one[0]), radians(two[0])
    across = sin(radians(two[1] - one[1]) / 2) ** 2 * cos(a) * cos(b)
    return 2 * 6371.0 * asin(sqrt(min(1.0, sin((b - a) / 2) ** 2 + across)))


@testing(deadline=None)  # the table is loaded with the first example
@given(st.floats(-90, 90), st.floats(-180, 180))
@example(90.0, 0.0)
@example(89.95, -170.0)  # over the pole; by degrees the other town is nearer
@example(-90.0, 77.0)
@example(0.0, -179.9)  # the nearest town lies on the other side of the date line
@example(0.0, 180.0)
@example(0.0, -180.0)
def test_the_nearest_town_is_nearest_on_the_globe(latitude: float, longitude: float) -> None:
    """Whichever formula is used; neither the poles nor the date line are special."""
    towns = Towns(
        np.array(DEGREES) * 100_000,
        [str(number) for number in range(len(DEGREES))],
        np.zeros(len(DEGREES), np.uint16),
        ["\t"],
    )
    distances = [kilometres((latitude, longitude), town) for town in DEGREES]
    distance, name = towns.nearest(latitude, longitude)
    assert distance == pytest.approx(min(distances), abs=0.001)
    assert distances[int(name)] == pytest.approx(min(distances), abs=0.001)


async def test_towns_are_found_in_the_smallest_worker() -> None:
    """The table needs no process of its own: it fits into the least memory a worker may have."""
    workers = Workers(settings.Workers(processes=1, memory_megabytes=512))
    try:
        assert await workers.run(nearest_town, 48.8566, 2.3522) == "Paris, Île-de-France, France"
    finally:
        await workers.close()


def test_the_table_says_whose_it_is() -> None:
    """GeoNames' licence asks to be named, and the wheel stays small."""
    path = Path(context.__file__).parent / "data" / "towns.npz"
    with np.load(path) as table:
        assert "GeoNames" in str(table["about"])
        assert "CC BY 4.0" in str(table["about"])
        assert len(table["degrees"]) > 100_000
    assert path.stat().st_size < 5 << 20


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
