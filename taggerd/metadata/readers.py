"""What five programs show of a photo: which sidecar they read, and which property first.

The rules are data, each with its source. They are the programs' defaults; users can change most of
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from taggerd.metadata.keywords.fields import levels
from taggerd.metadata.xmp.tree import BLANK
from taggerd.photo import extension, is_raw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from taggerd.metadata.xmp.splice import Entry

Name = Literal["full", "stem"]
"""``IMG.CR3.xmp`` or ``IMG.xmp``."""


@dataclass(frozen=True, slots=True)
class Source:
    """The content of a file by property, and the form of its arrays."""

    texts: Mapping[str, Sequence[Entry]]
    ordered: frozenset[str] = frozenset()
    """Properties whose array is an ``rdf:Seq``; in a photo itself all, where it does not matter."""

    def text(self, field: str) -> str:
        """Return the text that is shown of *field*: ``x-default``, else the first."""
        said = [text for text in self.texts.get(field, ()) if text.text.strip(BLANK)]
        if not said:
            return ""
        default = next((text for text in said if text.language == "x-default"), said[0])
        return default.text.strip(BLANK)

    def words(self, field: str) -> list[str]:
        """Return the items of a keyword list."""
        return [t.text.strip(BLANK) for t in self.texts.get(field, ()) if t.text.strip(BLANK)]


NOTHING = Source({})


@dataclass(frozen=True, slots=True)
class Reader:
    """How one program reads."""

    name: str
    sidecars: tuple[Name, ...]
    """The first of these that exists is read."""
    raw_only: bool
    """It reads sidecars of proprietary raw files only, and other files themselves."""
    title: tuple[str, ...]
    """The first of these that has a text is shown; empty: it shows no title."""
    description: tuple[str, ...]
    keywords: tuple[str, ...]
    """The first of these lists that exists is shown."""
    all_lists: bool = False
    """All of these lists are shown, not the first."""
    keeps_file: Literal["fields", "tags", "nothing"] = "fields"
    """What of the photo file still counts beside a sidecar. ``fields``: each field that the sidecar
    lacks. ``tags``: each property that it lacks, before the order of properties. ``nothing``."""
    bag_note: str = ""
    """Note on keywords in an ``rdf:Bag``, the correct form, which not every release reads."""
    source: str = ""
    """Where the rules come from."""


READERS = (
    Reader(
        name="Lightroom",
        sidecars=("stem",),
        raw_only=True,
        title=("dc:title",),
        description=("dc:description", "tiff:ImageDescription"),
        keywords=("lr:hierarchicalSubject", "dc:subject"),
        all_lists=True,
        keeps_file="nothing",
        source="Adobe, Lightroom help, Metadata basics: sidecars for proprietary raw only, XMP "
        "inside all other files; dc:subject and lr:hierarchicalSubject together. XMP specification "
        "part 3: a file's own ImageDescription (Exif) stands for dc:description",
    ),
    Reader(
        name="darktable",
        sidecars=("full", "stem"),
        raw_only=False,
        title=("dc:title",),
        description=("dc:description",),
        keywords=("lr:hierarchicalSubject", "dc:subject"),
        source="darktable, src/common/exif.cc, _exif_decode_xmp_data: hierarchicalSubject, else "
        "subject; IMG.xmp at import by src/develop/lightroom.c",
    ),
    Reader(
        name="digiKam",
        sidecars=("full",),
        raw_only=False,
        title=("dc:title", "acdsee:caption"),
        description=(
            "dc:description",
            "exif:UserComment",
            "tiff:ImageDescription",
            "acdsee:notes",
        ),
        keywords=(
            "digiKam:TagsList",
            "MicrosoftPhoto:LastKeywordXMP",
            "lr:hierarchicalSubject",
            "mediapro:CatalogSets",
            "acdsee:categories",
            "dc:subject",
        ),
        keeps_file="nothing",
        source="digiKam, dmetadatasettingscontainer.cpp, defaultTagValues and "
        "defaultCommentValues; a sidecar stands for the whole of the file's metadata",
    ),
    Reader(
        name="Immich",
        sidecars=("full", "stem"),
        raw_only=False,
        title=(),
        description=("tiff:ImageDescription", "dc:description"),
        keywords=("digiKam:TagsList", "lr:hierarchicalSubject", "iptc:Keywords"),
        keeps_file="tags",
        source="Immich, server/src/services/metadata.service.ts: ImageDescription || Description; "
        "getTagList; the sidecar's tags over the file's, tag by tag",
    ),
    Reader(
        name="PhotoPrism",
        sidecars=("full", "stem"),
        raw_only=False,
        title=("dc:title", "photoshop:Headline"),
        description=("dc:description",),
        keywords=("dc:subject",),
        all_lists=True,
        bag_note="only by releases since May 2026",
        source="PhotoPrism, internal/meta/xmp_document.go since pull request 5563; until then "
        "Keywords() read dc:subject as rdf:Seq alone",
    ),
)


class Shown(NamedTuple):
    """What one program shows of a photo."""

    reader: str
    sidecar: Path | None
    """The one it reads; None: the photo itself."""
    title: str | None
    """None: the program has no titles."""
    description: str
    keywords: tuple[str, ...]
    """Levels by ``/``."""
    note: str = ""
    """A note on the keywords."""


def shown(reader: Reader, photo: Path, own: Source, sidecars: Mapping[Path, Source]) -> Shown:
    """Return what *reader* shows of *photo*.

    Args:
        reader: the program.
        photo: the file.
        own: the file's own metadata.
        sidecars: the content of each sidecar; empty for one that cannot be read.
    """
    path = _sidecar(reader, photo, sidecars)
    beside = sidecars[path] if path is not None else None
    layers = _layers(reader, own, beside)
    return Shown(
        reader.name,
        path,
        _text(reader.title, layers) if reader.title else None,
        _text(reader.description, layers),
        _keywords(reader, layers),
        reader.bag_note if beside is not None and _in_a_bag(reader, beside) else "",
    )


def _in_a_bag(reader: Reader, source: Source) -> bool:
    return any(source.words(field) and field not in source.ordered for field in reader.keywords)


def _sidecar(reader: Reader, photo: Path, sidecars: Mapping[Path, Source]) -> Path | None:
    """Return the sidecar that *reader* reads."""
    if reader.raw_only and not (is_raw(photo) and extension(photo) != "dng"):
        return None
    names = {"full": f"{photo.name}.xmp", "stem": f"{photo.stem}.xmp"}
    for name in reader.sidecars:
        for path in sidecars:
            if path.name.lower() == names[name].lower():
                return path
    return None


def _layers(reader: Reader, own: Source, beside: Source | None) -> list[Source]:
    """Return the sources that *reader* uses, first to last."""
    if beside is None:
        return [own]
    if reader.keeps_file == "nothing":
        return [beside]
    if reader.keeps_file == "tags":
        ordered = beside.ordered | (own.ordered - beside.texts.keys())
        return [Source({**own.texts, **beside.texts}, ordered)]
    return [beside, own]


def _text(fields: Sequence[str], layers: Sequence[Source]) -> str:
    for layer in layers:
        for field in fields:
            if text := layer.text(field):
                return text
    return ""


def _keywords(reader: Reader, layers: Sequence[Source]) -> tuple[str, ...]:
    """Return the keywords of the first list that exists, or of all; the file's own come last."""
    lists = [
        ["/".join(levels(field, word)) for word in layer.words(field)]
        for layer in layers
        for field in reader.keywords
        if layer.words(field)
    ]
    return _together(lists if reader.all_lists else lists[:1])


def _together(lists: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Join lists. A flat word that is a level of an earlier keyword is dropped."""
    words: dict[str, None] = {}
    known: set[str] = set()
    for each in lists:
        new = [word for word in each if word not in known]
        words.update(dict.fromkeys(new))
        known.update(level for word in new for level in word.split("/"))
    return tuple(words)
