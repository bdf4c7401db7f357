"""``taggerd retry``: photos that failed get another attempt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd import files
from taggerd.arrivals import work_below
from taggerd.cli import heard, instances, interrupts, options
from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.services import open_ledger

if TYPE_CHECKING:
    from taggerd.cli.instances import Target


@options.configured(options.STATE)
def retry(
    load: options.Load,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos or folders.", metavar="PATH", show_default=False, readable=False
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All photos that taggerd gave up on.")
    ] = False,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed",
            help="All that failed in any way: also those waiting for another attempt and those "
            "whose sidecar could not be written. With PATHs: only those there.",
        ),
    ] = False,
    instance: instances.Name = None,
) -> None:
    """Put failed photos back into the queue.

    Answers that are already stored are reused. A PATH also brings back photos that were undone;
    --all and --failed do not. A running daemon starts on them at once if they are in its import
    folders; otherwise run taggerd scan.
    """
    if not (paths or everything or failed):
        message = "nothing to retry: name photos or folders, or add --all or --failed"
        raise ConfigurationError(message)
    if paths and everything:
        message = "--all and PATH exclude each other: give one of the two"
        raise ConfigurationError(message)
    loaded = load()
    within = options.absolute(paths) if paths else None
    at = instances.target(load, loaded, instance)
    count = interrupts.run(_retry(at, within, failed=failed))
    work_below(within or (), at.settings)
    missing = [path for path in within or () if not files.exists(path)]
    if missing and not count:  # a deleted photo may still be in the queue
        message = f"{printable(missing[0])}: no such photo or folder, and not in the queue"
        raise ConfigurationError(message)
    typer.echo(
        f"{count} photo{'s are' if count > 1 else ' is'} back in the queue"
        if count
        else "no photo to retry"
    )


async def _retry(at: Target, within: list[Path] | None, *, failed: bool) -> int:
    async with open_ledger(at.settings) as ledger:
        asked = time.time()
        count = await ledger.retry(within, failed=failed)
    if count:
        await heard.confirm(
            at, lambda _: True, asked, nobody="no taggerd is running: run taggerd scan"
        )
    return count
