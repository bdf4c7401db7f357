"""The keywords of a sidecar by owner: machine keywords removed, or listed apart from human ones."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords.fields import READ_ONLY, WRITTEN
from taggerd.metadata.keywords.lists import (
    KeywordList,
    Path,
    human_paths,
    read_list,
    read_only,
    rewrite,
    same,
)
from taggerd.metadata.xmp.namespaces import named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from taggerd.metadata.ownership import Ownership
    from taggerd.metadata.xmp.document import Document
    from taggerd.metadata.xmp.splice import Draft


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
    lists += read_only(document, everywhere)
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
    lists = []
    for name in WRITTEN:
        if named(name) in document:
            with suppress(SidecarRefused):
                lists.append(read_list(document, name, ownership))
    machine = {"/".join(each.path(i.text)) for each in lists for i in each.machine.values()}
    words = [word for word in ownership.keywords if word in machine]
    sources = [*lists, *read_only(document, replace(ownership, lists=frozenset(READ_ONLY)))]
    human = ["/".join(path) for path in human_paths(sources, replace(ownership, lists=frozenset()))]
    return [*words, *sorted(machine - set(words))], human
