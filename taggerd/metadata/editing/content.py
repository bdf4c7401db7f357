"""One sidecar or packet after an edit; what stands there as a person sees it.

The document is spliced twice: first the person's own words go in and out, then what is the
machine's follows, as in a merge, and the record. Undoing taggerd's work leaves what a person said,
so the seal goes: the file counts as edited by a human.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from taggerd.metadata.editing.values import WordChange
from taggerd.metadata.keywords.edits import Done, Wishes, edit_keywords, shown
from taggerd.metadata.keywords.fields import WRITTEN
from taggerd.metadata.keywords.lists import has_list, write_keywords
from taggerd.metadata.merge import put_record, sealed_text, uncollected
from taggerd.metadata.ownership import Ownership, text_hash
from taggerd.metadata.texts import (
    TEXT_FIELDS,
    edit_text,
    field_texts,
    fitted,
    one_line,
    undo_texts,
    xml_text,
)
from taggerd.metadata.undo.seal import origin
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.namespaces import TAGGERD, Name, named
from taggerd.metadata.xmp.splice import Draft

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd.metadata.editing.values import Edit, TextPart
    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.splice import Value
    from taggerd.photo import Keyword

Levels = tuple[str, ...]
"""A keyword from its root down."""
PARTS: tuple[TextPart, ...] = ("caption", "description")


@dataclass(frozen=True, slots=True)
class Changed:
    """A sidecar or packet after an edit."""

    data: bytes
    """The same bytes where there was nothing to change."""
    changes: tuple[WordChange, ...] = ()
    notes: tuple[str, ...] = ()
    refused: Mapping[TextPart, str] = field(default_factory=dict)
    """Texts that stand in no field of it now, and why."""
    dropped: Mapping[Levels, bool] = field(default_factory=dict)
    """Keyword → it was the machine's."""
    added: tuple[Levels, ...] = ()


def fields_of(part: TextPart, options: Options) -> dict[str, bool]:
    """Return the fields that may hold *part*, in the order in which people see it.

    True: the settings want it there.
    """
    chosen = options.fields.caption if part == "caption" else options.fields.description
    others = {*options.fields.caption, *options.fields.description, *options.own} - {*chosen}
    return {
        name: name in chosen
        for name, rule in TEXT_FIELDS.items()
        if name in chosen or (rule.holds == part and name not in others)
    }


def shown_text(
    texts: Iterable[tuple[str, str, bool]], part: TextPart, options: Options
) -> tuple[str, bool] | None:
    """Return the *part* of the *texts* (field, text, machine) that people see, and whose it is.

    A human's text is seen before the machine's, a title before a headline.
    """
    order = [*fields_of(part, options)]
    found = sorted((ours, order.index(name), text) for name, text, ours in texts if name in order)
    return (found[0][2], found[0][0]) if found else None


@uncollected()
def edit(
    document: Document,
    wanted: Edit,
    options: Options,
    seen: Mapping[TextPart, str],
    own: Mapping[str, Value],
) -> Changed:
    """Make *wanted* of the words in *document*.

    Args:
        document: a sidecar, or the core of a packet.
        wanted: what a person wants.
        options: which answer goes where, and the lists that are written.
        seen: the texts that the person sees, which the new ones replace.
        own: the photo's own words; keywords among them go into a list that is made.

    Raises:
        SidecarRefused: it cannot be changed safely; the message says why.
    """
    ownership, before, draft = Ownership.read(document), document, Draft(document)
    texts = _edit_texts(draft, wanted, options, seen, ownership)
    changes, keywords, rejected = texts.changes, Done(ownership), list[Levels]()
    given = bool(wanted.add or wanted.drop or wanted.rename)
    if given and not has_list(document):
        _seed_lists(draft, own)
        draft = Draft(applied(draft))
    if given:
        wishes = Wishes(wanted.add, wanted.drop, wanted.rename, wanted.waiting)
        keywords = edit_keywords(draft, wishes, options, ownership)
        changes += _keyword_changes(keywords, _models(before))
    draft, ownership = Draft(applied(draft)), keywords.ownership
    if wanted.reject:
        rejected = ownership.leaves()
        ownership, lost = _rejected(draft, ownership, _models(before), wanted)
        changes += lost
    if ownership.keywords and (given or wanted.reject):
        ownership = with_keywords(draft, (), options, ownership)
    record = replace(
        ownership,
        edited=texts.edited,
        written={n: h for n, h in ownership.written.items() if n not in texts.edited},
        replaced={n: t for n, t in ownership.replaced.items() if n not in texts.edited},
    )
    dropped = dict(keywords.dropped) | dict.fromkeys(rejected, True)
    return Changed(
        finished(before, draft, record),
        tuple(changes),
        tuple(texts.notes),
        texts.refused,
        dropped,
        tuple(keywords.added),
    )


def applied(draft: Draft) -> Document:
    """Return the document with *draft* made, to be changed further."""
    if not draft.changed:
        return draft.document
    return Document(draft.apply(), draft.document.encoding)


def with_keywords(
    draft: Draft, given: Sequence[Keyword], options: Options, ownership: Ownership
) -> Ownership:
    """Bring the machine's keywords in *draft* up to date, as a merge does; none *given*: as before.

    Returns:
        *ownership*, with what it says about keywords then.
    """
    kept = write_keywords(draft, given, options, ownership)
    return replace(
        ownership,
        keywords=kept.keywords,
        paths=kept.paths,
        root=kept.root,
        rejected=kept.rejected,
        lists=kept.lists,
        mirrored=kept.mirrored,
    )


