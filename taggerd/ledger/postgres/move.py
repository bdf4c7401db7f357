"""Moves a ledger from the state directory into a database, or back: whole or not at all.

Rows are copied in one transaction, read back and compared. Until the step that decides (▶) the old
ledger is in force and the new one refuses to be opened; from then on it is the other way round::

      into a database                              into the state directory
      ───────────────                              ────────────────────────
      rows, and a note that they arrive            all rows in a file of another name
    ▶ ledger.moved in the state directory        ▶ a note that the rows have left
      ledger.sqlite gets another name              the file gets its name
      the note is removed                          ledger.moved is removed

Whatever was cut short, the same command again finishes it.
"""

from __future__ import annotations

import os
import sqlite3
import time
import uuid
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.numeric import IntDumper

from taggerd.errors import StartError, StorageError
from taggerd.files import fsync_folder
from taggerd.ledger import claims
from taggerd.ledger.database import connect_read_only, named_row
from taggerd.ledger.moved import FILE, Departure
from taggerd.ledger.opening import DATABASE, has_ledger, open_database, refuse_shared
from taggerd.ledger.owners import Lock, daemon_pid
from taggerd.ledger.postgres import faults, opening
from taggerd.ledger.postgres.administration import connected
from taggerd.ledger.postgres.copying import (
    TABLES,
    Sum,
    Table,
    fits,
    identifier,
    rows_of,
    tables,
)
from taggerd.ledger.postgres.moving import Move
from taggerd.ledger.schema import migrate
from taggerd.photo import printable
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from taggerd.ledger.postgres.naming import Naming

_OF_PHOTOS = ("photos", "folders", "contents", "outbox", "corrections", "notices")
"""A database with none of these rows is empty: a program that was merely started leaves notes."""


class Moved(NamedTuple):
    """What has moved."""

    photos: int
    answers: int
    kept: str = ""
    """The old file's name since."""


@contextmanager
def opened(url: str) -> Iterator[Connection[Any]]:
    """Connect to the database at *url*, which holds a ledger of this version; errors as ours.

    Raises:
        StartError: it does not, or the server refuses us.
        LedgerAway: it cannot be reached now.
    """
    with connected(url) as connection, faults.mapped():
        connection.row_factory = tuple_row  # type: ignore[assignment]
        connection.adapters.register_dumper(int, IntDumper)  # FETCH takes no text for a number
        yield connection


# ── Into a database ──────────────────────────────────────────────────────────────────────────────


def move_in(
    directory: Path, connection: Connection[Any], naming: Naming, to: str, now: float
) -> Moved:
    """Move the ledger of the state *directory* into a database; see the module.

    Args:
        directory: nobody else may use it.
        connection: to the database, in no transaction; it needs the rights of a service alone.
        naming: how this host's paths are kept there.
        to: the database's address, without a password.
        now: seconds since the epoch.

    Raises:
        StartError: one of the two is in use, is not empty, or cannot be used.
        StorageError: a disk is full or failing, or the database is away: run it again.
    """
    refuse_shared(directory)
    with _alone(directory):
        departure = Departure.of(directory)
        move = Move.of(connection)
        if departure is None:
            departure = _fill(directory, connection, naming, to, now)
        elif departure.to != to or (move is not None and move.id != departure.id):
            message = (
                f"the ledger of {printable(directory)} was moved to {departure.to} already: set "
                "ledger.url to that"
            )
            raise StartError(message)
        _name_old(directory, departure)
    with connection.transaction():
        photos, answers = (_count(connection, name) for name in ("photos", "answers"))
        if (move := Move.of(connection)) is not None:
            move.remove(connection)
    return Moved(photos, answers, departure.kept)


def _fill(
    directory: Path, connection: Connection[Any], naming: Naming, to: str, now: float
) -> Departure:
    """Fill the database, and decide that it is the ledger from now on."""
    if not has_ledger(directory):
        message = f"there is no ledger in {printable(directory)}: nothing to move"
        raise StartError(message)
    move = Move(uuid.uuid4().hex, f"{naming.host}:{directory}", now, arrives=True)
    with _opened(directory, now) as source, _disk(directory):
        with _exclusively(connection):
            _refuse_others(connection, move, to)
            for name in reversed(TABLES):  # what was cut short, or has left
                connection.execute(sql.SQL("DELETE FROM {}").format(identifier(name)))
            for table in tables(source):
                _copy_in(table, source, connection, naming)
            move.keep(connection)
        departure = Departure(id=move.id, to=to, at=now, kept=_name_aside(directory, now))
        departure.write(directory)
    return departure


