"""``taggerd report``: rebuild a day's summary, metrics and page from its records, and show it."""

from __future__ import annotations

import webbrowser
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import interrupts, options
from taggerd.errors import ConfigurationError, StartError, StorageError
from taggerd.photo import printable
from taggerd.relay import publish_day, publish_index, publish_since
from taggerd.review import open_library
from taggerd.services import make_journal, open_pools

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.catalogue import Entry
    from taggerd.journal import Journal
    from taggerd.settings import Settings

READ_SECONDS = 120.0
"""A disk that has not told its words by then is taken for hung."""


@options.configured(options.STATE)
def report(
    load: options.Load,
    day: Annotated[
        str | None,
        typer.Argument(help="YYYY-MM-DD; default: the latest.", metavar="DAY", show_default=False),
    ] = None,
    *,
    since: Annotated[
        str | None,
        typer.Option(help="One page of all days from this one on.", metavar="DAY"),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Rebuild a day's summary, metrics and page, with its photos as CSV and JSON Lines.

    The page shows the words as they stand now, also those that people wrote since. It is one file
    that needs nothing else, or several of 25 MB where there are very many photos. Prints the paths
    of the files.
    """
    if day and since:
        message = "name a day or --since, not both"
        raise ConfigurationError(message)
    loaded = load()
    journal = make_journal(loaded.settings, whole=True)
    journal.open()
    days = journal.days()
    where = printable(journal.directory)
    if not days:
        message = f"{where} contains no records yet: run taggerd scan or taggerd run first"
        raise ConfigurationError(message)
    named = since or day
    wanted = _day(named) if named else days[-1]
    if wanted not in days and not (since and wanted <= days[-1]):
        message = f"{where} contains no records of {wanted}; the latest are of {days[-1]}"
        raise ConfigurationError(message)
    words = interrupts.run(
        _words_of(loaded.settings, journal, wanted, till=None if since else wanted)
    )
    if since:
        made = publish_since(journal, wanted, words)
        page = made[0]
    else:
        summary = journal.summarise(wanted)
        page, *tables = publish_day(journal, wanted, words=words)
        made = [summary.markdown, page, summary.metrics, *tables]
    for path in (*made, publish_index(journal)):
        typer.echo(printable(path))
    if show and not webbrowser.open(page.as_uri()):
        typer.echo(f"no browser could be started; open {printable(page)}", err=True)
        raise typer.Exit(1)


async def _words_of(
    settings: Settings, journal: Journal, since: str, till: str | None
) -> dict[Path, Entry]:
    """Return the photos of some days with the words that stand on the disk now.

    Of those that cannot be read, the page shows what was recorded.
    """
    days = [day for day in journal.days() if since <= day <= (till or day)]
    paths = {record.image for day in days for record in journal.read(day).records}
    try:
        async with open_pools(settings) as pools, open_library(settings, pools) as library:
            await library.refresh()
            read = await library.read(sorted(paths), READ_SECONDS)
    except (StartError, StorageError) as error:
        typer.echo(f"note: the page shows the words as they were recorded: {error}", err=True)
        return {}
    return {entry.path: entry for entry in read if entry.stamps}


def _day(text: str) -> str:
    """Check that *text* is a day."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").date().isoformat()  # noqa: DTZ007 - a day, no time
    except ValueError as error:
        message = f"{text!r} is not a day; write it as YYYY-MM-DD"
        raise ConfigurationError(message) from error
