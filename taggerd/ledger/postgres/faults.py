"""What goes wrong with a PostgreSQL server, as errors of ours: what passes, and what does not.

No message repeats a connection's address: it may hold a password. libpq's own name host, port and
user at most.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

from taggerd.errors import LedgerAway, StartError, StorageError
from taggerd.photo import brief

if TYPE_CHECKING:
    from collections.abc import Iterator

_BUG = "this is a bug: please report it"


class Again(Exception):
    """Nothing of a transaction has happened, and it is to be done once more."""


class InDoubt(LedgerAway):
    """Nobody knows yet whether a transaction was committed."""

    def __init__(self, said: str, number: int) -> None:
        """Say what the server said last, and the *number* of the transaction."""
        super().__init__(f"the ledger's server cannot be used now: {said}")
        self.number = number


CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)
"""Two transactions wanted the same; one of them was undone."""

_LOCKS = "procrastinate_jobs_lock_idx_v1"
"""Two programs claimed two photos with one sidecar at the same moment."""

UNPREPARED = (errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)
"""A pooler gave us another server process than the one that has prepared our statements."""

_MEANINGS: tuple[tuple[tuple[type[psycopg.Error], ...], type[Exception], str], ...] = (
    # One value is at fault, not the server: whoever brought it pays, and the others go on.
    (
        (errors.DataError, errors.IntegrityError),
        ValueError,
        f"the ledger does not take a value ({{}}): {_BUG}",
    ),
    (
        (errors.DiskFull, errors.OutOfMemory, errors.IoError),
        LedgerAway,
        "the ledger's server cannot write ({}): make room there",
    ),
    (
        (errors.ReadOnlySqlTransaction,),
        LedgerAway,
        "the ledger's server takes no changes now ({})",
    ),
    (
        (errors.InsufficientPrivilege,),
        LedgerAway,
        "the ledger cannot be used ({}): give this role its rights",
    ),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName),
        LedgerAway,
        "the database holds no ledger of this version ({}): taggerd ledger check",
    ),
    (
        (errors.QueryCanceled, errors.LockNotAvailable),
        LedgerAway,
        "the ledger is busy ({})",
    ),
    (
        (psycopg.OperationalError, psycopg.InterfaceError),
        LedgerAway,
        "the ledger's server cannot be used now: {}",
    ),
)
"""What psycopg's errors are, the first that fits; ``{}`` is what the server says."""
_REFUSED = (
    errors.InvalidPassword,
    errors.InvalidAuthorizationSpecification,
    errors.InvalidCatalogName,
)

_REFUSAL = re.compile(
    "password authentication failed|no password supplied|no pg_hba.conf entry"
    "|authentication failed for user|permission denied for"
    "|certificate verify failed|does not match host name|root certificate file"
    "|server does not support SSL|no encryption"
    '|(database|role) ".*" does not exist|is not permitted to log in'
    "|no such (user|database)"  # PgBouncer
)
"""Not a limit on connections, which names its role or database as well."""


def described(error: psycopg.Error) -> str:
    """Return what the server, or libpq, says, in one line."""
    return brief(" ".join(str(error).split()), 300) or type(error).__name__


def of(error: psycopg.Error) -> Exception:
    """Return the error of ours that *error* is."""
    said = described(error)
    for kinds, ours, message in _MEANINGS:
        if isinstance(error, kinds):
            return ours(message.format(said))
    return StorageError(f"the ledger cannot be used ({said}): {_BUG}")


@contextmanager
def mapped() -> Iterator[None]:
    """Raise psycopg's errors as ours.

    Raises:
        Again: the transaction was undone, and is to be repeated.
        ValueError: the database does not take a value.
        LedgerAway: the server cannot be reached, restarts, takes no changes, has a full disk, or
            refuses us.
        StorageError: what nobody foresaw.
    """
    try:
        yield
    except CONFLICTS as error:
        raise Again from error
    except psycopg.Error as error:
        if error.diag.constraint_name == _LOCKS:
            raise Again from error
        raise of(error) from None  # its context may quote the connection's address


def when_starting(error: psycopg.Error) -> Exception:
    """Return why a program cannot start with the database; what passes by itself stays so."""
    if isinstance(error, psycopg.OperationalError) and is_refusal(error):
        return StartError(f"the ledger's server refuses us: {described(error)}")
    if isinstance(error, psycopg.ProgrammingError):
        return StartError(f"ledger.url cannot be used: {described(error)}")
    return of(error)


def is_refusal(error: psycopg.Error) -> bool:
    """Say whether waiting helps nobody: a wrong password, a database that is not there.

    psycopg has no SQLSTATE for what goes wrong while it connects; libpq's text is all there is.
    """
    if isinstance(error, _REFUSED):
        return True
    said = str(error)
    return _REFUSAL.search(said) is not None
