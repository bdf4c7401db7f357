"""The keyword lists of a sidecar: every one that is there or written holds the whole union.

Readers take the first list they find (Immich ``digiKam:TagsList``, then ``lr:hierarchicalSubject``;
darktable ``lr:hierarchicalSubject``, else ``dc:subject``), so a word that is missing from one list
is missing from that program. Nothing a human wrote is ever taken out of a list.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords import alike
from taggerd.metadata.namespaces import named
from taggerd.metadata.splice import Array, Entry
from taggerd.metadata.tree import BLANK
from taggerd.metadata.wording import one_line
from taggerd.metadata.xmp import Form, Item, Property

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taggerd.metadata.ownership import Ownership
    from taggerd.metadata.splice import Draft
    from taggerd.metadata.xmp import Document

Path = tuple[str, ...]
"""A keyword from its root down; a flat word is a path of one."""


class _Kind(NamedTuple):
    """How one program's list is written."""

    array: Literal["Bag", "Seq"]
    separator: str
    """Between levels; empty: the list is flat."""


LISTS = {
    "dc:subject": _Kind("Bag", ""),
    "lr:hierarchicalSubject": _Kind("Bag", "|"),
    "digiKam:TagsList": _Kind("Seq", "/"),
    "MicrosoftPhoto:LastKeywordXMP": _Kind("Bag", "/"),
    "MicrosoftPhoto1:LastKeywordXMP": _Kind("Bag", "/"),
    "mediapro:CatalogSets": _Kind("Bag", "|"),
}
"""Every list that gets the union where it is there; only the first three are ever made."""

_COMPLETE = ("dc:subject", "digiKam:TagsList")
"""Lists that every program which writes them writes whole: a word missing there was taken out.
(Bridge leaves flat words out of ``lr:hierarchicalSubject``: nothing follows from that.)"""


class Union(NamedTuple):
    """What the lists hold now that is not a human's own entry."""

    keywords: tuple[str, ...]
    """Machine keywords, exactly as they stand in ``dc:subject``."""
    rejected: tuple[str, ...]
    lists: frozenset[str]
    mirrored: frozenset[tuple[str, str]]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _List:
    """One list as it stands, its items told apart."""

    name: str
    kind: _Kind
    found: Property | None
    human: list[tuple[Item | None, Path]] = field(default_factory=list)
    """None: text in a form without items."""
    machine: dict[str, Item] = field(default_factory=dict)
    mirrored: list[tuple[Item, Path]] = field(default_factory=list)

    def path(self, text: str) -> Path:
        """Take an item's text apart into levels."""
        if not self.kind.separator:
            return (text.strip(BLANK),)
        levels = (level.strip(BLANK) for level in text.split(self.kind.separator))
        return tuple(level for level in levels if level)

    def entry(self, path: Path) -> str:
        """Return *path* as this list writes it: the leaf alone where the list is flat."""
        if not self.kind.separator:
            return path[-1]
        return self.kind.separator.join(p.replace(self.kind.separator, "-") for p in path)

    def has(self, path: Path) -> bool:
        """Say whether a human's entry in this list already says *path*."""
        wanted = same(self.entry(path))
        held = [p for _, p in self.human] + [p for _, p in self.mirrored]
        if any(same(self.entry(p)) == wanted for p in held):
            return True
        return len(path) == 1 and any(same(level) == wanted for p in held for level in p)


def same(word: str) -> str:
    """Return what two spellings of one human keyword share: case, composition, white space."""
    return " ".join(unicodedata.normalize("NFC", word).casefold().split())


def write_keywords(
    draft: Draft, words: Iterable[str], fields: Sequence[str], ownership: Ownership
) -> Union:
    """Put the machine keywords *words* and every human keyword into every list of *draft*.

    Args:
        draft: the sidecar.
        words: cleaned machine keywords; none: the earlier ones stay.
        fields: lists to be made where they are missing.
        ownership: what earlier passes wrote.

    Raises:
        SidecarRefused: a list has a form in which words cannot be added without a loss.
    """
    lists = [
        _read(draft.document, name, ownership)
        for name in LISTS
        if name in fields or named(name) in draft.document
    ]
    if not lists:
        return Union((), ownership.rejected, frozenset(), frozenset(), _notes(draft.document))
    gone = _taken_out(lists, ownership)
    rejected = _unique([*ownership.rejected, *(w for w in ownership.keywords if w in gone)])
    paths = _human_paths(lists, ownership)
    taken = {alike(path[-1]) for path in paths} | {alike(word) for word in rejected}
    given = [one_line(word) for word in words]
    machine = tuple(
        word for word in _unique(given or ownership.keywords) if alike(word) not in taken
    )
    mirrored: set[tuple[str, str]] = set()
    for each in lists:
        mirrored |= _update(draft, each, paths, machine)
    names = frozenset(each.name for each in lists)
    return Union(machine, rejected, names, frozenset(mirrored), _notes(draft.document))


