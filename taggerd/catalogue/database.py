"""The catalogue's SQLite file: opened, shared by processes and threads, replaced when damaged."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import zlib
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from taggerd.catalogue.entry import NotAnEntry
from taggerd.errors import StorageError
from taggerd.logs import get_logger
from taggerd.photo import printable
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")

log = get_logger(__name__)

CONTENT = 1
"""Version of what is in the tables: of entries, sort keys, terms and searched texts."""
BUSY_SECONDS = 20.0
"""Longest wait for another program's transaction."""
_IDLE = 4
"""Connections that are kept for the next reader."""

_SETTINGS = (
    "journal_mode = WAL",
    "synchronous = OFF",  # it can be made again; after a power cut it is checked
    "temp_store = MEMORY",
    "cache_size = -32000",
    "mmap_size = 1073741824",
    "journal_size_limit = 67108864",
)

_TABLES = """
-- Narrow, so that walking all photos in order reads little.
CREATE TABLE photos (
    id     INTEGER PRIMARY KEY,
    key    BLOB NOT NULL UNIQUE,
    sort   BLOB NOT NULL UNIQUE,
    terms  BLOB NOT NULL                 -- its terms' ids, four bytes each
) STRICT;
CREATE TABLE entries (
    id     INTEGER PRIMARY KEY,
    path   BLOB NOT NULL,
    entry  TEXT NOT NULL                 -- JSON
) STRICT;
-- What photos can be chosen by: a day, a folder, a keyword…, and how many photos have it.
CREATE TABLE terms (
    id      INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    value   TEXT NOT NULL,
    shown   TEXT NOT NULL,
    photos  INTEGER NOT NULL DEFAULT 0,
    UNIQUE (kind, value)
) STRICT;
CREATE TABLE tagged (
    term   INTEGER NOT NULL,
    photo  INTEGER NOT NULL,
    PRIMARY KEY (term, photo)
) STRICT, WITHOUT ROWID;
-- The texts themselves are in the entries: half the space.
CREATE VIRTUAL TABLE words USING fts5 (
    caption, description, keywords, name,
    content = '', columnsize = 0, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
CREATE TABLE notes (
    key    TEXT PRIMARY KEY,
    value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_NONE = (0, 0)
"""The inode of no file."""


VERSION = zlib.crc32(f"{CONTENT}{_TABLES}".encode()) & 0x7FFF_FFFF
"""A file of another version is thrown away."""


class Connection(sqlite3.Connection):
    """A connection that remembers the last search: pages and neighbours repeat it."""

    matched: tuple[object, int] = (None, 0)
    """What was searched for, in which state of the file, and how many photos ``temp.matched``
    holds for it."""


class Database:
    """Connections to the catalogue.

    Many threads and processes read while one writes. Whoever meets damage removes the file; the
    others notice that theirs is not the one that the path names any more, and open the new one.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened when it is first used."""
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._inode = _NONE
        """Of the file that the idle connections lead to."""
        self._writing = threading.Lock()
        self._memory: Connection | None = None
        """Used where no file can be made: then nothing outlives the process."""
        self._in_memory = threading.RLock()
        self._was_open = False

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return what *work* makes of the catalogue as it is at one moment.

        Raises:
            StorageError: it cannot be read, e.g. because the disk is failing.
        """
        return self._each_once(work, begin="BEGIN")

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return what *work* makes of the catalogue, all of it or nothing.

        Raises:
            StorageError: disk full, failing or read-only; nothing has changed.
        """
        with self._writing:  # SQLite polls for its lock; threads need not
            return self._each_once(work, begin="BEGIN IMMEDIATE")

    def close(self) -> None:
        """Close what is open; it opens again when it is used."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        if self._memory is not None:
            self._memory.close()
            self._memory = None

    def _each_once(self, work: Callable[[Connection], T], *, begin: str) -> T:
        """Do *work*, and once more on a new file if this one is damaged."""
        try:
            return self._try(work, begin)
        except _Damaged as damaged:
            log.warning("the catalogue is made again", reason=str(damaged.__cause__))
            try:
                return self._try(work, begin)
            except _Damaged as again:
                raise self._mapped(again.__cause__) from again

    def _try(self, work: Callable[[Connection], T], begin: str) -> T:
        inode = _NONE
        try:
            with self._connection() as (connection, inode):
                connection.execute(begin)
                try:
                    result = work(connection)
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
                return result
        except (sqlite3.Error, OSError, NotAnEntry) as error:
            if not _is_damage(error):
                raise self._mapped(error) from error
            with suppress(OSError):
                self._remove(inode)
            raise _Damaged from error

    def _mapped(self, error: BaseException | None) -> StorageError:
        reason = getattr(error, "strerror", None) or str(error)
        message = (
            f"the catalogue {printable(self._path)} cannot be used ({reason}): photos are tagged "
            "all the same; make room on its disk, or repair it"
        )
        return StorageError(message)

    @contextmanager
    def _connection(self) -> Iterator[tuple[Connection, tuple[int, int]]]:
        """Lend a connection to the file that the path names now."""
        if self._memory is not None:
            with self._in_memory:
                yield self._memory, _NONE
            return
        current = _inode(self._path)
        stale: list[Connection] = []
        with self._lock:
            if current != self._inode:
                stale, self._idle, self._inode = self._idle, [], current
            connection = self._idle.pop() if self._idle else None
        for old in stale:
            old.close()
        if connection is None:
            try:
                connection, current = self._opened()
            except (sqlite3.Error, OSError) as error:
                if self._was_open or _code(error) in _BUSY:
                    raise
                with self._in_memory:
                    yield self._made_in_memory(error), _NONE
                return
            self._was_open = True
        try:
            yield connection, current
        except BaseException:
            connection.close()
            raise
        with self._lock:
            keep = self._inode in {current, _NONE} and len(self._idle) < _IDLE
            if keep:
                self._inode = current
                self._idle.append(connection)
        if not keep:
            connection.close()

    def _made_in_memory(self, error: Exception) -> Connection:
        """Return the connection to a catalogue in memory, since no file can be used."""
        if self._memory is None:
            log.warning("the catalogue is kept in memory", reason=str(self._mapped(error)))
            connection = self._connect(":memory:")
            _make_tables(connection)
            self._memory = connection
        return self._memory

    def _opened(self) -> tuple[Connection, tuple[int, int]]:
        """Open the file, which is made if need be; one of another version is replaced.

        Raises:
            _Damaged: it was damaged, and is removed.
        """
        with self._locked():
            # Made here, because SQLite lets the umask decide; its log gets the same mode.
            os.close(open_own(self._path, os.O_RDWR | os.O_CREAT))
            inode = _inode(self._path)
            try:
                connection = self._connect(self._path)
                try:
                    if _version(connection) == 0:
                        _make_tables(connection)
                except BaseException:
                    connection.close()
                    raise
            except (sqlite3.Error, _AnotherVersion) as error:
                if not _is_damage(error):
                    raise
                self._unlink()
                raise _Damaged from error
            return connection, inode

    def _connect(self, path: Path | str) -> Connection:
        connection: Connection = sqlite3.connect(
            path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=Connection,
        )
        try:
            for setting in _SETTINGS:
                connection.execute(f"PRAGMA {setting}")
            connection.execute("CREATE TEMP TABLE matched (id INTEGER PRIMARY KEY)")
        except BaseException:
            connection.close()
            raise
        return connection

    def _remove(self, inode: tuple[int, int]) -> None:
        """Remove the file if it is still the one that *inode* names."""
        with self._locked():
            if _inode(self._path) == inode:
                self._unlink()

    def _unlink(self) -> None:
        # The log first: a kill in between must not leave it beside a new file.
        for ending in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one program at a time make or remove the file; the lock is held for milliseconds."""
        lock = open_own(self._path.with_name("catalogue.lock"), os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


class _AnotherVersion(Exception):
    """The file's tables are not those of this version."""


class _Damaged(Exception):
    """The file was damaged, and is removed."""


def _is_damage(error: BaseException) -> bool:
    """Say whether *error* means that the file is not what was written."""
    if isinstance(error, _AnotherVersion | NotAnEntry):
        return True
    # Text that is none, and a table that is gone, are damage that SQLite's own check does not see.
    said = str(error)
    return isinstance(error, sqlite3.Error) and (
        _code(error) in _DAMAGED or said.startswith(("Could not decode to UTF-8", "no such table"))
    )


def _code(error: BaseException) -> int:
    """Return SQLite's result code without its details."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _inode(path: Path) -> tuple[int, int]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return _NONE
    return (status.st_dev, status.st_ino)


def _version(connection: Connection) -> int:
    """Return :data:`VERSION`, or 0 for a file without tables.

    Raises:
        _AnotherVersion: the tables are those of another version of taggerd.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in {0, VERSION}:
        message = f"its tables are of version {version}, not {VERSION}"
        raise _AnotherVersion(message)
    return int(version)


def _make_tables(connection: Connection) -> None:
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
