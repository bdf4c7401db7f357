"""Files on their way from the disk into the queue: compared with the record, settled, admitted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.arrivals.settling import Settling
from taggerd.arrivals.walk import Seen, see

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taggerd.arrivals.dependencies import Dependencies
    from taggerd.arrivals.dirty import Batch
    from taggerd.arrivals.executor import Executor
    from taggerd.arrivals.missing import MissingFileSweep
    from taggerd.arrivals.walk import Folder
    from taggerd.photo import PhotoFile

_BATCH = 1_000
"""Files that are admitted in one go."""


class Intake:
    """The intake of one root."""

    def __init__(
        self,
        settle_seconds: float,
        dependencies: Dependencies,
        executor: Executor,
        sweep: MissingFileSweep,
    ) -> None:
        """Hold files for *settle_seconds*; tell *sweep* in which folders no file is missing."""
        self._settle_seconds = settle_seconds
        self._dependencies = dependencies
        self._executor = executor
        self._sweep = sweep
        self._incomplete = False
        self.settling: Settling
        self.reset(trust_times=True)

    def reset(self, *, trust_times: bool | None = None) -> None:
        """Drop what is settling: a walk finds it again. *trust_times* as :class:`Settling` says."""
        trusted = self.settling.trust_times if trust_times is None else trust_times
        self.settling = Settling(self._settle_seconds, trust_times=trusted)

    def needs_walk(self) -> bool:
        """Say, once, that files were seen but not kept, and that there is room for them now."""
        due = self._incomplete and self.settling.roomy
        self._incomplete = self._incomplete and not due
        return due

    def check(self, batch: Batch) -> bool:
        """Look at each file that something happened to. Blocks.

        Returns:
            False if an event named a folder that does not exist.
        """
        consistent = True
        for folder, names in batch.files.items():
            for name in names:
                try:
                    seen = see(f"{folder}/{name}")
                except (FileNotFoundError, NotADirectoryError):
                    consistent = consistent and files.exists(folder)
                except OSError:
                    self._incomplete = True  # a share that fails for a moment
                else:
                    if isinstance(seen, Seen):
                        self._observe([seen], event=True)
        return consistent

    async def compare(self, found: Sequence[Folder]) -> None:
        """Compare the folders that a walk *found* with the record; what is news has to settle."""
        news: list[Seen] = []
        for folder in await self._changed(found):
            known = await self._dependencies.known.known(folder.path)
            other = [
                seen
                for seen in folder.files
                if (stamp := known.get(seen.file.path)) is None
                or not stamp.matches(seen.file.stamp)
            ]
            self._sweep.saw(folder, known, other)
            news += other
        if news:
            await self._executor.run(self._observe, news, event=False)

    async def release(self) -> bool:
        """Admit what has settled and is still news; say whether anything was admitted."""
        due = self.settling.next_due()
        if due is None or due > time.monotonic():
            return False
        settled = await self._executor.run(self.settling.due, time.monotonic())
        news = await self._dependencies.known.unknown(settled) if settled else []
        for batch in _batches(news):
            await self._dependencies.admit(batch)
        return bool(news)

    async def _changed(self, found: Sequence[Folder]) -> list[Folder]:
        """Return those of *found* that are not exactly as on record: mostly none."""
        filled = [folder for folder in found if folder.rows]
        recorded = await self._dependencies.known.stamps([folder.path for folder in filled])
        changed = []
        for folder, rows in zip(filled, recorded, strict=True):
            if len(rows) == len(folder.rows) and all(
                row in rows or (*row[:3], 0, 0) in rows  # a stamp that another host took
                for row in folder.rows
            ):
                self._sweep.complete(folder.path)
            else:
                changed.append(folder)
        return changed

    def _observe(self, news: Sequence[Seen], *, event: bool) -> None:
        now = time.monotonic()
        for seen in news:
            if not self.settling.observe(seen, now, event=event):
                self._incomplete = True
                return


def _batches(files: Sequence[PhotoFile]) -> Iterator[list[PhotoFile]]:
    """Cut *files* into batches, never between two files of one stem: they are one photo."""
    batch: list[PhotoFile] = []
    for file in files:
        if len(batch) >= _BATCH and file.path.with_suffix("") != batch[-1].path.with_suffix(""):
            yield batch
            batch = []
        batch.append(file)
    if batch:
        yield batch
