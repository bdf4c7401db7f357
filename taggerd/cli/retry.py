"""``taggerd retry``: photos that were set aside get another turn."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from taggerd.cli import options
from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.services import open_ledger
from taggerd.settings import Settings


def retry(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos or folders.", show_default=False, readable=False),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that were set aside.")] = False,
    failed: Annotated[
        bool,
        typer.Option(
            "--failed",
            help="All that failed in any way: also those that wait for another attempt, and those "
            "without their sidecars. With paths: those there.",
        ),
    ] = False,
    state_directory: options.StateDirectory = None,
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
) -> None:
    """Put photos that were set aside back into the queue; answers held are not paid for again.

    A PATH also brings back photos there that were undone; --all and --failed do not.

    A running daemon takes them up at once if they lie below its roots; else run taggerd scan.
    """
    if not (paths or everything or failed):
        message = "nothing to retry: name photos or folders, or say --all or --failed"
        raise ConfigurationError(message)
    if paths and everything:
        message = "--all means every photo: leave it out, or the paths"
        raise ConfigurationError(message)
    loaded = options.load(config, verbose=verbose, state_directory=state_directory)
    within = [Path(os.path.abspath(path)) for path in paths] if paths else None  # noqa: PTH100 - resolve() would follow links
    count = asyncio.run(_retry(loaded.settings, within, failed=failed))
    missing = [path for path in within or () if not os.path.lexists(path)]
    if missing and not count:  # one that was deleted may still be in the queue, by its name
        message = f"{printable(missing[0])} does not exist and is not in the queue: name another"
        raise ConfigurationError(message)
    none = "no photo there has failed" if failed else "no photo there was set aside"
    typer.echo(
        f"{count} photo{'s are' if count > 1 else ' is'} back in the queue" if count else none
    )


async def _retry(settings: Settings, within: list[Path] | None, *, failed: bool) -> int:
    async with open_ledger(settings) as ledger:
        return await ledger.retry(within, failed=failed)
