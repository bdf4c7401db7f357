"""Merge tags into a sidecar: the one place where reading, deciding and splicing meet."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from taggerd.metadata.camera import Camera
from taggerd.metadata.keywords.fields import WRITTEN
from taggerd.metadata.keywords.lists import has_list, shadowing, shadowing_note, write_keywords
from taggerd.metadata.options import Options
from taggerd.metadata.ownership import DATE, DIGEST, Ownership
from taggerd.metadata.texts import DESCRIPTIONS, lacking_texts, write_texts
from taggerd.metadata.undo.seal import SEAL, Origin, joined, kept, origin, sealed
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Document, Form, Property
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.namespaces import PREFIXES, named
from taggerd.metadata.xmp.splice import Array, Draft, Value, splice
from taggerd.metadata.xmp.tree import BLANK
from taggerd.photo import Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from taggerd.metadata.xmp.namespaces import Name
    from taggerd.photo import Provenance

_WITHHELD = "wrote no title and keywords: they would hide the photo's own, which cannot be read"
_DECLARED = ("dc", "digiKam", "exif", "Iptc4xmpCore", "lr", "photoshop", "taggerd", "tiff", "xmp")
"""Prefixes that a new sidecar declares."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A sidecar with tags in it."""

    data: bytes
    """The same bytes where there was nothing to change but the date."""
    notes: tuple[str, ...]
    shadowing: tuple[str, ...] = ()
    """Keyword lists of other programs that may hide ours."""


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector, which would walk the growing tree over and over.

    That took most of the time of a large sidecar.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def new_sidecar(properties: Mapping[Name, Value], version: str) -> bytes:
    """Return a sidecar that holds *properties*, pretty-printed, one description, UTF-8.

    Pretty-printed, because darktable's reader for Lightroom sidecars steps over white space nodes
    and reads compact XML as empty.
    """
    toolkit = quoteattr(f"taggerd {version}".strip())
    declared = "".join(f'\n    xmlns:{p}="{PREFIXES[p]}"' for p in _DECLARED)
    frame = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<x:xmpmeta xmlns:x="{PREFIXES["x"]}" x:xmptk={toolkit}>\n'
        f' <rdf:RDF xmlns:rdf="{PREFIXES["rdf"]}">\n'
        f'  <rdf:Description rdf:about=""{declared}>\n'
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
    )
    draft = Draft(Document(frame.encode()))
    for name, value in properties.items():
        draft.put(name, value)
    return draft.apply()


@uncollected()
def merge(  # noqa: PLR0913 - what a merge depends on, each with its own name
    sidecar: bytes | Document,
    tags: Tags,
    provenance: Provenance,
    options: Options,
    *,
    made: bool = False,
    seeds: Mapping[Name, Value] = MappingProxyType({}),
    embedded: Callable[[], Mapping[str, Value]] = dict,
    unread: Callable[[], bool] = bool,
    camera: Callable[[], Camera | None] = lambda: None,
) -> Merged:
    """Merge *tags* into a sidecar.

    Args:
        sidecar: its bytes, in any encoding of :mod:`.xmp.encoding`, or what was parsed of them.
        tags: what to write. Where a text is empty or there are no keywords, what an earlier pass
            wrote stays.
        provenance: recorded in taggerd's namespace.
        options: which answer goes where, whether a human's text is replaced, the language, the
            root of machine keywords.
        made: taggerd has just made this sidecar; an undo removes the whole file.
        seeds: human words from elsewhere that go in first; an undo takes them out with ours.
        embedded: returns what the photo's own file says. It is called only where the sidecar lacks
            a field that is to be written, because our words there would hide the file's.
        unread: says whether the file may hold a title and keywords that could not be read. Then
            none are written that would hide them. It, too, is called only where one is lacking.
        camera: returns what took the photo. It is called only where the sidecar has a description
            and does not name the camera.

    Raises:
        SidecarRefused: it cannot be merged safely; the message says why.
    """
    old = document = sidecar if isinstance(sidecar, Document) else Document.load(sidecar)
    before = Origin(made=True) if made else origin(document)
    if seeds:
        document, before = _seeded(document, before, seeds)
    lacking = _lacking(document, tags, options)
    if not made and lacking and (found := _hidden_words(lacking, embedded())):
        document, before = _seeded(document, before, found)
        lacking = _lacking(document, tags, options)
    withheld = frozenset(lacking) - set(DESCRIPTIONS) if lacking and unread() else frozenset()
    ownership = Ownership.read(document)
    draft = Draft(document)
    texts = write_texts(
        draft, tags, options, ownership, _camera(document, ownership, camera), withheld=withheld
    )
    words = () if withheld.intersection(WRITTEN) else tags.keywords
    keywords = write_keywords(draft, words, options, ownership)
    record = replace(
        keywords,
        refused=ownership.refused,
        edited=texts.edited,
        written=texts.written,
        replaced=texts.replaced,
    )
    put_record(draft, record.properties(provenance))
    lists = shadowing(document)
    notes = (*([_WITHHELD] if withheld else []), *texts.notes, *map(shadowing_note, lists))
    if draft.changed <= {DATE}:
        return Merged(old.data, notes, lists)
    data = document.encoding.encode(sealed_text(draft, before))
    if len(data) > LARGEST:  # nobody, ourselves included, would read it again
        refuse(f"would become larger than {LARGEST // (1024 * 1024)} MB")
    return Merged(data, notes, lists)


