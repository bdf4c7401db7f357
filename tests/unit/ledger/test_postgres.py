"""The ledger in PostgreSQL, beyond what every ledger does: schema, server, neighbours."""

from __future__ import annotations

import asyncio
import signal
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from support.ledger import DIGEST, ROOT, PostgresState, answer, file
from support.postgres import PostgresServer, name_in
from support.program import SECONDS

from taggerd.errors import LedgerAway, StartError, StorageError
from taggerd.ledger import Admitted, Counts, Deferred, Failed, Finished, LedgerReader
from taggerd.ledger.postgres import opening
from taggerd.ledger.postgres.database import storable
from taggerd.ledger.postgres.ledger import PostgresLedger
from taggerd.ledger.postgres.reading import read_shared
from taggerd.photo import PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from taggerd.ledger import Claim

SECRET = "s3cret-w0rd"  # noqa: S105 - nobody's


@pytest.fixture
async def state(postgres_server: PostgresServer) -> AsyncIterator[PostgresState]:
    """A database of its own; whoever is still there at the end is closed."""
    made = PostgresState(postgres_server)
    yield made
    for ledger in made.opened:
        await ledger.close()
    made.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    from support import postgres as support  # noqa: PLC0415 - shadowed otherwise

    if why := support.why_not():
        pytest.skip(why)
    server = PostgresServer()
    yield server
    server.close()


# ── The schema ───────────────────────────────────────────────────────────────────────────────────


def test_a_ledger_is_made_once(empty_database: str) -> None:
    """Whoever makes it again finds it made; it has then the version that we need."""
    assert opening.init(empty_database)
    assert not opening.init(empty_database)
    assert not opening.upgrade(empty_database)
    assert opening.check(empty_database) == opening.newest_version()


def test_several_hosts_may_make_it_at_once(empty_database: str) -> None:
    """One of them does; the others find it done."""
    with ThreadPoolExecutor(4) as hosts:
        made = list(hosts.map(opening.init, [empty_database] * 4))
    assert sorted(made) == [False, False, False, True]
    assert opening.check(empty_database) == opening.newest_version()


async def test_a_database_without_a_ledger_is_refused(empty_database: str) -> None:
    """The message says which command makes one; nothing is made by opening."""
    with pytest.raises(StartError, match="taggerd ledger init"):
        await PostgresLedger.open(empty_database)
    with pytest.raises(StartError, match="taggerd ledger init"):
        opening.upgrade(empty_database)
    with pytest.raises(StartError, match="taggerd ledger init"):
        opening.check(empty_database)


async def test_a_newer_ledger_is_refused(
    state: PostgresState, postgres_server: PostgresServer
) -> None:
    """By whoever opens, reads, makes or upgrades it."""
    postgres_server.execute(
        "INSERT INTO taggerd.schema_versions VALUES (9999, 'future')", database=name_in(state.url)
    )
    with pytest.raises(StartError, match=r"newer taggerd \(schema 9999"):
        await state.open()
    for refused in (opening.init, opening.check, opening.upgrade):
        with pytest.raises(StartError, match="newer taggerd"):
            refused(state.url)
    with pytest.raises(StartError, match="newer taggerd"):
        read_shared(state.url, LedgerReader.counts)


