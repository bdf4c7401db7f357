"""What a person wants to know about a photo and its sidecars: whose words, and who shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import PhotoMoved, SidecarError
from taggerd.metadata import atomic, naming
from taggerd.metadata.copies import with_record
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

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from taggerd.metadata.embedded import Embedded
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
    texts: tuple[Words, ...] = ()
    machine: tuple[str, ...] = ()
    """Machine keywords, levels by ``/``."""
    human: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
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

    models = (text.partition("=") for text in document.texts(Name(TAGGERD, "models")))
    seen = SidecarView(
        path,
        touched=f"{done} by taggerd, {edited}" if ours else "",
        version=said("version"),
        date="".join(document.texts(DATE)[:1]),
        profile=said("profile"),
        models={role: model for role, _, model in models},
        texts=tuple(Words(*words) for words in field_texts(document, ownership)),
        machine=tuple(machine),
        human=tuple(human),
        rejected=ownership.rejected,
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
