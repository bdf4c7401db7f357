"""The keyword lists of a sidecar: each one that exists or is written holds all keywords.

Nothing a human wrote is ever taken out of a list.
"""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords.fields import KEYWORD_FIELDS, READ_ONLY, WRITTEN, KeywordField, Use
from taggerd.metadata.keywords.normalise import alike, is_english
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.texts import one_line
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Form, Item, Property
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Array, Entry
from taggerd.metadata.xmp.tree import BLANK
from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from taggerd.metadata.options import Options
    from taggerd.metadata.xmp.document import Document
    from taggerd.metadata.xmp.splice import Draft

Path = tuple[str, ...]
"""A keyword from its root down; a flat word is a path of one."""


@dataclass(slots=True)
class KeywordList:
    """One list and its items, sorted by who wrote them."""

    kind: KeywordField
    found: Property | None
    human: list[tuple[Item | None, Path]] = field(default_factory=list)
    """None: text where an array was expected."""
    machine: dict[Path, Item] = field(default_factory=dict)
    """By their path."""
    mirrored: list[tuple[Item, Path]] = field(default_factory=list)
    _said: tuple[frozenset[str], frozenset[str]] | None = None
    """Entries and levels, computed once: a list may hold 100,000 items."""

    def path(self, text: str) -> Path:
        """Split an item's text into levels."""
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
        """Every machine keyword in this list, on any level."""
        return frozenset(level for path in self.machine for level in path)

    def entry(self, path: Path) -> str:
        """Return *path* as this list writes it: only its leaf where the list is flat."""
        if not self.kind.separator:
            return path[-1]
        return self.kind.separator.join(p.replace(self.kind.separator, "-") for p in path)

    def paths_of(self, ownership: Ownership) -> list[Path]:
        """Return what this list holds of the machine keywords where nobody touched it."""
        if not self.kind.separator:
            return [(word,) for word in ownership.keywords]
        leaves = ownership.leaves()
        return leaves + [(ownership.root, *path) for path in leaves if ownership.root]

    def has(self, path: Path) -> bool:
        """Say whether a human's entry in this list already holds *path*."""
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
    """Return the items that an earlier pass put into the list *name*, as written there."""
    if name not in ownership.lists or name not in WRITTEN:
        return frozenset()
    empty = KeywordList(KEYWORD_FIELDS[name], None)
    return frozenset(map(empty.entry, empty.paths_of(ownership)))


def claimed(
    document: Document, ownership: Ownership, is_theirs: Callable[[Path], bool]
) -> tuple[Ownership, tuple[str, ...]]:
    """Return *ownership* with the human keywords that *is_theirs* says, and those keywords.

    A word that a complete list lacks is left out: the next merge would take it for removed.
    """
    lists = readable_lists(WRITTEN, document, ownership)
    found = {path: None for each in lists for item, path in each.human if item and is_theirs(path)}
    complete = [each for each in lists if each.kind.complete]
    held = [{path[-1] for _, path in each.human} for each in complete]
    paths = [path for path in found if all(path[-1] in words for words in held)]
    deep = [path for path in paths if len(path) > 1]
    words = list(dict.fromkeys(path[-1] for path in paths))
    if not words:
        return ownership, ()
    record = replace(
        ownership,
        keywords=tuple(dict.fromkeys((*ownership.keywords, *words))),
        paths=tuple(dict.fromkeys((*ownership.paths, *deep))),
        lists=ownership.lists | {each.name for each in lists},
        rejected=tuple(word for word in ownership.rejected if word not in words),
    )
    return record, tuple(words)


def same(word: str) -> str:
    """Return *word* without case, composition and white space, to compare human keywords."""
    return " ".join(unicodedata.normalize("NFC", word).casefold().split())