def _read(document: Document, name: str, ownership: Ownership) -> _List:
    """Tell the items of one list apart: machine, mirrored, human."""
    kind = LISTS[name]
    found = document.read(named(name))
    each = _List(name, kind, found)
    if found is None:
        return each
    if found.form is Form.OTHER or (not found.items and not found.replaceable):
        message = f"has {name} in a form to which no keyword can be added"
        raise SidecarRefused(message)
    if found.text.strip(BLANK):
        each.human.append((None, each.path(found.text)))
    ours = {each.entry((word,)): word for word in ownership.keywords}
    for item in found.items:
        word = ours.get(item.text) if item.plain and name in ownership.lists else None
        path = each.path(item.text)
        if word is not None and word not in each.machine:
            each.machine[word] = item
        elif item.plain and (name, item.text) in ownership.mirrored and path:
            each.mirrored.append((item, path))
        elif path and path[-1]:
            each.human.append((item, path))
    return each


def _taken_out(lists: Sequence[_List], ownership: Ownership) -> frozenset[str]:
    """Return the machine keywords that somebody has taken out since they were written.

    A word is taken out if no list has it any more, or if a complete list lacks it and still has
    others of ours. A list that lost all of them was written by a program that never read them.
    """
    recorded = [each for each in lists if each.name in ownership.lists]
    telling = [each for each in recorded if each.name in _COMPLETE and each.machine]
    return frozenset(
        word
        for word in ownership.keywords
        if any(word not in each.machine for each in telling)
        or not any(word in each.machine for each in recorded)
    )


def _human_paths(lists: Sequence[_List], ownership: Ownership) -> list[Path]:
    """Return every human keyword once, with its hierarchy where any list knows it.

    A copy that taggerd made of a word, and that somebody has since taken out of a complete list,
    stays where it is but is not spread again.
    """
    telling = [e for e in lists if e.name in _COMPLETE and e.found is not None]
    first_pass = not ownership.lists
    paths: dict[Path, Path] = {}
    for each in lists:
        held = [path for _, path in each.human]
        held += [
            path
            for _, path in each.mirrored
            if first_pass or all(other.has(path) for other in telling)
        ]
        for path in held:
            paths.setdefault(tuple(same(level) for level in path), path)
    levels = {key for keys in paths if len(keys) > 1 for key in keys}
    return [path for keys, path in paths.items() if len(keys) > 1 or keys[0] not in levels]


def _update(
    draft: Draft, each: _List, paths: Sequence[Path], machine: Sequence[str]
) -> set[tuple[str, str]]:
    """Bring one list up to date; return what is mirrored in it."""
    new: dict[str, str] = {}
    for path in paths:
        if not each.has(path):
            new.setdefault(same(each.entry(path)), each.entry(path))
    mirrored = {(each.name, item.text) for item, _ in each.mirrored}
    mirrored |= {(each.name, text) for text in new.values()}
    add = [*new.values(), *(each.entry((w,)) for w in machine if w not in each.machine)]
    drop = [item for word, item in each.machine.items() if word not in machine]
    _rewrite(draft, each, drop, add)
    return mirrored


def _rewrite(draft: Draft, each: _List, drop: Sequence[Item], add: Sequence[str]) -> None:
    """Make the edits on one list."""
    name = named(each.name)
    if not add and not drop:
        return
    if each.found is not None and each.found.items:
        if len(drop) == len(each.found.items) and not add and each.found.replaceable:
            draft.remove(name)
        else:
            draft.relist(each.found, drop, add)
        return
    kept = [each.found.text] if each.found is not None and each.found.text.strip(BLANK) else []
    draft.put(name, Array(each.kind.array, tuple(Entry(text) for text in [*kept, *add])))


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    """Return *words* without those that are alike to an earlier one."""
    first: dict[str, str] = {}
    for word in words:
        if word:
            first.setdefault(alike(word), word)
    return tuple(first.values())


def _notes(document: Document) -> tuple[str, ...]:
    """Name a list that some reader may take before ours and that is not kept up."""
    if named("acdsee:categories") in document:
        return ("acdsee:categories is there and was left alone: ACDSee may show only its words",)
    return ()