def _refuse_others(connection: Connection[Any], move: Move, to: str) -> None:
    """Refuse a database with rows that are a ledger, or that another *move* brings."""
    before = Move.of(connection)
    if before is None and any(_has_rows(connection, name) for name in _OF_PHOTOS):
        message = f"{to} is not empty: a ledger is moved into an empty database only"
        raise StartError(message)
    if before is not None and before.arrives and before.other != move.other:
        message = f"another ledger is being moved there, from {printable(before.other)}"
        raise StartError(message)


def _name_old(directory: Path, departure: Departure) -> None:
    """Give the old ledger its other name, if it has not got it yet."""
    with _disk(directory), suppress(FileNotFoundError):
        (directory / DATABASE).rename(directory / departure.kept)
        fsync_folder(directory)


def _copy_in(
    table: Table, source: sqlite3.Connection, connection: Connection[Any], naming: Naming
) -> None:
    """Copy a table, and read it back.

    Raises:
        StorageError: another set of rows came back.
    """
    sent, kept = Sum(), Sum()
    own = [naming.host] if table.name == "files" else []  # whose inodes they are
    columns = "{columns}, host" if own else "{columns}"
    copying = table.statement(f"COPY {{table}} ({columns}) FROM STDIN")
    with connection.cursor() as cursor, cursor.copy(copying) as copy:
        for row in source.execute(table.selection):
            values = table.named(row, naming)
            if not table.is_ours(values):
                copy.write_row([*table.stored(values), *own])
                sent.add(values)
    if "id" in table.columns:
        connection.execute(
            table.statement(
                "SELECT setval(pg_get_serial_sequence({name}, 'id'), max(id)) FROM {table} "
                "HAVING max(id) IS NOT NULL AND pg_get_serial_sequence({name}, 'id') IS NOT NULL"
            )
        )
    for row in rows_of(table, connection, naming.host):
        kept.add(row)
    sent.compare(kept, table.name)


# ── Into the state directory ─────────────────────────────────────────────────────────────────────