def write_keywords(
    draft: Draft, given: Sequence[Keyword], options: Options, ownership: Ownership
) -> Ownership:
    """Put the machine keywords *given* and every human keyword into every list of *draft*.

    Args:
        draft: the sidecar.
        given: normalised machine keywords; none: the earlier ones stay.
        options: lists to be made where they are missing; the root; the language.
        ownership: what earlier passes wrote.

    Returns:
        What the record says about keywords now.

    Raises:
        SidecarRefused: a list has a form to which keywords cannot be added without a loss.
    """
    lists = [
        read_list(draft.document, name, ownership)
        for name in WRITTEN
        if name in options.fields.keywords or named(name) in draft.document
    ]
    if not lists:
        return Ownership(rejected=ownership.rejected)
    key = partial(alike, english=is_english(options.language))
    gone = _removed(lists, ownership)
    rejected = _unique([*ownership.rejected, *(w for w in ownership.keywords if w in gone)], key)
    sources = [] if ownership.lists else readable_lists(READ_ONLY, draft.document, ownership)
    paths = _human_paths([*lists, *sources], ownership)
    refused = frozenset(map(key, rejected))
    taken = refused | {key(level) for path in paths for level in path}
    withheld = _withheld(lists, ownership, key)
    machine = _machine(given or earlier_keywords(ownership), taken, refused, withheld, key)
    machine = replace(machine, root=options.root if machine.keywords else "")
    mirrored: set[tuple[str, str]] = set()
    for each in lists:
        mirrored |= _update(draft, each, paths, machine)
    names = frozenset(each.name for each in lists)
    return replace(machine, rejected=rejected, lists=names, mirrored=frozenset(mirrored))


def undo_keywords(draft: Draft, ownership: Ownership) -> list[str]:
    """Remove every machine keyword from every list, and every copy that taggerd made of a word.

    A copy stays where its original is gone: it is all that is left of a human's word.

    Returns:
        the machine keywords that were there.

    Raises:
        SidecarRefused: a list has a form from which nothing can be removed without a loss.
    """
    everywhere = replace(ownership, lists=frozenset({*WRITTEN, *READ_ONLY}))
    document = draft.document
    lists = [read_list(document, name, everywhere) for name in WRITTEN if named(name) in document]
    lists += readable_lists(READ_ONLY, document, everywhere)
    human = [path for each in lists for _, path in each.human]
    here: dict[str, None] = {}
    for each in lists:
        here.update((each.path(item.text)[-1], None) for item in each.machine.values())
        copies = [item for item, path in each.mirrored if _is_said(each, path, human)]
        rewrite(draft, each, [*each.machine.values(), *copies], [])
    return list(here)


def _is_said(each: KeywordList, path: Path, human: Iterable[Path]) -> bool:
    """Say whether a human's own entry in any list holds *path*, as the list *each* writes it."""
    wanted = same(each.entry(path))
    return any(wanted in {same(each.entry(held)), *map(same, held)} for held in human)


def by_owner(document: Document, ownership: Ownership) -> tuple[list[str], list[str]]:
    """Return the machine and the human keywords in the lists, levels separated by ``/``.

    A list that cannot be understood is left out.
    """
    lists = readable_lists(WRITTEN, document, ownership)
    machine = {"/".join(each.path(i.text)) for each in lists for i in each.machine.values()}
    words = [word for word in ownership.keywords if word in machine]
    sources = [
        *lists,
        *readable_lists(READ_ONLY, document, replace(ownership, lists=frozenset(READ_ONLY))),
    ]
    human = [
        "/".join(path) for path in _human_paths(sources, replace(ownership, lists=frozenset()))
    ]
    return [*words, *sorted(machine - set(words))], human


def has_list(document: Document) -> bool:
    """Say whether *document* has any keyword list, or had one that was emptied since."""
    lists = (*WRITTEN, *READ_ONLY, "taggerd:lists", "taggerd:rejected")
    return any(named(name) in document for name in lists)


def readable_lists(
    names: Iterable[str], document: Document, ownership: Ownership
) -> list[KeywordList]:
    """Read the lists *names*, as far as they can be read."""
    lists = []
    for name in names:
        if named(name) in document:
            with suppress(SidecarRefused):
                lists.append(read_list(document, name, ownership))
    return lists


