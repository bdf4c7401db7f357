# ruff: noqa: S101 - what a part takes for granted is asserted
"""What the shared queue costs: the ledger's own work on PostgreSQL, with the server beside it."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from support.postgres import PostgresServer, name_in

from benchmarks.figures import Figure
from benchmarks.ledger import AT_ONCE, answers, photos
from taggerd import __version__
from taggerd.attempt import outgoing, text_of
from taggerd.journal import Record
from taggerd.ledger import Finished
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.photo import Sidecar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from taggerd.ledger import Claim, Outgoing
    from taggerd.photo import Answer

ROOT = Path("/srv/import")
CLAIMS = 200
BACKEND = "http://gpu.example.org:8000/v1"
PROFILE = "9f86d081884c7d659a2feaa0c55ad015"
FILLED = """
ALTER TABLE taggerd.photos DISABLE TRIGGER USER;
ALTER TABLE taggerd.procrastinate_jobs DISABLE TRIGGER USER;
INSERT INTO taggerd.folders (path)
SELECT convert_to('/srv/' || (n % 2) || '/' || n || '/', 'UTF8')
FROM generate_series(1, {folders}) n;
INSERT INTO taggerd.photos (folder, stem, state, since, queued_at, run, queue, job)
SELECT 1 + n / 500, convert_to('IMG_' || n % 500, 'UTF8'), 'queued', 1.7e9, 1.7e9 + n / 7.0,
    CASE WHEN n % 2 = 0 THEN 'scan' END, 'photos', n + 1
FROM generate_series(0, {photos} - 1) n;
INSERT INTO taggerd.procrastinate_jobs
    (queue_name, task_name, priority, lock, queueing_lock, args)
SELECT queue, 'tag', taggerd.job_priority(queued_at), taggerd.job_lock(folder, stem),
    'photo:' || id, jsonb_build_object('photo', id)
FROM taggerd.photos ORDER BY id;
INSERT INTO taggerd.procrastinate_events (job_id, type)
SELECT id, 'deferred' FROM taggerd.procrastinate_jobs;
INSERT INTO taggerd.files (folder, photo, size, mtime_ns, inode, device, stem, suffix)
SELECT folder, id, 5000000, 1700000000000000000, id, 66306, stem, '.JPG' FROM taggerd.photos;
ALTER TABLE taggerd.photos ENABLE TRIGGER USER;
ALTER TABLE taggerd.procrastinate_jobs ENABLE TRIGGER USER
"""
"""A long queue, as the triggers would make it row by row. Every second photo is a scan's."""


@contextmanager
def _server() -> Iterator[PostgresServer]:
    server = PostgresServer(durable=True)
    try:
        yield server
    finally:
        server.close()


def costs(photos_admitted: int, lifecycles: int) -> Iterator[Figure]:
    """Measure admission, whole lives of photos, and what stays of them."""
    with _server() as server:
        yield asyncio.run(_admission(server, photos_admitted))
        yield from asyncio.run(_lifecycles(server, lifecycles))


async def _admission(server: PostgresServer, count: int) -> Figure:
    ledger = await PostgresLedger.open(server.prepared(opening.init))
    files = list(photos(ROOT, count))
    began = time.perf_counter()
    admitted = await ledger.admit(files)
    seconds = time.perf_counter() - began
    assert admitted.new == count
    await ledger.close()
    return Figure(f"admit {count:,} photos to PostgreSQL", seconds, "s", 30)


async def _lifecycles(server: PostgresServer, count: int) -> list[Figure]:
    """Take photos their whole way, as the embedded ledger's benchmark does."""
    url = server.prepared(opening.init)
    empty = _size(server, url, count)
    ledger = await PostgresLedger.open(url)
    chance = random.Random(2)  # noqa: S311 - not a secret
    await ledger.admit(photos(ROOT, count))

    async def whole_attempt(claim: Claim) -> None:
        digest = chance.randbytes(32).hex()
        assert not await ledger.decoded(claim, digest)
        said = [
            replace(each, backend=BACKEND, profile="default", profile_digest=PROFILE)
            for each in answers(chance)
        ]
        for answer in said:
            await ledger.checkpoint(claim, digest, answer)
        assert await ledger.holds(claim)
        path = claim.photo.primary.path.with_suffix(".xmp")
        written = Sidecar(path=path, written=True, digest=chance.randbytes(32).hex())
        await ledger.written(claim, digest, [written])
        await ledger.end(claim, Finished(digest, _record(claim, digest, said, chance)))

    async def worker() -> None:
        while got := await ledger.claim(1, within=[ROOT], run="bench", now=time.time()):
            await whole_attempt(got[0])

    began = time.perf_counter()
    working = asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    while not working.done():
        await asyncio.wait([working], timeout=0.25)
        await ledger.delivered([line.id for line in await ledger.outbox(500)])
    await working
    rate = count / (time.perf_counter() - began)
    while lines := await ledger.outbox(500):
        await ledger.delivered([line.id for line in lines])
    assert (await ledger.counts()).recorded == count
    await ledger.close()
    what = f"photo lifecycles a second on PostgreSQL, {AT_ONCE} at once"
    return [
        Figure(what, rate, at_least=150),
        Figure(
            f"PostgreSQL, a photo after {count:,} lifecycles",
            _size(server, url, count) - empty,
            "B",
            3000,
        ),
    ]


