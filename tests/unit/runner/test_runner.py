"""The runner: which photos start, how their attempts end, who hears of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import httpx
import pytest
from support.fleets import FleetStore, InMemoryFleet

from taggerd.attempt import RunOptions
from taggerd.errors import BackendUnreachable, BuildChanged, StorageError
from taggerd.files import OpenFile
from taggerd.retry import Backoff
from taggerd.runner.runner import Runner
from taggerd.services import local_now
from taggerd.testing import InMemoryLedger, InMemoryStore, ThreadWorkers

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from support.site import Site

    from taggerd.ledger import Claim, Ending, Waiting
    from taggerd.runner.outcome import Outcome
    from taggerd.services import Services

P = ParamSpec("P")
T = TypeVar("T")
ROLES = 3
NAMES = ("a.jpg", "b.jpg", "c.jpg")


class Heard(list["Outcome"]):
    """The outcomes in their order."""

    @property
    def kinds(self) -> Counter[str]:
        """How many there were of each kind."""
        return Counter(outcome.kind for outcome in self)


def runner(services: Services, site: Site, heard: Heard, **options: object) -> Runner:
    """Return a runner that ends when nothing is left in the folder."""
    work = RunOptions(run="r", within=(site.folder,))
    given = {"more_to_come": lambda: False, "on_outcome": [heard.append], **options}
    return Runner(services, work, **given)  # type: ignore[arg-type]  # each test's own


async def test_it_tags_what_is_queued_and_ends(site: Site) -> None:
    """Each photo once; every listener hears of each."""
    await site.arrive(*NAMES)
    heard, others = Heard(), Heard()
    async with site.services() as services:
        listeners = [heard.append, others.append]
        await runner(services, site, heard, on_outcome=listeners).work(drain_seconds=0)
    assert heard.kinds == {"tagged": 3}
    assert others == heard
    assert site.questions == 3 * ROLES
    counts = await site.ledger.counts()
    assert (counts.recorded, counts.queued) == (3, 0)


async def test_a_photo_that_fails_pays_and_the_others_go_on(site: Site) -> None:
    """Bytes that are no picture are given up at once, with a record that says why."""
    paths = await site.arrive(*NAMES)
    paths[1].write_bytes(b"\xff\xd8\xff" + b"no picture" * 99)
    await site.admit(paths[1])
    heard = Heard()
    async with site.services() as services:
        await runner(services, site, heard).work(drain_seconds=0)
    assert heard.kinds == {"tagged": 2, "failed": 1}
    (failed,) = [outcome for outcome in heard if outcome.kind == "failed"]
    assert failed.record is not None
    assert failed.record.error == failed.reason
    (given_up,) = await site.ledger.quarantined(9)
    assert given_up.photo.primary.path == paths[1]


@pytest.mark.parametrize("asked", [1, ROLES])
async def test_a_photo_that_another_program_got_meanwhile_is_left_to_that(
    site: Site, asked: int
) -> None:
    """Nothing more is asked, written, recorded or said by one that was taken for dead."""
    store = InMemoryStore()
    site.ledger = InMemoryLedger(store)
    (path,) = await site.arrive("a.jpg")
    taken: list[asyncio.Task[list[Claim]]] = []

    def answer(_request: httpx.Request) -> None:
        if site.questions == asked and not taken:
            site.ledger.kill()
            other = InMemoryLedger(store)
            claiming = other.claim(1, within=[site.folder], run="s", now=time.time())
            taken.append(asyncio.create_task(claiming))

    site.answer = answer
    heard = Heard()
    async with site.services() as services:
        await runner(services, site, heard).work(drain_seconds=0)
    (claims,) = [task.result() for task in taken]
    assert [claim.photo.primary.path for claim in claims] == [path]
    assert heard == []
    assert list(site.folder.glob("*.xmp")) == []
    assert (await site.ledger.counts()).claimed == 1
    assert await site.ledger.outbox(9) == []
    assert site.questions == asked
    assert len(await site.ledger.answers(site.digest("a.jpg"))) == asked


async def test_what_another_host_has_by_now_is_dropped(site: Site) -> None:
    """Whatever the photo waits for here, and others may start in its stead."""
    store, begun = InMemoryStore(), asyncio.Event()
    site.ledger = InMemoryLedger(store, fleet=InMemoryFleet(FleetStore(), "laptop"))
    await site.arrive("a.jpg")

    class Stuck(ThreadWorkers):
        async def run(self, *_args: object, **_options: object) -> Any:  # noqa: ANN401 - never
            begun.set()
            await asyncio.Event().wait()

    heard = Heard()
    async with site.services() as services, asyncio.timeout(60):
        services.decoders = Stuck(site.settings.workers)
        work = runner(services, site, heard, more_to_come=lambda: True)
        working = asyncio.create_task(work.work(drain_seconds=0))
        await begun.wait()
        site.ledger.kill()
        other = InMemoryLedger(store)
        (claim,) = await other.claim(1, within=[site.folder], run="s", now=time.time())
        while work.in_flight:
            work.wake()
            await asyncio.sleep(0)
        assert heard == []
        assert await other.holds(claim)
        work.stop()
        await working


async def test_whatever_an_attempt_raises_one_photo_pays_and_the_run_goes_on(site: Site) -> None:
    """A fault that nobody foresaw is named, and costs one attempt after the other."""
    paths = await site.arrive(*NAMES)

    class Odd(ThreadWorkers):
        async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
            if any(isinstance(each, OpenFile) and each.path == paths[0] for each in args):
                raise ZeroDivisionError
            return await super().run(function, *args, **kwargs)

    heard = Heard()
    async with site.services() as services:
        services.decoders = Odd(site.settings.workers)
        await runner(services, site, heard).work(drain_seconds=0)
    assert heard.kinds == {"tagged": 2, "will retry": 2, "failed": 1}
    (failed,) = [outcome for outcome in heard if outcome.kind == "failed"]
    assert failed.reason.startswith("ZeroDivisionError")


async def test_a_stop_is_heard_whenever_it_comes(site: Site) -> None:
    """Also while the queue is asked whether photos may start, and nothing is queued."""
    asked = 0

    async def pause_reason() -> str:
        nonlocal asked
        asked += 1
        working.stop()
        return ""

    async with site.services() as services:
        working = runner(
            services, site, Heard(), more_to_come=lambda: True, pause_reason=pause_reason
        )
        async with asyncio.timeout(180):
            await working.work(drain_seconds=0)
    assert asked == 1


async def test_a_quiet_queue_is_left_alone_until_somebody_changes_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle service wakes nothing but a check; what another program does is seen by that."""
    monkeypatch.setattr("taggerd.runner.runner.POLL_SECONDS", 0.001)
    claims, stamps, changed = 0, 0, 0
    heard, claim = Heard(), site.ledger.claim

    async def counting(*args: int, **kwargs: Any) -> list[Claim]:  # noqa: ANN401 - as the original
        nonlocal claims
        claims += 1
        return await claim(*args, **kwargs)

    def stamp() -> object:
        nonlocal stamps
        stamps += 1
        return changed

    async def until(there: Callable[[], bool]) -> None:
        while not there():  # noqa: ASYNC110 - counts, which no event tells of
            await asyncio.sleep(0)

    monkeypatch.setattr(site.ledger, "claim", counting)
    monkeypatch.setattr(site.ledger, "stamp", stamp)
    async with site.services() as services, asyncio.timeout(180):
        quiet = runner(services, site, heard, more_to_come=lambda: True)
        working = asyncio.create_task(quiet.work(drain_seconds=0))
        await until(lambda: stamps > 20)
        asked = claims
        await until(lambda: stamps > 40)
        assert claims == asked
        quiet.told.clear()
        changed += 1
        await quiet.told.wait()
        await until(lambda: claims > asked)
        await site.arrive(*NAMES)
        quiet.wake()
        await until(lambda: len(heard) == 3)
        quiet.stop()
        await working