def read_list(document: Document, name: str, ownership: Ownership) -> KeywordList:
    """Read one list and sort its items: machine, mirrored, human."""
    kind = KEYWORD_FIELDS[name]
    found = document.read(named(name))
    each = KeywordList(kind, found)
    if found is None:
        return each
    if found.form is Form.OTHER or (not found.items and not found.replaceable):
        refuse(f"has {name} in a form to which no keyword can be added")
    if found.text.strip(BLANK):
        each.human.append((None, each.path(found.text)))
    ours = {each.entry(path): path for path in each.paths_of(ownership)}
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


def _removed(lists: Sequence[KeywordList], ownership: Ownership) -> frozenset[str]:
    """Return the machine keywords that were removed since they were written.

    A word was removed if no list has it any more, or if a complete list lacks it and still has
    others of ours. A list that lost all of ours was written by a program that never read them.
    A parent was removed only if no list has it: digiKam writes no parents into ``dc:subject``.
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
    """Return the keys of levels that the flat lists never got, or lost: they get none now."""
    flat = [
        each.machine_words
        for each in lists
        if each.name in ownership.lists and each.machine and not each.kind.separator
    ]
    levels = frozenset(key(level) for path in ownership.paths for level in path[:-1])
    return levels - {key(w) for w in ownership.keywords if all(w in words for words in flat)}


def earlier_keywords(ownership: Ownership) -> list[Keyword]:
    """Return the keywords of an earlier pass."""
    written = frozenset(ownership.keywords)
    return [
        Keyword(path[-1], None, path[:-1], tuple(level for level in path[:-1] if level in written))
        for path in ownership.leaves()
    ]


def _machine(
    given: Iterable[Keyword],
    taken: AbstractSet[str],
    refused: AbstractSet[str],
    withheld: AbstractSet[str],
    key: Callable[[str], str],
) -> Ownership:
    """Return the *given* keywords that may be written.

    Args:
        given: keywords, each with its levels.
        taken: keys of what humans wrote and of what was rejected: these are not written.
        refused: keys of what was rejected, which is not written as a level either.
        withheld: keys of levels that are not written as keywords of their own.
        key: returns what different spellings of one word share.
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
    return Ownership(keywords=tuple(words.values()), paths=tuple(paths.values()))


def _human_paths(lists: Sequence[KeywordList], ownership: Ownership) -> list[Path]:
    """Return every human keyword once, with its hierarchy where any list knows it.

    A copy that taggerd made of a word stays where it is but is not copied again if a complete list
    has lost the word since. Nor is a copy of a word that is still there, because it may be spelled
    differently ("AC-DC" for "AC/DC").
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
    draft: Draft, each: KeywordList, paths: Sequence[Path], machine: Ownership
) -> set[tuple[str, str]]:
    """Bring one list up to date; return what is mirrored in it."""
    new: dict[str, str] = {}
    for path in paths:
        if not each.has(path):
            new.setdefault(same(each.entry(path)), each.entry(path))
    mirrored = {(each.name, item.text) for item, _ in each.mirrored}
    mirrored |= {(each.name, text) for text in new.values()}
    ours = dict.fromkeys(each.paths_of(machine))
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
            draft.change_items(each.found, [(item, None) for item in drop], map(Entry, add))
        return
    kept = [each.found.text] if each.found is not None and each.found.text.strip(BLANK) else []
    draft.put(name, Array(each.kind.array, tuple(Entry(text) for text in [*kept, *add])))


def _unique(words: Iterable[str], key: Callable[[str], str]) -> tuple[str, ...]:
    """Return *words* without those that are like an earlier one."""
    first: dict[str, str] = {}
    for word in words:
        if word:
            first.setdefault(key(word), word)
    return tuple(first.values())


def shadowing(document: Document) -> tuple[str, ...]:
    """Return the lists that a program may read before ours and that are not kept up to date."""
    return tuple(
        field.variant_of or name
        for name, field in KEYWORD_FIELDS.items()
        if field.use is not Use.WRITTEN and named(name) in document
    )


def shadowing_note(name: str) -> str:
    """Say to people what a list of :func:`shadowing` means for them."""
    return f"{name} was left alone: a program that reads it first does not see taggerd's keywords"
