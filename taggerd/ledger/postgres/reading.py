"""Reads a shared ledger as none of its owners: what commands use that only show something."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from taggerd.ledger.postgres import journalled, opening
from taggerd.ledger.postgres.database import PostgresDatabase
from taggerd.ledger.postgres.fleet import holders_in, hosts_in
from taggerd.ledger.postgres.roots import as_agreed
from taggerd.ledger.reading import LedgerReader
from taggerd.ledger.rows import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from taggerd.ledger.fleet import Host
    from taggerd.ledger.rows import Paths

T = TypeVar("T")


class SharedLedgerReader(LedgerReader):
    """What can be asked of a shared ledger that is only read."""

    def hosts(self) -> list[Host]:
        """See the base class."""
        return hosts_in(self._database)

    def holders(self) -> Mapping[str, str]:
        """See the base class."""
        return holders_in(self._database)

    def stamp(self) -> object:
        """See the base class."""
        return tuple(self._database.one("stamp").values())


def read_shared(url: str, work: Callable[[LedgerReader], T], *, paths: Paths = PLAIN) -> T:
    """Return what *work* makes of the ledger in the database at *url*, as it is at one moment.

    Raises:
        StartError: there is no ledger of this version, or the server refuses us.
        LedgerAway: the server cannot be used now.
    """
    with closing(PostgresDatabase(url, paths)) as database, database.reading():
        opening.refuse_other_version(database.ask(opening.version_of))
        database.paths = as_agreed(database, paths)
        return work(SharedLedgerReader(database))


class SharedJournal:
    """The records that all hosts have journalled: :class:`taggerd.journal.journal.Elsewhere`."""

    def __init__(self, url: str, paths: Paths = PLAIN) -> None:
        """Ask the ledger at *url*."""
        self._url = url
        self._paths = paths

    def days(self) -> list[str]:
        """Return the days that have records; errors as :func:`read_shared`."""
        with closing(PostgresDatabase(self._url)) as database:
            return [row["day"] for row in database.rows("journalled_days")]

    def lines(self, day: str) -> Iterator[str]:
        """Yield the records of *day*, in the order they came; errors as :func:`read_shared`."""
        with closing(PostgresDatabase(self._url, self._paths)) as database:
            database.paths = as_agreed(database, self._paths)
            yield from journalled.lines(database, day)

    def since(self, number: int) -> Iterator[tuple[str, str, int]]:
        """Yield day, line and number of each record behind *number*. Errors as :meth:`lines`."""
        with closing(PostgresDatabase(self._url, self._paths)) as database:
            database.paths = as_agreed(database, self._paths)
            yield from journalled.since(database, number)
