"""Arrivals with a real ledger, what they admitted, and what a fresh look at the disk says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from taggerd import settings
from taggerd.arrivals.arrivals import Arrivals
from taggerd.arrivals.watch import Pace
from taggerd.ledger import SqliteLedger, unknown
from taggerd.photo import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taggerd.arrivals.root import WatchedRoot
    from taggerd.arrivals.surroundings import RootHealth
    from taggerd.photo import PhotoFile

PACE = Pace(look=0.2, gather=0.02, hung=5, stand=5, first_retry=0.2, doubt=1)


class Arriving:
    """The arrivals room as the daemon runs it, without the tagging; a context manager."""

    def __init__(
        self, home: Path, *roots: Path, mode: str = "inotify", pace: Pace = PACE, **options: object
    ) -> None:
        """Serve *roots*, with a ledger in *home*."""
        self._home = home
        self.roots = roots
        tables = [{"path": root, "mode": mode} for root in roots]
        given = {"settle_seconds": 0.3, "poll_seconds": 0.2, "reconcile_minutes": 10080.0}
        self._settings = settings.Arrivals.model_validate(given | options | {"roots": tables})
        self._pace = pace
        self.admitted: Counter[tuple[Path, Stamp]] = Counter()
        self.admitted_at: list[float] = []
        self.ledger: SqliteLedger
        self.arrivals: Arrivals
        self._task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Start, and wait until the watches stand."""
        self.ledger = await SqliteLedger.open(self._home)
        self.arrivals = Arrivals(
            self._settings,
            known=self.ledger.known,
            stamps=self.ledger.stamps,
            unknown=partial(unknown, self.ledger),
            admit=self._admit,
            pace=self._pace,
        )
        self._task = asyncio.create_task(self.arrivals.run())
        await self.arrivals.ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop; it must have lived until now."""
        died = self._task.done()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self.ledger.close()
        assert not died

    async def _admit(self, files: Sequence[PhotoFile]) -> None:
        await self.ledger.admit(files)
        self.admitted.update((file.path, file.stamp) for file in files)
        self.admitted_at += [time.monotonic()] * len(files)

    @property
    def health(self) -> RootHealth:
        """The first root's health."""
        return self.arrivals.health()[0]

    @property
    def root(self) -> WatchedRoot:
        """The first root itself."""
        return self.arrivals._roots[0]

    async def known(self) -> dict[Path, Stamp]:
        """Return all that the ledger knows."""
        folders = await self.ledger.folders(Path("/"))
        return {p: s for folder in folders for p, s in (await self.ledger.known(folder)).items()}

    async def missed(self) -> set[Path]:
        """Return the photos that a fresh look at the disk shows and the ledger does not."""
        known = await self.known()
        disk = await asyncio.to_thread(lambda: [on_disk(root) for root in self.roots])
        return {p for part in disk for p, stamp in part.items() if known.get(p) != stamp}

    async def until(self, true: Callable[[], bool], seconds: float = 15) -> None:
        """Wait until *true*."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, (self.health, len(self.admitted))
            await asyncio.sleep(0.02)

    async def until_none_is_missed(self, seconds: float = 15) -> None:
        """Wait until the ledger knows every photo on the disk as it is."""
        end = time.monotonic() + seconds
        while missed := await self.missed():
            assert time.monotonic() < end, (self.health, len(missed), sorted(missed)[:5])
            await asyncio.sleep(0.1)


def on_disk(root: Path) -> dict[Path, Stamp]:
    """Look for photos as plainly as can be, with nothing of the room that is tested."""
    found: dict[Path, Stamp] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if name.endswith(".jpg") and stat.S_ISREG(status.st_mode):
                    found[path] = Stamp.of(status)
    return found
