"""The keyword lists of a sidecar: every one that is there or written holds the whole union.

Nothing a human wrote is ever taken out of a list.
"""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords.fields import KEYWORD_FIELDS, READ_ONLY, WRITTEN, KeywordField, Use
from taggerd.metadata.keywords.normalise import alike
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Form, Item, Property
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Array, Entry
from taggerd.metadata.xmp.text import one_line
from taggerd.metadata.xmp.tree import BLANK
from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from taggerd.metadata.ownership import Ownership
    from taggerd.metadata.xmp.document import Document
    from taggerd.metadata.xmp.splice import Draft

Path = tuple[str, ...]
"""A keyword from its root down; a flat word is a path of one."""


class Union(NamedTuple):
    """What the lists hold now that is not a human's own entry."""

    machine: Machine
    rejected: tuple[str, ...]
    lists: frozenset[str]
    mirrored: frozenset[tuple[str, str]]
    shadowing: tuple[str, ...]


class Machine(NamedTuple):
    """Machine keywords, exactly as they stand in the lists."""

    words: tuple[str, ...] = ()
    """In flat lists: the keywords, then those of their parents that are written too."""
    paths: tuple[Path, ...] = ()
    """Of two levels or more: the keywords that stand in a hierarchy."""
    root: str = ""
    """Where there are levels, every entry is there a second time below this word."""

    @classmethod
    def of(cls, ownership: Ownership) -> Machine:
        """Return what an earlier pass wrote."""
        return cls(ownership.keywords, ownership.paths, ownership.root)

    def entries(self, kind: KeywordField) -> list[Path]:
        """Return every entry that a list of this *kind* has of them."""
        if not kind.separator:
            return [(word,) for word in self.words]
        filed = {path[-1]: path for path in self.paths}
        above = {level for path in self.paths for level in path[:-1]}
        entries = [
            filed.get(word, (word,)) for word in self.words if word in filed or word not in above
        ]
        return entries + [(self.root, *path) for path in entries if self.root]


@dataclass(slots=True)
class KeywordList:
    """One list as it stands, its items told apart."""

    kind: KeywordField
    found: Property | None
    human: list[tuple[Item | None, Path]] = field(default_factory=list)
    """None: text in a form without items."""
    machine: dict[Path, Item] = field(default_factory=dict)
    """By their entry."""
    mirrored: list[tuple[Item, Path]] = field(default_factory=list)
    _said: tuple[frozenset[str], frozenset[str]] | None = None
    """Entries and levels, once they have been asked for: a list may hold 100,000 items."""

    def path(self, text: str) -> Path:
        """Take an item's text apart into levels."""
        if not self.kind.separator:
            return (text.strip(BLANK),)
        levels = (level.strip(BLANK) for level in text.split(self.kind.separator))
        return tuple(level for level in levels if level)

    @property
    def name(self) -> str:
        """Its property."""
        return self.kind.name

    @property
    def machine_words(self) -> frozenset[str]:
        """Every word of ours that is in this list, on whichever level."""
        return frozenset(level for path in self.machine for level in path)

    def entry(self, path: Path) -> str:
        """Return *path* as this list writes it: the leaf alone where the list is flat."""
        if not self.kind.separator:
            return path[-1]
        return self.kind.separator.join(p.replace(self.kind.separator, "-") for p in path)

    def has(self, path: Path) -> bool:
        """Say whether a human's entry in this list already says *path*."""
        if self._said is None:
            held = [p for _, p in self.human] + [p for _, p in self.mirrored]
            self._said = (
                frozenset(same(self.entry(p)) for p in held),
                frozenset(same(level) for p in held for level in p),
            )
        entries, levels = self._said
        wanted = same(self.entry(path))
        return wanted in entries or (len(path) == 1 and wanted in levels)


def machine_entries(name: str, ownership: Ownership) -> frozenset[str]:
    """Return the items that an earlier pass put into the list *name*, as they stand there."""
    if name not in ownership.lists or name not in WRITTEN:
        return frozenset()
    empty = KeywordList(KEYWORD_FIELDS[name], None)
    return frozenset(empty.entry(path) for path in Machine.of(ownership).entries(empty.kind))


def same(word: str) -> str:
    """Return what two spellings of one human keyword share: case, composition, white space."""
    return " ".join(unicodedata.normalize("NFC", word).casefold().split())


