"""Words of another tagger become machine words: a retag replaces them, an undo removes them.

Only taggerd's record is added to a sidecar, by the same splice and proof as everything else; no
word changes. Where the words are in the photo itself and there is no sidecar, one is made that
starts with them, as every new sidecar does; the photo stays as it is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.errors import SidecarError
from taggerd.metadata import atomic, naming
from taggerd.metadata.camera import is_camera_text
from taggerd.metadata.copies import with_record
from taggerd.metadata.embedded import names_of
from taggerd.metadata.embedding.photo import origin as embedded_origin
from taggerd.metadata.keywords.lists import claimed
from taggerd.metadata.merge import new_sidecar, put_record, sealed_text
from taggerd.metadata.ownership import DIGEST, Ownership, local_day, text_hash
from taggerd.metadata.texts import field_texts
from taggerd.metadata.undo.seal import Origin, origin
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Draft
from taggerd.photo import Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from taggerd.metadata.embedded import Said
    from taggerd.metadata.naming import Target
    from taggerd.metadata.options import Options
    from taggerd.photo import Photo

_DATES = ("xmp:MetadataDate", "xmp:ModifyDate")
_INTERNAL = "_Digikam_Internal_Tags_"
PROFILE = "adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """Which words of a photo another tagger wrote."""

    texts: frozenset[str] = frozenset()
    """As the tagger's own record says."""
    keywords: frozenset[str] = frozenset()
    """Likewise."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Role → model, likewise."""
    marked: str = ""
    """All words of a photo with this keyword; where it is a parent, only the keywords below it."""
    before: date | None = None
    """All words of a sidecar that was last changed before this local day."""
    version: str = ""
    now: datetime
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What was adopted in one sidecar."""

    path: Path
    fields: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    created: bool = False
    """The words are in the photo itself, which still holds them."""
    error: str = ""
    """Why it is as it was."""


def adopt(photo: Photo, adoption: Adoption, options: Options, said: Said) -> tuple[Adopted, ...]:
    """Record words in the sidecars of *photo* as machine words; return those that hold any.

    Where there is no sidecar, the words are those that the photo itself has *said*.

    Raises:
        PhotosDiskError: the disk is full, read-only or failing.
    """
    done: list[Adopted] = []
    for target in naming.targets(photo, options.naming):
        try:
            done += _adopt(target, photo, adoption, said)
        except (SidecarError, OSError) as error:
            done.append(Adopted(path=target.path, error=str(error)))
    return tuple(done)


def _adopt(target: Target, photo: Photo, adoption: Adoption, said: Said) -> list[Adopted]:
    path, old = target.path, target.old or atomic.read(target.path)
    stat = old.stat if old is not None else files.lstat(target.files[0])
    if old is None:
        fields = said[target.files[0]].fields
        document = Document.load(new_sidecar(names_of(fields), adoption.version))
        before = Origin(made=True)
    else:
        document = with_record(path, old.document)
        before = Origin(made=origin(document).made, intact=False)  # an undo is to take them out
    had = Ownership.read(document)
    record, texts, words = _claimed(document, had, adoption, stat.st_mtime)
    if not texts and not words:
        return []
    adopted = Adopted(path=path, fields=texts, keywords=words, created=old is None)
    if adoption.dry_run:
        return [adopted]
    draft = Draft(document)
    if DIGEST in document:
        put_record(draft, record.words())
    else:
        provenance = Provenance(
            version=adoption.version,
            date=adoption.now,
            profile=PROFILE,
            models=dict(adoption.models),
            digest=_digest(photo.primary.path),
        )
        put_record(draft, record.properties(provenance))
    data = document.encoding.encode(sealed_text(draft, before))
    if old is None:
        atomic.create(path, data, stat)
    else:
        atomic.replace(path, old, data)
    return [adopted]


def _claimed(
    document: Document, had: Ownership, adoption: Adoption, changed: float
) -> tuple[Ownership, tuple[str, ...], tuple[str, ...]]:
    """Return the record with what is adopted, the fields, and the keywords."""
    hashes = frozenset(map(text_hash, adoption.texts))
    words = frozenset(map(_same, adoption.keywords))
    mark = _same(adoption.marked)
    leaves, parents = set[str](), set[str]()

    def gather(path: tuple[str, ...]) -> bool:
        leaves.add(_same(path[-1]))
        parents.update(map(_same, path[:-1]))
        return False

    claimed(document, had, gather)
    everything = bool(mark) and mark in leaves and mark not in parents
    if adoption.before is not None:
        everything = everything or _day(document, changed) < adoption.before

    def is_theirs(path: tuple[str, ...]) -> bool:
        if path[0] == _INTERNAL:
            return False
        levels = [_same(level) for level in path]
        return everything or levels[-1] in words or (bool(mark) and mark in levels)

    record, keywords = claimed(document, had, is_theirs)
    texts = {
        name: text_hash(text)
        for name, text, ours in field_texts(document, had)
        if not ours and not is_camera_text(text) and (everything or text_hash(text) in hashes)
    }
    record = replace(record, written={**had.written, **texts})
    return record, tuple(texts), keywords


def _same(word: str) -> str:
    return " ".join(word.casefold().split())


def _day(document: Document, changed: float) -> date:
    """Return the local day of the last change, as the sidecar says or, if it does not, its file."""
    for name in _DATES:
        for text in document.texts(named(name)):
            if (day := local_day(text)) is not None:
                return day
    try:
        return datetime.fromtimestamp(changed).astimezone().date()
    except (ValueError, OverflowError, OSError):  # a clock that was never set
        return date.max


def _digest(path: Path) -> str:
    """Return the digest that a scan would find: the photo then counts as tagged."""
    if before := embedded_origin(path):
        return before
    with files.open_file(path) as opened, opened.reader() as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
