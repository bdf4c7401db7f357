"""Merge tags into a sidecar's bytes: the one place where reading, deciding and splicing meet."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from taggerd import settings
from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords.lists import LISTS, has_list, write_keywords
from taggerd.metadata.keywords.normalise import is_english
from taggerd.metadata.ownership import DATE, DIGEST, Ownership
from taggerd.metadata.texts import lacking_texts, write_texts
from taggerd.metadata.undo.seal import SEAL, Origin, joined, kept, origin, sealed
from taggerd.metadata.xmp.document import Document, Form, Property
from taggerd.metadata.xmp.encoding import LARGEST, decode
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Array, Draft, Value, splice
from taggerd.photo import Tags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from taggerd.metadata.xmp.encoding import Encoded
    from taggerd.metadata.xmp.namespaces import Name
    from taggerd.photo import Provenance
    from taggerd.settings import Fields


@dataclass(frozen=True, slots=True)
class Merged:
    """A sidecar with tags in it."""

    data: bytes
    """The same bytes where there was nothing to say but a new date."""
    notes: tuple[str, ...]


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the collector from walking a growing tree again and again: most of the time it took."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@uncollected()
def merge(  # noqa: PLR0913 - what a merge depends on, each with its own name
    data: bytes,
    tags: Tags,
    provenance: Provenance,
    fields: Fields,
    *,
    overwrite: bool = False,
    language: str = "",
    root: str = "",
    made: bool = False,
    seeds: Mapping[Name, Value] = MappingProxyType({}),
    carry: Callable[[], Mapping[str, Value]] = dict,
) -> Merged:
    """Merge *tags* into the sidecar *data*.

    Args:
        data: the sidecar as it is on disk, in any encoding of :mod:`.xmp.encoding`.
        tags: what to write; an empty text or no keywords: what an earlier pass wrote stays.
        provenance: recorded in taggerd's namespace.
        fields: which answer goes where.
        overwrite: replace texts that a human wrote.
        language: the texts' own, BCP 47: they are written in it besides ``x-default``.
        root: a word under which machine keywords are listed once more where there are levels.
        made: taggerd has just made *data*; an undo takes the whole file away again.
        seeds: human words from elsewhere that go in first; an undo takes them out with ours.
        carry: gives what the photo's own file says; asked only where the sidecar lacks a field
            that is to be written, because the words there would be hidden by ours.

    Raises:
        SidecarRefused: it cannot be merged without a doubt; the message says why.
    """
    encoded = decode(data)
    document = Document(encoded.text)
    before = Origin(made=True) if made else origin(encoded, document)
    if seeds:
        document, before = _seeded(document, before, seeds)
    if not made:
        document, before = _carried(document, before, tags, fields, carry, overwrite=overwrite)
    ownership = Ownership.read(document)
    draft = Draft(document)
    texts = write_texts(draft, tags, fields, ownership, overwrite=overwrite, language=language)
    union = write_keywords(
        draft,
        tags.keywords,
        fields.keywords,
        ownership,
        root=root,
        english=is_english(language),
    )
    record = Ownership(
        keywords=union.machine.words,
        paths=union.machine.paths,
        root=union.machine.root,
        rejected=union.rejected,
        lists=union.lists,
        mirrored=union.mirrored,
        written=texts.written,
        replaced=texts.replaced,
    )
    put_record(draft, record.properties(provenance))
    notes = (*texts.notes, *union.notes)
    if draft.changed <= {DATE}:
        return Merged(data, notes)
    data = encoded.restore(sealed_text(draft, encoded, before))
    if len(data) > LARGEST:  # nobody, ourselves included, would read it again
        message = f"would become larger than {LARGEST // (1024 * 1024)} MB"
        raise SidecarRefused(message)
    return Merged(data, notes)


def yielded(data: bytes) -> bytes:
    """Return the sidecar *data* without machine texts that hide what a human wrote since.

    Readers take either of two fields for one thing (``dc:description``, ``tiff:ImageDescription``):
    where a human has edited one, ours in the other goes.

    Raises:
        SidecarRefused: it cannot be understood.
    """
    encoded = decode(data)
    document = Document(encoded.text)
    ownership = Ownership.read(document)
    draft = Draft(document)
    texts = write_texts(draft, Tags(), settings.Fields(), ownership, overwrite=False)
    if not draft.changed:
        return data
    record = replace(ownership, written=texts.written, replaced=texts.replaced)
    put_record(draft, record.words())
    return encoded.restore(sealed_text(draft, encoded, origin(encoded, document)))


def sealed_text(draft: Draft, encoded: Encoded, before: Origin) -> bytes:
    """Carry out *draft*, check the result, and leave in it the way back to *before*.

    Raises:
        SidecarRefused: the result does not say what it should, or anything else changed.
    """
    if not before.made and before.text is None:
        if SEAL in draft.document:
            draft.remove(SEAL)
        return draft.apply(encoded.settled)
    draft.put(SEAL, "")
    edits = draft.edits(encoded.settled)
    text, says = sealed(before, splice(draft.document.data, edits), edits)
    draft.check(text, {SEAL: says})
    return text


def _carried(  # noqa: PLR0913 - see merge
    document: Document,
    before: Origin,
    tags: Tags,
    fields: Fields,
    carry: Callable[[], Mapping[str, Value]],
    *,
    overwrite: bool,
) -> tuple[Document, Origin]:
    """Put the photo's own words into the fields that the sidecar lacks and that are to be written.

    Without it, the machine's words in the sidecar would hide the human's in the photo from readers
    that look no further than the sidecar.
    """
    lacking = lacking_texts(document, tags, fields, overwrite=overwrite)
    if tags.keywords and not has_list(document):
        lacking += LISTS
    if not lacking:
        return document, before
    said = carry()
    found = {named(field): said[field] for field in lacking if field in said}
    return _seeded(document, before, found) if found else (document, before)


def _seeded(
    document: Document, before: Origin, seeds: Mapping[Name, Value]
) -> tuple[Document, Origin]:
    """Put *seeds* into *document*; the way back to *before* leads past them."""
    draft = Draft(document)
    for name, value in seeds.items():
        draft.put(name, value)
    edits = draft.edits()
    text = splice(document.data, edits)
    draft.check(text)
    return Document(text), replace(before, spans=tuple(joined(kept(edits), before.spans)))


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
