"""The shared queue is procrastinate's: its tables say of every photo what the ledger does."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import procrastinate
import pytest
from procrastinate import sql
from procrastinate.jobs import Status
from support.ledger import DIGEST, PostgresState, file, names
from support.postgres import name_in

from taggerd.ledger import Deferred, Failed, Finished, Outgoing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from procrastinate.manager import JobManager
    from support.postgres import PostgresServer

    from taggerd.ledger import Claim
    from taggerd.ledger.postgres.ledger import PostgresLedger

OWNERS = 4
PHOTOS = 120


@pytest.fixture
async def state(postgres_server: PostgresServer) -> AsyncIterator[PostgresState]:
    """A database of its own; whoever is still there at the end is closed."""
    made = PostgresState(postgres_server)
    yield made
    for ledger in made.opened:
        await ledger.close()
    made.close()


@pytest.fixture
async def ledger(state: PostgresState) -> PostgresLedger:
    """An open ledger, the oldest photo first."""
    return await state.open()


@contextmanager
def procrastinates(state: PostgresState) -> Iterator[JobManager]:
    """Look at the database as procrastinate's own commands do."""
    connector = procrastinate.SyncPsycopgConnector(
        conninfo=state.url, kwargs={"options": "-c search_path=taggerd"}
    )
    with procrastinate.App(connector=connector).open() as app:
        yield app.job_manager


def jobs(state: PostgresState) -> dict[int, str]:
    """Return the status of the job of each photo."""
    with procrastinates(state) as manager:
        found = [(int(str(j.task_kwargs["photo"])), str(j.status)) for j in manager.list_jobs()]
    assert len(dict(found)) == len(found), "a photo has one job"
    return dict(found)


def ask(state: PostgresState, statement: str) -> list[tuple[object, ...]]:
    """Execute a statement in the ledger's database."""
    return state._server.execute(statement, database=name_in(state.url))


def be_silent(state: PostgresState, ledger: PostgresLedger) -> None:
    """Let the last sign of life of an owner be an hour old."""
    ledger._presence._last = -1e9
    ask(
        state,
        "UPDATE taggerd.procrastinate_workers SET last_heartbeat = now() - interval '1 hour' "  # noqa: S608 - ours
        f"FROM taggerd.owners WHERE id = worker AND owner = '{ledger._me}'",
    )


async def test_a_job_follows_its_photo(ledger: PostgresLedger, state: PostgresState) -> None:
    """It waits, is done by a worker that lives, waits until a time, failed, and goes at the end."""
    await ledger.admit([file()])
    with procrastinates(state) as manager:
        (job,) = manager.list_jobs()
        assert (job.task_name, job.queue, job.queueing_lock) == ("tag", "photos", "photo:1")
        assert job.status == Status.TODO.value
        claim = await state.claim_one(ledger)
        (job,) = manager.list_jobs()
        ((worker,),) = ask(state, "SELECT worker FROM taggerd.owners")
        assert (job.status, job.worker_id) == (Status.DOING.value, worker)
        await ledger.end(claim, Deferred("away", state.now + 60))
        (job,) = manager.list_jobs()
        assert job.status == Status.TODO.value
        assert job.scheduled_at is not None
        assert job.scheduled_at.timestamp() == state.now + 60
        state.now += 61
        await ledger.end(await state.claim_one(ledger), Failed("no picture", final=True))
        (job,) = manager.list_jobs()
        assert (job.status, job.worker_id) == (Status.FAILED.value, None)
        await ledger.retry(None)
        (job,) = manager.list_jobs()
        assert (job.status, job.scheduled_at) == (Status.TODO.value, None)
        await state.tag(ledger, await state.claim_one(ledger))
        assert list(manager.list_jobs()) == []
        await ledger.admit([file()], again=True)
        assert len(list(manager.list_jobs())) == 1
        await state.forget(ledger, file().path)
        assert list(manager.list_jobs()) == []


@pytest.mark.parametrize(("order", "first"), [("newest", "2"), ("oldest", "1")])
async def test_procrastinate_has_the_order_of_the_queue(
    state: PostgresState, order: Literal["newest", "oldest"], first: str
) -> None:
    """The photo that a claim takes first has the highest priority, also once it was put back."""
    ledger = await state.open(order=order)
    for name in ("a.jpg", "b.jpg"):
        await ledger.admit([file(name)])
        state.now += 10
    (claim,) = await state.claim(ledger, 1)
    assert str(claim.id) == first
    await ledger.end(claim, Deferred("away"))
    rows = ask(state, "SELECT args->>'photo' FROM taggerd.procrastinate_fetch_job_v2(NULL, NULL)")
    assert rows == [(first,)]


