"""A PostgreSQL database and its queries, as :class:`taggerd.ledger.queries.Database` wants them.

Everything here is synchronous and belongs to one thread. A connection that is lost is made again at
the next transaction.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from taggerd.ledger.postgres import faults
from taggerd.ledger.postgres.connection import connect
from taggerd.ledger.postgres.packing import PACKED, packed, unpacked
from taggerd.ledger.queries import named
from taggerd.ledger.rows import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from taggerd.ledger.postgres.connection import Connection
    from taggerd.ledger.queries import Row, Value
    from taggerd.ledger.rows import Paths

T = TypeVar("T")

PREPARED_AFTER = 3
"""Executions after which a statement is prepared, unless a pooler loses it."""
REST_SECONDS = 1.0
"""After a connection could not be made; who asks meanwhile is told at once. Without this a dozen
who wait for a server that is away would each wait for it to not answer, one after the other."""
MOST_PREPARED = 500
DOUBT_SECONDS = 8.0
"""How long the server is waited for that did not answer a COMMIT."""
_COMMIT = "UPDATE taggerd.commits SET number = {}, at = now() WHERE owner = '{}'; COMMIT"
"""One statement, and one answer: with two, the second might be lost alone."""
LONGEST_SECONDS = 300.0
"""No statement of a ledger takes longer."""
_SESSION = (
    # For the steps of a claim; see transaction().
    "SET synchronous_commit TO off",
    # Each query is planned once. Left to itself the server plans each claim again: 4 ms of 5.
    "SET plan_cache_mode TO force_generic_plan",
    # A host that is cut off in a transaction would hold its locks for as long as TCP does.
    "SET idle_in_transaction_session_timeout TO '20s'",
    "SET lock_timeout TO '20s'",
)
_ON_DISK = b"BEGIN; SET LOCAL synchronous_commit TO on"
_FLUSH = (
    "BEGIN; SET LOCAL synchronous_commit TO on; "
    "SELECT pg_logical_emit_message(true, 'taggerd', ''); COMMIT"
)
"""Writes a few bytes and waits until they, and so all before them, are on the disk."""
REPEATABLE = frozenset(
    ("beat_again", "decoded_answers", "drop_fileless_photo", "enter", "hold_lease", "new_content")
) | {"written"}
"""Queries that change something, and come to the same however often they are executed."""
_CHANGES = re.compile(r"(?<!FOR )\b(INSERT|UPDATE|DELETE|nextval)\b")


@cache
def _queries(*, everything: bool, requested: bool) -> Mapping[str, bytes]:
    """Return every query by name, as psycopg takes it, for one kind of scope and of run."""
    text = (files(__package__) / "queries.sql").read_text("utf-8")
    text = text.replace("{in_run}", "{in_run_requested}" if requested else "{in_run_within}")
    text = text.replace("{in_scope}", "{in_scope_all}" if everything else "{in_scope_within}")
    found = dict(named(text))
    if not (everything or requested):
        found |= {name: found[f"{name}_within"] for name in ("newest", "waiting")}
    found["oldest"] = found["newest"].replace(" DESC", "")
    return {name: _with_placeholders(query) for name, query in found.items()}


def _with_placeholders(query: str) -> bytes:
    """Write ``:name`` as psycopg does."""
    return re.sub(r"(?<![:\w]):([a-z_]+)", r"%(\1)s", query.replace("%", "%%")).encode()


@cache
def may_be_repeated(query: str) -> bool:
    """Say whether the named *query* does no harm where its answer is lost, and it is asked again.

    The one place that decides this. Any other is a transaction by itself, if it is in none: what
    became of it is found out before anything is done again.
    """
    return query in REPEATABLE or not _CHANGES.search(statement(query).decode())


def statement(query: str) -> bytes:
    """Return the text of the named *query*, about whatever photos."""
    return _queries(everything=True, requested=False)[query]


class PostgresDatabase:
    """The ledger's database."""

    def __init__(self, url: str, paths: Paths = PLAIN) -> None:
        """Use the database at *url* from the first query on."""
        self._url = url
        self.paths = paths
        self._connection: Connection | None = None
        self._prepare_after: int | None = PREPARED_AFTER
        self._scope: dict[str, list[bytes]] | None = None
        self._in_transaction = False
        self._connecting = False
        self.contents: dict[str, int] = {}
        """Digests and the numbers of their contents, as this connection has seen them."""
        self._refusal: psycopg.Error | None = None
        """Why no connection can be made, as it was first said."""
        self._next_try = 0.0
        self.order: Literal["newest", "oldest"] = "newest"
        """Which of the photos that it queues come first."""
        self.changes = 0
        """Counts what this program has changed."""
        self.owner = ""
        """Whose transactions are counted in the database."""
        self.number = 0
        """Of the last transaction that has changed anything."""
        self._undone: list[range] = []
        self._pid = 0
        self.connected: Callable[[], None] = lambda: None
        """Called after each connection is made."""

    # The connection.

    def connect(self) -> Connection:
        """Return the open connection, making it if need be; may raise psycopg.Error."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        if self._refusal is not None and time.monotonic() < self._next_try:
            raise self._refusal.with_traceback(None)
        self._connecting = True
        try:
            self._connection = connection = connect(self._url)
            self.contents.clear()  # a crash of the server may have undone what we have seen
            connection.prepare_threshold = self._prepare_after
            connection.prepared_max = MOST_PREPARED
            connection.longest_seconds = LONGEST_SECONDS
            order = f"SET taggerd.queue_order TO {self.order}"  # for the priority of jobs
            connection.execute("; ".join((*_SESSION, order)).encode())
            self.connected()
            if self.owner and self.number:
                self._learn_what_is_committed(connection)
        except BaseException as error:
            self.close()
            if not isinstance(error, psycopg.Error):
                raise
            self._next_try = time.monotonic() + REST_SECONDS
            # A server that is refused, then starts, then recovers is away once, and said once.
            if self._refusal is None or faults.is_refusal(error):
                self._refusal = error
            raise self._refusal.with_traceback(None) from None
        finally:
            self._connecting = False
        self._refusal = None
        self._pid = connection.info.backend_pid
        return connection

    def _learn_what_is_committed(self, connection: psycopg.Connection[Row]) -> None:
        """Find out which of our last transactions are there, before any other begins."""
        connection.execute(statement("hang_up"), {"pid": self._pid})
        row = connection.execute(statement("committed"), {"owner": self.owner}).fetchone()
        there = row["number"] if row is not None else 0
        if there < self.number:
            self._undone.append(range(there + 1, self.number + 1))

    def is_undone(self, number: int) -> bool:
        """Say whether a transaction is not in the database, as far as the last connection told."""
        return any(number in undone for undone in self._undone)

    @property
    def waiting_seconds(self) -> float:
        """How long an answer has been waited for; 0: none is. From any thread."""
        connection = self._connection
        return 0.0 if connection is None else connection.waiting_seconds

    @property
    def is_away(self) -> bool:
        """Whether no connection could be made when one was wanted last. From any thread."""
        return self._refusal is not None

    def _lost(self, error: psycopg.Error) -> bool:
        """Say whether *error* ended the connection."""
        lost = self._connection is None or self._connection.broken or self._connection.closed
        # A standby may stand where the server was: the address may lead to the new one by now.
        if lost or isinstance(error, (errors.AdminShutdown, errors.ReadOnlySqlTransaction)):
            self.close()
            return True
        return False

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    def execute(
        self, statement: bytes, values: Mapping[str, Any] | None = None
    ) -> psycopg.Cursor[Row]:
        """Execute *statement*.

        Outside a transaction once more if the connection turns out to be lost: see
        :func:`may_be_repeated`.
        """
        try:
            return self._answer(statement, values)
        except faults.UNPREPARED as error:
            # From now on without: see PgBouncer's pool_mode = transaction.
            self._prepare_after = None
            self.close()
            raise faults.Again from error
        except psycopg.Error as error:
            if not self._lost(error) or self._in_transaction or error is self._refusal:
                raise
            if self._connecting:
                raise  # a standby that only reads was connected to within itself, without an end
        return self._answer(statement, values)

    def _answer(
        self, statement: bytes, values: Mapping[str, Any] | None = None
    ) -> psycopg.Cursor[Row]:
        if self._in_transaction and (self._connection is None or self._connection.closed):
            message = "the connection was lost"  # another one would do the rest by itself
            raise psycopg.OperationalError(message)
        return self.connect().execute(statement, values)

    @contextmanager
    def transaction(self, *, quick: bool = False) -> Iterator[None]:
        """Do everything inside, or nothing of it.

        If *quick*, a crash of the server may undo it. Where money was spent, :meth:`flush` is
        called in addition.
        """
        with faults.mapped():
            self.execute(b"BEGIN" if quick else _ON_DISK)
            self._in_transaction = True
            before = self.changes
            try:
                yield
                self._commit(changed=self.changes > before)
            except BaseException as error:
                if not (isinstance(error, psycopg.Error) and self._lost(error)):
                    self._roll_back()
                raise
            finally:
                self._in_transaction = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Let all queries inside see the same moment."""
        with faults.mapped():
            self.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._in_transaction = True
        try:
            yield
        finally:
            self._in_transaction = False
            self._roll_back()

    def ask(self, work: Callable[[psycopg.Connection[Row]], T]) -> T:
        """Return what *work* makes of the connection; errors as everywhere else."""
        with faults.mapped():
            return work(self.connect())

    def _commit(self, *, changed: bool) -> None:
        if not (changed and self.owner):
            self._answer(b"COMMIT")
            return
        self.number += 1
        try:
            self._answer(_COMMIT.format(self.number, self.owner).encode())
        except psycopg.Error as error:
            if not self._lost(error) or not self._is_committed(self.number):
                raise

    def once(self, query: str, /, **values: Value) -> list[Row] | None:
        """Execute the named *query*, a transaction by itself that sets its number (``{counted}``).

        Returns its rows; None if it was done, and its answer was lost.
        """
        with faults.mapped():
            self.connect()
            self.number += 1
            values |= {"owner": self.owner, "number": self.number}
            rows: list[Row] | None = None
            self._in_transaction = True  # not again, before we know
            try:
                rows = self._executed(query, values).fetchall()
            except psycopg.Error as error:
                if not self._lost(error) or isinstance(error, errors.ReadOnlySqlTransaction):
                    raise
                self._in_transaction = False
                if not self._is_committed(self.number):
                    raise faults.Again from error
            finally:
                self._in_transaction = False
        self.changes += 1
        return rows

    def _is_committed(self, number: int) -> bool:
        """Say how a transaction ended whose COMMIT nobody answered, once the server can be asked.

        Raises:
            InDoubt: it cannot, for longer than anybody should wait.
        """
        until = time.monotonic() + DOUBT_SECONDS
        while True:
            try:
                self.connect()
            except psycopg.Error as error:
                self.close()
                if time.monotonic() > until:
                    raise faults.InDoubt(faults.described(error), number) from None
                time.sleep(0.2)
            else:
                return not self.is_undone(number)

    def _roll_back(self) -> None:
        try:
            if self._connection is not None:
                self._connection.execute(b"ROLLBACK")
        except psycopg.Error:
            self.close()

    def flush(self) -> None:
        """Wait until everything committed so far is on the server's disk."""
        with faults.mapped():
            self.execute(_FLUSH.encode())

    def reach(self) -> None:
        """Be connected, and know what is committed. Raises StorageError."""
        with faults.mapped():
            self.execute(b"SELECT")

    # Queries.

    def select(self, within: Sequence[Path] | None) -> None:
        """See :class:`taggerd.ledger.queries.Database`."""
        if within is None or (self.paths is PLAIN and Path("/") in within):
            self._scope = None
            return
        ranges = [each for path in within for each in self.paths.ranges(path)]
        keys = [self.paths.key(path) for path in within]
        self._scope = {
            "scope_lows": [low for low, _ in ranges],
            "scope_highs": [high for _, high in ranges],
            "scope_parents": [key.folder for key in keys],
            "scope_stems": [key.stem for key in keys],
            "scope_suffixes": [key.suffix for key in keys],
        }

    def rows(self, query: str, /, **values: Value) -> list[Row]:
        """Return all rows of the named *query*."""
        with faults.mapped():
            rows = self._executed(query, values).fetchall()
        for row in rows:
            for column in PACKED & row.keys():
                row[column] = unpacked(row[column])
        return rows

    def tuples(self, query: str, /, **values: Value) -> set[tuple[Any, ...]]:
        """Return all rows of the named *query* as plain tuples: for very many of them."""
        with faults.mapped():
            cursor = self._executed(query, values)
            cursor.row_factory = tuple_row  # type: ignore[assignment]
            return set(cursor)  # type: ignore[arg-type]

    def row(self, query: str, /, **values: Value) -> Row | None:
        """Return the first row of the named *query*, if there is one."""
        rows = self.rows(query, **values)
        return rows[0] if rows else None

    def one(self, query: str, /, **values: Value) -> Row:
        """Return the row of the named *query*, which always gives one."""
        return self.rows(query, **values)[0]

    def do(self, query: str, /, **values: Value) -> int:
        """Execute the named *query*; return how many rows it changed."""
        if not statement(query):
            return 0  # another query of the same step does it
        with faults.mapped():
            changed = self._executed(query, values).rowcount
        self.changes += changed > 0
        return changed

    def insert(self, query: str, /, **values: Value) -> int:
        """Execute the named *query*; return the id of the row it made."""
        number: int = self.one(query, **values)["id"]
        self.changes += 1
        return number

    def bulk(self, query: str, /, **values: object) -> list[Row]:
        """Execute the named *query* with lists as values; return the rows that it gives."""
        with faults.mapped():
            cursor = self._repeatably(query, statement(query), {"here": self.paths.host, **values})
            rows = cursor.fetchall() if cursor.description else []
            self.changes += not (cursor.statusmessage or "").startswith("SELECT")
        return rows

    def _executed(self, query: str, values: Mapping[str, Value]) -> psycopg.Cursor[Row]:
        queries = _queries(
            everything=self._scope is None, requested=bool(values.get("requested", False))
        )
        return self._repeatably(query, queries[query], self._bound(values))

    def _repeatably(
        self, query: str, text: bytes, values: Mapping[str, Any]
    ) -> psycopg.Cursor[Row]:
        """Execute the *text* of a *query*, in a transaction if it may not be repeated."""
        if self._in_transaction or may_be_repeated(query):
            return self.execute(text, values)
        with self.transaction():
            self.changes += 1
            return self.execute(text, values)

    def _bound(self, values: Mapping[str, Value]) -> dict[str, Any]:
        bound: dict[str, Any] = {
            key: storable(value) if isinstance(value, str) else value
            for key, value in values.items()
        }
        for column in PACKED & values.keys():
            bound[column] = packed(bound[column])
        bound["here"] = self.paths.host
        return bound if self._scope is None else bound | self._scope


def storable(text: str) -> str:
    r"""Return *text* as PostgreSQL takes it.

    Each lone surrogate is escaped as ``\udXXX``, and so is a NUL. Inside JSON that means the same
    character, unless the text was written by hand.
    """
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", r"\u0000")
