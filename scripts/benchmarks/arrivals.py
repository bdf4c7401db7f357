# ruff: noqa: S101 - what a part takes for granted is asserted
"""What noticing photos costs: `scripts/bench arrivals` prints one Markdown table.

Every part runs in a process of its own, so that its memory is its own, and is measured against
something plain on the same tree in the same run: `find -printf`, or a bare walk by `os.scandir`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.program import ourselves
from taggerd import files, settings
from taggerd.arrivals import Arrivals
from taggerd.arrivals.dirty import Dirty
from taggerd.arrivals.filters import Filters
from taggerd.arrivals.inotify import InotifyWatcher
from taggerd.ledger import SqliteLedger
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from taggerd.photo import PhotoFile

FILES_PER_FOLDER = 200
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder with a random name is made in it
ROUNDS = 5
"""A time is the median of so many; of a reconcile and its find the shortest, for both only wait
longer where others use the machine."""
LINEAR = 1.2
"""Times as long may a file take among four times as many: their folders are not in the cache."""
SETTLE_SECONDS = 1.0


class Serving:
    """Arrivals with a real ledger, as the daemon runs them."""

    def __init__(self, ledger: SqliteLedger, root: Path) -> None:
        """Serve *root*; settings are the default ones but for the time to settle."""
        self.ledger = ledger
        self.admitted: Counter[Path] = Counter()
        self.admitted_at: dict[Path, float] = {}
        self.arrivals = Arrivals(
            settings.Arrivals.model_validate(
                {"roots": [{"path": root, "mode": "inotify"}], "settle_seconds": SETTLE_SECONDS}
            ),
            ledger,
            Workers(settings.Workers()),
            admit=self._admit,
        )

    async def _admit(self, files: Sequence[PhotoFile]) -> None:
        await self.ledger.admit(files)
        now = time.time()
        for file in files:
            self.admitted[file.path] += 1
            self.admitted_at[file.path] = now

    async def reconcile(self) -> None:
        """Have the root walked from now on, and wait for the end of it."""
        (root,) = self.arrivals._roots  # noqa: SLF001 - nobody else waits for a walk
        walked = root.health().last_reconcile
        root.dirty.everything()
        while root.health().last_reconcile == walked:  # noqa: ASYNC110 - of no weight
            await asyncio.sleep(0.01)

    async def until_admitted(self, number: int, seconds: float) -> None:
        """Wait until *number* files are admitted, but no longer than *seconds*."""
        end = time.monotonic() + seconds
        while len(self.admitted) < number and time.monotonic() < end:  # noqa: ASYNC110 - of no weight
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def serving(root: Path, state: Path) -> AsyncIterator[Serving]:
    """Serve *root* with a ledger in *state*."""
    files.work_below(root)
    ledger = await SqliteLedger.open(state)
    service = Serving(ledger, root)
    task = asyncio.create_task(service.arrivals.run())
    try:
        await service.arrivals.ready.wait()
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await ledger.close()


def fill(top: Path, first: int, last: int) -> None:
    """Make the empty photos from the *first* to the *last*, in folders of some hundred."""
    for folder in range(first // FILES_PER_FOLDER, last // FILES_PER_FOLDER):
        path = top / f"{folder // 100:03}" / f"{folder % 100:03}"
        path.mkdir(parents=True)
        for number in range(FILES_PER_FOLDER):
            os.close(os.open(f"{path}/IMG_{number:04}.JPG", os.O_CREAT | os.O_WRONLY))


def make_folders(top: Path, folders: int) -> None:
    """Make a tree of *folders* folders, a hundred in each."""
    for folder in range(folders // 101):
        for number in range(100):
            (top / f"{folder:04}" / f"{number:03}").mkdir(parents=True)


def peak_mib() -> float:
    """Return the most memory this process has had, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median_seconds(work: Callable[[], object]) -> float:
    """Return the median time of *work*."""
    return statistics.median(_seconds(work) for _ in range(ROUNDS))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def find(top: Path) -> None:
    """Do what a reconcile is measured against."""
    line = ["find", os.fspath(top), "-printf", "%s %T@ %i\\n"]  # find's own backslash
    subprocess.run(line, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own line


def bare_walk(top: Path) -> int:
    """Walk by `os.scandir` alone and return the number of folders."""
    stack, folders = [os.fspath(top)], 0
    while stack:
        folders += 1
        with os.scandir(stack.pop()) as entries:
            stack += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    return folders


# The parts. Each is given an empty folder for the tree and one for the state.


async def reconcile(top: Path, state: Path, files: int, most_mib: int) -> list[Figure]:
    """Compare a tree in which nothing is new with the ledger: a quarter of it, and all."""
    few = files // 4
    times, finds = {}, {}
    for first, last in ((0, few), (few, files)):
        fill(top, first, last)
        # Filled by another process: what the first meeting took is not the reconcile's memory.
        await asyncio.to_thread(_in_a_process, "admit", top, state, last - first)
        times[last], finds[last] = await _reconciled(top, state)
    what = "reconcile, nothing changed"
    small, large = (times[number] / number * 1e6 for number in (few, files))
    return [
        *(
            figures.ratio(
                f"{what}, {number:,} files", times[number], finds[number], "s",
                against="`find -printf`", at_most=2.5,
            )
            for number in times
        ),
        figures.ratio(
            f"{what}, a file among {files:,}", large, small, "µs",
            against=f"among {few:,}", at_most=LINEAR,
        ),
        Figure(f"{what}, {files:,} files, peak memory", peak_mib(), "MiB", most_mib),
    ]  # fmt: skip


async def _reconciled(top: Path, state: Path) -> tuple[float, float]:
    """Return the shortest times of reconciles and of finds, one after the other, seconds."""
    async with serving(top, state) as service:
        await service.reconcile()
        times, finds = [], []
        for _ in range(ROUNDS):
            finds.append(_seconds(lambda: find(top)))
            began = time.perf_counter()
            await service.reconcile()
            times.append(time.perf_counter() - began)
        assert not service.admitted
    return min(times), min(finds)


async def admit(top: Path, state: Path, files: int) -> list[Figure]:
    """Have a tree admitted for the first time."""
    time.sleep(SETTLE_SECONDS)  # noqa: ASYNC251 - all that was made is to be old
    async with serving(top, state) as service:
        await service.until_admitted(files, 600)
        assert len(service.admitted) == files
    return []


async def watches(top: Path, _state: Path, folders: int) -> list[Figure]:
    """Watch a tree of folders, as at a start."""
    make_folders(top, folders)
    count = bare_walk(top)
    plain = median_seconds(lambda: bare_walk(top))
    times, grown = [], 0.0
    for _ in range(ROUNDS):
        watcher = InotifyWatcher(top, Filters(), Dirty(lambda: None))
        before = _resident_bytes()
        times.append(_seconds(watcher.start))
        grown = grown or (_resident_bytes() - before) / count
        assert len(watcher.watched()) == count
        watcher.stop()
    what = f"watches on {count:,} folders"
    return [
        figures.ratio(
            what, statistics.median(times), plain, "s", against="a walk by scandir", at_most=3
        ),
        Figure(f"{what}, memory a folder", grown, "B", 1024),
    ]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def burst(top: Path, state: Path, rate: int, seconds: int) -> list[Figure]:
    """Have *rate* new files a second come for *seconds*."""
    async with serving(top, state) as service:
        began = time.perf_counter()
        await _written(top, rate, seconds)
        took = time.perf_counter() - began
        await service.until_admitted(rate * seconds, 60)
        lost = rate * seconds - len(service.admitted)
        twice = sum(1 for times in service.admitted.values() if times > 1)
    what = f"{rate:,} new files a second for {seconds} s"
    written = f"written in {took:.1f} s"
    return [Figure(what, lost + twice, "lost or admitted twice", 0, detail=written)]


async def _written(top: Path, rate: int, seconds: float) -> None:
    """Have another process write files."""
    named = f"write {rate} {round(seconds * 1000)}"
    line = ourselves("arrivals", "--part", named, "--at", os.fspath(top))
    writer = await asyncio.create_subprocess_exec(*line, stdout=asyncio.subprocess.DEVNULL)
    if await writer.wait():
        message = "the files could not be written"
        raise RuntimeError(message)


async def write(top: Path, _state: Path, rate: int, milliseconds: int) -> list[Figure]:
    """Make the files of a burst, at an even pace."""
    began = time.perf_counter()
    for number in range(rate * milliseconds // 1000):
        if number % 100 == 0:
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))  # noqa: ASYNC251 - alone in its process
            (top / f"{number // 500:04}").mkdir(exist_ok=True)
        (top / f"{number // 500:04}" / f"{number:06}.jpg").write_bytes(b"photo")
    return []