async def test_what_another_program_queues_meanwhile_is_seen(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a minute later: from the claim to the rest there is no moment that nobody looks at."""
    monkeypatch.setattr("taggerd.runner.runner.POLL_SECONDS", 0.001)
    heard, waiting, changed = Heard(), site.ledger.waiting, 0

    async def then_another_queues(*args: Any, **kwargs: Any) -> Waiting:  # noqa: ANN401 - as the original
        nonlocal changed
        found = await waiting(*args, **kwargs)
        if not changed:
            changed += 1
            await site.arrive("a.jpg")
        return found

    monkeypatch.setattr(site.ledger, "waiting", then_another_queues)
    monkeypatch.setattr(site.ledger, "stamp", lambda: changed)
    async with site.services() as services, asyncio.timeout(180):
        working = runner(services, site, heard, more_to_come=lambda: not heard)
        await working.work(drain_seconds=0)
    assert heard.kinds == {"tagged": 1}


async def test_a_fault_of_the_program_costs_no_photo_anything(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it turn the queue at full speed: after each the next photo waits for longer."""
    await site.arrive(*NAMES)
    monkeypatch.setattr("taggerd.runner.runner.PROGRAM", Backoff(0.05, 1))
    began, asked = time.monotonic(), []

    def fast() -> datetime:
        return local_now() + timedelta(seconds=1000 * (time.monotonic() - began))

    class Broken(ThreadWorkers):
        async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
            asked.append(time.monotonic())
            if len(asked) < 4:
                raise ImportError
            return await super().run(function, *args, **kwargs)

    heard = Heard()
    at_once(site, 1)
    async with site.services() as services:
        services.decoders, services.now = Broken(site.settings.workers), fast
        await runner(services, site, heard).work(drain_seconds=0)
    assert heard.kinds == {"waiting": 3, "tagged": 3}
    waits = [after - before for before, after in pairwise(asked[:4])]
    assert all(wait >= least for wait, least in zip(waits, (0.05, 0.1, 0.2), strict=True)), waits
    assert not await site.ledger.quarantined(9)


async def test_nothing_starts_once_other_files_lie_in_place_of_ours(site: Site) -> None:
    """What nobody foresaw is charged to nobody then, and the run ends."""
    await site.arrive(*NAMES)
    failed: list[object] = []

    class Odd(ThreadWorkers):
        async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
            failed.extend((function, args, kwargs))
            raise ZeroDivisionError

    heard = Heard()
    at_once(site, 1)
    async with site.services() as services:
        services.decoders = Odd(site.settings.workers)
        services.build_changed = lambda: bool(failed)
        with pytest.raises(BuildChanged):
            await runner(services, site, heard).work(drain_seconds=0)
    assert heard.kinds == {"waiting": 1}
    assert (await site.ledger.counts()).queued == 3


def at_once(site: Site, photos: int) -> None:
    """Let so many *photos* be in flight at once."""
    queue = site.settings.queue.model_copy(update={"photos_in_flight": photos})
    site.settings = site.settings.model_copy(update={"queue": queue})


async def test_a_photo_is_decoded_to_its_end_before_the_next(site: Site) -> None:
    """All are in flight at once; still the backend waits for the first one alone."""
    await site.arrive(*NAMES)
    workers = site.settings.workers.model_copy(update={"processes": 1})
    site.settings = site.settings.model_copy(update={"workers": workers})
    called: list[Path] = []

    class Noting(ThreadWorkers):
        async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
            called.extend(each.path for each in args if isinstance(each, OpenFile))
            return await super().run(function, *args, **kwargs)

    async with site.services() as services:
        services.decoders = Noting(site.settings.workers)
        await runner(services, site, Heard()).work(drain_seconds=0)
    assert len(set(called)) == len(NAMES)
    changes = [path for path, _ in groupby(called)]
    assert len(changes) == len(NAMES), called


async def test_it_says_how_many_photos_are_left_once_none_waits_in_the_queue(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests of the last photos may go side by side then; not while the queue holds another."""
    await site.arrive(*NAMES)
    at_once(site, 2)
    claimed, claim = 0, site.ledger.claim
    said: list[tuple[int | None, int]] = []

    async def counting(*args: int, **kwargs: Any) -> list[Claim]:  # noqa: ANN401 - as the original
        nonlocal claimed
        claims = await claim(*args, **kwargs)
        claimed += len(claims)
        return claims

    monkeypatch.setattr(site.ledger, "claim", counting)
    async with site.services() as services:
        monkeypatch.setattr(
            services.inference, "last_photos", lambda left: said.append((left, claimed))
        )
        await runner(services, site, Heard()).work(drain_seconds=0)
    assert said[0] == (None, 2)
    assert {claimed for left, claimed in said if left is not None} == {len(NAMES)}


async def test_a_backend_that_goes_away_costs_no_photo_anything(site: Site) -> None:
    """Photos wait for it uncharged; when it is back, no answer is paid for twice."""
    await site.arrive(*NAMES)
    refused = 0

    def answer(_request: httpx.Request) -> httpx.Response | None:
        nonlocal refused
        if 2 < site.questions < 12:
            refused += 1
            return httpx.Response(401)
        return None

    site.answer = answer
    heard = Heard()
    async with site.services() as services:
        await runner(services, site, heard).work(drain_seconds=0)
    assert heard.kinds["tagged"] == 3
    assert set(heard.kinds) == {"tagged", "waiting"}
    records = [outcome.record for outcome in heard if outcome.record]
    assert [record.attempts for record in records] == [1, 1, 1]
    assert refused


async def test_a_run_that_may_not_wait_ends_with_the_backend_s_error(site: Site) -> None:
    """A scan with somebody before it: the photos stay queued, uncharged."""
    await site.arrive(*NAMES)

    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError(REFUSED)

    site.answer = away
    heard = Heard()
    async with site.services() as services:
        with pytest.raises(BackendUnreachable):
            await runner(services, site, heard, trouble_timeout=0.0).work(drain_seconds=0)
    assert (await site.ledger.counts()).queued == 3


REFUSED = "refused"


async def test_stopped_it_gives_back_what_is_in_flight(site: Site) -> None:
    """Without a moment to drain: the photos are queued again, uncharged."""
    await site.arrive("a.jpg")
    heard = Heard()
    async with site.services() as services:
        work = runner(services, site, heard, more_to_come=lambda: True)

        def stop(_request: httpx.Request) -> None:
            work.stop()

        site.answer = stop
        await work.work(drain_seconds=0)
    assert heard.kinds == {}
    claim = await site.claim()
    assert claim.attempt == 1


async def test_paused_nothing_starts_until_the_pause_is_over(site: Site) -> None:
    """While it lasts the runner says why."""
    await site.arrive("a.jpg")
    heard, reasons, seen = Heard(), ["training", "training", ""], []
    async with site.services() as services:

        async def pause_reason() -> str:
            seen.append((work.paused, len(heard)))
            work.wake()  # no waiting in a test
            return reasons.pop(0) if reasons else ""

        work = runner(services, site, heard, pause_reason=pause_reason)
        await work.work(drain_seconds=0)
    assert seen[:3] == [("", 0), ("training", 0), ("training", 0)]
    assert heard.kinds == {"tagged": 1}


class FullAtTheEnd(InMemoryLedger):
    """A ledger whose disk takes no end of a claim, once."""

    full = True

    async def end(self, claim: Claim, ending: Ending) -> bool:
        """End the claim, but for the first time."""
        if self.full:
            self.full = False
            message = "the disk is full"
            raise StorageError(message)
        return await super().end(claim, ending)


async def test_an_end_that_the_full_disk_did_not_take_is_not_forgotten(site: Site) -> None:
    """Listeners hear of it once, when it is true; nothing is asked again, the sidecar is there."""
    site.ledger = FullAtTheEnd()
    (path,) = await site.arrive("a.jpg")
    heard = Heard()
    async with site.services() as services:
        await runner(services, site, heard).work(drain_seconds=0)
    assert heard.kinds == {"tagged": 1}
    assert site.questions == ROLES
    assert (await site.ledger.counts()).recorded == 1
    assert path.with_name("a.jpg.xmp").exists()


class AwayForSlowPhotos(InMemoryLedger):
    """A ledger that goes away behind the claim of a photo, before that of a slow one, once."""

    away = True

    async def claim(
        self,
        limit: int,
        *,
        slow: bool | None = None,
        **options: Any,  # noqa: ANN401 - the port's
    ) -> list[Claim]:
        """Claim photos, but for the first time no slow ones."""
        if slow and self.away:
            self.away = False
            message = "the server is away"
            raise StorageError(message)
        return await super().claim(limit, slow=slow, **options)


async def test_what_is_claimed_when_the_ledger_goes_away_is_worked_on(site: Site) -> None:
    """Nobody else would get it while this program lives."""
    site.ledger = AwayForSlowPhotos()
    await site.arrive("a.jpg")
    heard = Heard()
    async with site.services() as services:
        work = runner(services, site, heard).work(drain_seconds=0)
        await asyncio.wait_for(work, 180)
    assert heard.kinds == {"tagged": 1}
    assert (await site.ledger.counts()).recorded == 1


async def test_a_photo_asked_about_again_waits_for_the_run_that_may_replace_its_words(
    site: Site,
) -> None:
    """The daemon leaves it alone: only the scan with --retag knows what it may replace."""
    (path,) = await site.arrive("a.jpg")
    heard = Heard()
    async with site.services() as services:
        await runner(services, site, heard).work(drain_seconds=0)
        before = path.with_name("a.jpg.xmp").read_bytes()
        await site.admit(path, again=True)
        await asyncio.wait_for(runner(services, site, heard).work(drain_seconds=0), 180)
    assert heard.kinds == {"tagged": 1}
    assert path.with_name("a.jpg.xmp").read_bytes() == before


async def test_a_listener_whose_reader_is_gone_ends_the_run(site: Site) -> None:
    """As ``taggerd scan . | head`` does; its error is not swallowed, and no photo is lost."""
    await site.arrive("a.jpg")

    def listener(_outcome: Outcome) -> None:
        raise BrokenPipeError

    async with site.services() as services:
        with pytest.raises(BrokenPipeError):
            await runner(services, site, Heard(), on_outcome=[listener]).work(drain_seconds=0)
    assert (await site.ledger.counts()).recorded == 1
