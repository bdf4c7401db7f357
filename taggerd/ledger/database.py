"""One SQLite file: opened, checked, migrated, asked. The only module that knows `sqlite3`.

Everything here is synchronous and belongs to one thread.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from taggerd.errors import LedgerDamaged, StartError, StorageError
from taggerd.ledger.converting import teach
from taggerd.ledger.owners import Lock
from taggerd.ledger.queries import migrations, queries
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

Value: TypeAlias = "int | float | str | bytes | None"
Row: TypeAlias = "dict[str, Any]"
"""A row by the names of its columns; the schema says what each holds."""

BUSY_SECONDS = 20.0
"""Longest wait for another program's transaction; theirs take milliseconds."""

_SETTINGS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "temp_store = MEMORY",
    "cache_size = -16000",
    "journal_size_limit = 67108864",
)

_LONGEST_LOG = 1000
"""Pages; SQLite's own measure."""

_PASSES = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}
"""Passes by itself: once there is room, the disk is mended, or another program is done."""

CHECKED_BYTES = 64 * 1024 * 1024
"""A database up to this size is checked whole at every start: a fraction of a second."""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

_ADVICE = {
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
"""What the disk may do, and what to do then."""

_OUR_FAULT = "this is a bug: please report it"


class Database:
    """A connection to the ledger's file."""

    def __init__(self, path: Path, now: float, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Open *path*, making it if need be, and bring its schema up to date.

        Where nobody else uses it, it is checked first (see :meth:`_is_damaged`); a damaged one is
        set aside under a name that tells the time *now*, and a new one is made.

        Raises:
            StartError: it cannot be used, or was created by a newer taggerd.
            StorageError: the disk is full or failing, another program has locked it, or it is
                damaged and in use: this passes, and it may be opened again after a while.
            OSError: its folder cannot be written to.
        """
        self._path = path
        self._busy_seconds = busy_seconds
        self._damage = ""
        self._suspicion = path.with_name("ledger.suspect")
        self.set_aside: Path | None = None
        """Where the damaged database is that was found here."""
        in_use = path.with_name("ledger.lock")
        try:
            self._use = Lock(in_use)
            alone = True
        except BlockingIOError:
            self._use = Lock(in_use, shared=True, wait=True)
            alone = False
        try:
            self._open(now, check=alone)
            self._use.change(shared=True, wait=True)
        except BaseException as error:
            self._use.release()
            if not isinstance(error, sqlite3.Error):
                raise
            raise self._unopened(error) from error

    def _unopened(self, error: sqlite3.Error) -> StorageError | StartError:
        """Return why the database could not be opened, as what passes or as what does not."""
        code = _primary_code(error)
        advice = _ADVICE.get(code, "it was not created by taggerd")
        if code in _DAMAGED:
            advice = "it is replaced once no other taggerd uses it"
            with suppress(OSError):
                self._suspicion.touch()
        message = f"the ledger {printable(self._path)} cannot be used ({error}): {advice}"
        if code in _DAMAGED:
            return LedgerDamaged(message)
        return StorageError(message) if code in _PASSES else StartError(message)

    def _open(self, now: float, *, check: bool) -> None:
        log_left = _bytes_of(self._path.with_name(self._path.name + "-wal")) > 0
        boot = _boot()
        interrupted = log_left and (not boot or boot != self._use.read())
        self._connection = self._connect()
        try:
            if check:
                if self._is_damaged(interrupted=interrupted):
                    self._set_aside(now)
                    self._connection = self._connect()
                self._suspicion.unlink(missing_ok=True)
                with suppress(OSError):  # on a full disk: then the next one checks once more
                    self._use.write(boot)
            for setting in _SETTINGS:
                self._connection.execute(f"PRAGMA {setting}")
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {self._longest_log()}")
            self._migrate()
            self._connection.execute(queries()["scope"])
            if self.set_aside is not None:
                self._take_over_outbox(self.set_aside)
        except BaseException:
            self._connection.close()
            raise

    def _longest_log(self) -> int:
        """Return how many pages the log may hold before it is brought into the file.

        At most a sixteenth of the disk: a log that has filled a small one cannot be brought into
        the file, which has to grow for it, and so never makes room again.
        """
        disk = os.statvfs(self._path.parent)
        pages: int = self._pragma("page_size")
        return min(max(disk.f_blocks * disk.f_frsize // pages // 16, 1), _LONGEST_LOG)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._busy_seconds, isolation_level=None)
        connection.row_factory = _row
        return connection

    def _is_damaged(self, *, interrupted: bool) -> bool:
        """Check the database as thoroughly as there is reason to.

        To read all of one that holds a million photos takes seconds. So it is done where damage was
        met (then with all indices), where it was *interrupted* by the end of the whole machine (its
        log is still there, from before the last boot), and where it is small. After an orderly end,
        or a kill, which takes nothing from what the kernel has been given, a look at every table's
        first page and at the file's length has to do: what lies deeper is found when it is met, see
        :meth:`_storage_errors`.
        """
        try:
            if _bytes_of(self._suspicion) > 0 or self._lacks_tables():
                return True
            if self._suspicion.exists():
                return bool(self._pragma("integrity_check(1)") != "ok")
            if interrupted or _bytes_of(self._path) <= CHECKED_BYTES:
                return bool(self._pragma("quick_check(1)") != "ok")
            whole: int = self._pragma("page_count") * self._pragma("page_size")
            names = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            for row in names.fetchall():
                self._connection.execute(f'SELECT 1 FROM "{row["name"]}" LIMIT 1').fetchall()  # noqa: S608 - as the schema itself says
            return _bytes_of(self._path) < whole
        except sqlite3.DatabaseError as error:
            if _primary_code(error) in _DAMAGED:
                return True
            raise

    def _lacks_tables(self) -> bool:
        """Say whether a table or index is gone that a ledger of its schema has."""
        scripts = migrations()
        version: int = self._pragma("user_version")
        if version > len(scripts):
            return False  # a newer taggerd knows what it should have
        with closing(sqlite3.connect(":memory:")) as blank:
            blank.row_factory = _row
            teach(blank)
            for script in scripts[:version]:
                blank.executescript(script)
            return bool(_tables(blank) - _tables(self._connection))

    def _take_over_outbox(self, aside: Path) -> None:
        """Take what can still be read of the records that were not journalled yet.

        Their photos are tagged, and nobody would ask about them again.
        """
        with suppress(sqlite3.Error), closing(_read_only(aside)) as damaged:
            for row in damaged.execute("SELECT record, day, line, stream FROM outbox"):
                with suppress(ValueError, KeyError, TypeError):  # what was flipped is no record
                    if json.loads(row["line"])["id"] == row["record"]:
                        self._connection.execute(queries()["send"], row)

    def _set_aside(self, now: float) -> None:
        """Rename the damaged file with its log, and close it; nobody else has it open."""
        moment = time.strftime("%Y%m%dT%H%M%S", time.localtime(now))
        name = f"{self._path.name}.damaged-{moment}"
        aside = self._path.with_name(name)
        for number in count(2):
            if not aside.exists():
                break
            aside = self._path.with_name(f"{name}-{number}")
        # The log first: a kill in between must not leave it beside a new database.
        for ending in ("-wal", "-shm", ""):
            part = self._path.with_name(self._path.name + ending)
            if part.exists():
                part.rename(aside.with_name(aside.name + ending))
        self._connection.close()  # after renaming: closing would remove the log by its old name
        self.set_aside = aside

    def _migrate(self) -> None:
        scripts = migrations()
        connection = self._connection
        with self._immediately():
            version: int = self._pragma("user_version")
            if version > len(scripts):
                message = (
                    f"the ledger {printable(self._path)} was created by a newer taggerd "
                    f"(schema {version}, this one knows {len(scripts)}): update taggerd"
                )
                raise StartError(message)
            teach(connection)
            for number, script in enumerate(scripts[version:], start=version + 1):
                for statement in statements(script):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")

    def _pragma(self, name: str) -> Any:  # noqa: ANN401  # SQLite's own, as it comes
        (value,) = self._connection.execute(f"PRAGMA {name}").fetchone().values()
        return value

    @contextmanager
    def _immediately(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all that is asked inside, or nothing of it.

        A power cut may undo the last moments, in order, which only costs work. Where money was
        spent, :mod:`~taggerd.ledger.durability` is waited for in addition.
        """
        try:
            with self._storage_errors(), self._immediately():
                yield
        except StorageError:
            self._make_room()
            raise

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Map what SQLite says to :class:`StorageError`.

        Once damage was met, nothing more is read or written; word of it is left for the next who
        opens the database.
        """
        if self._damage:
            raise LedgerDamaged(self._damage)
        try:
            yield
        except sqlite3.Error as error:
            code = _primary_code(error)
            advice = _ADVICE.get(code, _OUR_FAULT)
            message = f"the ledger {printable(self._path)} cannot be used ({error}): {advice}"
            garbled = str(error).startswith("Could not decode to UTF-8")
            if code not in _DAMAGED and not garbled:
                raise StorageError(message) from error
            self._damage = message
            with suppress(OSError):
                # What is no text is damage for certain, though SQLite's own check passes over it.
                self._suspicion.write_text("certain" if garbled else "", encoding="ascii")
            raise LedgerDamaged(message) from error

    def _make_room(self) -> None:
        """Bring the log into the file, so that what is written next takes the log's own room.

        SQLite does so after a commit. On a disk that the log has filled itself there is no commit
        any more: without this the ledger stays full for ever, whatever room is made.
        """
        if self._damage:
            return
        with suppress(sqlite3.Error):  # no room for that either
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def rows(self, query: str, /, **values: Value) -> list[Row]:
        """Return all rows of the named *query*."""
        with self._storage_errors():
            return self._connection.execute(queries()[query], values).fetchall()

    def tuples(self, query: str, /, **values: Value) -> set[tuple[Any, ...]]:
        """Return all rows of the named *query* as plain tuples: for very many of them."""
        with self._storage_errors():
            cursor = self._connection.cursor()
            cursor.row_factory = None
            return set(cursor.execute(queries()[query], values))

    def row(self, query: str, /, **values: Value) -> Row | None:
        """Return the first row of the named *query*, if there is one."""
        rows = self.rows(query, **values)
        return rows[0] if rows else None

    def one(self, query: str, /, **values: Value) -> Row:
        """Return the row of the named *query*, which always gives one."""
        return self.rows(query, **values)[0]

    def do(self, query: str, /, **values: Value) -> int:
        """Do the named *query*; return how many rows it changed."""
        with self._storage_errors():
            return self._connection.execute(queries()[query], values).rowcount

    def insert(self, query: str, /, **values: Value) -> int:
        """Do the named *query*; return the id of the row it made."""
        with self._storage_errors():
            made = self._connection.execute(queries()[query], values).lastrowid
        if made is None:
            message = f"{query} makes no row"
            raise TypeError(message)
        return made

    def close(self) -> None:
        """Close the file. Raises StorageError; it is closed all the same."""
        self._damage = ""
        try:
            with self._storage_errors():
                self._connection.close()
        finally:
            self._use.release()


def statements(script: str) -> Iterator[str]:
    """Split *script*: `executescript` would commit the transaction it runs in."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    connection.row_factory = _row
    return connection


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row["name"] for row in connection.execute("SELECT name FROM sqlite_schema")}


def _row(cursor: sqlite3.Cursor, values: tuple[Value, ...]) -> Row:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _bytes_of(path: Path) -> int:
    """Return a file's length; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _boot() -> str:
    """Return what tells this run of the machine from any other; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
