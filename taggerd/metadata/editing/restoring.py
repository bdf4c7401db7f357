"""Bring back what was there before an edit: byte for byte, or by the word where that changed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypedDict, cast

from taggerd.errors import SidecarChanged
from taggerd.metadata import atomic, naming
from taggerd.metadata.copies import with_record
from taggerd.metadata.editing.content import Changed, applied, fields_of, finished, with_keywords
from taggerd.metadata.editing.files import Held, Patch, Plan, hash_of, in_errors, written
from taggerd.metadata.editing.values import Edited, WordChange
from taggerd.metadata.embedding.formats import embeddable
from taggerd.metadata.embedding.photo import PacketEdit, edited, embedded_core, read_packet
from taggerd.metadata.keywords.edits import Wishes, edit_keywords, shown
from taggerd.metadata.keywords.lists import earlier_keywords, same
from taggerd.metadata.ownership import Ownership, text_hash
from taggerd.metadata.texts import edit_text, fitted
from taggerd.metadata.undo.seal import unpacked
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Draft
from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.metadata.editing.values import TextPart
    from taggerd.metadata.embedded import Said
    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.document import Document
    from taggerd.photo import Photo


class Words(TypedDict):
    """What an edit did to words."""

    texts: list[tuple[TextPart, str, str, bool]]
    """Part, before, after, and whether it was the machine's before."""
    dropped: list[tuple[list[str], bool]]
    added: list[list[str]]


class _Before(NamedTuple):
    """What an edit did, as it was kept."""

    patches: Mapping[str, Patch]
    """By the name of the file."""
    words: Words


def restore(photo: Photo, undo: str, options: Options, said: Said) -> Edited:
    """Undo the edit of *photo* that said how: :attr:`.values.Edited.undo`.

    A file that is as the edit left it has its old bytes again. In one that changed since, words
    that are still the edit's become what they were, and everything else stays.

    Raises:
        SidecarError: one of the files cannot be written; all are as they were.
        PhotoMoved: the photo changed or went.
        PhotosDiskError: the disk is full, read-only or failing; all are as they were.
    """
    kept = json.loads(undo)
    patches = {patch["name"]: cast("Patch", patch) for patch in kept["files"]}
    before = _Before(patches, cast("Words", kept["words"]))
    for _ in options.retries.tries():
        try:
            plan = Plan()
            _plan_packets(plan, photo, before, options, said)
            _plan_sidecars(plan, photo, before, options)
            return Edited(plan.changes, tuple(written(plan)))
        except SidecarChanged as error:
            busy = str(error)
    message = f"{photo.name}: its sidecar {busy}; nothing was changed: try again"
    raise SidecarChanged(message)


_RESTORED = (WordChange("edited", "caption"),)
"""What stands for all changes in a file whose bytes come back."""


def _plan_sidecars(plan: Plan, photo: Photo, before: _Before, options: Options) -> None:
    for target in naming.targets(photo, options.naming):
        with in_errors(target.path):
            old = target.old or atomic.read(target.path)
            if old is None:
                continue
            held = Held(target, old, old.document, {})
            patch = before.patches.get(target.path.name)
            if patch and patch["now"] == hash_of(old.data):
                plan.sidecars.append((held, Changed(_patched(old.data, patch) or b"", _RESTORED)))
                continue
            changed = revert(with_record(target.path, old.document), before.words, options)
            if changed.changes:
                plan.sidecars.append((held, changed))


def _plan_packets(
    plan: Plan,
    photo: Photo,
    before: _Before,
    options: Options,
    said: Said,
) -> None:
    for file in photo.files:
        if not embeddable(file.path):
            continue
        with in_errors(file.path):
            if not embedded_core(file.path):
                continue
            old, patch = read_packet(file.path), before.patches.get(file.path.name)
            if old and patch and patch["now"] == hash_of(old):
                edit = PacketEdit(file, old, _patched(old, patch))
                plan.packets.append((edit, Changed(b"", _RESTORED)))
                continue
            done: list[Changed] = []

            def core(document: Document, done: list[Changed] = done) -> bytes:
                done.append(revert(document, before.words, options))
                return done[-1].data

            edit = edited(file, core, said[file.path], "")
            if done[-1].changes:
                plan.packets.append((edit, done[-1]))


def _patched(now: bytes, patch: Patch) -> bytes | None:
    """Return what *patch* was made from; None: nothing was there."""
    if patch["made"]:
        return None
    middle = unpacked(patch["was"])
    if middle is None:
        refuse("cannot be brought back: the record of the edit is damaged")
    return now[: patch["start"]] + middle + now[patch["end"] :]


def revert(document: Document, words: Words, options: Options) -> Changed:
    """Undo an edit in a *document* that changed since; what is not the edit's any more stays.

    Raises:
        SidecarRefused: it cannot be changed safely.
    """
    before, draft = document, Draft(document)
    ownership, changes = _revert_texts(draft, words, options)
    rejected, gone = ownership.rejected, [tuple(path) for path, _ in words["dropped"]]
    wishes = Wishes(
        add=["|".join(path) for path, ours in words["dropped"] if not ours],
        drop=[shown(tuple(path)) for path in words["added"]],
    )
    done = edit_keywords(draft, wishes, options, ownership)
    changes += [WordChange("added", "keywords", after=shown(path)) for path in done.added]
    changes += [WordChange("dropped", "keywords", shown(path)) for path in done.dropped]
    back = {same(path[-1]) for path in gone}
    ownership = replace(
        done.ownership, rejected=tuple(word for word in rejected if same(word) not in back)
    )
    draft = Draft(applied(draft))
    ours = [tuple(path) for path, ours in words["dropped"] if ours]
    if any(same(path[-1]) in set(map(same, rejected)) for path in ours):
        given = [*earlier_keywords(ownership), *(Keyword(p[-1], None, p[:-1]) for p in ours)]
        ownership = with_keywords(draft, given, options, ownership)
        changes += [WordChange("added", "keywords", after=shown(path)) for path in ours]
    data = finished(before, draft, ownership)
    return Changed(data, tuple(changes) if data != before.data else ())


def _revert_texts(
    draft: Draft, words: Words, options: Options
) -> tuple[Ownership, list[WordChange]]:
    """Give texts that are as the edit left them the words from before."""
    ownership = Ownership.read(draft.document)
    edited_, written_ = dict(ownership.edited), dict(ownership.written)
    refused, changes = set(ownership.refused), list[WordChange]()
    for part, old, new, ours in words["texts"]:
        for name, chosen in fields_of(part, options).items():
            text, said = fitted(name, old), text_hash(fitted(name, new))
            here = "".join(draft.document.texts(named(name))[:1])
            rejected = not new and text_hash(text) in refused
            if named(name) in draft.changed or text_hash(here) != said:
                continue
            if not (rejected or edited_.get(name) == said):
                continue
            edit_text(draft, name, text, new, ownership, wanted=chosen)
            edited_.pop(name, None)
            if ours and text and named(name) in draft.changed:
                written_[name] = text_hash(text)
            changes.append(WordChange("edited", part, new, old))
        refused -= {text_hash(fitted(name, old)) for name in fields_of(part, options)}
    record = replace(ownership, edited=edited_, written=written_, refused=frozenset(refused))
    return record, changes
