"""The schema of the ledger: numbered steps, each a file of SQL, which only ever get more.

A new ledger takes all steps, an older one those that it lacks, in one transaction. A step that was
released is never changed. Before a ledger with photos in it changes, a copy is kept.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
from contextlib import closing, suppress
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from taggerd.errors import StartError
from taggerd.files import fsync_folder
from taggerd.ledger.database import immediate, named_row
from taggerd.photo import printable
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from pathlib import Path


class Step(NamedTuple):
    """What makes one version of the schema out of the one before."""

    version: int
    statements: tuple[str, ...]


@cache
def steps() -> tuple[Step, ...]:
    """Return every step, in order: the files ``steps/NNNN_name.sql``.

    A blank line ends a statement; a trigger has several semicolons.
    """
    found = sorted((files(__package__) / "steps").iterdir(), key=lambda file: file.name)
    return tuple(
        Step(int(file.name[:4]), tuple(file.read_text("utf-8").split("\n\n")))
        for file in found
        if file.name.endswith(".sql")
    )


def newest_version() -> int:
    """Return the version of the schema that this taggerd makes."""
    return steps()[-1].version


def checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of the schema of the database *path*; 0 if it is empty.

    Raises:
        StartError: a newer taggerd made it, one from before all steps, or another program.
    """
    version: int = pragma(connection, "user_version")
    ours, shown = newest_version(), f"the ledger {printable(path)}"
    if version > ours:
        message = (
            f"{shown} was created by a newer taggerd (schema {version}, this one knows {ours}): "
            "update taggerd"
        )
        raise StartError(message)
    if 0 < version < steps()[0].version:
        message = (
            f"{shown} was created by an older taggerd (schema {version}, never released): "
            "move it away; photos that are tagged already are not asked about again"
        )
        raise StartError(message)
    if version == 0 and tables(connection):
        message = f"{shown} cannot be used: it was not created by taggerd"
        raise StartError(message)
    return version


def lacks_tables(connection: sqlite3.Connection) -> bool:
    """Say whether a table or index is gone that a ledger of its version has."""
    version: int = pragma(connection, "user_version")
    if version > newest_version():
        return False  # a newer taggerd may have dropped any
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as blank:
        blank.row_factory = named_row
        _take_steps(blank, to=version)
        return bool(tables(blank) - tables(connection))


def migrate(connection: sqlite3.Connection, path: Path) -> str:
    """Bring the database *path* up to date; return what a person should know, if anything.

    Nobody else uses it, unless it is empty.

    Raises:
        StartError: see :func:`checked_version`.
        sqlite3.Error: a step fails; nothing has changed.
        OSError: the copy cannot be written; nothing has changed.
    """
    before, ours = checked_version(connection, path), newest_version()
    if before == ours:
        return ""
    copy = path.with_name(f"{path.name}.schema-{before}")
    if before:
        _keep_copy(connection, copy)
    with immediate(connection):
        _take_steps(connection)
    if not before:
        return ""
    kept, name = shlex.quote(printable(copy)), shlex.quote(printable(path))
    return (
        f"the ledger was migrated from schema {before} to {ours}; the way back: stop taggerd, "
        f"install the version from before, and: rm -f {name}-wal {name}-shm && mv {kept} {name}"
    )


def _take_steps(connection: sqlite3.Connection, to: int | None = None) -> None:
    """Take the steps that the database lacks, up to the version *to* if one is given."""
    version: int = pragma(connection, "user_version")
    for step in steps():
        if version < step.version <= (step.version if to is None else to):
            for statement in step.statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.version}")


def _keep_copy(connection: sqlite3.Connection, target: Path) -> None:
    """Write a copy into the file *target*, whole or not at all; one of that name is replaced.

    Errors as :func:`write_copy`.
    """
    part = target.with_name(f".{target.name}.part")
    try:
        write_copy(connection, part)
        part.replace(target)
        fsync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def write_copy(connection: sqlite3.Connection, part: Path) -> None:
    """Write what *connection* sees into the new file *part*, check it, and sync it.

    One file, without a log, for this user alone. One that a kill left there is replaced.

    Raises:
        sqlite3.Error: the ledger cannot be read, or the copy is not sound.
        OSError: it cannot be written.
    """
    with suppress(FileNotFoundError):
        part.unlink()
    os.close(open_own(part, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        copy.row_factory = named_row
        copy.execute("PRAGMA journal_mode = OFF")  # what is not whole is thrown away
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        _check(copy)
    descriptor = open_own(part)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check(copy: sqlite3.Connection) -> None:
    """Read all of *copy*.

    Raises:
        sqlite3.DatabaseError: it is damaged, and so is what it was made of.
    """
    said = pragma(copy, "integrity_check(1)")
    if said != "ok":
        error = sqlite3.DatabaseError(str(said))
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def tables(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the names of tables, indices and triggers."""
    names = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    return frozenset(row["name"] for row in names)


def pragma(connection: sqlite3.Connection, name: str) -> Any:  # noqa: ANN401 - SQLite's own, as it comes
    """Return the value of a pragma."""
    (value,) = connection.execute(f"PRAGMA {name}").fetchone().values()
    return value
