"""Finds the ledger's database and opens it: checks it, moves a damaged one aside, migrates it."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import LedgerDamaged, LedgerInUse, StartError, StorageError
from taggerd.ledger.database import (
    ADVICE,
    DAMAGED,
    PASSING,
    Database,
    connect_read_only,
    named_row,
    queries,
    result_code,
)
from taggerd.ledger.moved import refuse_moved
from taggerd.ledger.owners import Lock, daemon_pid
from taggerd.ledger.schema import checked_version, lacks_tables, migrate, newest_version, pragma
from taggerd.photo import printable
from taggerd.settings.permissions import open_own, why_not_private

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "ledger.sqlite"
"""Name of the ledger's file in the state directory."""
BUSY_SECONDS = 20.0
"""Longest wait for another program's transaction; they take milliseconds."""

_SETTINGS = (
    "journal_mode = WAL",
    "synchronous = NORMAL",
    "temp_store = MEMORY",
    "cache_size = -16000",
    "journal_size_limit = 67108864",
)

_LONGEST_LOG = 1000
"""Pages; SQLite's own default."""

CHECKED_BYTES = 64 * 1024 * 1024
"""A database up to this size is checked completely at every start: a fraction of a second."""


def refuse_shared(directory: Path) -> None:
    """Refuse another user's folder, or one that others may write or exchange.

    They would decide what goes into sidecars, and lead what is written here to any file.

    Raises:
        StartError: it is such a folder.
    """
    if why := why_not_private(directory):
        message = f"the state directory {printable(directory)} is not used: {why}"
        raise StartError(message)


def has_ledger(directory: Path) -> bool:
    """Say whether there is a ledger in the state *directory*.

    Raises:
        StartError: the directory is out of this user's sight: nobody must take it for empty.
    """
    try:
        (directory / DATABASE).lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        message = f"the state directory {printable(directory)} cannot be read: {error.strerror}"
        raise StartError(message) from error
    return True


class Opened(NamedTuple):
    """An open database."""

    database: Database
    damaged: Path | None
    """Where a damaged database was moved to."""
    migrated: str
    """From which schema it was migrated, and the way back; empty if it was not."""


def open_database(path: Path, now: float, *, busy_seconds: float = BUSY_SECONDS) -> Opened:
    """Open *path*, creating it if need be.

    If nobody else uses it, it is checked first (see :func:`_is_damaged`). A damaged one is moved
    aside under a name with the time *now*, and a new one is created. One of an older version is
    migrated, also only if nobody else uses it.

    Raises:
        StartError: it cannot be used, a newer taggerd made it, or it was moved to a server.
        LedgerInUse: an older taggerd uses it.
        StorageError: the disk is full or failing, another program has locked it, or it is damaged
            and in use: this passes, and it may be opened again after a while.
        OSError: its folder cannot be written to.
    """
    in_use = path.with_name("ledger.lock")
    try:
        use = Lock(in_use)
        alone = True
    except BlockingIOError:
        use = Lock(in_use, shared=True, wait=True)
        alone = False
    suspicion = path.with_name("ledger.suspect")
    try:
        refuse_moved(path.parent)  # it may have been moved while the lock was waited for
        opened = _open(path, now, use, suspicion if alone else None, busy_seconds)
        connection, damaged, migrated = opened
        use.change(shared=True, wait=True)
    except BaseException as error:
        use.release()
        if not isinstance(error, sqlite3.Error):
            raise
        raise _mapped(error, path, suspicion) from error
    return Opened(Database(path, connection, use, suspicion), damaged, migrated)


def _mapped(error: sqlite3.Error, path: Path, suspicion: Path) -> StorageError | StartError:
    """Return why the database could not be opened, as an error that passes or one that does not."""
    code = result_code(error)
    advice = ADVICE.get(code, "it was not created by taggerd")
    if code in DAMAGED:
        advice = "it is replaced once no other taggerd uses it"
        with suppress(OSError):
            suspicion.touch(mode=0o600)
    message = f"the ledger {printable(path)} cannot be used ({error}): {advice}"
    if code in DAMAGED:
        return LedgerDamaged(message)
    return StorageError(message) if code in PASSING else StartError(message)


