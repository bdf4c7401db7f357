"""All hooks together: what the daemon and a scan run beside their work.

Each record of the journal comes here as a notice for :data:`PHOTOS`. It is counted for the batch,
the photo is released if the settings say so, and it becomes a notice for ``after_photo``: all in
one step of the ledger, so that a kill repeats or loses none of it.
"""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from contextlib import suppress
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from taggerd.errors import StorageError
from taggerd.hooks import messages
from taggerd.hooks.batch import Batch, folder_of
from taggerd.hooks.delivery import Delivery
from taggerd.hooks.problems import Problems
from taggerd.logs import get_logger
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
    from datetime import datetime

    import httpx

    from taggerd import settings
    from taggerd.hooks.delivery import Store
    from taggerd.hooks.problems import Problem
    from taggerd.photo import Notice

log = get_logger(__name__)

PHOTOS = "photos"
"""What comes from the journal is kept under this name until it was dealt with."""
NAMES = ("after_photo", "after_batch", "on_problem")
_BATCH, _PROBLEMS = "hooks.batch", "hooks.problems"
"""Keys of the ledger's notes."""
_AT_ONCE = 20
"""Records that are dealt with in one step."""
_POLL_SECONDS = 10.0
"""Another program, a scan, leaves its notices here without a word."""
_UNWANTED_SECONDS = 600.0
"""The same where nothing is told of anything: those of a scan with other settings are dropped."""
_SHORTEST_SECONDS = 0.1
_TROUBLE_SECONDS = 30.0
"""Pause after an error that nobody foresaw."""