def finished(before: Document, draft: Draft, record: Ownership) -> bytes:
    """Return the bytes of *draft* with this *record*; those of *before* where nothing changed.

    Raises:
        SidecarRefused: it cannot be changed safely.
    """
    put_record(draft, record.words())
    if not draft.changed and draft.document.text == before.text:
        return before.data
    # An undo of the machine's words must not take the person's with it.
    sealed = sealed_text(draft, replace(origin(before), text=None, spans=(), intact=False))
    data = before.encoding.encode(sealed)
    if len(data) > LARGEST:
        refuse(f"would become larger than {LARGEST // (1024 * 1024)} MB")
    return data


def _models(document: Document) -> dict[str, str]:
    """Return role → model, as the record says."""
    pairs = (text.partition("=") for text in document.texts(Name(TAGGERD, "models")))
    return {role: model for role, _, model in pairs}


def _is_machines(
    document: Document, ownership: Ownership, part: TextPart, options: Options
) -> bool:
    found = shown_text(field_texts(document, ownership), part, options)
    return found is not None and found[1]


@dataclass(slots=True)
class _Texts:
    """What was done to texts."""

    edited: dict[str, str]
    """For the record."""
    changes: list[WordChange] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: dict[TextPart, str] = field(default_factory=dict)


def _edit_texts(
    draft: Draft,
    wanted: Edit,
    options: Options,
    seen: Mapping[TextPart, str],
    ownership: Ownership,
) -> _Texts:
    """Give each part that is *wanted* its words, in every field that holds it."""
    texts = _Texts(dict(ownership.edited))
    for part, new in wanted.texts.items():
        old = seen.get(part, "")
        if new == xml_text(old):
            continue
        machine = _is_machines(draft.document, ownership, part, options)
        done = _edit_fields(draft, part, (old, new), options, ownership)
        texts.notes += done.notes
        texts.refused |= {part: done.notes[0]} if done.notes and not done.fields else {}
        limits = [TEXT_FIELDS[name].longest for name in done.fields]
        if limits and all(0 < limit < len(one_line(new)) for limit in limits):
            # Other words stand in the field that takes more: a person's words are not cut.
            texts.refused[part] = f"the {part} is too long: at most {max(limits)} characters fit"
        texts.edited |= {name: text_hash(fitted(name, new)) for name in done.fields}
        if done.changed:
            model = _models(draft.document).get(part, "") if machine else ""
            texts.changes.append(WordChange("edited", part, old, new, machine, model))
    return texts


@dataclass(slots=True)
class _Fields:
    """What was done to the fields of one text."""

    fields: list[str]
    """They hold the person's words now."""
    notes: list[str]
    changed: bool = False


def _edit_fields(
    draft: Draft,
    part: TextPart,
    texts: tuple[str, str],
    options: Options,
    ownership: Ownership,
) -> _Fields:
    """Give *part* the second of the *texts* in every field that holds it; the first was seen."""
    (old, text), done = texts, _Fields([], [])
    for name, chosen in fields_of(part, options).items():
        before = draft.document.read(named(name))
        new = fitted(name, text)
        outcome = edit_text(draft, name, new, old, ownership, wanted=chosen)
        if outcome == "kept":
            done.notes.append(f"kept {name}: other words stand there than the ones that were seen")
        elif outcome == "refused":
            done.notes.append(f"kept {name}: it is in a form that taggerd does not overwrite")
        elif outcome == "edited":
            done.fields.append(name)
            was_empty = before is None and ownership.emptied(name)
            done.changed |= named(name) in draft.changed or (not new and not was_empty)
    return done


def _seed_lists(draft: Draft, own: Mapping[str, Value]) -> None:
    """Put the photo's own keywords into lists that the sidecar lacks: ours would hide them."""
    for name in WRITTEN:
        if name in own:
            draft.put(named(name), own[name])


def _keyword_changes(done: Done, models: Mapping[str, str]) -> list[WordChange]:
    """Say what happened to keywords, each once."""
    dropped = {shown(path): ours for path, ours in done.dropped.items()}
    changes = []
    for word, ours in dropped.items():
        model, other = models.get("keywords", "") if ours else "", done.renamed.get(word, "")
        kind: Literal["renamed", "dropped"] = "renamed" if other else "dropped"
        changes.append(WordChange(kind, "keywords", word, other, ours, model))
    others = {*done.renamed.values()}
    changes += [
        WordChange("added", "keywords", after=shown(path))
        for path in done.added
        if shown(path) not in others and path[-1] not in others
    ]
    return changes


def _rejected(
    draft: Draft, ownership: Ownership, models: Mapping[str, str], wanted: Edit
) -> tuple[Ownership, list[WordChange]]:
    """Take every text of the machine's out of *draft*; mark its keywords as rejected."""
    changes: dict[tuple[str, str], WordChange] = {}
    for name, text, ours in field_texts(draft.document, ownership):
        if ours:
            part: TextPart = "caption" if TEXT_FIELDS[name].holds == "caption" else "description"
            said = WordChange("rejected", part, text, machine=True, model=models.get(part, ""))
            changes.setdefault((part, text_hash(text)), said)
    for path in (*ownership.leaves(), *((word,) for word in wanted.waiting)):
        model, word = models.get("keywords", ""), "/".join(path)
        said = WordChange("rejected", "keywords", word, machine=True, model=model)
        changes.setdefault(("keywords", path[-1]), said)
    undo_texts(draft, ownership, TEXT_FIELDS.keys())
    words = (*ownership.rejected, *ownership.keywords, *wanted.waiting)
    left = replace(
        ownership,
        rejected=tuple(dict.fromkeys(words)),
        refused=ownership.refused | frozenset(ownership.written.values()),
        written={},
        replaced={},
    )
    return left, list(changes.values())
