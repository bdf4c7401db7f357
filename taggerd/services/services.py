"""The services that a run needs, opened from the settings and closed again."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from taggerd import metadata
from taggerd.errors import StorageError
from taggerd.hooks import PHOTOS
from taggerd.ledger import SqliteLedger, dry_run_ledger
from taggerd.ledger.fleet import JOURNAL
from taggerd.logs import get_logger
from taggerd.photo import printable
from taggerd.relay import OutboxRelay
from taggerd.services.clock import local_now
from taggerd.services.factories import (
    make_inference,
    metadata_options,
    read_vocabulary,
)
from taggerd.services.pools import open_pools
from taggerd.services.reading import make_journal
from taggerd.services.settings_history import SettingsHistory, recall_history
from taggerd.workers.build import RUNNING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence
    from datetime import date, datetime

    from taggerd.inference import InferenceService
    from taggerd.inference.endpoint import Endpoint
    from taggerd.journal import Journal
    from taggerd.ledger import Claim, Fleet, Ledger
    from taggerd.ledger.postgres.ledger import PostgresLedger
    from taggerd.metadata import Options, Vocabulary
    from taggerd.photo import Sidecar
    from taggerd.services.pools import Disks
    from taggerd.settings import Image, Settings
    from taggerd.settings.configuration import Configuration
    from taggerd.settings.hours import Hours
    from taggerd.workers.pool import Workers

log = get_logger(__name__)


@dataclass(slots=True)
class Services:
    """The open services, and the settings they were opened with."""

    settings: Settings
    ledger: Ledger
    decoders: Workers
    """Foreign bytes become values here. They are lent open files and can reach nothing else."""
    slow_decoder: Workers
    """One process for slow photos, with more memory and time."""
    writers: Workers
    """They write sidecars and unpack archives."""
    disks: Disks
    """Opens the files that decoders are lent."""
    inference: InferenceService
    journal: Journal
    relay: OutboxRelay
    metadata_options: Options
    vocabulary: Vocabulary | None = None
    """The user's list of keywords, where there is one."""
    now: Callable[[], datetime] = local_now
    """The local time, aware."""
    build_changed: Callable[[], bool] = RUNNING.changed
    """Whether the program's files are no longer those that it was started from."""
    settings_history: SettingsHistory = field(default_factory=SettingsHistory)
    """When the settings for sidecars changed."""
    remarked: set[str] = field(default_factory=set)
    """Keyword lists that have been warned about in this run."""
    hours: Hours = field(init=False)
    """When requests may be sent: by this host's schedule, or by that of all."""
    hours_noted: bool = False
    """Whether other hosts were told of this host's schedule."""
    _decoding: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        """Begin with no photo being decoded."""
        self.hours = self.settings.schedule.hours
        self._decoding = asyncio.Semaphore(self.settings.workers.processes)

    @asynccontextmanager
    async def decoding(self, claim: Claim) -> AsyncIterator[Workers]:
        """Give the processes that decode the photo of *claim*, to few photos at once.

        Decoding takes more than one call. Without this the second call for the first photo would
        come after the first one for all in flight, and a backend would wait for all of them.
        """
        if claim.slow:
            yield self.slow_decoder
        else:
            async with self._decoding:
                yield self.decoders

    @property
    def image(self) -> Image:
        """The settings of the picture; ``max_edge`` is a number where the models are known."""
        image = self.settings.image
        edge = self.inference.picture_edge if image.max_edge == "auto" else None
        return image.model_copy(update={"max_edge": edge}) if edge else image

    def warm(self, photos: int) -> None:
        """Start the processes for so many *photos* that come soon."""
        self.decoders.warm(photos)
        self.writers.warm(photos)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Those that this host asks; none if it does not tag."""
        return self.inference.endpoints if "tag" in self.settings.service.duties else ()

    @property
    def backends(self) -> frozenset[str]:
        """The addresses that are asked, without credentials."""
        return frozenset(endpoint.base_url for endpoint in self.inference.endpoints)

    def remark(self, sidecars: Iterable[Sidecar]) -> None:
        """Log once a run, not once a photo, that a list of another program may hide keywords."""
        for sidecar in sidecars:
            for name in sidecar.shadowing:
                if name not in self.remarked:
                    self.remarked.add(name)
                    log.warning(metadata.shadowing_note(name), first=printable(sidecar.path))


class JournalLease:
    """The lease of the journal, for the relay of one program."""

    def __init__(self, fleet: Fleet, duties: Sequence[str], retention_days: int = 0) -> None:
        """Hold it only if that is one of the host's *duties*; see the setting of that name."""
        self._fleet = fleet
        self._may = "journal" in duties
        self._retention_days = retention_days
        self.lent = fleet.lent

    async def hold(self) -> bool:
        """Take it, or renew it, if no other program holds it."""
        return self._may and await self._fleet.hold(JOURNAL)

    async def tidy(self, today: date) -> None:
        """Forget what no day file holds any more, if this program holds it."""
        if self._retention_days and await self.hold():
            before = today - timedelta(days=self._retention_days)
            await self._fleet.forget_records(before.isoformat())


