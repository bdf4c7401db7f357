# ruff: noqa: S101 - what a part takes for granted is asserted
"""What the queue costs: `scripts/bench ledger` prints one Markdown table.

Every part runs in a process of its own, so that its memory is its own. The ledger of a million
photos is filled in bulk; how much longer one becomes by real work shows in the bytes a photo after
some thousand lifecycles. Its files are there, empty, so that the daemon has them all to look at.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import figures
from benchmarks.figures import Figure
from benchmarks.program import ourselves
from taggerd.ledger import Finished, Outgoing, SqliteLedger
from taggerd.ledger.opening import open_database
from taggerd.ledger.rows import answer_json, folder_bytes, sidecars_json
from taggerd.photo import Answer, Keyword, PhotoFile, Sidecar, Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from taggerd.ledger import Claim

MILLION = 1_000_000
FILES_PER_FOLDER = 500
ROLES = ("caption", "keywords", "description")
VARIETY = 5000
"""So many photos' answers are made for the large ledger, and come again."""
ROWS = (
    "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL)",
    "INSERT INTO contents VALUES (?, ?)",
    """INSERT INTO photos
    (id, folder, stem, state, since, queued_at, content, sidecars, recorded, sidecars_written)
    VALUES (?, ?, ?, 'recorded', ?, ?, ?, ?, 1, 1)""",
)
SAID_ROWS = "INSERT INTO answers VALUES (?, ?, ?, ?, ?)"
AT_ONCE = 8
"""Photos in flight at the same time, as in the daemon's default settings."""

SAID = tuple(
    tuple(" ".join(part.split()) for part in said.split("|"))
    for said in (
        """
        Two fishermen mend nets beside a rusted trawler in a harbour
        | fishermen nets trawler harbour quay gulls rope overcast repair work coast orange
        | Two fishermen in oilskin overalls sit on upturned crates and mend a tangle of
        orange nets beside a rusted trawler moored at a stone quay. Gulls circle above the
        wheelhouse and coils of rope lie on wet cobbles. The light is flat and grey, with
        low cloud hiding the hills across the inlet, and a single lamp glows in the doorway
        of the ice house.
        """,
        """
        A toddler in a yellow raincoat jumps over a muddy puddle
        | toddler raincoat puddle jumping boots splash child rain lane play yellow autumn
        | A toddler wearing a bright yellow raincoat and red rubber boots leaps over a muddy
        puddle on a gravel lane. Water splashes around the boots and drops hang in the air.
        Behind the child a hedge and a parked van are blurred, and an adult with a folded
        umbrella watches from the gate. Overcast light leaves soft shadows on the wet ground
        all around.
        """,
        """
        Snow-capped peaks mirrored in a still alpine lake at dawn
        | mountains lake reflection dawn snow larch mist boathouse canoe alpine peaks calm
        | A row of jagged, snow-capped peaks is mirrored in a still alpine lake just after
        dawn. Larch trees turn yellow along the far bank, and a thin band of mist lies over
        the water near a wooden boathouse. The first sunlight touches only the highest
        summits, while the foreground with its pebbles and a single canoe remains in cool
        blue shade.
        """,
    )
)
"""Caption of some 60 characters, twelve keywords, description of some 350."""


def answers(chance: random.Random) -> Iterator[Answer]:
    """Say what a model would of one photo: the texts are of three kinds, the numbers are all new.

    Nothing is shared between photos in storage, so that texts that come again make nothing shorter.
    """
    caption, words, description = chance.choice(SAID)
    scored = {word: round(chance.uniform(0.5, 1), 2) for word in words.split()}
    keywords = tuple(Keyword(*pair) for pair in scored.items())
    raw = json.dumps({"keywords": scored})
    for role, text, listed in (
        ("caption", caption, ()),
        ("keywords", "", keywords),
        ("description", description, ()),
    ):
        yield Answer(
            role=role,
            question=f"{role:0>32}",
            text=text,
            keywords=listed,
            raw=text or raw,
            model="qwen2.5vl:7b",
            prompt_tokens=chance.randint(900, 1400),
            completion_tokens=chance.randint(12, 120),
            seconds=chance.uniform(0.3, 4),
        )


def photos(top: Path, count: int) -> Iterator[PhotoFile]:
    """Name *count* photos that are not there, with stamps like those of a disk."""
    chance = random.Random(1)  # noqa: S311 - not a secret
    for number in range(count):
        yield PhotoFile(
            _path(top, number),
            Stamp(
                chance.randint(3_000_000, 12_000_000),
                1_700_000_000_000_000_000 + chance.randrange(10**17),
                20_000_000 + number,
                66306,
            ),
        )


def _path(top: Path, number: int) -> Path:
    folder = number // FILES_PER_FOLDER
    return top / f"{folder // 100:03}" / f"{folder % 100:03}" / f"IMG_{number % 10_000:04}.JPG"


def record(claim: Claim, number: int) -> Outgoing:
    """Return a journal line of the usual length."""
    return Outgoing(
        f"{claim.id}-{number}", "2025-06-30", json.dumps({"id": claim.id, "x": "x" * 1500})
    )


# The parts. Each is given an empty folder.


