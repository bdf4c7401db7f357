"""Moves records from the ledger's outbox into the journal, and renews what is made of them."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Protocol

from taggerd.errors import StorageError
from taggerd.journal import Entry
from taggerd.ledger import Outgoing
from taggerd.logs import described, get_logger
from taggerd.photo import Notice, printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import date, datetime

    from taggerd.journal import Journal
    from taggerd.ledger import Ledger

log = get_logger(__name__)

BATCH = 500
DELIVER_SECONDS = 1.0
SUMMARISE_SECONDS = 30.0
PUBLISH_QUIET_SECONDS = 30.0
"""A day's page is made when no record came for so long."""
PUBLISH_SECONDS = 300.0
"""Between pages, at least: one may be 25 MB, and a big day has several."""
PUBLISH_SHARE = 0.02
"""Of the time at most, however large the pages are."""
WRITE_SECONDS = 20.0
"""After which who writes the journal is asked again: a lease lasts half as long again."""
QUIET_SECONDS = 60.0
"""Between polls of an outbox that nobody has said anything about."""


class Record(Protocol):
    """A record on its way into a day file."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def day(self) -> str:
        """Its day."""

    @property
    def line(self) -> str:
        """It, as JSON."""


class Lease(Protocol):
    """Decides which of several programs writes the journal."""

    async def hold(self) -> bool:
        """Say whether this one does, for the next :data:`WRITE_SECONDS` at least."""

    async def lent(self) -> Sequence[Record]:
        """Return records that this program alone may write, whoever holds the lease."""

    async def tidy(self, today: date) -> None:
        """Forget, in the ledger, the records of days whose files are deleted."""


class OutboxRelay:
    """Delivers records exactly once and derives summaries, pages and metrics from them."""

    def __init__(  # noqa: PLR0913 - the rest are named
        self,
        ledger: Ledger,
        journal: Journal,
        *,
        now: Callable[[], datetime],
        trouble: str = "",
        notices_for: str = "",
        lease: Lease | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Move records.

        Args:
            ledger: from its outbox.
            journal: into it.
            now: the local time, aware.
            trouble: why *journal* could not be opened; empty if it is open.
            notices_for: who gets a notice of each record in the same step; empty: nobody.
            lease: that of the journal, where several programs share the ledger.
            clock: seconds, monotonic.
        """
        self._clock = clock
        self._lease = lease
        self._begun = True
        """Whether records may be lent to this program that no day file holds for certain."""
        self._opened = not trouble
        self._ledger = ledger
        self._journal = journal
        self._now = now
        self._notices_for = notices_for
        self.on_delivered: Callable[[], object] = lambda: None
        """Called when records have been delivered."""
        self._stale: set[str] = set()
        """Days whose summary lacks records."""
        self._unpublished: set[str] = set()
        """Days whose page does."""
        self._publishing: asyncio.Task[None] | None = None
        self._delivered_at = -math.inf
        self._publish_at = -math.inf
        self._publish_until = math.inf
        self._caught_up = False
        self._tidied = ""
        self._write_until = -math.inf
        self._wake = asyncio.Event()
        self.trouble = ""
        """Why records stay in the ledger; empty while they are delivered."""

    async def deliver(self) -> None:
        """Deliver the whole outbox; a line that no day file takes goes to a file for such.

        Raises:
            StorageError: the outputs' disk is full or failing; the records stay in the ledger.

        """
        if not self._opened:
            await asyncio.to_thread(self._journal.open)
            self._opened = True
        if self._lease is not None and self._begun:
            # They are nobody else's, whoever writes the journal now.
            while lent := await self._lease.lent():
                await self._deliver([Outgoing(line.id, line.day, line.line) for line in lent])
            self._begun = False
        while await self._writes():
            self._begun = True  # before: what does not reach us may be lent to us all the same
            lines = await self._ledger.outbox(BATCH)
            if lines and self._late():
                continue  # another program may have them by now
            if lines:
                await self._deliver(lines)
            self._begun = False
            if not lines:
                return

    async def _deliver(self, lines: Sequence[Outgoing]) -> None:
        """Deliver these *lines*; errors as :meth:`deliver`."""
        entries = [Entry(line.id, line.day, line.line) for line in lines]
        try:
            await asyncio.to_thread(self._journal.deliver, entries)
        except StorageError:
            raise
        except Exception:
            log.exception("records are delivered one by one")
            for entry in entries:
                await self._deliver_or_reject(entry)
        else:
            self._changed(line.day for line in lines)
        await self._ledger.delivered([line.id for line in lines], self._notices_of(lines))
        self.on_delivered()

    async def _writes(self) -> bool:
        """Say whether this program writes the journal."""
        self._write_until = time.clock_gettime(time.CLOCK_BOOTTIME) + WRITE_SECONDS
        return self._lease is None or await self._lease.hold()

    def _late(self) -> bool:
        """Say whether so much time has passed that another program may write the journal now.

        By a clock that goes on while the machine sleeps: it may have slept since it asked.
        """
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        return self._lease is not None and now >= self._write_until

    def _changed(self, days: Iterable[str]) -> None:
        for day in days:
            self._stale.add(day)
            self._unpublished.add(day)
        self._delivered_at = self._clock()

    def _notices_of(self, lines: Sequence[Outgoing]) -> list[Notice]:
        """Return what hooks are to hear of *lines*."""
        if not self._notices_for:
            return []
        at = self._now().timestamp()
        return [Notice(line.id, self._notices_for, at, line.line) for line in lines]

    async def _deliver_or_reject(self, entry: Entry) -> None:
        """Deliver one record, so that none that cannot be delivered blocks those behind it."""
        try:
            await asyncio.to_thread(self._journal.deliver, [entry])
        except StorageError:
            raise
        except Exception as error:
            file = await asyncio.to_thread(self._journal.reject, entry, self._now().date())
            log.exception(
                "a record cannot be journalled", kept=printable(file), reason=described(error)
            )
        else:
            self._changed([entry.day])

    async def summarise(self) -> None:
        """Renew the summaries of days that changed; once a day, compress and delete old files.

        Raises:
            StorageError: as for :meth:`deliver`.

        """
        if not self._caught_up:
            # A crash may have come between the last records and what is made of them.
            self._stale.update(await asyncio.to_thread(self._journal.stale))
            self._unpublished.update(await asyncio.to_thread(self._journal.unpublished))
            self._caught_up = True
        while self._stale:
            day = min(self._stale)
            try:
                await asyncio.to_thread(self._journal.summarise, day)
            except StorageError:
                raise
            except Exception:
                log.exception("no page can be made; the records are in results/", day=day)
            self._stale.discard(day)
        today = self._now().date()
        if self._tidied != today.isoformat():
            await asyncio.to_thread(self._journal.tidy, today)
            if self._lease is not None:
                await self._lease.tidy(today)
            self._tidied = today.isoformat()

    async def publish(self) -> None:
        """Renew the pages of days that changed, and the index of days.

        Raises:
            StorageError: as for :meth:`deliver`.

        """
        if not self._unpublished:
            return
        from taggerd.relay.reports import (  # noqa: PLC0415 - templates, Markdown: 0.1 s of a start
            OutOfTime,
            publish_day,
            publish_index,
        )

        for day in sorted(self._unpublished):
            # Before it is read: what is delivered meanwhile makes it due again, later.
            self._unpublished.discard(day)
            try:
                await asyncio.to_thread(publish_day, self._journal, day, self._has_time)
            except StorageError:
                self._unpublished.add(day)
                raise
            except OutOfTime:
                self._unpublished.add(day)
                log.info("the next start makes the rest of the pages", day=day)
                return
            except Exception:
                log.exception("no page can be made; the records are in results/", day=day)
        await asyncio.to_thread(publish_index, self._journal)

    def publish_if_due(self) -> asyncio.Task[None] | None:
        """Begin to renew pages beside the deliveries, once it is quiet; not too often.

        Returns what renews them; None: nothing does.
        """
        due = self._unpublished and self._clock() >= self._pages_due_at
        if due and self._publishing is None:
            self._publishing = asyncio.create_task(self._publish_apart(), name="pages")
        return self._publishing

    def _has_time(self) -> bool:
        return self._clock() < self._publish_until

    @property
    def _pages_due_at(self) -> float:
        return max(self._publish_at, self._delivered_at + PUBLISH_QUIET_SECONDS)

    async def _publish_apart(self) -> None:
        began = self._clock()
        try:
            await self.publish()
        except StorageError as error:
            log.warning("no page can be made", reason=str(error))
        except Exception:
            log.exception("no page can be made")
        finally:
            took = self._clock() - began
            self._publish_at = self._clock() + max(PUBLISH_SECONDS, took / PUBLISH_SHARE)
            self._publishing = None

    def wake(self) -> None:
        """Deliver within :data:`DELIVER_SECONDS`: there are records."""
        self._wake.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver and summarise until *stop*; wait where the disk is full."""
        clock = asyncio.get_running_loop().time
        summarise_at = clock()
        while not stop.is_set():
            try:
                await self.deliver()
                if clock() >= summarise_at:
                    summarise_at = clock() + SUMMARISE_SECONDS
                    await self.summarise()
                self.publish_if_due()
                self._report("")
            except StorageError as error:
                summarise_at = clock()
                self._report(str(error))
            except Exception as error:
                # Photos are tagged all the same, and their records wait.
                if described(error) != self.trouble:
                    log.exception("records stay in the ledger")
                self.trouble = described(error)
            # Records come several a second: each batch of them costs the disk one sync.
            if await _over(stop.wait(), DELIVER_SECONDS) or self.trouble:
                continue
            pages = summarise_at - clock() if self._stale else QUIET_SECONDS
            if self._unpublished and self._publishing is None:
                pages = min(pages, self._pages_due_at - self._clock())
            await self._news(stop, max(0.0, pages))

    async def _news(self, stop: asyncio.Event, seconds: float) -> None:
        """Wait for records or *stop*, or so many *seconds*."""
        waiting = [asyncio.create_task(event.wait()) for event in (stop, self._wake)]
        try:
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        self._wake.clear()

    async def finish(self, *, page_seconds: float = math.inf) -> None:
        """Deliver and summarise the rest, and make its pages.

        Args:
            page_seconds: so long may the pages take; those that are not made by then are made at
                the next start. Whoever stops the service waits for them.

        Raises:
            StorageError: as for :meth:`deliver`.

        """
        self._publish_until = self._clock() + page_seconds
        if self._publishing is not None:
            await self._publishing
        await self.deliver()
        await self.summarise()
        await self.publish()

    def _report(self, trouble: str) -> None:
        if trouble != self.trouble:
            if trouble:
                log.error("records stay in the ledger", reason=trouble)
            else:
                log.info("records are delivered again")
        self.trouble = trouble


async def _over(waiting: Awaitable[object], seconds: float) -> bool:
    """Wait so many *seconds* at most; say whether what was waited for has come."""
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return False
    return True