def _open(
    path: Path, now: float, use: Lock, suspicion: Path | None, busy_seconds: float
) -> tuple[sqlite3.Connection, Path | None, str]:
    """Open *path*; with *suspicion*, nobody else uses it, and it is checked."""
    log_left = _bytes_of(path.with_name(path.name + "-wal")) > 0
    boot = _boot()
    interrupted = log_left and (not boot or boot != use.read())
    damaged: Path | None = None
    connection = _connect(path, busy_seconds)
    try:
        if suspicion is not None:
            if _is_damaged(connection, path, suspicion, interrupted=interrupted):
                damaged = _move_aside(path, now)
                connection.close()  # after the renaming: closing would remove the log by its name
                connection = _connect(path, busy_seconds)
            suspicion.unlink(missing_ok=True)
            with suppress(OSError):  # on a full disk: then the next start checks once more
                use.write(boot)
        for setting in _SETTINGS:
            connection.execute(f"PRAGMA {setting}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_longest_log(connection, path)}")
        migrated = _migrate(connection, path, alone=suspicion is not None)
        connection.execute(queries()["scope"])
        if damaged is not None:
            _take_over_outbox(connection, damaged)
    except BaseException:
        connection.close()
        raise
    return connection, damaged, migrated


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    # Made here, because SQLite lets the umask decide; its log gets the mode of the database.
    os.close(open_own(path, os.O_RDWR | os.O_CREAT))
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
    connection.row_factory = named_row
    return connection


def _migrate(connection: sqlite3.Connection, path: Path, *, alone: bool) -> str:
    """Create the tables, or bring those of an older version up to date; see :func:`migrate`.

    Raises:
        LedgerInUse: an older taggerd uses it, and would meet tables that it does not know.
    """
    version = checked_version(connection, path)
    pid = daemon_pid(path.parent)
    if 0 < version < newest_version() and (not alone or pid not in {None, os.getpid()}):
        message = (
            f"the ledger {printable(path)} is in use by an older taggerd"
            f"{f', pid {pid}' if pid else ''} (schema {version}, this one needs "
            f"{newest_version()}): restart the service, which migrates it"
        )
        raise LedgerInUse(message)
    return migrate(connection, path)


def _longest_log(connection: sqlite3.Connection, path: Path) -> int:
    """Return how many pages the log may hold before it is brought into the file.

    At most a sixteenth of the disk: a log that has filled a small one cannot be brought into the
    file, which has to grow for it, and so never makes room again.
    """
    disk = os.statvfs(path.parent)
    pages: int = pragma(connection, "page_size")
    return min(max(disk.f_blocks * disk.f_frsize // pages // 16, 1), _LONGEST_LOG)


# ── Damage ───────────────────────────────────────────────────────────────────────────────────────


def _is_damaged(
    connection: sqlite3.Connection, path: Path, suspicion: Path, *, interrupted: bool
) -> bool:
    """Check the database as thoroughly as there is reason to.

    Reading all of one with a million photos takes seconds. So that is done if damage was met (then
    with all indices), if the end of the whole machine *interrupted* it (its log is still there,
    from before the last boot), and if it is small. After an orderly end, or a kill, which takes
    nothing away that the kernel was given, the first page of every table and the file's length are
    enough: damage deeper inside is found when it is met, see :class:`Database`.
    """
    try:
        if _bytes_of(suspicion) > 0 or lacks_tables(connection):
            return True
        if suspicion.exists():
            return bool(pragma(connection, "integrity_check(1)") != "ok")
        if interrupted or _bytes_of(path) <= CHECKED_BYTES:
            return bool(pragma(connection, "quick_check(1)") != "ok")
        whole: int = pragma(connection, "page_count") * pragma(connection, "page_size")
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        for row in names.fetchall():
            connection.execute(f'SELECT 1 FROM "{row["name"]}" LIMIT 1').fetchall()  # noqa: S608 - as the schema itself says
        return _bytes_of(path) < whole
    except sqlite3.DatabaseError as error:
        if result_code(error) in DAMAGED:
            return True
        raise


def _move_aside(path: Path, now: float) -> Path:
    """Rename the damaged file and its log; nobody else has it open."""
    moment = time.strftime("%Y%m%dT%H%M%S", time.localtime(now))
    aside = next(name for name in _names_aside(path, moment) if not name.exists())
    # The log first: a kill in between must not leave it beside a new database.
    for ending in ("-wal", "-shm", ""):
        part = path.with_name(path.name + ending)
        if part.exists():
            part.rename(aside.with_name(aside.name + ending))
    return aside


def _names_aside(path: Path, moment: str) -> Iterator[Path]:
    name = f"{path.name}.damaged-{moment}"
    yield path.with_name(name)
    for number in count(2):
        yield path.with_name(f"{name}-{number}")


def _take_over_outbox(connection: sqlite3.Connection, damaged: Path) -> None:
    """Take what can still be read of the records that were not journalled yet.

    Their photos are tagged, and nobody would ask about them again.
    """
    with suppress(sqlite3.Error), closing(connect_read_only(damaged)) as old:
        for row in old.execute("SELECT record, day, line, stream FROM outbox"):
            with suppress(ValueError, KeyError, TypeError):  # flipped bytes make no record
                if json.loads(row["line"])["id"] == row["record"]:
                    connection.execute(queries()["send"], row)


def _bytes_of(path: Path) -> int:
    """Return a file's length; 0 if there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _boot() -> str:
    """Return what tells this run of the machine from any other; empty if nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
