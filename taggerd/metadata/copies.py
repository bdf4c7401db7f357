"""Sidecars into which another program copied what taggerd wrote into the photo's other one.

darktable reads ``IMG.xmp`` when it imports a raw photo, and writes all that it understood into
``IMG.CR3.xmp``: our words, without the record that says so. They would pass for a human's, every
later pass would keep them, and an undo would leave them. So such a copy gets the original's record.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd.errors import SidecarError
from taggerd.metadata import atomic, naming
from taggerd.metadata.keywords.fields import WRITTEN
from taggerd.metadata.merge import put_record
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.texts import TEXT_FIELDS
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import TAGGERD, named
from taggerd.metadata.xmp.splice import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def with_record(path: Path, document: Document) -> Document:
    """Return the sidecar at *path*, with the record of the shorter named one that it copies."""
    shorter = naming.shorter(path)
    if shorter is None or any(name.uri == TAGGERD for name in document.names):
        return document
    with suppress(SidecarError):  # of either of the two: it says so itself when it is written
        original = atomic.read(shorter)
        if original is not None:
            return _with_record_of(Ownership.read(original.document), document)
    return document


def _with_record_of(ownership: Ownership, document: Document) -> Document:
    """Put the record *ownership* into *document*, if it holds a text of taggerd's.

    A text is taggerd's if its hash is recorded. Keywords alone prove nothing: a human may have
    written the same ones.

    Raises:
        SidecarRefused: the record cannot be put in.
    """
    fields = _present(TEXT_FIELDS, document)
    if not any(ownership.owns(text) for f in fields for text in document.texts(named(f))):
        return document
    copied = replace(
        ownership,
        lists=ownership.lists & _present(WRITTEN, document),
        written={f: h for f, h in ownership.written.items() if f in fields},
        replaced={f: text for f, text in ownership.replaced.items() if f in fields},
    )
    draft = Draft(document)
    put_record(draft, copied.words())
    return Document(draft.apply(), document.encoding)


def _present(names: Iterable[str], document: Document) -> frozenset[str]:
    return frozenset(name for name in names if named(name) in document)