async def latency(top: Path, state: Path, files: int) -> list[Figure]:
    """Measure from the moment a file has settled until it is admitted."""
    async with serving(top, state) as service:
        await _written(top, 10 * files, 0.1)
        await service.until_admitted(files, 30)
        changed = {path: path.lstat().st_ctime_ns / 1e9 for path in service.admitted}
        # Counted from its last change, so the way of its event to us is part of the time.
        late = [service.admitted_at[path] - at - SETTLE_SECONDS for path, at in changed.items()]
    p99 = statistics.quantiles(late, n=100)[98] * 1000
    what = f"from settled to admitted, p99 of {files:,} files at once"
    return [Figure(what, p99, "ms", 100)]


async def idle(top: Path, state: Path, folders: int, seconds: int) -> list[Figure]:
    """Measure what watching a quiet tree costs."""
    make_folders(top, folders)
    async with serving(top, state) as service:
        await service.reconcile()
        await asyncio.sleep(10)
        began = time.process_time()
        await asyncio.sleep(seconds)
        share = (time.process_time() - began) / seconds * 100
        (health,) = service.arrivals.health()
        assert health.state == "watching", health
    what = f"idle with {health.watches:,} folders watched, {seconds} s"
    return [Figure(what, share, "% CPU", 0.3)]


