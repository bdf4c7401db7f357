"""What is read of the ledger and the journal without opening them: here, or of all hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from taggerd import ledger
from taggerd.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.ledger import LedgerReader
    from taggerd.ledger.rows import Paths
    from taggerd.settings import Settings

T = TypeVar("T")


def read_ledger(settings: Settings, work: Callable[[LedgerReader], T]) -> T | None:
    """Return what *work* makes of the ledger; None if there is none.

    Raises:
        StartError: it cannot be used: it is somebody else's, or another version's.
        StorageError: it cannot be read now.
    """
    url = settings.ledger.url
    if url is None:
        return ledger.read_ledger(settings.state_directory, work)
    from taggerd.ledger.postgres.reading import read_shared  # noqa: PLC0415 - an extra

    return read_shared(url.get_secret_value(), work, paths=_paths(settings))


def _paths(settings: Settings) -> Paths:
    """Return how the shared ledger keeps the paths of this host."""
    from taggerd.ledger.postgres.naming import Naming  # noqa: PLC0415 - an extra

    return Naming(settings.service.host_name, settings.arrivals.named)


def has_ledger(settings: Settings) -> bool:
    """Say whether there is a ledger."""
    return settings.ledger.url is not None or ledger.has_ledger(settings.state_directory)


def make_journal(settings: Settings, *, whole: bool = False) -> Journal:
    """Make the journal; it touches nothing before it is opened.

    With *whole* it also reads what the hosts that share the ledger have journalled.
    """
    url, elsewhere = settings.ledger.url, None
    if whole and url is not None:
        from taggerd.ledger.postgres.reading import SharedJournal  # noqa: PLC0415 - an extra

        elsewhere = SharedJournal(url.get_secret_value(), _paths(settings))
    return Journal(
        settings.journal_directory,
        retention_days=settings.journal.retention_days,
        compress_after_days=settings.journal.compress_after_days,
        elsewhere=elsewhere,
    )
