"""Whether the running service has heard what a command tells it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import typer

from taggerd.daemon.status import published
from taggerd.services import read_ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from taggerd.cli.instances import Target
    from taggerd.daemon.status import DaemonStatus
    from taggerd.settings import Settings

ANSWER_SECONDS = 12.0
"""A daemon looks for a pause every five seconds and publishes its status every five."""
POLL_SECONDS = 0.1


async def await_answer(
    wanted: Callable[[DaemonStatus], bool],
    state_directory: Path,
    *,
    since: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> bool:
    """Wait until the daemon publishes a status later than *since* that is as *wanted*.

    Args:
        wanted: says whether the status shows what was asked for.
        state_directory: the daemon's.
        since: seconds since the epoch.
        clock: seconds that pass.
        sleep: lets them pass.

    Returns:
        False if it has not within :data:`ANSWER_SECONDS`.

    """
    end = clock() + ANSWER_SECONDS
    while True:
        live = published(state_directory)
        if live is not None and live.updated_at >= since and wanted(live):
            return True
        if clock() >= end:
            return False
        await sleep(POLL_SECONDS)


def hosts_alive(settings: Settings) -> bool:
    """Say whether another host that shares the ledger runs: it hears by itself."""
    return bool(read_ledger(settings, lambda ledger: any(host.alive for host in ledger.hosts())))


async def confirm(
    at: Target, wanted: Callable[[DaemonStatus], bool], since: float, *, nobody: str
) -> None:
    """Wait for the daemon's answer, and say on stderr if there is none; *nobody*: if none runs."""
    pid = at.pid
    if pid is None:
        if not hosts_alive(at.settings):
            typer.echo(nobody, err=True)
    elif not await await_answer(wanted, at.settings.state_directory, since=since):
        message = f"the running taggerd, pid {pid}, has not confirmed it: see taggerd status"
        typer.echo(message, err=True)
