"""An open SQLite database and its queries.

Everything here is synchronous and belongs to one thread. :mod:`~taggerd.ledger.opening` opens it.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from taggerd.errors import LedgerDamaged, StorageError
from taggerd.ledger.queries import named
from taggerd.ledger.rows import PLAIN, Paths, folder_range
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from taggerd.ledger.owners import Lock
    from taggerd.ledger.queries import Row, Value

T = TypeVar("T")

PASSING = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}
"""Passes by itself: once there is room, the disk is repaired, or another program is done."""

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

ADVICE = {
    sqlite3.SQLITE_BUSY: "another program has locked it",
    sqlite3.SQLITE_LOCKED: "another program has locked it",
    sqlite3.SQLITE_PROTOCOL: "another program has locked it",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "its disk is full or failing: make room or repair it",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_READONLY: "give this user write access",
    sqlite3.SQLITE_PERM: "give this user write access",
    sqlite3.SQLITE_CANTOPEN: "give this user write access",
    sqlite3.SQLITE_CORRUPT: "restart taggerd, which replaces it",
    sqlite3.SQLITE_NOTADB: "restart taggerd, which replaces it",
}
"""What to do, by SQLite's result code."""

_BUG = "this is a bug: please report it"


@cache
def queries() -> Mapping[str, str]:
    """Return every query of ``queries.sql`` by name."""
    return named((files(__package__) / "queries.sql").read_text("utf-8"))


class Database:
    """The ledger's open database."""

    paths: Paths = PLAIN
    """It has one host's."""

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection,
        use: Lock | None = None,
        suspicion: Path | None = None,
    ) -> None:
        """Use an open *connection*.

        Args:
            path: the database's file.
            connection: to it, prepared by :func:`taggerd.ledger.opening.open_database`, or one that
                only reads.
            use: held while it is open; None if it is only read.
            suspicion: the file to leave when damage is met, for the next who opens the database;
                None if it is only read.
        """
        self._path = path
        self._connection = connection
        self._use = use
        self._suspicion = suspicion
        self._damage = ""
        self._scope: tuple[Path, ...] | None = None

    @contextmanager
    def transaction(self, *, quick: bool = False) -> Iterator[None]:  # noqa: ARG002 - all are
        """Do everything inside, or nothing of it.

        A power cut may undo the last moments, in order, which only costs work. Where money was
        spent, :mod:`~taggerd.ledger.durability` is waited for in addition.
        """
        try:
            with self._storage_errors(), immediate(self._connection):
                yield
        except StorageError:
            self._free_log()
            raise

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Raise SQLite's errors as :class:`StorageError`.

        Once damage was met, nothing more is read or written.
        """
        if self._damage:
            raise LedgerDamaged(self._damage)
        try:
            yield
        except (sqlite3.DataError, sqlite3.IntegrityError) as error:
            # One value is at fault, not the disk: whoever brought it pays, and the others go on.
            message = f"the ledger does not take a value ({error}): {_BUG}"
            raise ValueError(message) from error
        except sqlite3.Error as error:
            code = result_code(error)
            advice = ADVICE.get(code, _BUG)
            message = f"the ledger {printable(self._path)} cannot be used ({error}): {advice}"
            garbled = str(error).startswith("Could not decode to UTF-8")
            if code not in DAMAGED and not garbled:
                raise StorageError(message) from error
            self._damage = message
            if self._suspicion is not None:
                with suppress(OSError):
                    # Text that is none is certain damage, which SQLite's own check does not see.
                    self._suspicion.write_text("certain" if garbled else "", encoding="ascii")
            raise LedgerDamaged(message) from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let all queries inside see the same moment."""
        with self._storage_errors():
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what *work* makes of the connection; errors as everywhere else."""
        with self._storage_errors():
            return work(self._connection)

    def _free_log(self) -> None:
        """Bring the log into the file, so that the next write can use the log's own space.

        SQLite does so after a commit. On a disk that the log itself has filled no commit succeeds
        any more: without this the ledger would stay full for ever, whatever space is freed.
        """
        if self._damage:
            return
        with suppress(sqlite3.Error):  # no space for that either
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def select(self, within: Sequence[Path] | None) -> None:
        """Say which folders and files the queries about photos in scope mean; None: all."""
        scope = (Path("/"),) if within is None else tuple(within)
        if scope == self._scope:
            return
        self._scope = None
        self.do("clear_scope")
        for path in scope:
            low, high = folder_range(path)
            folder, stem, suffix = self.paths.key(path)
            self.do("add_scope", low=low, high=high, parent=folder, stem=stem, suffix=suffix)
        self._scope = scope

    def rows(self, query: str, /, **values: Value) -> list[Row]:
        """Return all rows of the named *query*."""
        with self._storage_errors():
            return self._connection.execute(queries()[query], _bound(values)).fetchall()

    def tuples(self, query: str, /, **values: Value) -> set[tuple[Any, ...]]:
        """Return all rows of the named *query* as plain tuples: for very many of them."""
        with self._storage_errors():
            cursor = self._connection.cursor()
            cursor.row_factory = None
            return set(cursor.execute(queries()[query], _bound(values)))

    def row(self, query: str, /, **values: Value) -> Row | None:
        """Return the first row of the named *query*, if there is one."""
        rows = self.rows(query, **values)
        return rows[0] if rows else None

    def one(self, query: str, /, **values: Value) -> Row:
        """Return the row of the named *query*, which always gives one."""
        return self.rows(query, **values)[0]

    def do(self, query: str, /, **values: Value) -> int:
        """Execute the named *query*; return how many rows it changed."""
        with self._storage_errors():
            return self._connection.execute(queries()[query], _bound(values)).rowcount

    def insert(self, query: str, /, **values: Value) -> int:
        """Execute the named *query*; return the id of the row it made."""
        with self._storage_errors():
            made = self._connection.execute(queries()[query], _bound(values)).lastrowid
        if made is None:
            message = f"{query} makes no row"
            raise TypeError(message)
        return made

    def exclude(self) -> bool:
        """Keep everybody else from opening it until it is closed; False: somebody has it open."""
        try:
            if self._use is not None:
                self._use.change(shared=False)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Close the file. May raise StorageError; it is closed all the same."""
        self._damage = ""
        try:
            with self._storage_errors():
                self._connection.close()
        finally:
            if self._use is not None:
                self._use.release()


def storable(text: str) -> str:
    r"""Return *text* with each lone surrogate escaped as ``\udXXX``: SQLite refuses them.

    Models send them, and errors quote them. Inside JSON the escape means the same character.
    """
    return text.encode("utf-8", "backslashreplace").decode()


def _bound(values: Mapping[str, Value]) -> Mapping[str, Value]:
    return {k: storable(v) if isinstance(v, str) else v for k, v in values.items()}


@contextmanager
def immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """Run a transaction that has the right to write from its beginning."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def named_row(cursor: sqlite3.Cursor, values: tuple[Value, ...]) -> Row:
    """Make a :data:`Row`."""
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def connect_read_only(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    """Open the database *path* without changing it.

    Without *immutable* SQLite makes the files of a log that is not there. With it nothing is made,
    and nothing is seen of a log.
    """
    how = "mode=ro&immutable=1" if immutable else "mode=ro"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None
    )
    connection.row_factory = named_row
    return connection


def result_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
