"""What a person wants to know about a photo and its sidecars: whose words, and who shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import PhotoMoved, SidecarError
from taggerd.metadata import atomic, naming
from taggerd.metadata.copies import with_record
from taggerd.metadata.editing.content import shown_text
from taggerd.metadata.editing.files import own_texts
from taggerd.metadata.embedding.photo import embedded_core
from taggerd.metadata.keywords.fields import KEYWORD_FIELDS, WRITTEN
from taggerd.metadata.keywords.lists import by_owner, shadowing, shadowing_note
from taggerd.metadata.ownership import DATE, Ownership
from taggerd.metadata.readers import NOTHING, READERS, Shown, Source, shown
from taggerd.metadata.texts import field_texts
from taggerd.metadata.undo.seal import origin
from taggerd.metadata.xmp.document import Document, Form
from taggerd.metadata.xmp.namespaces import PREFIXES, TAGGERD, Name, named
from taggerd.metadata.xmp.splice import Entry
from taggerd.photo import PhotoFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from taggerd.metadata.editing.values import TextPart
    from taggerd.metadata.embedded import Embedded, Said
    from taggerd.metadata.options import Options
    from taggerd.photo import Photo

_READ = frozenset(
    field
    for reader in READERS
    for field in (*reader.title, *reader.description, *reader.keywords)
    if field.partition(":")[0] in PREFIXES
)


class Words(NamedTuple):
    """A text field."""

    field: str
    text: str
    machine: bool


@dataclass(frozen=True, slots=True)
class SidecarView:
    """One sidecar, its words by owner."""

    path: Path
    refused: str = ""
    """Why it cannot be read."""
    touched: str = ""
    """What taggerd did, and whether it was edited since; empty: taggerd never wrote to it."""
    version: str = ""
    date: str = ""
    profile: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    inherited_from: str = ""
    """Name of the photo that was asked about instead."""
    texts: tuple[Words, ...] = ()
    machine: tuple[str, ...] = ()
    """Machine keywords, levels by ``/``."""
    human: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    """Fields that are as a person made them with taggerd; one that is empty was emptied."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Human words that were replaced; an undo puts them back."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """One photo."""

    photo: Path
    sidecars: tuple[SidecarView, ...]
    """First, under the photo's own path, its XMP packet, if taggerd embedded anything in it."""
    own: tuple[Words, ...]
    """The other texts in the photo file, none of them taggerd's."""
    own_keywords: tuple[str, ...]
    readers: tuple[Shown, ...]
    notes: tuple[str, ...] = ()


def view(photo: Photo, options: Options, said: Embedded) -> View:
    """Read *photo*, whose first file has *said* so much, and its sidecars; nothing is changed.

    Raises:
        StorageError: the disk fails.
    """
    path = photo.primary.path
    own = _own(said)
    inside = _packet_view(path)
    views = [inside] if inside is not None else []
    sources: dict[Path, Source] = {}
    for target in naming.targets(photo, options.naming):
        try:
            old = target.old or atomic.read(target.path)
            if old is None:
                continue
            document = with_record(target.path, old.document)
            one, sources[target.path] = sidecar_view(target.path, document)
        except SidecarError as error:
            one, sources[target.path] = SidecarView(target.path, refused=str(error)), NOTHING
        views.append(one)
    texts = [Words(f, own.text(f), machine=False) for f in sorted(own.texts) if f not in _LISTS]
    told = {words.text for words in inside.texts} if inside is not None else set()
    words = dict.fromkeys(word for f in _LISTS for word in own.words(f))
    listed = {*inside.machine, *inside.human} if inside is not None else set()
    listed |= {level for word in listed for level in word.split("/")}
    return View(
        path,
        tuple(views),
        tuple(words for words in texts if words.text and words.text not in told),
        tuple(word for word in words if word.replace("|", "/") not in listed),
        tuple(shown(reader, path, own, sources) for reader in READERS),
        said.notes,
    )


_LISTS = (*WRITTEN, "iptc:Keywords")


@dataclass(frozen=True, slots=True)
class Written:
    """What stands in one photo's sidecars, and in what was embedded in it."""

    sidecars: tuple[SidecarView, ...]
    """First, under the photo's own path, its XMP packet, if taggerd embedded anything in it."""
    texts: tuple[Words | None, Words | None]
    """Caption and description as people see them, as in :func:`taggerd.metadata.edit`."""
    own_keywords: tuple[str, ...]
    """Those in the photo itself; only where it has no sidecar, which holds them otherwise."""
    files: tuple[PhotoFile, ...]
    """The photo's files and what may be their sidecars, right before they were read."""


