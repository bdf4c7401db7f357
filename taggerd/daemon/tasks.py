"""The daemon's side tasks: what goes on beside arrivals, runner and relay."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd.daemon.health import state_problem
from taggerd.errors import LedgerAway, StorageError, TaggerdError
from taggerd.lazy import import_the_rest
from taggerd.ledger import Counts
from taggerd.logs import described, get_logger
from taggerd.retry import DISK
from taggerd.runner.hold import end_long_holds
from taggerd.runner.pause import share_hours

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from taggerd.arrivals import Arrivals
    from taggerd.attempt import RunOptions
    from taggerd.daemon.health import Problem
    from taggerd.daemon.status import DaemonStatus
    from taggerd.daemon.systemd import Notifier
    from taggerd.photo import PhotoFile
    from taggerd.runner.runner import Runner
    from taggerd.services import Services

log = get_logger(__name__)

RECOVER_SECONDS = 60.0
HEARTBEAT_SECONDS = 5.0
COUNT_SECONDS = 60.0
"""Longest time between two counts of a queue that hosts share."""
QUIET_SECONDS = 15.0
"""Between heartbeats while nothing changes: ``taggerd status`` trusts half a minute."""
SHARED_RECOVER_SECONDS = 15.0
"""Where hosts share the ledger: one that died is known after 30 s, and its photos wait on."""


class Admission:
    """Takes settled files into the queue, however long that takes."""

    def __init__(self) -> None:
        """Begin without trouble."""
        self.error: Problem | None = None
        """Why photos cannot enter the queue; None while they can."""

    async def admit(
        self, services: Services, files: Sequence[PhotoFile], admitted: Callable[[], object]
    ) -> None:
        """Take *files* in, and tell who works on them."""
        while True:
            try:
                await services.ledger.admit(files)
            except StorageError as error:
                if self.error is None or self.error.text != str(error):
                    log.error("photos cannot enter the queue", reason=str(error))
                self.error = state_problem(error, services.settings.state_directory)
                await asyncio.sleep(DISK.first)
            else:
                self.error = None
                admitted()
                return


class Counted:
    """How many photos are in which state, as the ledger said last."""

    def __init__(self) -> None:
        """Begin with none."""
        self.photos = Counts()
        self.error: Problem | None = None
        """Why nobody can ask the ledger; None while it answers."""
        self._when: object = None

    async def again(self, services: Services) -> Counts:
        """Return the counts; those read last while the server is away. Raises StorageError.

        Where hosts share the ledger they are read once anything has changed, or a minute is over:
        with a million photos each time costs a second.
        """
        ledger = services.ledger
        when = ledger.stamp(), time.monotonic() // COUNT_SECONDS
        if ledger.fleet is not None and when == self._when and self.error is None:
            return self.photos
        try:
            self.photos, self._when = await ledger.counts(), when
        except LedgerAway as error:
            self.error = state_problem(error, services.settings.state_directory)
        else:
            self.error = None
        return self.photos


async def start_decoder(services: Services) -> None:
    """Start a decoder now: what it is not confined by is said before the first photo comes."""
    with suppress(TaggerdError):  # the first photo meets the same, and waits
        await services.decoders.check()


async def import_all() -> None:
    """Import now what a start does without, from the files that the rest was imported from."""
    try:
        await asyncio.to_thread(import_the_rest)
    except Exception as error:  # noqa: BLE001 - damaged files raise anything; who needs it says it
        log.debug("not all of the program could be imported", reason=described(error))
    else:
        log.debug("all of the program is imported")


async def probe_backend(services: Services, runner: Runner, chance: Callable[[], float]) -> None:
    """Probe the backend from time to time, so that trouble shows before a photo meets it."""
    while True:
        minutes = services.settings.backend.preflight_minutes
        await asyncio.sleep(minutes * 60 * (1 + chance() / 10))
        if services.settings.backend.preflight and not runner.paused:
            await services.inference.probe()


async def recover(services: Services, runner: Runner, options: RunOptions) -> None:
    """Queue again what dead programs had claimed; end what was held for long enough."""
    seconds = RECOVER_SECONDS if services.ledger.fleet is None else SHARED_RECOVER_SECONDS
    while True:
        await asyncio.sleep(seconds)
        try:
            await share_hours(services)
            recovered = await services.ledger.recover()
            if await end_long_holds(services, options.within):
                runner.wake()
        except StorageError as error:
            log.warning("the ledger cannot be read", reason=str(error))
            continue
        except Exception:  # the photos in the queue are tagged all the same
            log.exception("what dead programs had claimed cannot be queued")
            continue
        if recovered:
            runner.wake()
            log.warning("photos claimed by a dead program are queued again", photos=recovered)


async def deliver_the_rest(services: Services, page_seconds: float) -> None:
    """Deliver what the outbox still holds; on a full disk it stays there."""
    try:
        await services.relay.finish(page_seconds=page_seconds)
    except TaggerdError as error:
        log.error("the last records stay in the ledger", reason=str(error))
    except Exception:
        log.exception("the last records stay in the ledger")


async def heartbeat_due(live: DaemonStatus | None, runner: Runner) -> None:
    """Wait for the next heartbeat; it comes at once when another program waits for it.

    An idle service wakes no thread and no disk to say again what it has said.
    """
    unsettled = live is None or live.problems or any(e.error for e in live.endpoints)
    busy = runner.in_flight or runner.paused or unsettled
    with suppress(TimeoutError):
        async with asyncio.timeout(HEARTBEAT_SECONDS if busy else QUIET_SECONDS):
            await runner.told.wait()
    runner.told.clear()


async def until_watched(arrivals: Arrivals, notifier: Notifier, seconds: float) -> None:
    """Wait until the watches stand, and ask for the time that takes: they are made one by one.

    A folder that does not answer is not waited for, so this ends. Another *seconds* are asked for
    as long as it does not.
    """
    while not arrivals.ready.is_set():
        notifier.extend(seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds / 3):
                await arrivals.ready.wait()
