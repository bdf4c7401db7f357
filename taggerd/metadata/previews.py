"""What writing tags would change, without writing anything: the same merge, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.errors import SidecarError
from taggerd.metadata import atomic, naming
from taggerd.metadata.embedded import names_of
from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.embedding.packet import Parts
from taggerd.metadata.embedding.photo import read_packet
from taggerd.metadata.keywords.lists import by_owner
from taggerd.metadata.merge import merge, new_sidecar
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.sidecars import Own, merged_with
from taggerd.metadata.texts import field_texts
from taggerd.metadata.xmp.document import Document
from taggerd.photo import FieldChange, Preview, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from taggerd.metadata.embedded import Said
    from taggerd.metadata.options import Options
    from taggerd.photo import Photo, Provenance, Tags


def preview(
    photo: Photo, tags: Tags, provenance: Provenance, options: Options, said: Said
) -> Preview:
    """Return what :func:`taggerd.metadata.write` would change in the words about *photo*.

    What several sidecars have in common is said once.

    Raises:
        PhotosDiskError: the disk fails. PhotoMoved: the photo changed or went.
    """
    changes: dict[FieldChange, None] = {}
    notes: dict[str, None] = {}
    embedded = set()
    if options.target != "sidecar":
        for file in photo.files:
            if embeddable(file.path):
                try:
                    found = _embedded(file.path, tags, provenance, options, said)
                except SidecarError as error:
                    notes[f"{printable(file.path.name)} would not be embedded into: it {error}"] = (
                        None
                    )
                    continue
                embedded.add(file.path)
                changes |= dict.fromkeys(found.changes)
                notes |= dict.fromkeys(found.notes)
    for target in naming.targets(photo, options.naming):
        try:
            old = target.old or atomic.read(target.path)
            if options.target == "embed" and old is None and embedded.issuperset(target.files):
                continue
            own = Own(target.files, said)
            before, merged = merged_with(old, target, tags, provenance, options, own)
        except SidecarError as error:
            notes[f"{printable(target.path)} would be left unchanged: it {error}"] = None
            continue
        changes |= dict.fromkeys(_compared(before, merged.data))
        notes |= dict.fromkeys((*own.notes, *merged.notes))
    return Preview(tuple(changes), tuple(notes))


def _embedded(
    path: Path, tags: Tags, provenance: Provenance, options: Options, said: Said
) -> Preview:
    """Return what embedding into one file would change."""
    packet = read_packet(path)
    blank = new_sidecar(names_of(said[path].fields), provenance.version)
    before = Parts.of(packet).core if packet else blank
    merged = merge(before, tags, provenance, options, embedded=lambda: said[path].fields)
    return Preview(tuple(_compared(before, merged.data)), merged.notes)


def _compared(before: bytes | Document, after: bytes) -> Iterator[FieldChange]:
    """Yield the fields of words that differ."""
    texts, words = _words(before if isinstance(before, Document) else Document.load(before))
    new_texts, new_words = _words(Document.load(after))
    for field in dict.fromkeys((*new_texts, *texts)):
        pair = texts.get(field, ()), new_texts.get(field, ())
        if pair[0] != pair[1]:
            yield FieldChange(field, *pair)
    if set(words) != set(new_words):
        yield FieldChange("keywords", words, new_words)


def _words(document: Document) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the texts by field, and the keywords, whosever they are."""
    ownership = Ownership.read(document)
    machine, human = by_owner(document, ownership)
    texts: dict[str, tuple[str, ...]] = {
        name: (text,) for name, text, _ in field_texts(document, ownership)
    }
    return texts, tuple(dict.fromkeys((*human, *machine)))
