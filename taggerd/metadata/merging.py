"""Merge tags into a sidecar's bytes: the one place where reading, deciding and splicing meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd.errors import SidecarRefused
from taggerd.metadata.keyword_lists import write_keywords
from taggerd.metadata.keywords import is_english
from taggerd.metadata.ownership import DATE, DIGEST, Ownership
from taggerd.metadata.splice import Array, Draft, Value
from taggerd.metadata.texts import write_texts
from taggerd.metadata.transcode import LARGEST, decode
from taggerd.metadata.xmp import Document, Form, Property

if TYPE_CHECKING:
    from taggerd.metadata.namespaces import Name
    from taggerd.photo import Provenance, Tags
    from taggerd.settings import Fields


@dataclass(frozen=True, slots=True)
class Merged:
    """A sidecar with tags in it."""

    data: bytes
    """The same bytes where there was nothing to say but a new date."""
    notes: tuple[str, ...]


def merge(  # noqa: PLR0913 - the switches are named
    data: bytes,
    tags: Tags,
    provenance: Provenance,
    fields: Fields,
    *,
    overwrite: bool = False,
    language: str = "",
    root: str = "",
) -> Merged:
    """Merge *tags* into the sidecar *data*.

    Args:
        data: the sidecar as it is on disk, in any encoding of :mod:`.transcode`.
        tags: what to write; an empty text or no keywords: what an earlier pass wrote stays.
        provenance: recorded in taggerd's namespace.
        fields: which answer goes where.
        overwrite: replace texts that a human wrote.
        language: the texts' own, BCP 47: they are written in it besides ``x-default``.
        root: a word under which machine keywords are listed once more where there are levels.

    Raises:
        SidecarRefused: it cannot be merged without a doubt; the message says why.
    """
    encoded = decode(data)
    document = Document(encoded.text)
    ownership = Ownership.read(document)
    draft = Draft(document)
    written, notes = write_texts(
        draft, tags, fields, ownership, overwrite=overwrite, language=language
    )
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
        written=written,
    )
    _put_record(draft, record.properties(provenance))
    merged_notes = (*notes, *union.notes)
    if draft.changed <= {DATE}:
        return Merged(data, merged_notes)
    data = encoded.restore(draft.apply())
    if len(data) > LARGEST:  # nobody, ourselves included, would read it again
        message = f"would become larger than {LARGEST // (1024 * 1024)} MB"
        raise SidecarRefused(message)
    return Merged(data, merged_notes)


def digest_in(data: bytes) -> str:
    """Return the digest recorded in the sidecar *data*; empty if there is none.

    Raises:
        SidecarRefused: it cannot be understood.
    """
    texts = Document(decode(data).text).texts(DIGEST)
    return texts[0] if texts else ""


def _put_record(draft: Draft, record: dict[Name, Value | None]) -> None:
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
