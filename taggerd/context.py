"""Context: what a prompt may say about a photo besides its pixels, in words.

``prompts.context`` lists what. Where a photo was taken is given as the name of the nearest town,
never as coordinates, and when as a month.

The towns (GeoNames, 1,000 people and more, CC BY 4.0) come with the package in ``data/towns.npz``,
made by ``scripts/towns``: nothing is asked over the network. :func:`nearest_town` runs in a worker
process, so that the program itself loads neither numpy nor the table. Loading takes 40 ms and 26 MB
in the first worker that sees a photo with a position, and a lookup 0.1 ms.
"""

from __future__ import annotations

import re
from calendar import month_name
from functools import cache
from importlib import resources
from math import asin, hypot
from typing import TYPE_CHECKING

from taggerd import metadata
from taggerd.errors import PhotoError
from taggerd.logs import get_logger
from taggerd.photo import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from taggerd.metadata import Circumstances, Inspection, Said
    from taggerd.photo import Photo
    from taggerd.services import Services

LONGEST_FOLDER = 100
"""Characters of a folder's name that are sent."""
_COORDINATES = re.compile(
    r"\d[.,]\d{3}|\d\s*[°º]|^\s*geo\b"
    r"|\d[.,]\d\d\s*[NSEWO]\b|\b[NSEWO]\s?\d{1,3}([ _:]\d\d)?[.,]\d"
    r"|(?<![a-z])(?:lat|lon|lng|latitude|longitude)(?![a-z])\W*_?\d",
    re.IGNORECASE,
)
"""What may be a position, in a folder's name or a keyword (``geo:lat=38.96``)."""

_IN_KILOMETRES = 5.0
"""Up to this far from a town's centre, a photo was taken in the town."""
_NEAR_KILOMETRES = 50.0
"""Up to this far it was taken near the town; further away is open sea or desert."""
_EARTH_KILOMETRES = 6371.0
_NO_FIX_DEGREES = 0.01
"""A position this close to 0° N 0° E, in the open sea, comes from a receiver without a fix."""

log = get_logger(__name__)


async def inspected(photo: Photo, said: Said, services: Services) -> Inspection:
    """Look into the photo's files and sidecars; a photo is never lost for the sake of a hint."""
    wanted = [word for word in services.settings.prompts.context if word != "folder"]
    run, options = services.writers.run, services.metadata_options
    if wanted:
        try:
            return await run(metadata.inspect, photo, options, said, wanted)
        except PhotoError as error:
            log.debug("no context for this photo", photo=photo.name, reason=str(error))
    return await run(metadata.inspect, photo, options, said)


async def context_of(photo: Photo, known: Circumstances, services: Services) -> dict[str, str]:
    """Return what may be said about *photo*, by kind; what is not *known* is missing."""
    wanted = services.settings.prompts.context
    told: dict[str, str] = {}
    if known.position and (town := await _town(known.position, services)):
        told["place"] = town
    if known.month:
        told["date"] = in_words(known.month)
    if "folder" in wanted and (folder := printable(photo.folder.name)[:LONGEST_FOLDER]):
        told["folder"] = folder
    if known.keywords:
        told["keywords"] = ", ".join(w for w in known.keywords if not _COORDINATES.search(w))
    told = {word: text for word, text in told.items() if text and not _COORDINATES.search(text)}
    return {word: told[word] for word in wanted if word in told}


def in_words(month: tuple[int, int]) -> str:
    """Return a year and a month as people say it, ``"June 2024"``; without the month, the year."""
    year, number = month
    return f"{month_name[number]} {year}".strip()


async def _town(position: tuple[float, float], services: Services) -> str:
    """Look up the town in a worker; a photo is never lost for the sake of a hint."""
    try:
        return await services.writers.run(nearest_town, *position)
    except (PhotoError, RuntimeError) as error:
        log.warning("the nearest town cannot be looked up", reason=str(error))
        return ""


def nearest_town(latitude: float, longitude: float) -> str:
    """Return where a point is in words, ``"near Moab, Utah, United States"``; empty: unknown.

    Args:
        latitude: degrees, north positive.
        longitude: degrees, east positive.
    """
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # noqa: PLR2004 - also false for NaN
        return ""
    if hypot(latitude, longitude) < _NO_FIX_DEGREES:
        return ""
    kilometres, name = _towns().nearest(latitude, longitude)
    if kilometres > _NEAR_KILOMETRES:
        return ""
    return name if kilometres <= _IN_KILOMETRES else f"near {name}"


class Towns:
    """A table of towns as points on the unit sphere, where no pole or date line is special."""

    def __init__(
        self,
        degrees: NDArray[np.int32],
        names: list[str],
        region_of: NDArray[np.uint16],
        regions: list[str],
    ) -> None:
        """Take the columns that ``scripts/towns.py`` writes, their texts split into lines."""
        import numpy as np  # noqa: PLC0415 - the main process does without

        self._names, self._region_of, self._regions = names, region_of, regions
        # float64: in float32 the cosine of two points that are 2 km apart rounds to 1.
        self._points = _on_sphere(*np.radians(degrees.T / 100_000.0)).T.copy()

    def nearest(self, latitude: float, longitude: float) -> tuple[float, str]:
        """Return the distance to the nearest town in kilometres, and town, state, country."""
        import numpy as np  # noqa: PLC0415 - see above

        point = _on_sphere(np.radians(latitude), np.radians(longitude))
        index = int((self._points @ point).argmax())
        chord = float(np.linalg.norm(self._points[index] - point))
        levels = (self._names[index], *self._regions[self._region_of[index]].split("\t"))
        kilometres = 2 * _EARTH_KILOMETRES * asin(min(1.0, chord / 2))
        return kilometres, ", ".join(dict.fromkeys(filter(None, levels)))


def _on_sphere(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    import numpy as np  # noqa: PLC0415 - see above

    across = np.cos(latitude)
    return np.array([across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)])


@cache
def _towns() -> Towns:
    import numpy as np  # noqa: PLC0415 - see above

    with (
        resources.files("taggerd").joinpath("data/towns.npz").open("rb") as file,
        np.load(file) as table,
    ):
        names, regions = (table[key].tobytes().decode().split("\n") for key in ("names", "regions"))
        return Towns(table["degrees"], names, table["region_of"], regions)