def unhidden(data: bytes, camera: Callable[[], Camera | None] = lambda: None) -> bytes:
    """Return the sidecar *data* without machine texts that hide a text a human wrote since.

    Readers take either of two fields for one thing (``dc:description``, ``tiff:ImageDescription``):
    where a human has edited one, ours in the other goes.

    Raises:
        SidecarRefused: it cannot be understood.
    """
    document = Document.load(data)
    ownership = Ownership.read(document)
    draft = Draft(document)
    found = _camera(document, ownership, camera)
    texts = write_texts(draft, Tags(), Options(), ownership, found)
    if not draft.changed:
        return data
    record = replace(ownership, edited=texts.edited, written=texts.written, replaced=texts.replaced)
    put_record(draft, record.words())
    return document.encoding.encode(sealed_text(draft, origin(document)))


def sealed_text(draft: Draft, before: Origin) -> bytes:
    """Apply *draft*, check the result, and leave in it what is needed to get back to *before*.

    Raises:
        SidecarRefused: the result does not say what it should, or anything else changed.
    """
    if not before.made and before.text is None:
        if SEAL in draft.document:
            draft.remove(SEAL)
        return draft.apply()
    draft.put(SEAL, "")
    edits = draft.edits()
    text, seal = sealed(before, splice(draft.document.text, edits), edits)
    draft.check(text, {SEAL: seal})
    return text


def _camera(
    document: Document, ownership: Ownership, camera: Callable[[], Camera | None]
) -> Camera | None:
    """Return what took the photo, if that may tell a camera's description from a human's."""
    said = [text for field in DESCRIPTIONS for text in document.texts(named(field))]
    if not any(text.strip(BLANK) and not ownership.owns(text) for text in said):
        return None
    make, model = ("".join(document.texts(named(f"tiff:{tag}"))[:1]) for tag in ("Make", "Model"))
    return Camera(make, model) if make or model else camera()


def _lacking(document: Document, tags: Tags, options: Options) -> list[str]:
    """Return the fields that the sidecar lacks and that will be written."""
    lacking = lacking_texts(document, tags, options, Ownership.read(document))
    return [*lacking, *WRITTEN] if tags.keywords and not has_list(document) else lacking


def _hidden_words(lacking: Iterable[str], said: Mapping[str, Value]) -> dict[Name, Value]:
    """Return the photo's own words in the fields that are *lacking* in its sidecar.

    The machine's words in the sidecar would hide them from programs that read only the sidecar.
    """
    return {named(field): said[field] for field in lacking if field in said}


def _seeded(
    document: Document, before: Origin, seeds: Mapping[Name, Value]
) -> tuple[Document, Origin]:
    """Put *seeds* into *document*; an undo back to *before* takes them out again."""
    draft = Draft(document)
    for name, value in seeds.items():
        draft.put(name, value)
    edits = draft.edits()
    text = splice(document.text, edits)
    draft.check(text)
    spans = tuple(joined(kept(edits), before.spans))
    return Document(text, document.encoding), replace(before, spans=spans)


def digest_in(document: Document) -> str:
    """Return the digest recorded in a sidecar; empty if there is none."""
    return "".join(document.texts(DIGEST)[:1])


def put_record(draft: Draft, record: dict[Name, Value | None]) -> None:
    """Bring taggerd's own namespace up to date."""
    document = draft.document
    for name, value in record.items():
        found = document.read(name)
        if value is None:
            if found is not None:
                draft.remove(name)
        elif found is None or not _says(found, value):
            draft.put(name, value)


def _says(found: Property, value: Value) -> bool:
    """Say whether a property of the record already is *value*."""
    if isinstance(value, Array):
        if found.form is not Form.ARRAY:
            return False
        return [item.text for item in found.items] == [entry.text for entry in value.entries]
    return found.form in {Form.TEXT, Form.ATTRIBUTE} and found.text == value