PARTS: dict[str, Callable[..., Coroutine[None, None, list[Figure]]]] = {
    "reconcile": reconcile,
    "admit": admit,
    "watches": watches,
    "burst": burst,
    "write": write,
    "latency": latency,
    "idle": idle,
}
ORDER = ("reconcile 200000 150", "watches 50000", "burst 5000 10", "latency 1000", "idle 50000 60")
MILLION = "reconcile 1000000 250"


def _in_a_process(part: str, top: Path, state: Path, *arguments: int) -> list[Figure]:
    """Run one part in a process of its own."""
    named = " ".join([part, *map(str, arguments)])
    line = ourselves(
        "arrivals", "--part", named, "--at", str(top), "--state", str(state), "--json"
    )  # fmt: skip
    done = subprocess.run(line, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    return list(figures.read(done.stdout.splitlines()))


def _of_part(named: str, top: Path, state: Path) -> list[Figure]:
    """Run one part here."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    name, *numbers = named.split()
    return asyncio.run(PARTS[name](top, state, *map(int, numbers)))


def _measured(named: str) -> list[Figure]:
    """Run one part on a tree of its own, which is removed whatever happens."""
    name, *numbers = named.split()
    # Where the rate of writing matters, the tree is in memory: a slow disk is not to be measured.
    fast = MEMORY if name in {"burst", "latency"} and os.access(MEMORY, os.W_OK) else None
    state = Path(tempfile.mkdtemp(prefix="taggerd-bench-state-"))
    top = Path(tempfile.mkdtemp(prefix="taggerd-bench-import-", dir=fast))
    try:
        return _in_a_process(name, top, state, *map(int, numbers))
    finally:
        shutil.rmtree(top)
        shutil.rmtree(state)


def main() -> int:
    """Print the table; exit 1 where a target is missed."""
    parser = figures.parser_of("arrivals", __doc__)
    parser.add_argument("--million", action="store_true", help="also 1,000,000 files: minutes")
    parser.add_argument(
        "--only", action="append", choices=[part.split()[0] for part in ORDER], help="one part"
    )
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        return figures.say(_of_part(options.part, options.at, options.state), options)
    chosen = [part for part in ORDER if part.split()[0] in (options.only or part)]
    parts = [*chosen, *([MILLION] if options.million else [])]
    return figures.say((figure for part in parts for figure in _measured(part)), options)


if __name__ == "__main__":
    sys.exit(main())