async def admission(top: Path, count: int) -> list[Figure]:
    """Admit new photos, a thousand at a time as a reconcile does."""
    ledger = await SqliteLedger.open(top / "state")
    files = list(photos(Path("/srv/import"), count))
    began = time.perf_counter()
    admitted = await ledger.admit(files)
    seconds = time.perf_counter() - began
    assert admitted.new == count
    await ledger.close()
    return [Figure(f"admit {count:,} photos", seconds, "s", 15)]


async def lifecycles(top: Path, count: int) -> list[Figure]:
    """Take photos their whole way, with three answers, a sidecar and a delivered record each."""
    ledger = await SqliteLedger.open(top / "state")
    root = Path("/srv/import")
    chance = random.Random(2)  # noqa: S311 - not a secret
    await ledger.admit(photos(root, count))
    said = [list(answers(chance)) for _ in range(count)]

    async def whole_attempt(claim: Claim) -> None:
        digest = chance.randbytes(32).hex()
        assert not await ledger.decoded(claim, digest)
        for answer in said.pop():
            await ledger.checkpoint(claim, digest, answer)
        path = claim.photo.primary.path.with_suffix(".xmp")
        written = Sidecar(path=path, written=True, digest=chance.randbytes(32).hex())
        await ledger.written(claim, digest, [written])
        await ledger.end(claim, Finished(digest, record(claim, 0)))

    async def worker() -> None:
        while got := await ledger.claim(1, within=[root], run="bench", now=time.time()):
            await whole_attempt(got[0])

    began = time.perf_counter()
    working = asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    while not working.done():
        await asyncio.wait([working], timeout=0.25)
        await ledger.delivered([line.id for line in await ledger.outbox(500)])
    await working
    rate = count / (time.perf_counter() - began)
    assert (await ledger.counts()).recorded == count
    await ledger.close()
    size = _used_bytes(top) / count
    what = f"photo lifecycles a second, {AT_ONCE} at once, without imaging and backend"
    return [
        Figure(what, rate, at_least=300),
        Figure(f"ledger, a photo after {count:,} lifecycles", size, "B", 2000),
    ]


def _used_bytes(top: Path) -> int:
    """Return the ledger's length without the pages that lines of the journal have left free."""
    with closing(sqlite3.connect(top / "state" / "ledger.sqlite")) as ledger:
        pragmas = ("page_count", "freelist_count", "page_size")
        pages, free, page = (ledger.execute(f"PRAGMA {p}").fetchone()[0] for p in pragmas)
        return int((pages - free) * page)


async def make(top: Path, count: int) -> list[Figure]:
    """Make a tree of *count* empty photos and the ledger in which they all are tagged."""
    (top / "state").mkdir(mode=0o700)
    path = top / "state" / "ledger.sqlite"
    open_database(path, time.time()).database.close()
    chance = random.Random(3)  # noqa: S311 - not a secret
    said = [list(_answer_rows(answers(chance))) for _ in range(VARIETY)]
    with closing(sqlite3.connect(path)) as ledger:
        for first in range(0, count, FILES_PER_FOLDER):
            folder = _path(top / "import", first).parent
            folder.mkdir(parents=True)
            number = first // FILES_PER_FOLDER + 1
            ledger.execute("INSERT INTO folders VALUES (?, ?)", [number, folder_bytes(folder)])
            last = min(first + FILES_PER_FOLDER, count)
            rows = [_rows(top, n, number, chance) for n in range(first, last)]
            for statement, of_table in zip(ROWS, zip(*rows, strict=True), strict=True):
                ledger.executemany(statement, of_table)
            held = ((n + 1, *row) for n in range(first, last) for row in chance.choice(said))
            ledger.executemany(SAID_ROWS, held)
        ledger.commit()
    return []


def _answer_rows(said: Iterable[Answer]) -> Iterator[tuple[object, ...]]:
    """Give answers as rows without their content's number, each a second after the one before."""
    for second, answer in enumerate(said):
        yield answer.role, answer.question, time.time() + second, answer_json(answer)


def _rows(
    top: Path, number: int, folder: int, chance: random.Random
) -> tuple[tuple[object, ...], ...]:
    """Return the rows of one tagged photo: of files, contents, photos."""
    file = _made(_path(top / "import", number))
    stem, photo, now = os.fsencode(file.path.stem), number + 1, 1.75e9 + number / 7
    beside = file.path.with_suffix(".xmp")
    sidecars = sidecars_json(beside.parent, {beside: chance.randbytes(32).hex()})
    return (
        (folder, stem, b".JPG", *file.stamp, photo),
        (photo, chance.randbytes(32)),
        (photo, folder, stem, now + 60, now, photo, sidecars),
    )


def _made(path: Path) -> PhotoFile:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    return PhotoFile(path, Stamp.of(path.lstat()))