@asynccontextmanager
async def open_ledger(
    settings: Settings,
    *,
    exclusive: bool = False,
    now: Callable[[], datetime] = local_now,
) -> AsyncIterator[SqliteLedger | PostgresLedger]:
    """Open the ledger alone.

    Raises:
        StartError: the state directory cannot be used, or a daemon uses it already.

    """
    opened: SqliteLedger | PostgresLedger
    if settings.ledger.url is None:
        opened = await SqliteLedger.open(
            settings.state_directory,
            exclusive=exclusive,
            max_attempts=settings.queue.max_attempts,
            order=settings.queue.order,
            clock=lambda: now().timestamp(),
        )
    else:
        opened = await _open_shared(settings, exclusive=exclusive, now=now)
    for notice in opened.notices:
        log.error(notice)
    if opened.migrated:
        log.warning(opened.migrated)
    try:
        yield opened
    finally:
        await opened.close()


async def _open_shared(
    settings: Settings, *, exclusive: bool, now: Callable[[], datetime]
) -> PostgresLedger:
    """Open the ledger that several hosts share.

    Raises:
        StartError: taggerd[postgres] is not installed, or the ledger cannot be used.
        StorageError: the server cannot be used now.
    """
    from taggerd.ledger.postgres.ledger import PostgresLedger  # noqa: PLC0415 - an extra
    from taggerd.ledger.postgres.naming import Naming  # noqa: PLC0415 - likewise

    assert settings.ledger.url is not None  # noqa: S101 - for the type checker
    return await PostgresLedger.open(
        settings.ledger.url.get_secret_value(),
        directory=settings.state_directory,
        exclusive=exclusive,
        max_attempts=settings.queue.max_attempts,
        order=settings.queue.order,
        clock=lambda: now().timestamp(),
        paths=Naming(settings.service.host_name, settings.arrivals.named),
        host=settings.service.host_name,
    )


async def _opened(journal: Journal, *, may_wait: bool) -> str:
    """Open *journal*; return why that must wait, if it may.

    Photos are tagged all the same, and their records wait in the ledger.
    """
    try:
        await asyncio.to_thread(journal.open)
    except StorageError as error:
        if not may_wait:
            raise
        return str(error)
    return ""


@asynccontextmanager
async def open_services(
    configuration: Configuration,
    *,
    exclusive: bool = False,
    dry_run: bool = False,
    now: Callable[[], datetime] = local_now,
) -> AsyncIterator[Services]:
    """Open all services. The backend counts as unusable until it has been probed.

    Args:
        configuration: the settings.
        exclusive: this is the daemon: a state directory has one.
        dry_run: with a queue of its own, which is gone at the end.
        now: the clock of all of them: the local time, aware.

    Raises:
        ConfigurationError: the settings cannot be used. StartError: the state cannot be used.
        StorageError: a disk is full or failing.

    """
    settings = configuration.settings
    vocabulary = read_vocabulary(settings)
    inference, journal = make_inference(configuration, vocabulary), make_journal(settings)
    try:
        async with AsyncExitStack() as stack, open_pools(settings) as pools:
            ledger = await stack.enter_async_context(
                open_ledger(settings, exclusive=exclusive, now=now)
            )
            trouble = await _opened(journal, may_wait=exclusive)
            inference.remember(ledger)
            await stack.enter_async_context(inference.shared(ledger.fleet))
            inference.budget.count_in(ledger, now)
            history = await recall_history(ledger, settings, now().timestamp(), keep=not dry_run)
            if dry_run:
                ledger = await stack.enter_async_context(
                    dry_run_ledger(
                        ledger,
                        max_attempts=settings.queue.max_attempts,
                        order=settings.queue.order,
                        clock=lambda: now().timestamp(),
                    )
                )
            yield Services(
                settings=settings,
                ledger=ledger,
                decoders=pools.decoders,
                slow_decoder=pools.slow_decoder,
                writers=pools.writers,
                disks=pools.disks,
                inference=inference,
                journal=journal,
                relay=OutboxRelay(
                    ledger,
                    journal,
                    now=now,
                    trouble=trouble,
                    notices_for=PHOTOS if settings.follows_records and not dry_run else "",
                    lease=(
                        JournalLease(
                            ledger.fleet,
                            settings.service.duties,
                            settings.journal.retention_days,
                        )
                        if ledger.fleet is not None
                        else None
                    ),
                ),
                now=now,
                metadata_options=metadata_options(settings),
                vocabulary=vocabulary,
                settings_history=history,
            )
    finally:
        await inference.close()