def write_keywords(  # noqa: PLR0913 - the switches are named
    draft: Draft,
    given: Sequence[Keyword],
    fields: Sequence[str],
    ownership: Ownership,
    *,
    root: str = "",
    english: bool = True,
) -> Union:
    """Put the machine keywords *given* and every human keyword into every list of *draft*.

    Args:
        draft: the sidecar.
        given: cleaned machine keywords; none: the earlier ones stay.
        fields: lists to be made where they are missing.
        ownership: what earlier passes wrote.
        root: see :class:`Machine`.
        english: words are compared by English rules.

    Raises:
        SidecarRefused: a list has a form in which words cannot be added without a loss.
    """
    lists = [
        read_list(draft.document, name, ownership)
        for name in WRITTEN
        if name in fields or named(name) in draft.document
    ]
    if not lists:
        return Union(
            Machine(), ownership.rejected, frozenset(), frozenset(), shadowing(draft.document)
        )
    key = partial(alike, english=english)
    gone = _taken_out(lists, ownership)
    rejected = _unique([*ownership.rejected, *(w for w in ownership.keywords if w in gone)], key)
    sources = [] if ownership.lists else read_only(draft.document, ownership)
    paths = human_paths([*lists, *sources], ownership)
    refused = frozenset(map(key, rejected))
    taken = refused | {key(level) for path in paths for level in path}
    withheld = _withheld(lists, ownership, key)
    machine = _machine(given or _earlier(ownership), taken, refused, withheld, key)
    machine = machine._replace(root=root if machine.words else "")
    mirrored: set[tuple[str, str]] = set()
    for each in lists:
        mirrored |= _update(draft, each, paths, machine)
    names = frozenset(each.name for each in lists)
    return Union(machine, rejected, names, frozenset(mirrored), shadowing(draft.document))


def has_list(document: Document) -> bool:
    """Say whether *document* has any keyword list, or had one that somebody has since emptied."""
    lists = (*WRITTEN, *READ_ONLY, "taggerd:lists")
    return any(named(name) in document for name in lists)


def read_only(document: Document, ownership: Ownership) -> list[KeywordList]:
    """Read the lists that are never written, as far as they can be read."""
    lists = []
    for name in READ_ONLY:
        if named(name) in document:
            with suppress(SidecarRefused):
                lists.append(read_list(document, name, ownership))
    return lists


def read_list(document: Document, name: str, ownership: Ownership) -> KeywordList:
    """Tell the items of one list apart: machine, mirrored, human."""
    kind = KEYWORD_FIELDS[name]
    found = document.read(named(name))
    each = KeywordList(kind, found)
    if found is None:
        return each
    if found.form is Form.OTHER or (not found.items and not found.replaceable):
        refuse(f"has {name} in a form to which no keyword can be added")
    if found.text.strip(BLANK):
        each.human.append((None, each.path(found.text)))
    ours = {each.entry(entry): entry for entry in Machine.of(ownership).entries(kind)}
    for item in found.items:
        entry = ours.get(item.text) if item.plain and name in ownership.lists else None
        path = each.path(item.text)
        if entry is not None and entry not in each.machine:
            each.machine[entry] = item
        elif item.plain and (name, item.text) in ownership.mirrored and path:
            each.mirrored.append((item, path))
        elif path and path[-1]:
            each.human.append((item, path))
    return each


def _taken_out(lists: Sequence[KeywordList], ownership: Ownership) -> frozenset[str]:
    """Return the machine keywords that somebody has taken out since they were written.

    A word is taken out if no list has it any more, or if a complete list lacks it and still has
    others of ours. A list that lost all of them was written by a program that never read them.
    A parent is taken out if no list has it: digiKam writes none into ``dc:subject``.
    """
    recorded = [each for each in lists if each.name in ownership.lists]
    telling = [each.machine_words for each in recorded if each.kind.complete and each.machine]
    held = frozenset().union(*(each.machine_words for each in recorded))
    parents = {level for path in ownership.paths for level in path[:-1]}
    return frozenset(
        word
        for word in ownership.keywords
        if word not in held or (word not in parents and any(word not in words for words in telling))
    )


def _withheld(
    lists: Sequence[KeywordList], ownership: Ownership, key: Callable[[str], str]
) -> frozenset[str]:
    """Return keys of the levels that flat lists did not get, or lost since: they get none now."""
    flat = [
        each.machine_words
        for each in lists
        if each.name in ownership.lists and each.machine and not each.kind.separator
    ]
    levels = frozenset(key(level) for path in ownership.paths for level in path[:-1])
    return levels - {key(w) for w in ownership.keywords if all(w in words for words in flat)}


