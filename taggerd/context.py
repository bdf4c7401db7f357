"""Context: what a prompt may tell of a photo besides its pixels, in words.

``prompts.context`` says what; where a photo was taken goes as the nearest town's name, never as
coordinates, and when as a month.
"""

from __future__ import annotations

import re
from calendar import month_name
from typing import TYPE_CHECKING

import structlog

from taggerd import metadata
from taggerd.errors import PhotoError
from taggerd.photo import printable
from taggerd.places import place_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.metadata import Circumstances
    from taggerd.photo import Photo
    from taggerd.services import Services
    from taggerd.settings import ContextWord

LONGEST_FOLDER = 100
"""Characters of a folder's name that are told."""
_COORDINATES = re.compile(
    r"\d[.,]\d{3}|\d\s*[°º]|^\s*geo\b"
    r"|\d[.,]\d\d\s*[NSEWO]\b|\b[NSEWO]\s?\d{1,3}([ _:]\d\d)?[.,]\d"
    r"|(?<![a-z])(?:lat|lon|lng|latitude|longitude)(?![a-z])\W*_?\d",
    re.IGNORECASE,
)
"""What may be a position, in a folder's name or a keyword (``geo:lat=38.96``)."""

log = structlog.get_logger(__name__)


async def context_of(photo: Photo, services: Services) -> dict[str, str]:
    """Return what may be told of *photo*, by kind; what is not known is not there."""
    wanted = services.settings.prompts.context
    told: dict[str, str] = {}
    known = await _circumstances(photo, services, [word for word in wanted if word != "folder"])
    if known and known.position and (place := await _place(known.position, services)):
        told["place"] = place
    if known and known.month:
        told["date"] = in_words(known.month)
    if "folder" in wanted and (folder := printable(photo.folder.name)[:LONGEST_FOLDER]):
        told["folder"] = folder
    if known and known.keywords:
        told["keywords"] = ", ".join(w for w in known.keywords if not _COORDINATES.search(w))
    told = {word: text for word, text in told.items() if text and not _COORDINATES.search(text)}
    return {word: told[word] for word in wanted if word in told}


def in_words(month: tuple[int, int]) -> str:
    """Return a year and a month as people say it, ``"June 2024"``; without the month, the year."""
    year, number = month
    return f"{month_name[number]} {year}".strip()


async def _circumstances(
    photo: Photo, services: Services, wanted: Sequence[ContextWord]
) -> Circumstances | None:
    """Read the photo's metadata in a worker; a photo is never lost for the sake of a hint."""
    if not wanted:
        return None
    try:
        return await services.workers.run(
            metadata.circumstances, photo, services.metadata_options.naming, wanted
        )
    except PhotoError as error:
        log.info("asked without context", photo=photo.name, reason=str(error))
        return None


async def _place(position: tuple[float, float], services: Services) -> str:
    """Look the place up, in the process that has the towns."""
    try:
        return await services.places.run(place_name, *position)
    except (PhotoError, MemoryError, ImportError) as error:
        log.warning("places cannot be looked up", reason=str(error))
        return ""
