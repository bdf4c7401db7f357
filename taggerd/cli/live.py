"""``taggerd status --watch``: the status again and again, in place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from taggerd.cli import interrupts
from taggerd.cli.status import found, lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from taggerd.cli.instances import Target
    from taggerd.daemon.status import ServiceStatus

WATCH_SECONDS = 2.0
"""How often it is looked up."""


def watch(at: Target) -> ServiceStatus:
    """Show the status until Ctrl-C, and return the last one."""
    return interrupts.run(watched(at))


async def watched(
    at: Target,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    screen: Console | None = None,
) -> ServiceStatus:
    """Show the status again and again, in place; return the last one after Ctrl-C."""
    screen = screen or Console(highlight=False, markup=False)
    shown = await asyncio.to_thread(found, at)
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            live.update(Text("\n".join(lines(shown)), overflow="ignore"), refresh=True)
            try:
                await sleep(WATCH_SECONDS)
                shown = await asyncio.to_thread(found, at)
            except asyncio.CancelledError:
                return shown