def _earlier(ownership: Ownership) -> list[Keyword]:
    """Return the keywords of an earlier pass."""
    filed = {path[-1]: path for path in ownership.paths}
    above = {level for path in ownership.paths for level in path[:-1]}
    written = frozenset(ownership.keywords)
    return [
        Keyword(word, None, path[:-1], tuple(level for level in path[:-1] if level in written))
        for word in ownership.keywords
        if word in filed or word not in above
        for path in [filed.get(word, (word,))]
    ]


def _machine(
    given: Iterable[Keyword],
    taken: AbstractSet[str],
    refused: AbstractSet[str],
    withheld: AbstractSet[str],
    key: Callable[[str], str],
) -> Machine:
    """Return what of the *given* keywords may be written.

    Args:
        given: keywords, each with its levels.
        taken: keys of what humans wrote and of what was rejected; no word of ours is one of them.
        refused: keys of the words that are no level above others either.
        withheld: keys of the levels that are no words of their own.
        key: what spellings of one word share.
    """
    words: dict[str, str] = {}
    paths: dict[str, Path] = {}
    parents: dict[str, str] = {}
    for keyword in given:
        word = one_line(keyword.word)
        if not word or key(word) in taken or key(word) in words:
            continue
        words[key(word)] = word
        above = [one_line(level) for level in keyword.path if key(level) not in refused]
        if above:
            paths[key(word)] = (*above, word)
        parents |= {key(level): one_line(level) for level in keyword.parents}
    words |= {k: parents[k] for k in parents if k not in taken | withheld and k not in words}
    return Machine(tuple(words.values()), tuple(paths.values()))


def human_paths(lists: Sequence[KeywordList], ownership: Ownership) -> list[Path]:
    """Return every human keyword once, with its hierarchy where any list knows it.

    A copy that taggerd made of a word, and that somebody has since taken out of a complete list,
    stays where it is but is not spread again; nor is one of a word that still stands, which may be
    spelled otherwise there ("AC-DC" for "AC/DC").
    """
    originals = [path for each in lists for _, path in each.human]
    telling = [e for e in lists if e.kind.complete and e.found is not None]
    first_pass = not ownership.lists
    paths: dict[Path, Path] = {}
    for each in lists:
        spelled = {same(each.entry(path)) for path in originals}
        held = [path for _, path in each.human]
        held += [
            path
            for _, path in each.mirrored
            if same(each.entry(path)) not in spelled
            and (first_pass or all(other.has(path) for other in telling))
        ]
        for path in held:
            paths.setdefault(tuple(same(level) for level in path), path)
    levels = {key for keys in paths if len(keys) > 1 for key in keys}
    return [path for keys, path in paths.items() if len(keys) > 1 or keys[0] not in levels]


def _update(
    draft: Draft, each: KeywordList, paths: Sequence[Path], machine: Machine
) -> set[tuple[str, str]]:
    """Bring one list up to date; return what is mirrored in it."""
    new: dict[str, str] = {}
    for path in paths:
        if not each.has(path):
            new.setdefault(same(each.entry(path)), each.entry(path))
    mirrored = {(each.name, item.text) for item, _ in each.mirrored}
    mirrored |= {(each.name, text) for text in new.values()}
    ours = dict.fromkeys(machine.entries(each.kind))
    add = [*new.values(), *(each.entry(path) for path in ours if path not in each.machine)]
    drop = [item for path, item in each.machine.items() if path not in ours]
    rewrite(draft, each, drop, add)
    return mirrored


def rewrite(draft: Draft, each: KeywordList, drop: Sequence[Item], add: Sequence[str]) -> None:
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


def _unique(words: Iterable[str], key: Callable[[str], str]) -> tuple[str, ...]:
    """Return *words* without those that are alike to an earlier one."""
    first: dict[str, str] = {}
    for word in words:
        if word:
            first.setdefault(key(word), word)
    return tuple(first.values())


def shadowing(document: Document) -> tuple[str, ...]:
    """Name the lists that some program may read before ours and that are not kept up to date."""
    return tuple(
        field.variant_of or name
        for name, field in KEYWORD_FIELDS.items()
        if field.use is not Use.WRITTEN and named(name) in document
    )


def shadowing_note(name: str) -> str:
    """Say to people what a list of :func:`shadowing` means for them."""
    return f"{name} was left alone: a program that reads it first does not see taggerd's keywords"