async def test_an_older_ledger_is_upgraded_on_request(
    state: PostgresState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by opening it: other hosts may still have the version from before."""
    ours = opening.steps()
    script = "CREATE TABLE taggerd.later (n integer);"
    later = (*ours, opening.Step(ours[-1].version + 1, "later", script))
    monkeypatch.setattr(opening, "steps", lambda: later)
    with pytest.raises(StartError, match="taggerd ledger upgrade"):
        await state.open()
    assert opening.upgrade(state.url)
    assert opening.check(state.url) == later[-1].version
    with psycopg.connect(state.url) as session:
        assert session.execute("SELECT count(*) FROM taggerd.later").fetchone() == (0,)


BEFORE_ROOTS = (
    "DROP TRIGGER folder_renamed ON taggerd.folders; DROP FUNCTION taggerd.folder_renamed; "
    "DROP TABLE taggerd.mounts, taggerd.roots; ALTER TABLE taggerd.files DROP COLUMN host; "
    "DELETE FROM taggerd.schema_versions WHERE version > 3"
)
"""Makes schema 3 of a newer one."""


async def test_several_hosts_upgrade_a_ledger_of_before(
    state: PostgresState, postgres_server: PostgresServer
) -> None:
    """One does, the others find it done; what it held is there, and works as in a new one."""
    ledger = await state.open()
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    await ledger.checkpoint(claim, DIGEST, answer())
    await ledger.close()
    postgres_server.execute(BEFORE_ROOTS, database=name_in(state.url))
    with pytest.raises(StartError, match=r"has schema 3, .* taggerd ledger upgrade"):
        await state.open()
    with ThreadPoolExecutor(4) as hosts:
        made = list(hosts.map(opening.upgrade, [state.url] * 4))
    assert sorted(made) == [False, False, False, True]
    again = await state.open()
    assert (await again.counts()).queued == 1
    assert len(await again.answers(DIGEST)) == 1
    assert (await again.admit([file()])).unchanged == 1
    claim = await state.claim_one(again)
    assert await again.end(claim, Finished(DIGEST))


async def test_an_upgrade_waits_for_no_reader_for_long(
    state: PostgresState, postgres_server: PostgresServer
) -> None:
    """Somebody holds a table: it gives up in seconds, names what to do, and has changed nothing."""
    postgres_server.execute(BEFORE_ROOTS, database=name_in(state.url))
    with psycopg.connect(state.url) as reader:
        reader.execute("SELECT count(*) FROM taggerd.files")
        began = time.monotonic()
        with pytest.raises(StorageError, match="the ledger is busy"):
            opening.upgrade(state.url)
        assert time.monotonic() - began < SECONDS / 2
    with pytest.raises(StartError, match="has schema 3"):
        opening.check(state.url)
    assert opening.upgrade(state.url)


def test_a_step_that_fails_changes_nothing(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are one transaction."""
    steps = (*opening.steps(), opening.Step(9000, "wrong", "CREATE TABLE taggerd.x (y nonsense);"))
    monkeypatch.setattr(opening, "steps", lambda: steps)
    with pytest.raises(StartError, match="nonsense"):
        opening.init(empty_database)
    with psycopg.connect(empty_database) as session:
        found = session.execute("SELECT to_regnamespace('taggerd')").fetchone()
    assert found == (None,)


# ── What is said of a server ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://taggerd:{SECRET}@127.0.0.1:1/taggerd",
        f"postgresql://taggerd:{SECRET}@127.0.0.1/taggerd?port=nonsense",
        f"postgresql://taggerd:{SECRET}@[/taggerd",
        f"postgresql://taggerd:{SECRET}@host.invalid/taggerd?connect_timeout=5",
        f"postgresql://taggerd@/none?host=/nonexistent&password={SECRET}",
        f"postgresql://taggerd@/none?host=/nonexistent&passwrd={SECRET}",
    ],
)
async def test_no_message_holds_the_password(url: str) -> None:
    """Neither the line that a person reads, nor the traceback that a log may keep."""
    with pytest.raises((StorageError, StartError)) as caught:
        await PostgresLedger.open(url)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    with pytest.raises((StorageError, StartError)) as caught:
        read_shared(url, LedgerReader.counts)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_a_server_that_is_away_passes(own_server: PostgresServer) -> None:
    """While it is away each call says so; once it is back they work, by themselves."""
    url = own_server.prepared(opening.init)
    ledger = await PostgresLedger.open(url)
    try:
        await ledger.admit([file()])
        own_server.stop(signal.SIGQUIT)
        for _ in range(2):
            with pytest.raises(LedgerAway, match="server"):
                await ledger.admit([file("IMG_2.JPG")])
            with pytest.raises(LedgerAway):
                await ledger.counts()
        own_server.start()
        async with asyncio.timeout(SECONDS):
            while True:  # a server that is away is asked once a second
                with suppress(LedgerAway):
                    await ledger.admit([file("IMG_2.JPG")])
                    break
                await asyncio.sleep(0.1)
        assert await ledger.counts() == Counts(queued=2)
    finally:
        await ledger.close()