async def start(top: Path, count: int) -> list[Figure]:
    """Open the ledger of so many photos: after an orderly end, and after a kill."""
    size = (top / "state" / "ledger.sqlite").stat().st_size / 1e6
    orderly = await _opened_seconds(top)
    killed = subprocess.Popen(  # noqa: ASYNC220, S603 - ourselves, alone in its process
        ourselves("ledger", "--part", "be killed 0", "--at", str(top)), stdout=subprocess.PIPE
    )
    assert killed.stdout is not None
    await asyncio.to_thread(killed.stdout.readline)
    killed.kill()
    killed.wait()
    assert (top / "state" / "ledger.sqlite-wal").stat().st_size
    after_a_kill = await _opened_seconds(top)
    what = f"ledger of {count:,} tagged photos"
    return [
        Figure(what, size, "MB", 2000),
        Figure(f"{what}, start", orderly, "s", 3),
        Figure(f"{what}, start after a kill", after_a_kill, "s", 3),
    ]


async def _opened_seconds(top: Path) -> float:
    began = time.perf_counter()
    ledger = await SqliteLedger.open(top / "state")
    await ledger.claim(1, within=[top / "import"], run="x", now=time.time())
    seconds = time.perf_counter() - began
    assert ledger.notices == ()
    await ledger.close()
    return seconds


async def be_killed(top: Path, _count: int) -> list[Figure]:
    """Write a little and wait for the end."""
    ledger = await SqliteLedger.open(top / "state")
    await ledger.note("bench", time.time())
    print("ready", flush=True)  # noqa: T201 - what it is for
    await asyncio.Event().wait()
    return []


async def daemon(top: Path, count: int) -> list[Figure]:
    """Run the real daemon on the tree and the ledger, until it has looked at every file."""
    environment = {
        **os.environ,
        "TAGGERD_RUNTIME_DIRECTORY": os.fspath(top / "runtime"),
        "TAGGERD__STATE_DIRECTORY": os.fspath(top / "state"),
        "TAGGERD__ARRIVALS__ROOTS": json.dumps([os.fspath(top / "import")]),
        "TAGGERD__BACKEND__BASE_URL": "builtin:",
    }
    line = [sys.executable, "-m", "taggerd", "run"]
    with (top / "log").open("wb") as log:
        running = subprocess.Popen(line, env=environment, stderr=log, cwd=top)  # noqa: ASYNC220, S603 - ourselves, alone in its process
    try:
        _wait(lambda: _daemon_state(top) == "watching", 300)
        _wait(lambda: _is_idle(running.pid), 600)
        peak = _memory_mib(running.pid, "VmHWM")
        now = _memory_mib(running.pid, "VmRSS")
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait()
    with closing(sqlite3.connect(top / "state" / "ledger.sqlite")) as ledger:
        known = ledger.execute("SELECT count(*) FROM photos WHERE state = 'recorded'").fetchone()
    assert known == (count,), (top / "log").read_text()
    what = f"memory of the daemon with {count:,} known photos, all looked at"
    return [
        Figure(f"{what}, at rest", now, "MiB", 200),
        Figure(f"{what}, peak", peak, "MiB", 200),
    ]


def _daemon_state(top: Path) -> str:
    try:
        (published,) = (top / "runtime").glob("*.status.json")
        return str(json.loads(published.read_text())["roots"][0]["state"])
    except (OSError, ValueError, IndexError):
        return ""


def _is_idle(pid: int) -> bool:
    """Say whether a process does next to nothing for a while, i.e. has looked at all files."""
    before = _cpu_ticks(pid)
    time.sleep(5)
    return _cpu_ticks(pid) - before < 0.05 * 5 * os.sysconf("SC_CLK_TCK")


def _cpu_ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def _wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.5)


def _memory_mib(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    message = f"no {what} of {pid}"
    raise ValueError(message)


PARTS = {
    "admission": admission,
    "lifecycles": lifecycles,
    "make": make,
    "start": start,
    "be killed": be_killed,
    "daemon": daemon,
}
ORDER = ("admission 100000", "lifecycles 5000")
LARGE = ("make", "start", "daemon")


def _in_a_process(named: str, top: Path) -> list[Figure]:
    """Run one part in a process of its own."""
    line = ourselves("ledger", "--part", named, "--at", os.fspath(top), "--json")
    done = subprocess.run(line, check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603 - ourselves
    return list(figures.read(done.stdout.splitlines()))


def _measured(parts: tuple[str, ...]) -> Iterator[Figure]:
    """Run parts one after the other in one folder, which is removed whatever happens."""
    top = Path(tempfile.mkdtemp(prefix="taggerd-bench-ledger-"))
    try:
        for part in parts:
            yield from _in_a_process(part, top)
    finally:
        shutil.rmtree(top)


def main() -> int:
    """Print the table; exit 1 where a target is missed."""
    parser = figures.parser_of("ledger", __doc__)
    parser.add_argument("--photos", type=int, default=MILLION, help="in the large ledger")
    parser.add_argument("--small", action="store_true", help="without the large ledger")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, _, count = options.part.rpartition(" ")
        return figures.say(asyncio.run(PARTS[name](options.at, int(count))), options)
    large = tuple(f"{part} {options.photos}" for part in LARGE)
    rounds = [*((part,) for part in ORDER), *([] if options.small else [large])]
    return figures.say((figure for parts in rounds for figure in _measured(parts)), options)


if __name__ == "__main__":
    sys.exit(main())
