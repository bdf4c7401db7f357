"""All import folders together: what the daemon runs."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from taggerd.arrivals.dependencies import Dependencies, Pulse, RootHealth, Timing
from taggerd.arrivals.root import WatchedRoot
from taggerd.arrivals.unpacking import Unpacking, is_archive
from taggerd.errors import StorageError
from taggerd.logs import get_logger
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from taggerd import settings
    from taggerd.arrivals.dependencies import Admit, Record, Workers
    from taggerd.photo import Photo, PhotoFile

log = get_logger(__name__)

_NUMBER = re.compile(r"\d+")
_STEADY_SECONDS = 60.0
"""A task that ran for longer before it failed starts again without a longer delay."""


class Arrivals:
    """Sees what arrives in the import folders, unpacks archives, and admits photos once complete.

    Whatever the watches miss, a walk finds; whatever is found twice, the record sorts out. A root
    that is missing, unmounted or hung is *offline*: the others go on without it.
    """

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        arrivals: settings.Arrivals,
        record: Record,
        workers: Workers,
        *,
        admit: Admit,
        expect: Callable[[int], None] = lambda _: None,
        own_folders: Sequence[Path] = (),
        timing: Timing | None = None,
    ) -> None:
        """Serve the roots of *arrivals*.

        Args:
            arrivals: the settings.
            record: knows which files are on record; the ledger.
            workers: run what opens archives.
            admit: takes settled photo files into the queue; they are safe there once it returns.
                The files of one stem come together.
            expect: is called while files settle with their number: photos will be admitted soon.
            own_folders: folders that taggerd writes into, ignored where they lie in a root: its
                thumbnails would come as photos, whose thumbnails would come as photos.
            timing: how often things are checked.
        """
        self._timing = timing or Timing()
        self._admit = admit
        self.unpacking = Unpacking(arrivals, record, workers, unpacked=self._read_below)
        dependencies = Dependencies(
            record=record,
            known=self.unpacking,
            admit=self._settled,
            expect=expect,
            report=self._report,
            own_folders=own_folders,
            timing=self._timing,
        )
        self._roots = [WatchedRoot(root, arrivals, dependencies) for root in arrivals.roots]
        self._reported: dict[Path, tuple[str, str]] = {}
        self._read_only: dict[Path, str] = {}
        self.ready = asyncio.Event()
        """Set once every root is watched, or known to be polled or offline."""

    async def run(self) -> None:
        """Serve all roots until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for root in self._roots:
                    tasks.create_task(self._keep(root), name=f"arrivals {printable(root.path)}")
                tasks.create_task(self.unpacking.run(), name="unpacking")
                tasks.create_task(self._check_health(), name="arrivals health")
                tasks.create_task(self._await_start(), name="arrivals start")
        finally:
            await asyncio.gather(*(root.close() for root in self._roots))

    def leave_to_others(self, elsewhere: Mapping[Path, str]) -> None:
        """Watch none of the roots *elsewhere*, of which other hosts take care, but all others.

        A root that is watched from now on is compared with the record first. The values say who
        watches it, for people.
        """
        for root in self._roots:
            before, root.elsewhere = root.elsewhere, elsewhere.get(root.path, "")
            if bool(before) != bool(root.elsewhere):
                root.assigned.set()
            if root.elsewhere:
                self._report(root.health())

    def health(self) -> tuple[RootHealth, ...]:
        """Say how each root is doing."""
        return tuple(root.health() for root in self._roots)

    def pulses(self) -> tuple[Pulse, ...]:
        """Say how the task of each root moves."""
        return tuple(root.pulse() for root in self._roots)

    def check_again(self, photo: Photo) -> None:
        """Have the files of *photo*, which changed or were gone, settle again. From any thread.

        Events report the same; this is for the one that was lost.
        """
        for root in self._roots:
            for file in photo.files:
                below = file.path.is_relative_to(root.path) and not root.elsewhere
                if below and not root.filters.verdict(file.path, root.path):
                    root.dirty.file(str(file.path))

    def _read_below(self, folder: Path) -> None:
        """Have *folder*, which was just unpacked, read with all that is in it."""
        for root in self._roots:
            if folder.is_relative_to(root.path):
                root.dirty.tree(str(folder))

    async def _settled(self, files: Sequence[PhotoFile]) -> None:
        self.unpacking.put(file for file in files if is_archive(file))
        if photos := [file for file in files if not is_archive(file)]:
            await self._admit(photos)

    async def _keep(self, root: WatchedRoot) -> None:
        """Keep the task of *root* going whatever happens to it."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                await self._serve(root)
            except StorageError as error:  # compared again once the record can be asked
                root.waits(error)
                self._report(root.health())
                failures = 0
            except Exception as error:  # the others must go on, and so must this one
                root.failed(error)
                log.exception("watching failed", import_folder=printable(root.path))
                self._report(root.health())
            else:  # it is another host's now, or this one's
                failures = 0
                continue
            failures = 1 if time.monotonic() - began > _STEADY_SECONDS else failures + 1
            await asyncio.sleep(self._timing.retry.seconds(failures))

    async def _serve(self, root: WatchedRoot) -> None:
        """Serve *root* until it fails, or changes hands; wait while it is another host's.

        Raises:
            Exception: as :meth:`taggerd.arrivals.root.WatchedRoot.run`.
        """
        root.assigned.clear()
        if root.elsewhere:
            root.started.set()
            await root.assigned.wait()
            return
        serving = asyncio.create_task(root.run(), name=f"root {printable(root.path)}")
        changes = asyncio.create_task(root.assigned.wait())
        try:
            await asyncio.wait((serving, changes), return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            for task in (serving, changes):
                task.cancel()
            await asyncio.gather(serving, changes, return_exceptions=True)
        await root.leave()

    async def _await_start(self) -> None:
        late = {asyncio.create_task(root.started.wait()) for root in self._roots}
        before = -1
        # In a large tree it takes minutes until every folder is watched.
        while late and (watches := sum(root.health().watches for root in self._roots)) > before:
            before = watches
            _, late = await asyncio.wait(late, timeout=self._timing.start)
        for task in late:
            task.cancel()
        self.ready.set()

    async def _check_health(self) -> None:
        """Check the roots that may not be able to report for themselves: hung ones."""
        while True:
            await asyncio.sleep(max(self._timing.probe, self._timing.hung / 3))
            for health in self.health():
                self._report(health)

    def _report(self, health: RootHealth) -> None:
        """Log each change of a root's health once."""
        self._report_read_only(health)
        # "3 of 40 folders" and then "4 of 40" is the same state: logged once.
        report = (health.state, _NUMBER.sub("", health.detail))
        if self._reported.get(health.path) == report:
            return
        self._reported[health.path] = report
        level = log.info if health.state in {"watching", "polling", "elsewhere"} else log.warning
        because = {"because": health.detail} if health.detail else {}
        level(health.state, import_folder=printable(health.path), **because)

    def _report_read_only(self, health: RootHealth) -> None:
        """Log once that no sidecar can be written: at the start, not with the first photo."""
        before = self._read_only.get(health.path, "")
        self._read_only[health.path] = health.read_only
        if health.read_only and health.read_only != before:
            shown = printable(health.path)
            log.warning("no sidecars", import_folder=shown, because=health.read_only)