def move_out(directory: Path, connection: Connection[Any], naming: Naming, now: float) -> Moved:
    """Move the ledger of a database into the state *directory*; see the module.

    Args:
        directory: has no ledger, or the one that was moved to that database.
        connection: to the database, in no transaction; it needs the rights of a service alone.
        naming: where the folders that are kept there lie on this host.
        now: seconds since the epoch.

    Raises:
        StartError: the database is in use, or holds photos that have no path on this host; or there
            is a ledger in the directory.
        StorageError: a disk is full or failing, or the database is away: run it again.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    refuse_shared(directory)
    here = f"{naming.host}:{directory}"
    with _alone(directory), _disk(directory):
        move = Move.of(connection)
        if move is None:
            if has_ledger(directory):
                message = f"there is a ledger in {printable(directory)} already: move it away"
                raise StartError(message)
            move = _write_out(directory, connection, naming, now)
        elif move.arrives or move.other != here:
            raise StartError(move.message)
        _name_new(directory, move)
        (directory / FILE).unlink(missing_ok=True)
        fsync_folder(directory)
    with connection.transaction():
        return Moved(_count(connection, "photos"), _count(connection, "answers"))


def _name_new(directory: Path, move: Move) -> None:
    """Give the new ledger its name, if it has not got it yet; nobody opens it before."""
    with suppress(FileNotFoundError):
        _part(directory, move.id).rename(directory / DATABASE)
    fsync_folder(directory)


def _write_out(directory: Path, connection: Connection[Any], naming: Naming, now: float) -> Move:
    """Write all rows into a file, and decide that it is the ledger from now on."""
    move = Move(uuid.uuid4().hex, f"{naming.host}:{directory}", now, arrives=False)
    part = _part(directory, move.id)
    for left in directory.glob(_part(directory, "*").name):
        left.unlink()
    with _exclusively(connection):
        _refuse_strangers(connection, naming)
        os.close(open_own(part, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        with closing(sqlite3.connect(part, isolation_level=None)) as target:
            target.row_factory = named_row
            migrate(target, part)
            target.execute("BEGIN")
            for table in tables(target):
                _copy_out(table, connection, target, naming)
            target.execute("COMMIT")
        descriptor = open_own(part)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fsync_folder(directory)
        move.keep(connection)
    return move


def _copy_out(
    table: Table, connection: Connection[Any], target: sqlite3.Connection, naming: Naming
) -> None:
    sent, kept = Sum(), Sum()
    marks = ", ".join("?" * len(table.columns))
    insertion = f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({marks})"  # noqa: S608 - the schema's own
    for row in rows_of(table, connection, naming.host):
        if not table.is_ours(row):
            sent.add(row)
            values = table.unnamed(row, naming)
            target.execute(insertion, [v if fits(v) else str(v) for v in values])
    for values in target.execute(table.selection):
        kept.add(table.named(values, naming))
    sent.compare(kept, table.name)


def _refuse_strangers(connection: Connection[Any], naming: Naming) -> None:
    """Refuse a database with photos in folders that have no path on this host."""
    rows = connection.execute("SELECT path FROM taggerd.folders").fetchall()
    paths = [bytes(path) for (path,) in rows]
    strangers = [path for path in paths if not naming.is_here(path)]
    if strangers:
        one = printable(Path(os.fsdecode(max(strangers))))
        message = (
            f"{len(strangers)} folders have no path on this machine, {one} is one: name "
            "their roots in arrivals.roots, or move the ledger on a machine that has them all"
        )
        raise StartError(message)


def _part(directory: Path, move: str) -> Path:
    return directory / f".{DATABASE}.{move}.part"


# ── Who else is there ────────────────────────────────────────────────────────────────────────────


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep daemons from the state *directory*."""
    try:
        lock = Lock(directory / "daemon.lock")
    except BlockingIOError:
        pid = daemon_pid(directory)
        message = (
            f"the service runs on {printable(directory)}{f', pid {pid}' if pid else ''}: stop it"
        )
        raise StartError(message) from None
    except OSError as error:
        message = f"the state directory {printable(directory)} cannot be used: {error.strerror}"
        raise StartError(message) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _opened(directory: Path, now: float) -> Iterator[sqlite3.Connection]:
    """Open the ledger in the state *directory* for nobody else, with no claim left in it."""
    opened = open_database(directory / DATABASE, now)
    with closing(opened.database) as database:
        if not database.exclude():
            message = f"another taggerd uses {printable(directory)}, a scan or web: let it end"
            raise StartError(message)
        for owner in [row["owner"] for row in database.rows("owners")]:
            with database.transaction():
                claims.end_all(database, owner, now=now, crashed=True)
        database.ask(lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
        with closing(connect_read_only(directory / DATABASE)) as connection:
            yield connection


@contextmanager
def _exclusively(connection: Connection[Any]) -> Iterator[None]:
    """Do everything inside in one transaction that keeps everybody else from the tables.

    Raises:
        StartError: another host uses the database.
    """
    names = sql.SQL(", ").join(map(identifier, (*TABLES, "owners")))
    with connection.transaction():
        connection.execute("SET LOCAL synchronous_commit TO on")
        connection.execute("SET LOCAL lock_timeout = '5s'")  # everybody else would wait behind us
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
        if hosts := [str(host) for (host,) in connection.execute(opening.LIVING)]:
            message = f"the database is in use by {', '.join(hosts)}: stop taggerd there"
            raise StartError(message)
        yield


@contextmanager
def _disk(directory: Path) -> Iterator[None]:
    """Raise the errors of files, and of SQLite, as :class:`StorageError`."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        said = error.strerror if isinstance(error, OSError) else error
        message = f"the state directory {printable(directory)}: {said}"
        raise StorageError(message) from error


def _name_aside(directory: Path, now: float) -> str:
    """Return a name that nothing in *directory* has."""
    name = f"{DATABASE}.moved-{time.strftime('%Y%m%dT%H%M%S', time.localtime(now))}"
    names = (f"{name}{f'-{number}' if number > 1 else ''}" for number in range(1, 1000))
    return next(each for each in names if not (directory / each).exists())


def _count(connection: Connection[Any], name: str) -> int:
    cursor = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(identifier(name)))
    (count,) = cursor.fetchone()  # type: ignore[misc]  # one row, always
    return int(count)


def _has_rows(connection: Connection[Any], name: str) -> bool:
    cursor = connection.execute(sql.SQL("SELECT 1 FROM {} LIMIT 1").format(identifier(name)))
    return cursor.fetchone() is not None