class Hooks:
    """The hooks of one program."""

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        hooks: settings.Hooks,
        store: Store,
        *,
        now: Callable[[], datetime],
        queue_is_empty: Callable[[], Awaitable[bool]],
        release: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, str]]] | None = None,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
        chance: Callable[[], float] = random.random,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Prepare.

        Args:
            hooks: the settings.
            store: the ledger.
            now: the local time, aware.
            queue_is_empty: says whether all photos have ended and been journalled.
            release: moves the photo of a record where the settings want it, and returns the new
                path of each file by its old one.
            beside: runs for as long as the hooks do, in the one program that delivers.
            chance: a random number from 0 to 1, which spreads what is tried again.
            transport: what carries requests to webhooks instead.
        """
        self._hooks = hooks
        self._store = store
        self._now = now
        self._queue_is_empty = queue_is_empty
        self._release = release
        self._beside = beside
        one_command = asyncio.Lock()
        self._deliveries = {
            name: Delivery(
                name,
                hooks,
                store,
                now=now,
                one_command=one_command,
                chance=chance,
                transport=transport,
            )
            for name in NAMES
            if getattr(hooks, name).wanted
        }
        self._wanted = bool(self._deliveries) or release is not None
        self._problems = Problems(None, backend_minutes=hooks.backend_minutes)
        self._observed: tuple[Problem, ...] = ()
        self._batch = Batch()
        self._serving = False
        self._asked = asyncio.Event()
        """Set once it is known whether another program delivers."""
        self._ending = False
        self._ended = asyncio.Event()
        self._wake = asyncio.Event()
        self._trouble = ""

    def wake(self) -> None:
        """There is a new record, or the queue may be empty."""
        self._wake.set()

    def observe(self, problems: Iterable[Problem]) -> None:
        """Hear of all problems that there are now; called whenever they may have changed."""
        before, self._observed = self._observed, tuple(problems)
        if {(p.kind, p.subject) for p in before} != {(p.kind, p.subject) for p in self._observed}:
            self._wake.set()

    async def run(self) -> None:
        """Deal with records and deliver notices until cancelled; errors are logged."""
        while not await self._guarded(self._begin):
            self._asked.set()
            await asyncio.sleep(_POLL_SECONDS)
        self._asked.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name="hooks")
                if self._beside is not None:
                    tasks.create_task(self._beside(), name="releases")
                for delivery in self._deliveries.values():
                    tasks.create_task(self._keep_delivering(delivery), name=delivery.name)
        finally:
            for delivery in self._deliveries.values():
                await delivery.close()

    async def finish(self) -> bool:
        """End the batch, at the end of a scan, and wait until all is delivered that can be.

        While :meth:`run` goes on, for ``hooks.timeout_seconds`` at most. Where another program
        delivers, it ends the batch as well, and nothing is waited for: returns False then.
        """
        await self._asked.wait()
        if not self._serving:
            return False
        self._ending = True
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._hooks.timeout_seconds):
                await self._ended.wait()
                for delivery in self._deliveries.values():
                    await delivery.settled.wait()
        return True

    def troubles(self) -> list[str]:
        """Say which hooks have not heard what they should, one line each."""
        return [
            f"hooks.{name}: {each.trouble}"
            for name, each in self._deliveries.items()
            if each.trouble
        ]

    async def _begin(self) -> bool:
        """Become the program that delivers; False where another is."""
        if not await self._store.serve_notices():
            return False
        for name in NAMES:
            if name not in self._deliveries:
                await self._store.drop_notices(name, before=0.0, keep=0)
        if not self._wanted:
            await self._store.drop_notices(PHOTOS, before=0.0, keep=0)
            await self._store.notify([], notes={_BATCH: None, _PROBLEMS: None})
        self._batch = Batch.of(await self._store.recall(_BATCH))
        minutes = self._hooks.backend_minutes
        kept = await self._store.recall(_PROBLEMS)
        self._problems = Problems(kept, backend_minutes=minutes)
        self._serving = True
        return True

    async def _guarded(self, step: Callable[[], Awaitable[bool | None]]) -> bool:
        """Do one *step*; an error is logged, once, and is nobody else's trouble."""
        try:
            done = bool(await step())
        except StorageError as error:
            self._report(str(error))
            return False
        except Exception as error:
            if repr(error) != self._trouble:
                log.exception("hooks wait")
            self._trouble = repr(error)
            return False
        self._trouble = ""
        return done

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("hooks wait", reason=trouble)
        self._trouble = trouble

    async def _keep_delivering(self, delivery: Delivery) -> None:
        while True:
            await self._guarded(delivery.run)
            await asyncio.sleep(_TROUBLE_SECONDS)

    async def _follow(self) -> None:
        while True:
            self._wake.clear()
            ending = self._ending  # before records are looked for: those of the end are there then
            more = await self._guarded(self._take_records)
            if not more:
                await self._guarded(self._end_batch if ending else self._end_what_is_over)
                if ending:
                    self._ended.set()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()

    def _pause(self) -> float:
        """Return how long nothing will be due, unless somebody wakes us; seconds."""
        now = self._now().timestamp()
        if self._trouble:
            return _TROUBLE_SECONDS
        due = [_POLL_SECONDS if self._wanted else _UNWANTED_SECONDS]
        if self._batch.open and (batch := self._batch.due_in(self._hooks, now)) > 0:
            due.append(batch)
        if (problem := self._problems.due_in(now)) is not None:
            due.append(problem)
        return max(_SHORTEST_SECONDS, min(due))

    async def _take_records(self) -> bool:
        """Deal with some records; return whether there may be more."""
        taken = await self._store.due_notices(PHOTOS, _AT_ONCE, self._now().timestamp())
        if not taken:
            return False
        notices: list[Notice] = []
        batch = Batch.of(self._batch.kept())
        for each in taken:
            if (record := _record_of(each)) is None:
                continue
            moved: Mapping[str, str] = {}
            if not (record.get("error") or record.get("held")):
                moved = await self._release(record) if self._release else {}
                notices.append(messages.photo_tagged(record, moved, self._now()))
            photo = str(record.get("image", ""))
            batch.add(record, folder_of(moved.get(photo, photo)), self._now().timestamp())
        await self._tell(notices, done=taken, notes={_BATCH: batch.kept()})
        self._batch = batch
        return True

    async def _end_what_is_over(self) -> None:
        now = self._now().timestamp()
        if self._batch.is_quiet(self._hooks, now) or (
            self._batch.due_in(self._hooks, now) <= 0 and await self._queue_is_empty()
        ):
            await self._end_batch()
        if self._batch.failures_due(self._hooks, now):
            batch = Batch.of(self._batch.kept())
            said = messages.photos_failed(batch, _new_id(), self._now())
            batch.said()
            await self._tell([said], notes={_BATCH: batch.kept()})
            self._batch = batch
        await self._tell_problems(now)

    async def _end_batch(self) -> None:
        batch = self._batch
        if not batch.open:
            return
        notices = [messages.batch_ended(batch, _new_id(), self._now())]
        if batch.unsaid:
            notices.append(messages.photos_failed(batch, _new_id(), self._now()))
        await self._tell(notices, notes={_BATCH: None})
        self._batch = Batch()

    async def _tell_problems(self, now: float) -> None:
        before = deepcopy(self._problems)
        self._problems.observe(self._observed, now)
        begun, over = self._problems.changes(now)
        at = self._now()
        notices = [messages.problem_changed(each, _new_id(), at, over=False) for each in begun]
        notices += [messages.problem_changed(each, _new_id(), at, over=True) for each in over]
        if notices:
            try:
                await self._tell(notices, notes={_PROBLEMS: self._problems.kept()})
            except StorageError:  # its disk is full, which is what there is to say
                for notice in notices:
                    if notice.hook in self._deliveries:
                        await self._deliveries[notice.hook].try_once(notice)
            except BaseException:
                self._problems = before  # they are not said yet
                raise

    async def _tell(
        self,
        notices: Iterable[Notice],
        *,
        done: Iterable[Notice] = (),
        notes: Mapping[str, Any],
    ) -> None:
        """Keep those *notices* that somebody wants to hear, and wake who delivers them."""
        wanted = [notice for notice in notices if notice.hook in self._deliveries]
        await self._store.notify(wanted, done=done, notes=notes)
        for notice in wanted:
            self._deliveries[notice.hook].wake()


def _record_of(notice: Notice) -> dict[str, Any] | None:
    """Return the record in *notice*; None if there is none.

    Another host may have written it, and whoever waits for it waits for ever.
    """
    try:
        said = json.loads(notice.body)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("id"), str):
        log.warning("a notice of no record is left out", notice=printable(notice.id))
        return None
    return said


def _new_id() -> str:
    return uuid.uuid4().hex
