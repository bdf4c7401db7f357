"""Sidecars into which another program copied what taggerd wrote into a photo's other one.

darktable reads ``IMG.xmp`` when it imports a raw photo, and writes all that it understood into
``IMG.CR3.xmp``: our words, without the record that says so. They would count as a human's, would be
kept by every later pass, and would survive an undo. So such a copy gets the record of the original.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from taggerd.errors import SidecarError
from taggerd.metadata import atomic, naming
from taggerd.metadata.keywords.lists import LISTS
from taggerd.metadata.merge import put_record
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import decode
from taggerd.metadata.xmp.namespaces import TAGGERD, named
from taggerd.metadata.xmp.splice import Draft
from taggerd.settings import TextField

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def with_record(path: Path, data: bytes) -> bytes:
    """Return the sidecar *data* at *path*; with the record of the shorter named one it copies."""
    shorter = naming.shorter(path)
    with suppress(SidecarError):  # of either of the two: it is spoken of where it is written
        if shorter is not None and (original := atomic.read(shorter)) is not None:
            return _with_record_of(original.data, data)
    return data


def _with_record_of(original: bytes, data: bytes) -> bytes:
    """Return the sidecar *data* with the record in *original*, if it holds a text of taggerd's.

    One that has a record of its own is returned as it is.

    A text is taggerd's if it still hashes to what is recorded. Of keywords alone nothing follows: a
    human may have written the same ones.

    Raises:
        SidecarRefused: one of the two cannot be understood.
    """
    encoded = decode(data)
    document = Document(encoded.text)
    if any(name.uri == TAGGERD for name in document.names):
        return data
    ownership = Ownership.read(Document(decode(original).text))
    fields = _there(get_args(TextField), document)
    if not any(ownership.owns(text) for f in fields for text in document.texts(named(f))):
        return data
    copied = replace(
        ownership,
        lists=ownership.lists & _there(LISTS, document),
        written={f: h for f, h in ownership.written.items() if f in fields},
        replaced={f: text for f, text in ownership.replaced.items() if f in fields},
    )
    draft = Draft(document)
    put_record(draft, copied.words())
    return encoded.restore(draft.apply(encoded.settled))


def _there(names: Iterable[str], document: Document) -> frozenset[str]:
    return frozenset(name for name in names if named(name) in document)
