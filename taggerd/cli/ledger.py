"""``taggerd ledger``: look after the queue and the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taggerd.cli import instances, options
from taggerd.ledger import back_up
from taggerd.photo import printable

app = typer.Typer(
    help="Back up the queue and the answers.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("backup")
@options.configured(options.STATE)
def backup(
    load: options.Load,
    file: Annotated[Path, typer.Argument(help="The new file.", metavar="FILE", readable=False)],
    *,
    instance: instances.Name = None,
) -> None:
    """Copy the ledger into FILE, while the service runs, and check the copy.

    FILE must not exist. It holds which photos were seen, wait, failed and were answered, and the
    answers; photos and sidecars are not in it. To restore it: stop the service, remove
    ledger.sqlite-wal and ledger.sqlite-shm in the state directory, copy FILE to ledger.sqlite
    there, and start the service.
    """
    at = instances.target(load, load(log_level="error"), instance, reads_only=True)
    (target,) = options.absolute([file])
    made = back_up(at.settings.state_directory, target)
    counts = made.counts
    typer.echo(
        f"{printable(target)}: {made.size / 1e6:.1f} MB, checked; {counts.queued} queued, "
        f"{counts.recorded} tagged, {counts.quarantined} failed"
    )
