"""Places: the name of the nearest town, from GeoNames' towns as ``reverse_geocode`` carries them.

Nothing is asked of anybody: the towns (those of a thousand people and more, CC BY 4.0) come with
the package. Loading them takes two seconds and 120 MB, so it happens in a process of its own
(:mod:`taggerd.workers.pool`), at the first photo that says where it was taken.
"""

from __future__ import annotations

import re
from math import asin, cos, hypot, isfinite, radians, sin, sqrt

_IN_KILOMETRES = 5.0
"""So near to a town's middle, a photo was taken in it."""
_NEAR_KILOMETRES = 50.0
"""So far from a town, its name still says where it was; further, it is the sea or a desert."""
_EARTH_KILOMETRES = 6371.0
_NOWHERE_DEGREES = 0.01
"""So near to 0 N 0 E (the open sea), a receiver had no fix."""


def place_name(latitude: float, longitude: float) -> str:
    """Return where a point is in words, ``"near Moab, Utah, United States"``; empty: unknown.

    Args:
        latitude: degrees, north positive.
        longitude: degrees, east positive.
    """
    if not (isfinite(latitude) and isfinite(longitude)):
        return ""
    if abs(latitude) > 90 or abs(longitude) > 180:  # noqa: PLR2004 - degrees on a globe
        return ""
    if hypot(latitude, longitude) < _NOWHERE_DEGREES:
        return ""
    import reverse_geocode  # noqa: PLC0415 - loads SciPy and the towns

    town = reverse_geocode.get((latitude, longitude))
    away = _kilometres(latitude, longitude, town["latitude"], town["longitude"])
    if away > _NEAR_KILOMETRES:
        return ""
    # GeoNames' parts of towns: "Zürich (Kreis 1)", "Zürich (Kreis 1) / Rathaus".
    name = re.sub(r"\s*\(.*", "", town["city"])
    levels = dict.fromkeys(filter(None, (name, town.get("state"), town.get("country"))))
    return ("" if away <= _IN_KILOMETRES else "near ") + ", ".join(levels)


def _kilometres(latitude: float, longitude: float, other: float, other_longitude: float) -> float:
    """Return the length of the way between two points on the globe (haversine)."""
    one, two = radians(latitude), radians(other)
    across = sin(radians(other_longitude - longitude) / 2) ** 2 * cos(one) * cos(two)
    return 2 * _EARTH_KILOMETRES * asin(sqrt(min(1.0, sin((two - one) / 2) ** 2 + across)))
