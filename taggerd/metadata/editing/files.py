"""Write a person's edit into everything that holds a photo's words, or into nothing.

Everything is read and decided first. Sidecars are written before photo files, because they are
small: where one fails, the others are reverted, and on a full disk there is room for that.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypedDict

from taggerd import files
from taggerd.errors import (
    PhotosDiskError,
    SidecarChanged,
    SidecarError,
    SidecarRefused,
    SidecarUnwritable,
    TaggerdError,
)
from taggerd.metadata import atomic, naming
from taggerd.metadata.copies import with_record
from taggerd.metadata.editing.content import PARTS, Changed, fields_of, shown_text
from taggerd.metadata.editing.content import edit as edit_document
from taggerd.metadata.editing.values import Edited, Stale, WordChange
from taggerd.metadata.embedded import names_of
from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.embedding.photo import (
    PacketEdit,
    edited,
    embedded_core,
    write_edit,
)
from taggerd.metadata.merge import new_sidecar
from taggerd.metadata.ownership import Ownership, text_hash
from taggerd.metadata.texts import field_texts, fitted, xml_text
from taggerd.metadata.undo.seal import packed
from taggerd.metadata.xmp.document import Document
from taggerd.photo import PhotoFile, Sidecar, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from taggerd.metadata.editing.values import Edit, TextPart
    from taggerd.metadata.embedded import Embedded, Fields, Said
    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.splice import Value
    from taggerd.photo import Photo


@dataclass(frozen=True, slots=True)
class Held:
    """A sidecar of the photo, as it is, or as it would be made."""

    target: naming.Target
    old: atomic.Old | None
    document: Document
    own: Fields

    @property
    def path(self) -> Path:
        """Where it is, or would be."""
        return self.target.path


@dataclass(frozen=True, slots=True)
class _Read:
    """A photo and all that holds words of it."""

    photo: Photo
    said: Said
    held: list[Held]
    cores: dict[Path, Document]
    """What is embedded, where any of it is taggerd's."""
    shown: dict[TextPart, str]


