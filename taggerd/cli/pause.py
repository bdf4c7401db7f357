"""``taggerd pause`` and ``taggerd resume``: leave the backend to something else for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import interrupts, options
from taggerd.ledger import Pause
from taggerd.runner.pause import end_of_pause, pause_message
from taggerd.services import local_now, open_ledger

if TYPE_CHECKING:
    from taggerd.settings import Settings


@options.configured(options.STATE)
def pause(
    load: options.Load,
    reason: Annotated[
        list[str] | None,
        typer.Argument(help="Why; shown in taggerd status.", metavar="REASON", show_default=False),
    ] = None,
    *,
    length: Annotated[
        str | None, typer.Option("--for", help="For how long, e.g. 2h or 1h30m.", metavar="TIME")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Until when, e.g. 22:00.", metavar="HH:MM")
    ] = None,
) -> None:
    """Stop the daemon from sending requests for a while.

    The pause lasts until the time given or taggerd resume, across restarts. A running daemon
    finishes the photos in flight and starts no more; new photos wait in the queue. A scan started
    by hand ignores the pause and says so.
    """
    loaded = load()
    now = local_now()
    end = end_of_pause(length, until, now)
    wanted = Pause(" ".join(reason or ()), now.timestamp(), end)
    interrupts.run(_pause(loaded.settings, wanted))
    typer.echo(pause_message(wanted, now))


@options.configured(options.STATE)
def resume(load: options.Load) -> None:
    """End the pause."""
    was_paused = interrupts.run(_resume(load().settings))
    typer.echo("resumed" if was_paused else "was not paused")


async def _pause(settings: Settings, wanted: Pause) -> None:
    async with open_ledger(settings) as ledger:
        await ledger.pause(wanted)


async def _resume(settings: Settings) -> bool:
    async with open_ledger(settings) as ledger:
        was = await ledger.paused(local_now().timestamp())
        await ledger.pause(None)
        return was is not None
