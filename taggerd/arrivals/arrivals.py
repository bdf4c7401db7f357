"""All import folders together: what the daemon runs."""

from __future__ import annotations

import asyncio
import random
import re
import time
from typing import TYPE_CHECKING

import structlog

from taggerd.arrivals.root import WatchedRoot
from taggerd.arrivals.surroundings import RootHealth, Surroundings
from taggerd.arrivals.watch import Pace
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from taggerd import settings
    from taggerd.arrivals.missing import Absences, Known
    from taggerd.arrivals.surroundings import Admit, Stamps, Unknown
    from taggerd.photo import Photo

log = structlog.get_logger(__name__)

_NUMBER = re.compile(r"\d+")

_STEADY_SECONDS = 60.0
"""A task that ran so long before it failed starts again at once."""


class Arrivals:
    """Sees what arrives in the import folders and admits it once it is whole.

    Whatever the watches miss, a walk finds; whatever a walk finds twice, `known` sorts out. A
    root that is missing, unmounted or hung is *offline*: it is waited for, and the others go on.
    """

    def __init__(  # noqa: PLR0913 - what comes from outside comes in as an argument
        self,
        arrivals: settings.Arrivals,
        *,
        known: Known,
        admit: Admit,
        stamps: Stamps | None = None,
        unknown: Unknown | None = None,
        absences: Absences | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        pace: Pace | None = None,
        own: Sequence[Path] = (),
    ) -> None:
        """Serve the roots of *arrivals*.

        Args:
            arrivals: the settings.
            known: gives the stamps on record of the files directly in a folder.
            admit: takes settled files into the queue; they are safe there once it returns. The
                files of one stem come together.
            stamps: gives the same as *known* for many folders at once, more cheaply: a walk that
                finds nothing new then costs little more than the looking.
            unknown: says which of some files are not on record as they are; without it *known* is
                asked for the whole of their folders.
            absences: is told of files on record that are gone; None: nobody asks.
            clock: monotonic, seconds.
            wall: seconds since the epoch.
            jitter: random numbers from 0 to 1.
            pace: how often things are looked at.
            own: folders that taggerd writes into, which are left alone where they lie in a root:
                its thumbnails would come as photos, whose thumbnails would come as photos.

        """
        self._pace = pace or Pace()
        around = Surroundings(
            known,
            stamps,
            unknown,
            admit,
            clock,
            wall,
            jitter,
            self._pace,
            own,
            self._speak_of,
            absences,
        )
        self._clock = clock
        self._roots = [WatchedRoot(root, arrivals, around) for root in arrivals.roots]
        self._said: dict[Path, tuple[str, str]] = {}
        self.ready = asyncio.Event()
        """Set once every root is watched, or known to be polled or offline."""

    async def run(self) -> None:
        """Serve all roots until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for root in self._roots:
                    tasks.create_task(self._keep(root), name=f"arrivals {printable(root.path)}")
                tasks.create_task(self._report(), name="arrivals health")
                tasks.create_task(self._stand(), name="arrivals start")
        finally:
            await self.close()

    async def close(self) -> None:
        """Take all watches away. :meth:`run` does so at its end."""
        await asyncio.gather(*(root.close() for root in self._roots))

    def health(self) -> tuple[RootHealth, ...]:
        """Say how each root is doing."""
        return tuple(root.health() for root in self._roots)

    def request_reconcile(self, reason: str) -> None:
        """Ask for a walk of every root and do not wait for it. From any thread."""
        log.info("import folders are compared with the queue", because=reason)
        for root in self._roots:
            root.request()

    def look_again(self, photo: Photo) -> None:
        """Have the files of *photo*, which changed or were gone, settle anew. From any thread.

        Their events say the same; this is for the day one was lost.
        """
        for root in self._roots:
            for file in photo.files:
                if file.path.is_relative_to(root.path):
                    root.look_again(file.path)

    def look_below(self, folder: Path) -> None:
        """Have *folder*, which was just made, read with all that is in it. From any thread."""
        for root in self._roots:
            if folder.is_relative_to(root.path):
                root.look_below(folder)

    async def reconcile(self, reason: str) -> None:
        """Have every root that is online walked from now on, and wait for the end of it.

        What was found may still have to settle.
        """
        log.info("import folders are compared with the queue", because=reason)
        loop = asyncio.get_running_loop()
        ends: list[asyncio.Future[None]] = []
        for root in self._roots:
            ends.append(loop.create_future())
            root.request(ends[-1])
        await asyncio.gather(*ends)

    async def _keep(self, root: WatchedRoot) -> None:
        """Keep the task of *root* going whatever happens to it."""
        retry = self._pace.first_retry
        while True:
            began = self._clock()
            try:
                await root.run()
            except Exception as error:  # the others must go on, and so must this one
                log.exception("an import folder's task failed", root=printable(root.path))
                root.failed(error)
                self._speak_of(root.health())
            if self._clock() - began > _STEADY_SECONDS:
                retry = self._pace.first_retry
            await asyncio.sleep(retry)
            retry = min(retry * 2, self._pace.longest_retry)

    async def _stand(self) -> None:
        standing = [asyncio.create_task(root.stood.wait()) for root in self._roots]
        if standing:
            _, late = await asyncio.wait(standing, timeout=self._pace.stand)
            for task in late:
                task.cancel()
        self.ready.set()

    async def _report(self) -> None:
        """Look at the health of roots that may not be able to speak for themselves: hung ones."""
        while True:
            await asyncio.sleep(self._pace.look)
            for health in self.health():
                self._speak_of(health)

    def _speak_of(self, health: RootHealth) -> None:
        """Log each change of a root's health once."""
        # "3 of 40 folders", then "4 of 40", is one thing that is said.
        said = (health.state, _NUMBER.sub("", health.detail))
        if self._said.get(health.path) != said:
            self._said[health.path] = said
            _say(health)


def _say(health: RootHealth) -> None:
    speak = log.info if health.state in {"watching", "polling"} else log.warning
    speak(
        f"import folder is {health.state}",
        root=printable(health.path),
        **({"because": health.detail} if health.detail else {}),
    )
