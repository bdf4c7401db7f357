"""What a person does to keyword lists: a word goes from all of them, or into all of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from taggerd.metadata.keywords.fields import READ_ONLY, WRITTEN
from taggerd.metadata.keywords.lists import (
    KeywordList,
    Path,
    read_list,
    readable_lists,
    rewrite,
    same,
)
from taggerd.metadata.keywords.normalise import alike, is_english
from taggerd.metadata.texts import one_line
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Array, Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from taggerd.metadata.options import Options
    from taggerd.metadata.ownership import Ownership
    from taggerd.metadata.xmp.document import Item
    from taggerd.metadata.xmp.splice import Draft


@dataclass(slots=True)
class Wishes:
    """What is to happen to keywords."""

    add: Sequence[str] = ()
    drop: Sequence[str] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    waiting: Sequence[str] = ()
    """Machine keywords that are in no list yet."""


@dataclass(slots=True)
class Done:
    """What happened to them."""

    ownership: Ownership
    """What is the machine's now. It may hold words that are rejected: the lists still have them."""
    dropped: dict[Path, bool] = field(default_factory=dict)
    """Keyword → it was the machine's."""
    added: list[Path] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    """Both as they are shown."""


def shown(path: Path) -> str:
    """Return a keyword as people see it."""
    return "/".join(path)


def path_of(word: str) -> Path:
    """Return the levels of a *word* that a person gave."""
    levels = (one_line(level) for level in word.split("|"))
    return tuple(level for level in levels if level)


def means(word: str, path: Path) -> bool:
    """Say whether a person who says *word* means the keyword *path*."""
    said = same(word.replace("|", "/"))
    return bool(path) and said in {same(shown(path)), same(path[-1])}


def edit_keywords(draft: Draft, wishes: Wishes, options: Options, ownership: Ownership) -> Done:
    """Drop and add human keywords in every list of *draft*, and say what is the machine's then.

    The machine's own keywords stay in the lists: the next merge takes out those that are rejected.

    Raises:
        SidecarRefused: a list has a form that cannot be changed without a loss.
    """
    document = draft.document
    key = partial(alike, english=is_english(options.language))
    written = [
        read_list(document, name, ownership)
        for name in WRITTEN
        if name in options.fields.keywords or named(name) in document
    ]
    everywhere = replace(ownership, lists=frozenset({*WRITTEN, *READ_ONLY}))
    lists = [*written, *readable_lists(READ_ONLY, document, everywhere)]
    done = Done(ownership)
    owned = (*ownership.leaves(), *((w,) for w in (*ownership.keywords, *wishes.waiting)))
    everyone = dict.fromkeys(path for each in lists for path in _human(each))
    new = {path: None for word in wishes.add if (path := path_of(word))}
    kept = {same(shown(path)) for path in new}
    human = _meant(wishes.drop, everyone, kept)
    machine = _meant(wishes.drop, owned, kept)
    for word, other in wishes.rename.items():
        theirs, ours = _meant([word], everyone), _meant([word], owned)
        path = path_of(other)
        if path and (theirs or ours) and path not in (*theirs, *ours):
            above = next((old[:-1] for old in theirs if len(old) > 1), ())
            new[(*above, *path) if len(path) == 1 else path] = None
            done.renamed[shown(max((*theirs, *ours), key=len))] = other
            human |= theirs
            machine |= ours
    done.dropped = _named_once(dict.fromkeys(human, False) | dict.fromkeys(machine, True))
    there = {same(shown(path)) for each in written for path in _human(each)}
    done.added = [path for path in new if same(shown(path)) not in there]
    for each in lists:
        drop = [*_dropped_items(each, human, lists), *_taken_over(each, new, machine, ownership)]
        add = _missing(each, new, drop) if each in written else []
        if any(item is None and path in human for item, path in each.human):
            _replace_text(draft, each, add)
        else:
            rewrite(draft, each, drop, add)
    done.ownership = _owned(ownership, (*machine, *human), new, key)
    return done


def _named_once(paths: Mapping[Path, bool]) -> dict[Path, bool]:
    """Return *paths* without flat words that are the last level of others."""
    deep = {same(path[-1]) for path in paths if len(path) > 1}
    return {p: ours for p, ours in paths.items() if len(p) > 1 or same(p[-1]) not in deep}


def _human(each: KeywordList) -> Iterable[Path]:
    return (path for _, path in (*each.human, *each.mirrored))


def _meant(
    words: Sequence[str], paths: Iterable[Path], but: Container[str] = ()
) -> dict[Path, None]:
    """Return those of *paths* that *words* mean, *but* for some."""
    return {
        path: None
        for path in paths
        if any(means(word, path) for word in words) and same(shown(path)) not in but
    }


def _dropped_items(
    each: KeywordList, paths: Iterable[Path], lists: Iterable[KeywordList]
) -> list[Item]:
    """Return the items of one list that hold the human keywords *paths*.

    A flat list has a keyword without its levels: it goes there unless another keyword ends so.
    """
    gone = {same(shown(path)) for path in paths}
    left = {
        same(path[-1])
        for other in lists
        for path in _human(other)
        if len(path) > 1 and same(shown(path)) not in gone
    }
    entries = {
        same(each.entry(path))
        for path in paths
        if each.kind.separator or same(path[-1]) not in left
    }
    items = [(item, path) for item, path in (*each.human, *each.mirrored) if item is not None]
    return [
        item
        for item, path in items
        if same(item.text) in entries or (len(path) > 1 and same(shown(path)) in gone)
    ]


def _replace_text(draft: Draft, each: KeywordList, add: Sequence[str]) -> None:
    """Make a list of what is text where an array is expected, and is dropped."""
    if add:
        draft.put(named(each.name), Array(each.kind.array, tuple(map(Entry, add))))
    else:
        draft.remove(named(each.name))


def _missing(each: KeywordList, paths: Iterable[Path], dropped: Sequence[Item]) -> list[str]:
    """Return the entries of one list that *paths* need and that it lacks."""
    here = {same(item.text) for item in each.found.items} if each.found is not None else set()
    here -= {same(item.text) for item in dropped}
    new = {same(entry): entry for path in paths for entry in [each.entry(path)]}
    return [entry for said, entry in new.items() if said not in here]


def _taken_over(
    each: KeywordList, new: Iterable[Path], machine: Iterable[Path], ownership: Ownership
) -> list[Item]:
    """Return the machine's items of keywords that are a person's from now on, where they must go.

    That is below the machine's root, and where the person spells the word in another way.
    """
    theirs = {same(path[-1]) for path in new}
    respelled = {same(path[-1]) for path in machine} & theirs
    return [
        item
        for path, item in each.machine.items()
        if same(path[-1]) in respelled
        or (same(path[-1]) in theirs and len(path) > 1 and path[0] == ownership.root)
    ]


def _owned(
    ownership: Ownership,
    dropped: Iterable[Path],
    new: Iterable[Path],
    key: Callable[[str], str],
) -> Ownership:
    """Return what is the machine's, and what is never to be, after an edit."""
    theirs = {same(path[-1]) for path in new}
    said = {key(path[-1]) for path in new}
    rejected = {key(word): word for word in ownership.rejected}
    for path in dropped:
        rejected.setdefault(key(path[-1]), path[-1])
    return replace(
        ownership,
        keywords=tuple(word for word in ownership.keywords if same(word) not in theirs),
        paths=tuple(path for path in ownership.paths if same(path[-1]) not in theirs),
        rejected=tuple(word for said_as, word in rejected.items() if said_as not in said),
    )