async def test_photos_of_one_sidecar_are_worked_on_one_after_the_other(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Neither one program nor two claim them at once, in whatever order."""
    await ledger.admit([file("IMG_1.JPG"), file("IMG_1.PNG"), file("IMG_2.JPG")])
    other = await state.open()
    claims = await state.claim(ledger) + await state.claim(other)
    assert sorted(name for claim in claims for name in names(claim)) == ["IMG_1.JPG", "IMG_2.JPG"]
    await state.tag(ledger, claims[0])
    assert names(await state.claim_one(other)) == ["IMG_1.PNG"]


async def test_two_programs_that_claim_at_once_share_no_sidecar(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Whoever comes second in the same moment passes over it, and nothing fails."""
    pairs = [f"IMG_{number}.{kind}" for number in range(20) for kind in ("JPG", "PNG")]
    await ledger.admit([file(name) for name in pairs])
    owners = [ledger, await state.open(order="newest"), await state.open()]
    found = await asyncio.gather(*(state.claim(owner, 40) for owner in owners))
    stems = Counter(claim.photo.primary.path.stem for claims in found for claim in claims)
    assert set(stems.values()) == {1}
    assert max(Counter(dict(jobs(state)).values())["doing"], 1) == stems.total()


async def test_what_is_done_with_procrastinate_is_done_to_the_photo(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """A job that is cancelled is a photo given up; one that is retried waits again."""
    await ledger.admit([file()])
    with procrastinates(state) as manager:
        (job,) = manager.list_jobs()
        assert job.id is not None
        assert manager.cancel_job_by_id(job.id)
        (given_up,) = await ledger.quarantined(9)
        assert "procrastinate" in given_up.reason
        (job,) = manager.list_jobs()
        assert job.id is not None
        manager.retry_job_by_id(job.id, retry_at=datetime.now(UTC))
    assert (await ledger.counts()).queued == 1
    await state.tag(ledger, await state.claim_one(ledger))
    assert (await ledger.counts()).recorded == 1


async def test_a_photo_that_is_put_back_for_weeks_leaves_no_trail(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Events of its job are those of its last attempt."""
    await ledger.admit([file()])
    for _ in range(20):
        await ledger.end(await state.claim_one(ledger), Deferred("away"))
    ((events,),) = ask(state, "SELECT count(*) FROM taggerd.procrastinate_events")
    assert isinstance(events, int)
    assert events <= 4


async def test_a_program_that_is_silent_loses_its_claims_and_knows(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Another gets them; the first may write nothing, and works on as a new one."""
    await ledger.admit([file()])
    other = await state.open()
    lost = await state.claim_one(ledger)
    be_silent(state, ledger)
    assert await other.recover() == 1
    assert not await ledger.holds(lost)
    claim = await state.claim_one(ledger)
    assert await ledger.holds(claim)
    assert not await ledger.end(lost, Finished(DIGEST))
    assert await other.recover() == 0
    assert await ledger.end(claim, Finished(DIGEST))


async def test_a_program_that_slept_knows_it_before_it_pays(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Its claims are lost once another has them; while it gives signs of life nobody is asked."""
    await ledger.admit([file(), file("b.jpg")])
    other = await state.open()
    claims = await state.claim(ledger, 2)
    be_silent(state, ledger)
    assert [await ledger.lost(claim) for claim in claims] == [False, False]
    assert await other.recover() == 0
    be_silent(state, ledger)
    assert await other.recover() == 2
    assert [await ledger.lost(claim) for claim in claims] == [True, True]
    claim, *_ = await state.claim(ledger, 2)
    await ledger._fall_silent()
    ledger._database.close()
    assert not await ledger.lost(claim)
    assert await ledger.lost(claims[0])
    assert ledger._database._connection is None, "it asked"
    assert await ledger.end(claim, Finished(DIGEST))
    assert await ledger.lost(claim)


async def test_asking_for_a_claim_is_a_sign_of_life(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Whoever may write keeps the photo while it does, however long it said nothing."""
    await ledger.admit([file()])
    other = await state.open()
    claim = await state.claim_one(ledger)
    be_silent(state, ledger)
    assert await ledger.holds(claim)
    assert await other.recover() == 0
    assert await ledger.end(claim, Finished(DIGEST))


async def test_workers_that_procrastinate_removes_lose_their_claims(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Its own workers prune those that are silent, and know nothing of photos."""
    await ledger.admit([file()])
    other = await state.open()
    await state.claim_one(ledger)
    be_silent(state, ledger)
    with procrastinates(state) as manager:
        stalled = manager.connector.get_sync_connector().execute_query_all(
            sql.queries["select_stalled_jobs_by_heartbeat"],
            queue=None,
            task_name=None,
            seconds_since_heartbeat=30,
        )
        assert len(stalled) == 1
    ask(state, "SELECT taggerd.procrastinate_prune_stalled_workers_v1(30)")
    assert await other.recover() == 1
    assert jobs(state) == {1: "todo"}


async def test_a_program_hears_of_photos_records_and_a_pause(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """Of what another did, at once and by its kind; and of nothing twice."""
    other = await state.open()
    while await other.changed(0.1):
        pass  # what its own beginning counts as
    for kind in ("photos", "outbox", "fleet"):
        await other.changed(0, kind)
    before = other.stamp()
    waiting = asyncio.create_task(other.changed(30, "photos"))
    await ledger.admit([file()])
    assert await waiting
    assert other.stamp() != before
    assert not await other.changed(0, "photos")
    claim = await state.claim_one(ledger)
    await ledger.end(claim, Finished(DIGEST, Outgoing("1", "2025-06-30", "{}")))
    assert await other.changed(30, "outbox")
    assert not await other.changed(0, "fleet")


async def test_whatever_programs_do_at_once_each_photo_ends_once(state: PostgresState) -> None:
    """They claim, put back, fail, fall silent and recover: each photo has one record."""
    owners = [await state.open(max_attempts=1000) for _ in range(OWNERS)]
    files = [
        file(f"IMG_{number // 2}.{'JPG' if number % 2 else 'PNG'}") for number in range(PHOTOS)
    ]
    await asyncio.gather(*(owner.admit(files) for owner in owners))
    ended: Counter[int] = Counter()
    chance = random.Random(7)  # noqa: S311 - no secret

    async def end(owner: PostgresLedger, claim: Claim) -> None:
        line = Outgoing(f"{claim.id}-{claim.token}", "2025-06-30", "{}")
        kind = chance.random()
        if kind < 0.2:
            await owner.end(claim, Deferred("away"))
        elif kind < 0.4:
            await owner.end(claim, Failed("no"))
        elif kind < 0.5:
            be_silent(state, owner)
            await owners[chance.randrange(OWNERS)].recover()
            here = await owner.end(claim, Finished(DIGEST, line))
            ended[claim.id] += here  # not before the end is awaited: others count meanwhile
        else:
            await owner.checkpoint(claim, DIGEST)
            await owner.written(claim, DIGEST, [])
            here = await owner.end(claim, Finished(DIGEST, line))
            ended[claim.id] += here  # not before the end is awaited: others count meanwhile

    async def work(owner: PostgresLedger) -> None:
        until = time.monotonic() + 300
        while sum(ended.values()) < PHOTOS:
            assert time.monotonic() < until
            claims = await state.claim(owner, 5)
            await asyncio.gather(*(end(owner, claim) for claim in claims))

    await asyncio.gather(*(work(owner) for owner in owners))
    assert set(ended.values()) == {1}
    assert len(ended) == PHOTOS
    lines = await owners[0].outbox(10 * PHOTOS)
    assert len(lines) == PHOTOS
    assert jobs(state) == {}
    assert (await owners[0].counts()).recorded == PHOTOS


async def test_photos_that_come_together_have_the_jobs_of_single_ones(
    ledger: PostgresLedger, state: PostgresState
) -> None:
    """A thousand photos and their jobs are made in one statement, one photo's by a trigger."""
    await ledger.admit([file("first.JPG")])
    await ledger.admit([file(f"IMG_{number}.JPG") for number in range(20)])
    found = ask(
        state,
        "SELECT photos.queue, queue_name, task_name, scheduled_at, status, worker_id, "
        "priority = taggerd.job_priority(queued_at), lock = taggerd.job_lock(folder, stem), "
        "queueing_lock = 'photo:' || photos.id, args = jsonb_build_object('photo', photos.id), "
        "(SELECT array_agg(type) FROM taggerd.procrastinate_events WHERE job_id = jobs.id), "
        "count(*) FROM taggerd.photos JOIN taggerd.procrastinate_jobs AS jobs ON jobs.id = job "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
    )
    ((*_, count),) = found
    assert count == 21
