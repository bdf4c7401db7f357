"""What a photo's sidecars and files say of its taking: where, when, and words that humans gave.

It is meant for hints in a prompt. The sidecar's word counts before the file's: people correct
there. Nothing in here fails for what cannot be read; it is then not known.

Runs Exiv2 on foreign bytes: call it in a worker process only.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd.errors import SidecarError
from taggerd.metadata import atomic, naming
from taggerd.metadata.embedded import Fields, carried
from taggerd.metadata.keywords.lists import LISTS
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import decode
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Array
from taggerd.metadata.xmp.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from taggerd.metadata.naming import Naming
    from taggerd.photo import Photo
    from taggerd.settings import ContextWord

_POSITION = re.compile(
    r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}(?:\.\d{1,12})?))?([NSEW])", re.IGNORECASE
)
"""XMP part 2: ``DDD,MM,SSk`` or ``DDD,MM.mmk``."""
_DAY = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?:T|$| )")
_FIRST_YEAR, _LAST_YEAR = 1826, 2200
"""Of photography; a clock that was never set says others."""
_INTERNAL = "_Digikam_Internal_Tags_"
_MOST_KEYWORDS = 30
_LONGEST_KEYWORD = 60

_LATITUDE, _LONGITUDE = "exif:GPSLatitude", "exif:GPSLongitude"
_DATES = ("exif:DateTimeOriginal", "photoshop:DateCreated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known besides the pixels."""

    position: tuple[float, float] | None = None
    """Latitude and longitude, degrees; never to leave this machine."""
    month: tuple[int, int] | None = None
    """Year and month (1 to 12; 0: unknown), by the camera's clock."""
    keywords: tuple[str, ...] = ()
    """The humans' own, without their levels."""


def circumstances(photo: Photo, naming_: Naming, wanted: Iterable[ContextWord]) -> Circumstances:
    """Look up what is *wanted* of *photo* in its sidecars, then in its files.

    Args:
        photo: whose.
        naming_: how its new sidecars are called.
        wanted: what to look for; nothing else is given.
    """
    asked = set(wanted)
    position: tuple[float, float] | None = None
    month: tuple[int, int] | None = None
    keywords: tuple[str, ...] = ()
    for fields in _sources(photo, naming_):
        if "place" in asked and position is None:
            position = _position(fields)
        if "date" in asked and month is None:
            month = _month(fields)
        if "keywords" in asked and not keywords:
            keywords = tuple(fields.get("", ()))[:_MOST_KEYWORDS]
        missing = {"place": position, "date": month, "keywords": keywords}
        if all(missing[word] for word in asked & missing.keys()):
            break
    return Circumstances(position=position, month=month, keywords=keywords)


_Source = dict[str, tuple[str, ...]]
"""Property → texts; under the empty name the humans' keywords."""


def _sources(photo: Photo, naming_: Naming) -> Iterator[_Source]:
    """Yield what the sidecars say, then what the files say; each is read when it is needed."""
    with suppress(SidecarError):
        for target in naming.targets(photo, naming_):
            if (found := _from_sidecar(target.path)) is not None:
                yield found
    for file in photo.files:
        yield _from_file(carried(file.path)[0])


def _from_sidecar(path: Path) -> _Source | None:
    """Return what a sidecar says; None if it is not there or cannot be understood."""
    with suppress(SidecarError):
        old = atomic.read(path)
        if old is not None:
            document = Document(decode(old.data).text)
            said = {
                name: document.texts(named(name))
                for name in (_LATITUDE, _LONGITUDE, *_DATES, *LISTS)
            }
            machine = Ownership.read(document).keywords
            return said | {"": _leaves(said, machine)}
    return None


def _from_file(fields: Fields) -> _Source:
    """Return what a photo's own metadata says."""
    said = {
        name: tuple(e.text for e in value.entries) if isinstance(value, Array) else (value,)
        for name, value in fields.items()
    }
    return said | {"": _leaves(said, ())}


def _leaves(said: Mapping[str, tuple[str, ...]], machine: Iterable[str]) -> tuple[str, ...]:
    """Return the last levels of all keywords that are not the machine's, each once."""
    ours = {word.casefold() for word in machine}
    kept: dict[str, str] = {}
    for name, kind in LISTS.items():
        for text in said.get(name, ()):
            if text.startswith(_INTERNAL):
                continue
            leaf = one_line(text.rsplit(kind.separator, 1)[-1] if kind.separator else text)
            if leaf and len(leaf) <= _LONGEST_KEYWORD and leaf.casefold() not in ours:
                kept.setdefault(leaf.casefold(), leaf)
    return tuple(kept.values())


def _position(said: _Source) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees; None if one of them is missing or no angle."""
    latitude = _degrees("".join(said.get(_LATITUDE, ())[:1]), "NS", 90)
    longitude = _degrees("".join(said.get(_LONGITUDE, ())[:1]), "EW", 180)
    return None if latitude is None or longitude is None else (latitude, longitude)


def _degrees(text: str, signs: str, most: int) -> float | None:
    """Read an angle as XMP writes it."""
    found = _POSITION.fullmatch(text.strip())
    if found is None or (sign := found[4].upper()) not in signs:
        return None
    degrees = int(found[1]) + float(found[2]) / 60 + float(found[3] or 0) / 3600
    if degrees > most:
        return None
    return -degrees if sign == signs[1] else degrees


def _month(said: _Source) -> tuple[int, int] | None:
    """Return year and month of the capture."""
    for name in _DATES:
        found = _DAY.match("".join(said.get(name, ())[:1]).strip())
        if found and _FIRST_YEAR <= int(found[1]) <= _LAST_YEAR:
            month = int(found[2] or 0)
            return int(found[1]), month if month <= 12 else 0  # noqa: PLR2004 - December
    return None
