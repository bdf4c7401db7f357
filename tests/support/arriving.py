"""Arrivals with a real ledger, what they admitted, and what a fresh look at the disk says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Self

from taggerd import settings
from taggerd.arrivals import Arrivals, Timing
from taggerd.ledger import FileState, SqliteLedger
from taggerd.photo import Stamp
from taggerd.retry import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from collections.abc import Set as AbstractSet
    from typing import ParamSpec, TypeVar

    from taggerd.arrivals import RootHealth
    from taggerd.arrivals.dependencies import Json
    from taggerd.arrivals.root import WatchedRoot
    from taggerd.arrivals.walk import Row
    from taggerd.photo import PhotoFile

    P = ParamSpec("P")
    T = TypeVar("T")

TIMING = Timing(probe=0.2, gather=0.02, hung=60, start=60, retry=Backoff(0.2, 600), rewatch=1)
"""Often, but a machine that is busy is not taken for a disk that hangs."""


class InProcess:
    """Runs in this process what workers run in theirs."""

    def __init__(self) -> None:
        """Fail at nothing."""
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.called = asyncio.Event()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function*, or fail as told."""
        self.calls.append(function.__name__)
        self.called.set()
        if self.failure is not None:
            raise self.failure
        return function(*args, **kwargs)


async def reconcile(arrivals: Arrivals) -> None:
    """Have every root that is online walked from now on, and wait for the end of it.

    What was found may still have to settle.
    """
    await asyncio.gather(*map(_walked, arrivals._roots))


async def _walked(root: WatchedRoot) -> None:
    asked_at = time.time()
    root.dirty.everything()

    async def until(true: Callable[[], object]) -> None:
        while root.health().state != "offline" and not true():  # noqa: ASYNC110 - only tests wait
            await asyncio.sleep(0.01)

    await until(lambda: not root.dirty._batch)
    ticket = root._reconciler._wanted
    await until(lambda: root._reconciler.completed >= ticket)
    await until(lambda: (root.health().last_reconcile or 0) >= asked_at)


class Records:
    """Remembers what was admitted, as the ledger does."""

    def __init__(self) -> None:
        """Know nothing."""
        self.on_record: defaultdict[Path, dict[Path, Stamp]] = defaultdict(dict)
        self.notes: dict[str, Json] = {}
        self.told_missing: list[set[Path]] = []
        self.asked: list[Path] = []
        self.admitted: Counter[tuple[Path, Stamp]] = Counter()
        self.batches: list[list[PhotoFile]] = []
        self.failures: list[Exception] = []

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the stamps on record."""
        self.asked.append(folder)
        return dict(self.on_record[folder])

    async def stamps(self, folders: Sequence[Path]) -> list[AbstractSet[Row]]:
        """Return the same as rows."""
        return [
            {(os.fsencode(path.name), *stamp) for path, stamp in self.on_record[folder].items()}
            for folder in folders
        ]

    async def file_states(self, files: Sequence[PhotoFile]) -> dict[Path, FileState]:
        """Return what is on record as it is, and what is new."""
        return {f.path: FileState("queued" if self.has([f]) else "new") for f in files}

    async def folders(self, below: Path) -> list[Path]:
        """Return the folders with files on record."""
        return [folder for folder in self.on_record if folder.is_relative_to(below)]

    async def missing(
        self, below: Path, paths: Collection[Path], *, grace_seconds: float
    ) -> list[Path]:
        """Forget nothing, and remember what was told."""
        del below, grace_seconds
        self.told_missing.append(set(paths))
        return []

    async def note(self, key: str, value: Json, *, here: bool = False) -> None:  # noqa: ARG002
        """Keep *value*."""
        self.notes[key] = value

    async def recall(self, key: str, *, here: bool = False) -> Json:  # noqa: ARG002
        """Return what was noted."""
        return self.notes.get(key)

    async def admit(self, files: Sequence[PhotoFile]) -> None:
        """Take *files*, or fail as told."""
        if self.failures:
            raise self.failures.pop()
        self.batches.append(list(files))
        for file in files:
            self.on_record[file.path.parent][file.path] = file.stamp
            self.admitted[file.path, file.stamp] += 1

    def has(self, files: Iterable[PhotoFile]) -> bool:
        """Say whether all *files* are known as they are."""
        return all(self.on_record[f.path.parent].get(f.path) == f.stamp for f in files)


class Arriving:
    """Arrivals as the daemon runs them, without the tagging; a context manager."""

    def __init__(
        self,
        home: Path,
        *roots: Path,
        mode: str = "inotify",
        timing: Timing = TIMING,
        **options: object,
    ) -> None:
        """Serve *roots*, with a ledger in *home*."""
        self._home = home
        self.roots = roots
        tables = [{"path": root, "mode": mode} for root in roots]
        given = {"settle_seconds": 0.3, "poll_seconds": 0.2, "reconcile_minutes": 10080.0}
        self._settings = settings.Arrivals.model_validate(given | options | {"roots": tables})
        self._timing = timing
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
            self.ledger,
            InProcess(),
            admit=self._admit,
            timing=self._timing,
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

    async def reconcile(self) -> None:
        """Have the roots walked from now on, and wait for the end of it."""
        await reconcile(self.arrivals)

    async def known(self) -> dict[Path, Stamp]:
        """Return all that the ledger knows."""
        folders = await self.ledger.folders(Path("/"))
        return {p: s for folder in folders for p, s in (await self.ledger.known(folder)).items()}

    async def missed(self) -> set[Path]:
        """Return the photos that a fresh look at the disk shows and the ledger does not."""
        known = await self.known()
        disk = await asyncio.to_thread(lambda: [on_disk(root) for root in self.roots])
        return {p for part in disk for p, stamp in part.items() if known.get(p) != stamp}

    async def until(self, true: Callable[[], bool], seconds: float = 180) -> None:
        """Wait until *true*."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, (self.health, len(self.admitted))
            await asyncio.sleep(0.02)

    async def until_none_is_missed(self, seconds: float = 180) -> None:
        """Wait until the ledger knows every photo on the disk as it is."""
        end = time.monotonic() + seconds
        while missed := await self.missed():
            assert time.monotonic() < end, (self.health, len(missed), sorted(missed)[:5])
            await asyncio.sleep(0.1)


def on_disk(root: Path) -> dict[Path, Stamp]:
    """Look for photos as plainly as can be, with nothing of the code that is tested."""
    found: dict[Path, Stamp] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(FileNotFoundError):
                status = path.lstat()
                if name.endswith(".jpg") and stat.S_ISREG(status.st_mode):
                    found[path] = Stamp.of(status)
    return found
