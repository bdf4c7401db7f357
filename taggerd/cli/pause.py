"""``taggerd pause`` and ``taggerd resume``: the backend is wanted for something else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import options
from taggerd.ledger import Pause
from taggerd.runner.pause import end_of_pause, pause_message
from taggerd.services import local_now, open_ledger

if TYPE_CHECKING:
    from taggerd.settings import Settings


def pause(
    reason: Annotated[
        list[str] | None, typer.Argument(help="Why, for whoever looks.", show_default=False)
    ] = None,
    *,
    length: Annotated[
        str | None, typer.Option("--for", help="How long, e.g. 2h or 1h30m.", metavar="TIME")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Until when, e.g. 22:00.", metavar="HH:MM")
    ] = None,
    state_directory: options.StateDirectory = None,
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
) -> None:
    """Have the daemon ask the backend nothing, until taggerd resume or the time given.

    A running daemon ends the photos under way and begins no more; new photos arrive and wait. It
    holds over restarts. A scan started by hand asks all the same, and says so.
    """
    loaded = options.load(config, verbose=verbose, state_directory=state_directory)
    now = local_now()
    end = end_of_pause(length, until, now)
    wanted = Pause(" ".join(reason or ()), now.timestamp(), end)
    asyncio.run(_pause(loaded.settings, wanted))
    typer.echo(pause_message(wanted, now))


def resume(
    *,
    state_directory: options.StateDirectory = None,
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
) -> None:
    """End a pause."""
    loaded = options.load(config, verbose=verbose, state_directory=state_directory)
    was = asyncio.run(_resume(loaded.settings))
    typer.echo("resumed" if was else "nothing was paused")


async def _pause(settings: Settings, wanted: Pause) -> None:
    async with open_ledger(settings) as ledger:
        await ledger.pause(wanted.reason, since=wanted.since, until=wanted.until)


async def _resume(settings: Settings) -> bool:
    async with open_ledger(settings) as ledger:
        was = await ledger.paused(local_now().timestamp())
        await ledger.resume()
        return was is not None
