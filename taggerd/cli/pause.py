"""``taggerd pause`` and ``taggerd resume``: leave the backend to something else for a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import heard, instances, interrupts, options
from taggerd.ledger import Pause
from taggerd.runner.pause import end_of_pause, pause_message
from taggerd.services import local_now, open_ledger

if TYPE_CHECKING:
    from taggerd.cli.instances import Target


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
    instance: instances.Name = None,
) -> None:
    """Stop the daemon from sending requests for a while.

    The pause lasts until the time given or taggerd resume, across restarts. A running daemon
    finishes the photos in flight and starts no more; new photos wait in the queue. A scan started
    by hand ignores the pause and says so. The command waits until the daemon confirms.
    """
    loaded = load()
    now = local_now()
    end = end_of_pause(length, until, now)
    wanted = Pause(" ".join(reason or ()), now.timestamp(), end)
    interrupts.run(_pause(instances.target(load, loaded, instance), wanted))
    typer.echo(pause_message(wanted, now))


@options.configured(options.STATE)
def resume(load: options.Load, *, instance: instances.Name = None) -> None:
    """End the pause.

    The command waits until the daemon confirms.
    """
    was_paused = interrupts.run(_resume(instances.target(load, load(), instance)))
    typer.echo("resumed" if was_paused else "was not paused")


async def _pause(at: Target, wanted: Pause) -> None:
    async with open_ledger(at.settings) as ledger:
        asked = time.time()
        await ledger.pause(wanted)
    await heard.confirm(
        at,
        lambda live: live.paused == pause_message(wanted, local_now()),
        asked,
        nobody="no taggerd is running: it holds for the next one",
    )


async def _resume(at: Target) -> bool:
    async with open_ledger(at.settings) as ledger:
        was = await ledger.paused(local_now().timestamp())
        asked = time.time()
        await ledger.pause(None)
    if was is not None:
        await heard.confirm(
            at,
            lambda live: live.paused != pause_message(was, local_now()),
            asked,
            nobody="no taggerd is running: the next one starts without a pause",
        )
    return was is not None
