"""Reports: the journal's records as pages, by the code that exports the web's photos."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from taggerd.journal import Day, write_summary
from taggerd.pages import DayRow, Export, Shown, export, index_of_days, of_record, with_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from taggerd.catalogue import Entry
    from taggerd.journal import Journal


_INDEX = "../index.html"
"""From a page of days."""


class OutOfTime(Exception):
    """A page was not made: there was no time left for it. What was there before is there."""


def publish_day(
    journal: Journal,
    day: str,
    has_time: Callable[[], bool] = lambda: True,
    words: Mapping[Path, Entry] = MappingProxyType({}),
) -> list[Path]:
    """Write the page of *day* and the tables beside it; return their paths, the page first.

    Args:
        journal: where the records are, and the page is written.
        day: ``YYYY-MM-DD``.
        has_time: asked for each photo.
        words: photos with the words that they have now, instead of those that were recorded.

    Raises:
        OutOfTime: *has_time* said no.
        StorageError: the outputs' disk is full or failing; each file is as it was.
        ConfigurationError: *day* is no date.
    """

    def exported() -> Export:
        return replace(
            _exported([journal.read(day)], words),
            title=day,
            stem=day,
            folder=journal.summaries,
            index=_INDEX,
        )

    return _published(journal, day, exported, has_time)


def publish_since(
    journal: Journal, since: str, words: Mapping[Path, Entry] = MappingProxyType({})
) -> list[Path]:
    """Write one page of all days from *since* on; a photo is on it once, as it was last recorded.

    Raises:
        StorageError: as for :func:`publish_day`. ConfigurationError: *since* is no date.
    """
    stem = f"since-{since}"

    def exported() -> Export:
        days = [day for day in journal.days() if day >= since]
        title = f"{days[0]} to {days[-1]}" if len(days) > 1 else (days or [since])[0]
        return replace(
            _exported(map(journal.read, days), words),
            title=title,
            stem=stem,
            folder=journal.summaries,
            index=_INDEX,
        )

    return _published(journal, stem, exported)


def publish_index(journal: Journal) -> Path:
    """Write the index of days, and return its path.

    Raises:
        StorageError: as for :func:`publish_day`.
    """
    rows = []
    for day in journal.days():
        there, counts = journal.published(day), journal.counts(day)
        links = {kind: f"summaries/{day}.{kind}" for kind in there}
        named = (("CSV", "csv"), ("JSON Lines", "jsonl"))
        tables = [(name, links[kind]) for name, kind in named if kind in links]
        rows.append(
            DayRow(day, counts["photos"], counts["failed"], links.get("html", ""), tuple(tables))
        )
    return journal.publish_index(index_of_days(rows))


def write_scan_summary(path: Path, day: Day, journal: Journal) -> None:
    """Write the summary of one scan, *day*, to *path*: Markdown, or a page like a day's.

    Raises:
        ConfigurationError: *path* cannot be written. StorageError: disk full or failing.
    """

    def page(day: Day, target: Path) -> Iterator[tuple[str, Iterable[bytes]]]:
        exported = replace(
            _exported([day], {}), title=day.title, stem=target.stem, folder=target.parent
        )
        for name, content in export(exported, journal.thumbnail_of):
            if name.endswith(".html"):  # the tables could replace a file of the user's
                yield target.name if name == f"{target.stem}.html" else name, content

    write_summary(path, day, page)


def _published(
    journal: Journal,
    stem: str,
    exported: Callable[[], Export],
    has_time: Callable[[], bool] = lambda: True,
) -> list[Path]:
    def picture(digest: str) -> bytes:
        if not has_time():
            raise OutOfTime
        return journal.thumbnail_of(digest)

    def made() -> Iterator[tuple[str, Iterable[bytes]]]:
        yield from export(exported(), picture)

    paths = journal.publish(stem, made())
    return sorted(paths, key=lambda path: path.name != f"{stem}.html")


def _exported(days: Iterable[Day], words: Mapping[Path, Entry]) -> Export:
    """Return the photos of *days*, each once, without a name for their files."""
    photos: dict[Path, Shown] = {}
    source: dict[str, dict[str, None]] = {"Backend": {}, "Model": {}, "Prompts": {}}
    damaged = 0
    for day in days:
        for record in day.photos:
            shown, now = of_record(record, day.title), words.get(record.image)
            # What a dry run answered stands in no sidecar.
            photos[record.image] = with_words(shown, now) if now and not record.dry_run else shown
        source["Backend"] |= dict.fromkeys(day.values("backend"))
        source["Model"] |= dict.fromkeys(day.models)
        source["Prompts"] |= dict.fromkeys(day.values("prompt_profile"))
        damaged += day.damaged_lines
    return Export(
        title="",
        stem="",
        photos=list(photos.values()),
        source=[(name, list(values)) for name, values in source.items()],
        damaged_lines=damaged,
    )