def _record(claim: Claim, digest: str, said: Sequence[Answer], chance: random.Random) -> Outgoing:
    """Return the record that the pipeline would make: no two have the same numbers."""
    caption, words, description = said
    image = claim.photo.primary.path
    began = datetime.fromtimestamp(1.75e9 + 2 * claim.id + chance.random(), UTC)
    roles = [answer.role for answer in said]
    record = Record(
        id=f"{claim.id}-{began:%Y%m%dT%H%M%S.%f}",
        image=image,
        digest=digest,
        files=(str(image),),
        keywords=words.keywords,
        caption=caption.text,
        description=description.text,
        roles={answer.role: text_of(answer) for answer in said},
        models={answer.role: answer.model for answer in said},
        inherited_from="",
        backend=BACKEND,
        prompt_profile="default",
        prompt_profile_digest=PROFILE,
        metadata_written=True,
        sidecars=(str(image.with_suffix(".xmp")),),
        embedded=(),
        notes=(),
        error="",
        error_kind="",
        attempts=1,
        started_at=began,
        finished_at=began + timedelta(seconds=chance.uniform(2, 9)),
        duration_seconds=chance.uniform(2, 9),
        stages={stage: chance.uniform(0.01, 3) for stage in ("decode", *roles, "metadata")},
        usage={
            "requests": len(said),
            "prompt_tokens": sum(answer.prompt_tokens for answer in said),
            "completion_tokens": sum(answer.completion_tokens for answer in said),
        },
        dry_run=False,
        no_meta=False,
        held=False,
        run=f"run-{chance.randbytes(6).hex()}",
        version=__version__,
        raw={},
    )
    return outgoing(record)


def _size(server: PostgresServer, url: str, count: int) -> float:
    """Return bytes a photo of all tables and indexes, once dead rows are cleared away."""
    server.execute("VACUUM FULL", database=name_in(url))
    ((size,),) = server.execute(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'taggerd'::regnamespace",
        database=name_in(url),
    )
    assert isinstance(size, int)
    return size / count


def claims(count: int) -> Iterator[Figure]:
    """Claim single photos of a long queue: from all of it, one folder at its end, a scan's."""
    with _server() as server:
        url = server.prepared(opening.init)
        for statement in FILLED.format(photos=count, folders=count // 500).split(";\n"):
            server.execute(statement, database=name_in(url))
        server.execute("VACUUM ANALYZE", database=name_in(url))
        size = _size(server, url, count)
        yield Figure(f"PostgreSQL, a photo of {count:,} that wait", size, "B", 3000)
        yield from asyncio.run(_claimed(url, count))


async def _claimed(url: str, count: int) -> list[Figure]:
    ledger = await PostgresLedger.open(url)
    found: list[Figure] = []
    for what, within, run in (
        ("all folders", [Path("/srv/0"), Path("/srv/1")], "bench"),
        ("one folder of the oldest photos", [Path("/srv/1/1")], "bench"),
        ("what a scan asked for", None, "scan"),
    ):
        seconds: list[float] = []
        waits: list[float] = []
        for _ in range(CLAIMS):
            began = time.perf_counter()
            await ledger._on_disk()  # noqa: SLF001 - the wait alone
            waits.append(time.perf_counter() - began)
            began = time.perf_counter()
            (claim,) = await ledger.claim(1, within=within, run=run, now=time.time(), slow=False)
            seconds.append(time.perf_counter() - began)
            await ledger.end(
                claim, Finished(claim.photo.primary.path.name.encode().hex().zfill(64))
            )
        middle, most = _middle_and_most(seconds)
        disk = [f"{1000 * each:.1f} ms, a commit of nothing" for each in _middle_and_most(waits)]
        named = f"a claim among {count:,} photos that wait, {what}"
        found += [
            Figure(named, 1000 * middle, "ms", 5, against=disk[0]),
            Figure(f"{named}, of 95 in 100 at most", 1000 * most, "ms", 5, against=disk[1]),
        ]
    await ledger.close()
    return found


def _middle_and_most(seconds: Sequence[float]) -> tuple[float, float]:
    """Return the median, and what 95 in 100 do not exceed."""
    return statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
