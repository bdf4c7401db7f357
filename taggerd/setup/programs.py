"""Photo programs, and the settings with which each shows the words.

Which sidecars and properties a program reads is in :mod:`taggerd.metadata.readers`, with sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, get_args

from taggerd.metadata.readers import READERS
from taggerd.settings.metadata import KeywordField, TextField
from taggerd.setup.folders import compose_file, darktable_settings, digikam_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Program:
    """A photo program."""

    key: str
    """As it is named on the command line, and by its chapter: ``taggerd help KEY``."""
    name: str
    step: str
    """What to do in it, so that it shows the words."""
    stem: bool = False
    """It reads ``IMG.xmp`` beside raw files, under no other name."""
    embedded: bool = False
    """Of other files it reads only what is in them."""


PROGRAMS = (
    Program(
        "lightroom",
        "Lightroom Classic",
        "select the photos, then Metadata > Read Metadata from File",
        stem=True,
        embedded=True,
    ),
    Program(
        "darktable",
        "darktable",
        "switch on Preferences > Storage > XMP > look for updated XMP files on startup",
    ),
    Program(
        "digikam",
        "digiKam",
        "switch on Settings > Configure digiKam > Metadata > Sidecars > Read from sidecar files",
    ),
    Program(
        "immich",
        "Immich",
        "run Administration > Jobs > Sidecar Metadata > Discover after the first photos",
    ),
    Program("photoprism", "PhotoPrism", "index the folder again: Library > Index"),
    Program(
        "capture-one",
        "Capture One",
        "set Settings > Image > Metadata > Auto Sync Sidecar XMP to Load",
        stem=True,
        # CYME, which synchronises with it, recommends "to write the metadata in the files for non
        # raw files": https://desk.cyme.io, "Peakto annotation and Lightroom metadata".
        embedded=True,
    ),
)
"""Those that a person may choose, in this order."""

_READER = {
    "lightroom": "Lightroom",
    "darktable": "darktable",
    "digikam": "digiKam",
    "immich": "Immich",
    "photoprism": "PhotoPrism",
}
"""Names of their rules; Capture One's are not among them: it gets the fields of Lightroom."""


class Wanted(NamedTuple):
    """What some programs want."""

    settings: Mapping[str, object]
    """By dotted key."""
    reasons: tuple[str, ...]
    """Why, one line each."""


def wanted_by(programs: Sequence[Program], *, embed: bool) -> Wanted:
    """Return the settings with which *programs* show the words.

    Args:
        programs: those that are used; none: nothing is set.
        embed: words may be written into photos, where a program reads them nowhere else.
    """
    if not programs:
        return Wanted({}, ())
    stems = [program.name for program in programs if program.stem]
    inside = [program.name for program in programs if program.embedded]
    reasons = []
    if stems:
        naming = "auto"
        reasons.append(
            f"the words of a raw file go into IMG_1.xmp beside it: {_and(stems)} looks for no "
            "other name"
        )
        if any(program.key == "digikam" for program in programs):
            reasons.append(
                "digiKam finds that name with Settings > Configure digiKam > Metadata > Sidecars > "
                "Sidecar file names are compatible with commercial programs"
            )
    else:
        naming = "full"
        reasons.append("words go into a file beside each photo: IMG_1.jpg.xmp beside IMG_1.jpg")
    target = "sidecar"
    if inside and embed:
        target = "embed" if len(inside) == len(programs) else "both"
        reasons.append(f"the words of a JPEG go into the file, where {_and(inside)} looks")
    elif inside:
        reasons.append(f"{_and(inside)} will not show the words of JPEG files")
    keywords = {"dc:subject", *_fields(programs, "keywords", get_args(KeywordField))}
    texts = {"dc:description", *_fields(programs, "description", get_args(TextField))}
    settings = {
        "sidecar.naming": naming,
        "metadata.target": target,
        "metadata.fields.keywords": [each for each in get_args(KeywordField) if each in keywords],
        "metadata.fields.description": [each for each in get_args(TextField) if each in texts],
    }
    return Wanted(settings, tuple(reasons))


def installed(environ: Mapping[str, str]) -> list[Program]:
    """Return the programs that this user has on this machine, as far as their files tell."""
    signs = {
        "darktable": darktable_settings(environ).is_file(),
        "digikam": digikam_settings(environ).is_file(),
        "immich": compose_file("immich", environ) is not None,
        "photoprism": compose_file("photoprism", environ) is not None,
    }
    return [program for program in PROGRAMS if signs.get(program.key)]


def _fields(programs: Iterable[Program], kind: str, known: Sequence[str]) -> set[str]:
    """Return the properties that *programs* read first, or together, of those that are written."""
    wanted: set[str] = set()
    for program in programs:
        name = _READER.get(program.key, "Lightroom")
        reader = next(each for each in READERS if each.name == name)
        written = [field for field in getattr(reader, kind) if field in known]
        wanted |= set(written if reader.all_lists and kind == "keywords" else written[:1])
    return wanted


def _and(words: Sequence[str]) -> str:
    return " and ".join([*filter(None, [", ".join(words[:-1])]), words[-1]])
