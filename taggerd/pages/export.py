"""The export: photos with their words in one file that needs nothing else, and tables beside it.

A page shows its photos by ``data:`` addresses, filters them by a script of its own whose hash is in
its Content-Security-Policy, and can load nothing, from nowhere. Where it would be larger than a
mail takes, it becomes several, by folder, and a page that leads to them.
"""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup, escape

from taggerd.pages import plots
from taggerd.pages.environment import environment
from taggerd.pages.static import static_files
from taggerd.pages.tables import as_csv, as_json_lines
from taggerd.pages.text import day_title
from taggerd.photo import escape_controls, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from taggerd.pages.shown import Shown

LARGEST_PAGE = 24_500_000
"""Bytes: below the 25 MB that mail takes, by what an estimate may be wrong."""
_MARKUP = 700
_WORD_MARKUP = 30
"""Bytes around a photo, and around each of its words."""
_CHIPS = 24
_BARS = 20
"""Only the most frequent keywords stand on top; the search finds them all."""


class Folder(NamedTuple):
    """The photos of one folder, or some of them."""

    path: str
    photos: list[Shown]


class Part(NamedTuple):
    """One page of several."""

    name: str
    """Of its file."""
    folders: list[Folder]

    @property
    def photos(self) -> int:
        """How many it shows."""
        return sum(len(folder.photos) for folder in self.folders)


@dataclass(frozen=True)
class Export:
    """What is exported."""

    title: str
    """A day ``YYYY-MM-DD`` is spelled out; any other text stands as it is."""
    photos: Sequence[Shown]
    """In any order."""
    stem: str
    """The files' name, without ending."""
    folder: Path | None = None
    """Where the files will lie, for links to the photos: they are shown when the page is opened
    there, as anywhere else they would lead nowhere. None: no links."""
    index: str = ""
    """The page that leads to all others, from *folder*; empty: there is none."""
    source: Sequence[tuple[str, Sequence[str]]] = ()
    """What the words come from: names and their values."""
    damaged_lines: int = 0
    """Of the journal, that could not be read."""

    @property
    def headline(self) -> str:
        """Return a day as people say it: ``Thursday, 20 November 2025``."""
        return day_title(self.title)

    @cached_property
    def ordered(self) -> list[Shown]:
        """The photos by folder, in shooting order."""
        return sorted(self.photos, key=lambda photo: photo.order)

    @cached_property
    def failed(self) -> list[Shown]:
        """The photos with an error, which stand first."""
        return [photo for photo in self.ordered if photo.error]

    @cached_property
    def states(self) -> Counter[str]:
        """How many photos are in each state."""
        return Counter(photo.state for photo in self.ordered)

    @cached_property
    def has_human(self) -> bool:
        """Whether any word is a person's, so that the sign for it is explained."""
        words = (w for p in self.ordered for w in (p.caption, p.description, *p.keywords))
        return any(word.whose == "human" and word.text for word in words)

    @cached_property
    def keywords(self) -> list[tuple[str, int]]:
        """Keywords and how many photos have them, most frequent first."""
        words = Counter(word for p in self.ordered for word in {w.text for w in p.keywords})
        return sorted(words.items(), key=lambda item: (-item[1], item[0].casefold(), item[0]))

    @cached_property
    def frequencies(self) -> Markup:
        """The most frequent keywords as a plot."""
        bars = [plots.Bar(word, count) for word, count in self.keywords[:_BARS]]
        return plots.frequencies(bars, title="Photos by keyword")

    @cached_property
    def throughput(self) -> tuple[Markup, str]:
        """How many photos were done when, as a plot, and what it is called."""
        bars, width = plots.throughput(photo.at for photo in self.ordered if photo.at)
        title = f"Photos per {width}"
        return plots.columns(bars, title=title), title


def export(
    exported: Export, picture: Callable[[str], bytes], *, limit: int = LARGEST_PAGE
) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yield each file's name and content, the page that leads to the others last.

    Args:
        exported: what.
        picture: returns the JPEG that a digest names; empty if there is none.
        limit: bytes of a page, about.
    """
    parts = _parts(exported, picture, limit)
    for part in parts:
        yield part.name, _page(exported, picture, part, parts)
    yield f"{exported.stem}.csv", as_csv(exported.ordered)
    yield f"{exported.stem}.jsonl", as_json_lines(exported.ordered)
    if len(parts) > 1:
        contents = Part(f"{exported.stem}.html", [])
        yield contents.name, _page(exported, picture, contents, parts)


def _parts(exported: Export, picture: Callable[[str], bytes], limit: int) -> list[Part]:
    """Distribute the photos over pages: whole folders as far as they fit, in their order."""
    pages: list[list[Folder]] = [[]]
    left = limit
    for folder in _by_folder(exported.ordered):
        sizes = [_size(photo, picture) for photo in folder.photos]
        if pages[-1] and sum(sizes) > left:
            pages.append([])
            left = limit
        begun: list[Shown] = []
        for photo, size in zip(folder.photos, sizes, strict=True):
            if size > left and (begun or pages[-1]):
                pages[-1] += [Folder(folder.path, begun)] if begun else []
                pages.append([])
                begun, left = [], limit
            begun.append(photo)
            left -= size
        pages[-1].append(Folder(folder.path, begun))
    if len(pages) == 1:
        return [Part(f"{exported.stem}.html", pages[0])]
    return [Part(f"{exported.stem}.{n}.html", page) for n, page in enumerate(pages, start=1)]


def _size(photo: Shown, picture: Callable[[str], bytes]) -> int:
    """Return about how many bytes *photo* takes on a page; rather too many."""
    texts = [photo.caption.text, photo.description.text, photo.address, photo.error, *photo.notes]
    texts += [*photo.own, *photo.own.values(), *(word.text for word in photo.keywords)]
    shown = (escape(escape_controls(text)) for text in texts)
    words = sum(len(text.encode("utf-8", "replace")) + _WORD_MARKUP for text in shown)
    return _MARKUP + len(picture(photo.digest)) * 4 // 3 + words


def _by_folder(photos: Iterable[Shown]) -> list[Folder]:
    groups = groupby(photos, key=lambda photo: photo.path.parent)
    return [Folder(printable(path), list(group)) for path, group in groups]


def _page(
    exported: Export, picture: Callable[[str], bytes], page: Part, parts: list[Part]
) -> Iterator[bytes]:
    """Yield one *page*: one of *parts*, or the one that leads to them."""

    def source(photo: Shown) -> Markup:
        jpeg = base64.b64encode(picture(photo.digest)).decode()
        return Markup(f"data:image/jpeg;base64,{jpeg}" if jpeg else "")  # noqa: S704 - base64

    contents = page not in parts
    at = 0 if contents else parts.index(page)
    files = static_files()
    made = (
        environment()
        .get_template("export.html")
        .generate(
            export=exported,
            folders=page.folders,
            whole=contents or len(parts) == 1,
            parts=parts if contents else [],
            before=parts[at - 1] if at else None,
            after=parts[at + 1] if not contents and at + 1 < len(parts) else None,
            chips=exported.keywords[:_CHIPS],
            source=source,
            at=_location(exported, page.name),
            style_hash=files["export.css"].source_hash,
            script_hash=files["export.js"].source_hash,
        )
    )
    for chunk in made:
        yield chunk.encode("utf-8", "backslashreplace")


def _location(exported: Export, name: str) -> str:
    """Return where a page will lie, as a browser says it; empty if that is not certain."""
    path = str(exported.folder / name) if exported.folder else ""
    return path if path == printable(path) else ""