def written(photos: Sequence[Photo], options: Options, said: Said) -> tuple[Written, ...]:
    """Read the sidecars of each of *photos*, whose files have *said* so much; nothing is changed.

    Raises:
        StorageError: the disk fails.
    """
    return tuple(_written(photo, options, said[photo.primary.path]) for photo in photos)


def _written(photo: Photo, options: Options, said: Embedded) -> Written:
    there = naming.stamps(file.path for file in photo.files)
    inside = _packet_view(photo.primary.path)
    views = [inside] if inside is not None else []
    for target in naming.targets(photo, options.naming):
        try:
            old = target.old or atomic.read(target.path)
            if old is not None:
                document = with_record(target.path, old.document)
                views.append(sidecar_view(target.path, document)[0])
        except SidecarError as error:
            views.append(SidecarView(target.path, refused=str(error)))
    own = _own(said)
    words = dict.fromkeys(word for f in _LISTS for word in own.words(f)) if not views else {}
    texts = [*(view.texts for view in views), tuple(Words(*each) for each in own_texts(said))]
    return Written(
        tuple(views),
        (_seen(texts, "caption", options), _seen(texts, "description", options)),
        tuple(words),
        tuple(PhotoFile(path, stamp) for path, stamp in there.items()),
    )


def _seen(texts: Sequence[Sequence[Words]], part: TextPart, options: Options) -> Words | None:
    found = (shown_text(each, part, options) for each in texts)
    return next((Words(part, text, machine) for text, machine in filter(None, found)), None)


def _packet_view(path: Path) -> SidecarView | None:
    """Return the words in the photo's own XMP packet by owner, if any are taggerd's."""
    try:
        core = embedded_core(path)
        return sidecar_view(path, Document.load(core))[0] if core else None
    except SidecarError as error:
        return SidecarView(path, refused=str(error))
    except PhotoMoved:
        return None


def sidecar_view(path: Path, document: Document) -> tuple[SidecarView, Source]:
    """Return what the sidecar at *path* says, for people and for readers."""
    ownership = Ownership.read(document)
    machine, human = by_owner(document, ownership)
    ours = any(name.uri == TAGGERD for name in document.names)
    before = origin(document)
    done = "made" if before.made else "merged"
    edited = "not edited since" if before.intact else "edited since"

    def said(local: str) -> str:
        return "".join(document.texts(Name(TAGGERD, local))[:1])

    texts = field_texts(document, ownership)
    models = (text.partition("=") for text in document.texts(Name(TAGGERD, "models")))
    seen = SidecarView(
        path,
        touched=f"{done} by taggerd, {edited}" if ours else "",
        version=said("version"),
        date="".join(document.texts(DATE)[:1]),
        profile=said("profile"),
        models={role: model for role, _, model in models},
        inherited_from=said("inherited_from"),
        texts=tuple(Words(*words) for words in texts),
        machine=tuple(machine),
        human=tuple(human),
        rejected=ownership.rejected,
        edited=ownership.still_edited({name: text for name, text, _ in texts}),
        replaced=ownership.replaced,
        notes=tuple(map(shadowing_note, shadowing(document))),
    )
    return seen, _source(document)


def _source(document: Document) -> Source:
    """Return what *document* says to the readers."""
    texts: dict[str, tuple[Entry, ...]] = {}
    ordered = set()
    for name in _READ:
        found = document.read(named(name))
        if found is None:
            continue
        items = tuple(Entry(item.text, item.language) for item in found.items)
        texts[name] = items or (Entry(found.text),)
        if found.form is Form.ARRAY and found.container is not None:
            ordered |= {name} if found.container.name.local == "Seq" else set()
    for name, variant in KEYWORD_FIELDS.items():
        usual = variant.variant_of
        if usual and usual not in texts and (words := document.texts(named(name))):
            texts[usual] = tuple(map(Entry, words))
    return Source(texts, frozenset(ordered))


def _own(said: Embedded) -> Source:
    """Return what the photo itself says to the readers."""
    texts: dict[str, tuple[Entry, ...]] = {}
    for name, value in said.fields.items():
        if name in _READ:
            texts[name] = (Entry(value),) if isinstance(value, str) else value.entries
    if said.description:  # where both exist, exiftool returns EXIF's
        texts["tiff:ImageDescription"] = (Entry(said.description),)
    if said.keywords:
        texts["iptc:Keywords"] = tuple(map(Entry, said.keywords))
    return Source(texts, frozenset(texts))
