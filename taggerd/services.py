"""The services that a run needs, opened from the settings and closed again."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from taggerd.errors import ConfigurationError
from taggerd.inference import (
    Backend,
    InferenceService,
    asked_places,
    check_own,
    chosen,
    load_profile,
    slots_folder,
)
from taggerd.journal import Journal
from taggerd.ledger import SqliteLedger
from taggerd.metadata import SHADOWING, Options, load_vocabulary
from taggerd.photo import printable
from taggerd.relay import OutboxRelay
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from taggerd import settings as tables
    from taggerd.inference import Profile
    from taggerd.ledger import Ledger
    from taggerd.metadata import Vocabulary
    from taggerd.photo import Sidecar
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

log = structlog.get_logger(__name__)


def local_now() -> datetime:
    """Return the local time, aware."""
    return datetime.now().astimezone()


@dataclass(slots=True)
class Services:
    """The open services, and the settings they were opened with."""

    settings: Settings
    ledger: Ledger
    workers: Workers
    asking: InferenceService
    journal: Journal
    relay: OutboxRelay
    metadata_options: Options
    vocabulary: Vocabulary | None = None
    """The user's list of keywords, where there is one."""
    now: Callable[[], datetime] = local_now
    """The local time, aware."""
    remarked: set[str] = field(default_factory=set)
    """Notes that have been logged in this run."""

    def remark(self, sidecars: Iterable[Sidecar]) -> None:
        """Log once a run, not once a photo, that a list of another program may hide keywords."""
        for sidecar in sidecars:
            for note in sidecar.notes:
                if note.endswith(SHADOWING) and note not in self.remarked:
                    self.remarked.add(note)
                    log.warning(note, first=printable(sidecar.path))

    @contextmanager
    def stopwatch(self, stages: dict[str, float], stage: str) -> Iterator[None]:
        """Add the seconds that the block takes to ``stages[stage]``."""
        started = time.monotonic()
        try:
            yield
        finally:
            stages[stage] = stages.get(stage, 0.0) + time.monotonic() - started


def vocabulary_of(settings: Settings) -> Vocabulary | None:
    """Read the user's list of keywords, if one is named.

    Raises:
        ConfigurationError: it cannot be used.

    """
    path = settings.keywords.vocabulary
    return load_vocabulary(path) if path else None


def profile_of(configuration: Configuration) -> Profile:
    """Read the prompt profile, and check the user's own roles, which it may have prompts for.

    Raises:
        ConfigurationError: one of them cannot be used.

    """
    settings = configuration.settings
    profile = load_profile(settings.prompts.profile, configuration.prompts_directory)
    check_own(settings.roles, profile, settings.prompts.context, settings.metadata.fields)
    return profile


def asking_of(
    configuration: Configuration, vocabulary: Vocabulary | None = None
) -> InferenceService:
    """Make the inference room; nothing is sent. A short *vocabulary* is named in the prompt.

    Raises:
        ConfigurationError: the profile, the registry or the address cannot be used.

    """
    settings = configuration.settings
    profile = profile_of(configuration)
    registry = chosen(settings.backend, settings.roles)
    folder = slots_folder(settings.state_directory, os.environ)
    backends = {
        url: Backend(options, slots_folder=folder)
        for url, options in endpoints_of(configuration, registry.places).items()
    }
    return InferenceService(
        settings,
        profile,
        backends,
        models=registry.models,
        vocabulary=vocabulary.shown if vocabulary else (),
        base_urls=registry.places,
    )


def endpoints_of(
    configuration: Configuration, places: Mapping[str, str]
) -> dict[str, tables.Backend]:
    """Return the settings of each address that is asked; *places*: what a registry resolved.

    Of ``backend.base_url`` and ``backend.endpoints`` the one from the higher layer counts.

    Raises:
        ConfigurationError: both are given in one place, or it is not clear whose the key is.

    """
    backend = configuration.settings.backend
    alone = configuration.outranks("backend.base_url", "backend.endpoints")
    if alone is None and backend.endpoints and backend.base_url != "auto":
        message = (
            f"{configuration.origins['backend.endpoints']}: backend.base_url and backend.endpoints "
            "are both given: keep one of the two"
        )
        raise ConfigurationError(message)
    return asked_places(backend, places, alone=bool(alone))


def check_settings(configuration: Configuration) -> None:
    """Refuse settings that could not be served: a file they name is not there or wrong.

    Raises:
        ConfigurationError: one line.

    """
    profile_of(configuration)
    vocabulary_of(configuration.settings)
    registry = chosen(configuration.settings.backend, configuration.settings.roles)
    endpoints_of(configuration, registry.places)


def journal_of(settings: Settings) -> Journal:
    """Make the journal; nothing is touched before it is opened."""
    return Journal(
        settings.journal_directory,
        retention_days=settings.journal.retention_days,
        compress_after_days=settings.journal.compress_after_days,
    )


def metadata_options(settings: Settings) -> Options:
    """Say how sidecars are written."""
    return Options(
        target=settings.metadata.target,
        fields=settings.metadata.fields,
        own=frozenset(field for role in settings.roles.own.values() for field in role.fields),
        naming=settings.sidecar.naming,
        overwrite=settings.metadata.overwrite,
        backup_originals=settings.metadata.backup_originals,
        language=_spoken(settings),
        root=settings.ownership.keyword,
    )


def _spoken(settings: Settings) -> str:
    """Return the language that texts are marked with: the describer's are English at any rate."""
    language = settings.metadata.language
    foreign = language.partition("-")[0] != "en"
    return "" if foreign and settings.backend.base_url == "builtin:" else language


def has_ledger(settings: Settings) -> bool:
    """Say whether there is a ledger yet; opening one makes it."""
    return SqliteLedger.exists(settings.state_directory)


@asynccontextmanager
async def open_ledger(
    settings: Settings,
    *,
    exclusive: bool = False,
    now: Callable[[], datetime] = local_now,
) -> AsyncIterator[SqliteLedger]:
    """Open the ledger alone, as for a listing.

    Raises:
        StartError: the state directory cannot be used, or another daemon uses it.

    """
    ledger = await SqliteLedger.open(
        settings.state_directory,
        exclusive=exclusive,
        max_attempts=settings.queue.max_attempts,
        order=settings.queue.order,
        clock=lambda: now().timestamp(),
    )
    for notice in ledger.notices:
        log.error(notice)
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def open_services(
    configuration: Configuration,
    *,
    exclusive: bool = False,
    now: Callable[[], datetime] = local_now,
) -> AsyncIterator[Services]:
    """Open every room; *exclusive* for the daemon, of which there is one a state directory.

    *now* is the clock on the wall of all of them: the local time, aware.

    Nothing is asked of the backend yet: the breaker is open until it has been probed.

    Raises:
        ConfigurationError: the settings cannot be used. StartError: the state cannot be used.
        StorageError: a disk is full or failing.

    """
    settings = configuration.settings
    vocabulary = vocabulary_of(settings)
    asking, journal, workers = (
        asking_of(configuration, vocabulary),
        journal_of(settings),
        Workers(settings.workers),
    )
    try:
        async with open_ledger(settings, exclusive=exclusive, now=now) as ledger:
            journal.open()
            asking.remember(ledger)
            yield Services(
                settings=settings,
                ledger=ledger,
                workers=workers,
                asking=asking,
                journal=journal,
                relay=OutboxRelay(ledger, journal, now=now),
                now=now,
                metadata_options=metadata_options(settings),
                vocabulary=vocabulary,
            )
    finally:
        await asking.close()
        await workers.close()