async def test_a_connection_that_is_lost_is_made_again(
    state: PostgresState, postgres_server: PostgresServer
) -> None:
    """Nothing is lost between two transactions: nobody notices."""
    ledger = await state.open()
    await ledger.admit([file()])
    postgres_server.hang_up(state.url)
    assert await ledger.counts() == Counts(queued=1)
    postgres_server.hang_up(state.url)
    await ledger.admit([file("IMG_2.JPG")])
    assert len(await state.claim(ledger)) == 2


async def test_a_value_that_the_server_refuses_is_no_fault_of_its(state: PostgresState) -> None:
    """Whoever brought it pays: text that is none is kept as far as it can be."""
    ledger = await state.open()
    await ledger.admit([file()])
    claim = await state.claim_one(ledger)
    reason = "a NUL \0, half a pair \ud800, and a smile \U0001f600"
    await ledger.end(claim, Failed(reason, final=True))
    (given_up,) = await ledger.quarantined(10)
    assert given_up.reason == storable(reason)
    assert "\0" not in given_up.reason
    await ledger.note("key", {"a": reason})
    assert await ledger.recall("key") == {"a": reason}


# ── Neighbours ───────────────────────────────────────────────────────────────────────────────────


async def test_hosts_share_the_queue_without_waiting(state: PostgresState) -> None:
    """Each photo is claimed by one of four, whoever asks at the same moment.

    One may find fewer than there are, where others have been faster since it looked: it asks again.
    """
    hosts = [await state.open() for _ in range(4)]
    await hosts[0].admit(file(f"IMG_{n}.JPG") for n in range(200))

    async def take(host: PostgresLedger) -> list[Claim]:
        taken: list[Claim] = []
        while (await host.counts()).queued:
            taken += await state.claim(host, 5)
        return taken

    claims = [claim for taken in await asyncio.gather(*map(take, hosts)) for claim in taken]
    assert len(claims) == len({claim.id for claim in claims}) == 200


async def test_hosts_that_find_the_same_files_make_the_same_photos(state: PostgresState) -> None:
    """Two that walk one tree at once, in whatever order, queue each photo once."""
    hosts = [await state.open() for _ in range(3)]
    files = [
        file(f"IMG_{n}.{suffix}", folder=ROOT / str(n % 7))
        for n in range(60)
        for suffix in ("CR2", "JPG")
    ]
    orders = files, files[::-1], files[50:] + files[:50]
    admitted = await asyncio.gather(
        *(host.admit(order) for host, order in zip(hosts, orders, strict=True))
    )
    assert sum(each.new for each in admitted) == len(files)
    assert await hosts[0].counts() == Counts(queued=60)
    claims = await state.claim(hosts[0], 100)
    assert sorted(len(claim.photo.files) for claim in claims) == [2] * 60


async def test_a_host_that_is_silent_loses_its_claims(
    state: PostgresState, postgres_server: PostgresServer
) -> None:
    """Half a minute by the database's clock; whatever it then does has no effect."""
    silent, other = await state.open(), await state.open()
    await silent.admit([file()])
    claim = await state.claim_one(silent)
    assert await other.recover() == 0
    await silent._fall_silent()
    postgres_server.execute(
        "UPDATE taggerd.procrastinate_workers SET last_heartbeat = now() - interval '31 seconds'",
        database=name_in(state.url),
    )
    await other.beat()
    assert await other.recover() == 1
    assert not await silent.holds(claim)
    again = await state.claim_one(other)
    assert not await silent.end(claim, Finished(DIGEST))
    await silent.written(claim, DIGEST, [])
    await silent.checkpoint(claim, DIGEST, answer())  # it is paid for
    assert await other.holds(again)
    assert len(await other.answers(DIGEST)) == 1
    assert await other.end(again, Finished(DIGEST))


