"""What a photo's files and sidecars say before it is asked about, in one call.

The digest that the file had before taggerd embedded anything into it, the digest that its sidecars
record, and, as hints for a prompt, where and when it was taken and which keywords humans gave it.
A sidecar's hints count before the file's: people correct them there. What cannot be read is not
known; nothing in here fails because of it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taggerd.errors import SidecarError
from taggerd.files import read_only_reason, statvfs
from taggerd.metadata import atomic, naming
from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.embedding.photo import origin, packet_of
from taggerd.metadata.keywords.fields import WRITTEN, levels
from taggerd.metadata.merge import digest_in, uncollected
from taggerd.metadata.ownership import Ownership, WrittenBefore
from taggerd.metadata.texts import one_line
from taggerd.metadata.xmp.namespaces import named

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from taggerd.metadata.embedded import Said
    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.document import Document
    from taggerd.photo import Photo
    from taggerd.settings import ContextWord

_POSITION = re.compile(
    r"(\d{1,3}),(\d{1,2}(?:\.\d{1,12})?)(?:,(\d{1,2}(?:\.\d{1,12})?))?([NSEW])", re.IGNORECASE
)
"""XMP part 2: ``DDD,MM,SSk`` or ``DDD,MM.mmk``."""
_DAY = re.compile(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?:T|$| )")
_FIRST_YEAR, _LAST_YEAR = 1826, 2200
"""Of photography. A clock that was never set gives others."""
_INTERNAL = "_Digikam_Internal_Tags_"
_MOST_KEYWORDS = 30
_LONGEST_KEYWORD = 60

_LATITUDE, _LONGITUDE = "exif:GPSLatitude", "exif:GPSLongitude"
_DATES = ("exif:DateTimeOriginal", "photoshop:DateCreated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """How a photo was taken, as far as it is known."""

    position: tuple[float, float] | None = None
    """Latitude and longitude, degrees; never to leave this machine."""
    month: tuple[int, int] | None = None
    """Year and month (1 to 12; 0: unknown), by the camera's clock."""
    keywords: tuple[str, ...] = ()
    """Human keywords, without their levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a photo's files and sidecars say."""

    origin: str = ""
    """Digest of the primary file before anything was embedded into it; empty where nothing was."""
    tagged: str = ""
    """The digest that every sidecar records; empty where one has none, or they differ."""
    before: WrittenBefore = field(default_factory=WrittenBefore)
    """What the first sidecar, else the file, records of the last pass."""
    read_only: str = ""
    """Why nothing can be written beside the photo: its file system is read-only."""
    unnameable: str = ""
    """Why a sidecar cannot be made: its name would be too long."""
    circumstances: Circumstances = field(default_factory=Circumstances)


@uncollected()
def inspect(
    photo: Photo, options: Options, said: Said, wanted: Collection[ContextWord] = ()
) -> Inspection:
    """Look into the sidecars and the files of *photo*; each sidecar is parsed once.

    Args:
        photo: the photo.
        options: how its sidecars are named, and where tags go.
        said: what its files say.
        wanted: the circumstances to look for.

    Raises:
        PhotosDiskError: the disk fails.
    """
    primary = photo.primary.path
    origins = {primary: origin(primary)}
    documents: list[Document] = []
    digests: set[str] = set()
    targets = naming.targets(photo, options.naming)
    for target in targets:
        try:
            old = target.old or atomic.read(target.path)
            document = old.document if old is not None else None
        except SidecarError:
            digests.add("")
            continue
        if document is not None:
            documents.append(document)
            digests.add(digest_in(document))
        elif options.target == "embed":  # a file that holds its tags itself needs no sidecar
            digests |= {origins.get(file) or origin(file) for file in target.files}
        else:
            digests.add("")
    first = documents[0] if documents else packet_of(primary) if origins[primary] else None
    return Inspection(
        origin=origins[primary],
        tagged=digests.pop() if len(digests) == 1 else "",
        before=WrittenBefore() if first is None else WrittenBefore.read(first),
        read_only=read_only_reason(photo.folder),
        unnameable=_unnameable(targets, options),
        circumstances=_circumstances(photo, documents, set(wanted), said),
    )


def _unnameable(targets: Iterable[naming.Target], options: Options) -> str:
    """Return which of the sidecars would have a name that its file system does not take."""
    for path, described, _ in targets:
        if options.target == "embed" and all(map(embeddable, described)):
            continue  # it is made only where embedding is refused
        with suppress(OSError):
            if len(os.fsencode(path.name)) > statvfs(path.parent).f_namemax:
                return f"its sidecar {atomic.NAME_TOO_LONG}"
    return ""


def _circumstances(
    photo: Photo, documents: Iterable[Document], wanted: set[ContextWord], own: Said
) -> Circumstances:
    """Look up what is *wanted* in the sidecars, then in the files; each is read when needed."""
    position: tuple[float, float] | None = None
    month: tuple[int, int] | None = None
    keywords: tuple[str, ...] = ()
    for said, machine in _sources(photo, documents, own) if wanted else ():
        if "place" in wanted and position is None:
            position = _position(said)
        if "date" in wanted and month is None:
            month = _month(said)
        if "keywords" in wanted and not keywords:
            keywords = _leaves(said, machine)[:_MOST_KEYWORDS]
        missing = {"place": position, "date": month, "keywords": keywords}
        if all(missing[word] for word in wanted & missing.keys()):
            break
    return Circumstances(position=position, month=month, keywords=keywords)


_Source = dict[str, tuple[str, ...]]
"""Property → texts."""


def _sources(
    photo: Photo, documents: Iterable[Document], own: Said
) -> Iterator[tuple[_Source, tuple[str, ...]]]:
    """Yield what the sidecars say, then what the files say, each with its machine keywords."""
    names = (_LATITUDE, _LONGITUDE, *_DATES, *WRITTEN)
    for document in documents:
        said = {name: document.texts(named(name)) for name in names}
        yield said, Ownership.read(document).keywords
    for file in photo.files:
        fields = own[file.path].fields
        yield (
            {
                name: (value,) if isinstance(value, str) else tuple(e.text for e in value.entries)
                for name, value in fields.items()
            },
            (),
        )


def _leaves(said: _Source, machine: Iterable[str]) -> tuple[str, ...]:
    """Return the last level of every human keyword, each once."""
    ours = {word.casefold() for word in machine}
    kept: dict[str, str] = {}
    for name in WRITTEN:
        for text in said.get(name, ()):
            if text.startswith(_INTERNAL):
                continue
            leaf = one_line(levels(name, text)[-1])
            if leaf and len(leaf) <= _LONGEST_KEYWORD and leaf.casefold() not in ours:
                kept.setdefault(leaf.casefold(), leaf)
    return tuple(kept.values())


def _position(said: _Source) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees; None if either is missing or no angle."""
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
