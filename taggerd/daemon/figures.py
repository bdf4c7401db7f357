"""The daemon's figures for those who observe it, gathered when they ask."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.daemon.health import EXIT_CODES, KINDS
from taggerd.errors import LedgerAway
from taggerd.observe.figures import (
    DiskFigures,
    EndpointFigures,
    Figures,
    HostFigures,
    RootFigures,
)
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from taggerd.arrivals import Arrivals
    from taggerd.daemon.status import DaemonStatus
    from taggerd.ledger import Counts, Host
    from taggerd.services import Services

DISK_SECONDS = 1.0
"""How long a file system may take to say how full it is."""


class Gatherer:
    """Gathers what the parts know."""

    def __init__(self, services: Services, arrivals: Arrivals) -> None:
        """Ask these parts."""
        self._services = services
        self._arrivals = arrivals
        self._asked: dict[Path, asyncio.Future[os.statvfs_result]] = {}
        """Disks that have not answered yet: a share that hangs holds one thread, not one for each
        time that somebody asks."""

    async def figures(
        self, live: DaemonStatus, counts: Counts, hosts: Iterable[Host] = ()
    ) -> Figures:
        """Return the figures of this moment.

        Args:
            live: how the service is.
            counts: of the ledger.
            hosts: that share it.

        Raises:
            StorageError: the ledger cannot be read.

        """
        roots = self._arrivals.health()
        oldest_queued_at = None
        with suppress(LedgerAway):  # the problems say so
            oldest_queued_at = await self._services.ledger.oldest_queued()
        return Figures(
            health=live.health.word,
            healths=tuple(EXIT_CODES),
            problems=live.health.problems,
            kinds=KINDS,
            paused=bool(live.paused),
            queue={
                "queued": counts.queued,
                "claimed": counts.claimed,
                "recorded": counts.recorded,
                "unwritten": counts.unwritten,
                "held": counts.held,
                "quarantined": counts.quarantined,
            },
            oldest_queued_at=oldest_queued_at,
            endpoints=[
                EndpointFigures(
                    base_url=endpoint.base_url,
                    error=str(endpoint.health.error or ""),
                    outages=endpoint.health.outages,
                    in_flight=endpoint.backend.limit.in_flight,
                    limit=endpoint.backend.limit.size,
                    requests=dict(endpoint.backend.traffic.requests),
                    tokens=dict(endpoint.backend.traffic.tokens),
                )
                for endpoint in self._services.endpoints
            ],
            roots=[
                RootFigures(
                    path=printable(root.path),
                    state=root.state,
                    reconciles=root.reconciles,
                    overflows=root.overflows,
                    last_reconcile=root.last_reconcile,
                )
                for root in roots
            ],
            disks=await self._disks([r.path for r in roots if r.state != "offline"]),
            hosts=[
                HostFigures(
                    name=host.name,
                    version=host.version,
                    alive=host.alive,
                    seen_seconds=host.seen_seconds,
                    photos_an_hour=host.photos_an_hour or 0.0,
                )
                for host in hosts
            ],
        )

    async def _disks(self, roots: Iterable[Path]) -> list[DiskFigures]:
        """Ask all file systems at once how full they are; who does not answer is left out."""
        settings = self._services.settings
        folders = [("state", settings.state_directory), ("outputs", settings.journal_directory)]
        folders += [("photos", root) for root in roots]
        for _, path in folders:
            if path not in self._asked:
                asked = asyncio.ensure_future(asyncio.to_thread(os.statvfs, path))
                asked.add_done_callback(lambda done: done.cancelled() or done.exception())
                self._asked[path] = asked
        await asyncio.wait(self._asked.values(), timeout=DISK_SECONDS)
        found = []
        for use, path in folders:
            answer = self._asked[path]
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                disk = answer.result()
                free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
                found.append(DiskFigures(use=use, path=printable(path), free=free, size=size))
        self._asked = {path: asked for path, asked in self._asked.items() if not asked.done()}
        return found