@dataclass(slots=True)
class Plan:
    """What an edit would write."""

    sidecars: list[tuple[Held, Changed]] = field(default_factory=list)
    packets: list[tuple[PacketEdit, Changed]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def changes(self) -> tuple[WordChange, ...]:
        """What changed in any of them, each once."""
        every = [*(done for _, done in self.sidecars), *(done for _, done in self.packets)]
        found = {(c.kind, c.field, c.before, c.after): c for e in every for c in e.changes}
        return tuple(found.values())


def edit(photo: Photo, wanted: Edit, options: Options, said: Said) -> Edited | Stale:
    """Make *wanted* of the words of *photo*, in all its sidecars and in what is embedded in it.

    What its files have *said* themselves a sidecar must not hide. All or nothing is written.

    Raises:
        SidecarError: one of them cannot be written; all are as they were.
        PhotoMoved: the photo changed or went.
        PhotosDiskError: the disk is full, read-only or failing; all are as they were.
    """
    tried: list[Plan] = []
    for _ in options.retries.tries():
        try:
            return _edit_once(photo, wanted, options, said, tried)
        except SidecarChanged as error:
            busy = str(error)
    message = f"{photo.name}: its sidecar {busy}; nothing was changed: try again"
    raise SidecarChanged(message)


def _edit_once(
    photo: Photo, wanted: Edit, options: Options, said: Said, tried: list[Plan]
) -> Edited | Stale:
    read = _read(photo, wanted, options, said)
    for part, text in wanted.texts.items():
        seen, now = wanted.seen.get(part), read.shown[part]
        if seen is None or xml_text(now) in {xml_text(seen), text}:
            continue
        if now or _was_taken_out(read, part, seen, options):
            return Stale(part, seen, now)
    plan = _planned(read, wanted, options)
    if not plan.changes:
        # Two that write at once take one's temporary file for a dead one's: it was written then.
        return _edited(tried[-1], []) if tried else Edited(notes=tuple(dict.fromkeys(plan.notes)))
    tried.append(plan)
    return _edited(plan, written(plan))


def _edited(plan: Plan, sidecars: list[Sidecar]) -> Edited:
    undo = json.dumps({"files": _patches(plan), "words": _said(plan)})
    notes = dict.fromkeys([*plan.notes, *(note for each in sidecars for note in each.notes)])
    return Edited(plan.changes, tuple(sidecars), tuple(notes), undo)


def _was_taken_out(read: _Read, part: TextPart, seen: str, options: Options) -> bool:
    """Say whether the text that was *seen* is gone, and did not only wait to be written."""
    documents = [*read.cores.values(), *(each.document for each in read.held if each.old)]
    for record in map(Ownership.read, documents):
        known = record.refused.union(record.written.values())
        for name in fields_of(part, options):
            if record.emptied(name) or text_hash(fitted(name, seen)) in known:
                return True
    return False


@contextmanager
def in_errors(path: Path) -> Iterator[None]:
    """Name the file at *path* in the errors of what is done to it."""
    try:
        yield
    except SidecarChanged:
        raise
    except PhotosDiskError as error:
        message = f"nothing was changed: {error}"
        raise type(error)(message) from error
    except SidecarError as error:
        advice = "make it writable" if isinstance(error, SidecarUnwritable) else "repair it"
        message = f"{printable(path)} {error}; nothing was changed: {advice}, then try again"
        raise type(error)(message) from error


def _held(target: naming.Target, wanted: Edit, said: Said) -> Held:
    """Read one sidecar; where there is none, the one that would be made."""
    own: Fields = {}
    for path in target.files:
        own = said[path].fields | own
    with in_errors(target.path):
        old = target.old or atomic.read(target.path)
        if old is None:
            blank = new_sidecar(names_of(own), wanted.version)
            return Held(target, None, Document.load(blank), own)
        return Held(target, old, with_record(target.path, old.document), own)


def _cores(photo: Photo) -> dict[Path, Document]:
    """Return what is embedded in the files of *photo*, where any of it is taggerd's."""
    cores: dict[Path, Document] = {}
    for file in photo.files:
        with in_errors(file.path):
            if core := embedded_core(file.path):
                cores[file.path] = Document.load(core)
    return cores


def _read(photo: Photo, wanted: Edit, options: Options, said: Said) -> _Read:
    """Read all that holds words; the texts are those of the first that has any, as in a view."""
    cores = _cores(photo)
    held = [_held(target, wanted, said) for target in naming.targets(photo, options.naming)]
    documents = [*cores.values(), *(each.document for each in held if each.old is not None)]
    texts = [field_texts(document, Ownership.read(document)) for document in documents]
    texts.append(own_texts(said[photo.primary.path]))
    shown: dict[TextPart, str] = {}
    for part in PARTS:
        found = (shown_text(each, part, options) for each in texts)
        shown[part] = next((text for text, _ in filter(None, found)), "")
    return _Read(photo, said, held, cores, shown)


def own_texts(said: Embedded) -> list[tuple[str, str, bool]]:
    """Return the texts of a photo file, none of them taggerd's, by field."""
    first = {
        name: value if isinstance(value, str) else value.entries[0].text
        for name, value in said.fields.items()
        if value
    }
    return [(name, text, False) for name, text in first.items()]


def _planned(read: _Read, wanted: Edit, options: Options) -> Plan:
    """Decide what every sidecar and packet is to say; nothing is written."""
    plan = Plan()
    outcomes: list[Changed] = []

    def change(document: Document, own: Mapping[str, Value]) -> Changed:
        outcomes.append(edit_document(document, wanted, options, read.shown, own))
        return outcomes[-1]

    embedded = _plan_packets(plan, read, options, wanted.version, change)
    for each in read.held:
        if each.old is None and options.target == "embed" and embedded >= {*each.target.files}:
            continue
        with in_errors(each.path):
            changed = change(each.document, each.own)
        if changed.data != (each.document.data if each.old is None else each.old.data):
            plan.sidecars.append((each, changed))
    plan.notes += [note for outcome in outcomes for note in outcome.notes]
    for part in wanted.texts:
        reasons = [outcome.refused.get(part, "") for outcome in outcomes]
        if reasons and all(reasons):
            message = f"{read.photo.name} takes no other {part} from taggerd: {reasons[0]}"
            raise SidecarRefused(message)
    return plan


def _plan_packets(
    plan: Plan,
    read: _Read,
    options: Options,
    version: str,
    change: Callable[[Document, Mapping[str, Value]], Changed],
) -> set[Path]:
    """Have *change* decide on each packet that holds words, or is to; return whose."""
    embedded: set[Path] = set()
    for file in read.photo.files:
        path, ours = file.path, file.path in read.cores
        if not embeddable(path) or not (ours or options.target in {"embed", "both"}):
            continue
        done: list[Changed] = []

        def core(document: Document, done: list[Changed] = done) -> bytes:
            done.append(change(document, {}))
            return done[-1].data

        try:
            with in_errors(path) if ours else nullcontext():
                packet = edited(file, core, read.said[path], version)
        except SidecarRefused as error:
            if ours:
                raise
            plan.notes.append(f"{printable(path.name)} was not embedded into: it {error}")
            continue
        embedded.add(path)
        if packet.new != packet.old:
            plan.packets.append((packet, done[-1]))
    return embedded


def written(plan: Plan) -> list[Sidecar]:
    """Write everything, or nothing.

    Raises:
        SidecarError, PhotoMoved, PhotosDiskError: as :func:`edit`.
    """
    done: list[Sidecar] = []
    with ExitStack() as reverting:
        for held, changed in plan.sidecars:
            with in_errors(held.path):
                done.append(_write_sidecar(held, changed.data))
            reverting.callback(_revert, held, changed.data)
        for packet, _ in plan.packets:
            with in_errors(packet.file.path):
                outcome = write_edit(packet)
            done.append(outcome)
            if outcome.stamp is not None:
                file = PhotoFile(packet.file.path, outcome.stamp)
                reverting.callback(_revert_packet, PacketEdit(file, packet.new, packet.old))
        reverting.pop_all()
    return done


def _write_sidecar(held: Held, data: bytes) -> Sidecar:
    path, created = held.path, held.old is None
    if held.old is not None and not data:
        atomic.remove(path, held.old)
        return Sidecar(path=path, written=True)
    if held.old is None:
        atomic.create(path, data, files.lstat(held.target.files[0]))
    else:
        atomic.replace(path, held.old, data)
    digest = hashlib.blake2b(data, digest_size=32).hexdigest()
    return Sidecar(path=path, written=True, created=created, digest=digest)


def _revert(held: Held, data: bytes) -> None:
    """Let a sidecar be as it was before an edit that failed elsewhere, unless it changed since."""
    with suppress(TaggerdError):
        there = atomic.read(held.path)
        if (there.data if there is not None else b"") != data:
            return
        before = held.old.data if held.old is not None else b""
        _write_sidecar(replace(held, old=there), before)


def _revert_packet(packet: PacketEdit) -> None:
    with suppress(TaggerdError):
        write_edit(packet)


class Patch(TypedDict):
    """What brings one file back: the bytes that were there, as far as they differ."""

    name: str
    now: str
    """Hash of its bytes after the edit."""
    start: int
    """What differs starts at this offset, before and after."""
    end: int
    """Where it ends after the edit."""
    was: str
    """What it was: base64 of zlib."""
    made: bool
    """There was none."""


def _said(plan: Plan) -> dict[str, object]:
    """Return what was done to words, for when the files have changed since."""
    done = [changed for _, changed in (*plan.sidecars, *plan.packets)]
    dropped = {path: ours for each in done for path, ours in each.dropped.items()}
    return {
        "texts": [
            [change.field, change.before, change.after, change.machine]
            for change in plan.changes
            if change.field != "keywords"
        ],
        "dropped": [[list(path), ours] for path, ours in dropped.items()],
        "added": [list(path) for path in dict.fromkeys(p for each in done for p in each.added)],
    }


def _patches(plan: Plan) -> list[Patch]:
    patches = [
        _patch(held.path, held.old.data if held.old is not None else None, changed.data)
        for held, changed in plan.sidecars
    ]
    return patches + [_patch(each.file.path, each.old, each.new or b"") for each, _ in plan.packets]


def _patch(path: Path, old: bytes | None, new: bytes) -> Patch:
    before = old or b""
    start = _alike(before, new)
    shortest = min(len(before), len(new)) - start
    same = min(_alike(before[::-1], new[::-1]), shortest)
    return {
        "name": path.name,
        "now": hash_of(new),
        "start": start,
        "end": len(new) - same,
        "was": packed(before[start : len(before) - same]),
        "made": old is None,
    }


def _alike(one: bytes, other: bytes) -> int:
    """Return how many bytes at the start of both are the same."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def hash_of(data: bytes) -> str:
    """Return what tells that a file is as an edit left it."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
