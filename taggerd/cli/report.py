"""``taggerd report``: rebuild a day's summary, metrics and report page from its records."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from taggerd.cli import options
from taggerd.errors import ConfigurationError
from taggerd.journal import Journal
from taggerd.photo import printable


@options.configured(options.STATE)
def report(
    load: options.Load,
    day: Annotated[
        str | None,
        typer.Argument(help="YYYY-MM-DD; default: the latest.", metavar="DAY", show_default=False),
    ] = None,
) -> None:
    """Rebuild a day's summary, metrics and report page.

    Prints the paths of the files.
    """
    settings = load().settings
    journal = Journal(
        settings.journal_directory,
        retention_days=settings.journal.retention_days,
        compress_after_days=settings.journal.compress_after_days,
    )
    journal.open()
    days = journal.days()
    where = printable(settings.journal_directory)
    if not days:
        message = f"{where} contains no records yet: run taggerd scan or taggerd run first"
        raise ConfigurationError(message)
    wanted = _day(day) if day else days[-1]
    if wanted not in days:
        message = f"{where} contains no records of {wanted}; the latest are of {days[-1]}"
        raise ConfigurationError(message)
    for path in journal.summarise(wanted):
        typer.echo(printable(path))


def _day(text: str) -> str:
    """Check that *text* is a day."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").date().isoformat()  # noqa: DTZ007 - a day, no time
    except ValueError as error:
        message = f"{text!r} is not a day; write it as YYYY-MM-DD"
        raise ConfigurationError(message) from error