async def test_clocks_apart_move_no_photo(postgres_server: PostgresServer) -> None:
    """A photo deferred for a minute by a host ten minutes ahead is due in a minute for all."""
    url = postgres_server.prepared(opening.init)
    ahead = await PostgresLedger.open(url, clock=lambda: time.time() + 600)
    behind = await PostgresLedger.open(url, clock=lambda: time.time() - 600)
    try:
        await ahead.admit([file()])
        (claim,) = await ahead.claim(1, within=[ROOT], run="a", now=time.time() + 600)
        await ahead.end(claim, Deferred("the backend is away", until=time.time() + 600 + 60))
        now = time.time() - 600
        assert await behind.claim(1, within=[ROOT], run="b", now=now) == []
        due = (await behind.waiting([ROOT], "b")).due
        assert due is not None
        assert due == pytest.approx(now + 60, abs=30)
        assert len(await behind.claim(1, within=[ROOT], run="b", now=now + 61)) == 1
    finally:
        await ahead.close()
        await behind.close()
        postgres_server.drop(url)


async def test_transactions_that_undo_each_other_are_repeated(state: PostgresState) -> None:
    """Retries of the same photos from both ends, which wait for each other, both succeed."""
    hosts = [await state.open(), await state.open()]
    names = [f"IMG_{n}.JPG" for n in range(40)]
    await hosts[0].admit(file(name) for name in names)
    for _ in range(5):
        await asyncio.gather(
            hosts[0].admit([file(name, size=time.monotonic_ns()) for name in names]),
            hosts[1].retry([ROOT], failed=True),
            hosts[1].mark_undone(ROOT / name for name in reversed(names)),
        )
    assert await hosts[0].counts() == Counts(queued=40)


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────


async def test_reading_changes_nothing(state: PostgresState) -> None:
    """It claims nothing back and is no owner; it sees what is there."""
    ledger = await state.open()
    await ledger.admit([file()])
    await state.claim_one(ledger)
    await state.kill(ledger)
    assert read_shared(state.url, LedgerReader.counts) == Counts(claimed=1)
    with psycopg.connect(state.url) as session:
        assert session.execute("SELECT count(*) FROM taggerd.owners").fetchone() == (1,)


async def test_many_new_files_make_the_photos_that_few_would(state: PostgresState) -> None:
    """Raw and JPEG are one photo, known stems are looked at, what is named twice counts once."""
    ledger = await state.open()
    await ledger.admit([file("IMG_3.JPG"), file("IMG_4.CR2")])
    files = [file(f"IMG_{n}.{kind}") for n in range(20) for kind in ("CR2", "JPG")]
    odd = PhotoFile(ROOT / "odd.JPG", Stamp(2**40, -(10**18), 2**64 - 1, 2**63 + 5))
    again = await ledger.admit([*files, odd, files[0]])
    assert again == Admitted(new=39, unchanged=3)
    assert await ledger.counts() == Counts(queued=21)
    claims = await state.claim(ledger, 100)
    found = {each.path: each.stamp for claim in claims for each in claim.photo.files}
    assert found == {each.path: each.stamp for each in [*files, odd]}
    assert max(len(claim.photo.files) for claim in claims) == 2


async def test_many_new_files_are_their_runs(state: PostgresState) -> None:
    """What a scan admits at once it can claim alone."""
    ledger = await state.open()
    await ledger.admit([file(f"old_{n}.JPG") for n in range(30)])
    await ledger.admit([file(f"IMG_{n}.JPG") for n in range(30)], run="scan")
    claims = await ledger.claim(100, within=None, run="scan", now=state.now)
    assert len(claims) == 30
    assert all(claim.photo.primary.path.name.startswith("IMG") for claim in claims)
