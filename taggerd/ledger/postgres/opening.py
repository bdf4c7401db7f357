"""The schema of a shared ledger: makes it, checks it, brings it up to date.

Several hosts may do so at once: whoever comes second waits for the first, and finds it done.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from taggerd.errors import StartError
from taggerd.ledger.postgres import faults, jobs
from taggerd.ledger.postgres.connection import connect
from taggerd.ledger.postgres.moving import refuse_moving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.ledger.queries import Row

SCHEMA = "taggerd"
"""Everything of ours lies in it."""
_LOCK = b"SELECT pg_advisory_xact_lock(hashtext('taggerd.schema'))"
LIVING = b"""
SELECT DISTINCT host FROM taggerd.owners JOIN taggerd.procrastinate_workers AS w ON w.id = worker
WHERE last_heartbeat > now() - interval '30 s' ORDER BY host
"""
"""The hosts on which a program gave a sign of life."""
_VERSIONS = b"""
CREATE TABLE IF NOT EXISTS taggerd.schema_versions (
    version  integer PRIMARY KEY,
    name     text NOT NULL,
    at       timestamptz NOT NULL DEFAULT now()
)
"""


class Step(NamedTuple):
    """What makes one version of the schema out of the one before."""

    version: int
    name: str
    script: str


@cache
def steps() -> tuple[Step, ...]:
    """Return every step, in order: the files ``steps/NNNN_name.sql``."""
    found = sorted((files(__package__) / "steps").iterdir(), key=lambda file: file.name)
    return tuple(
        Step(int(file.name[:4]), file.name[5:-4], file.read_text("utf-8"))
        for file in found
        if file.name.endswith(".sql")
    )


def newest_version() -> int:
    """Return the version of the schema that this taggerd makes."""
    return steps()[-1].version


def version_of(connection: psycopg.Connection[Row]) -> int:
    """Return the version of the schema; 0 if there is none. May raise psycopg.Error."""
    found = connection.execute(b"SELECT to_regclass('taggerd.schema_versions') AS table").fetchone()
    if found is None or found["table"] is None:
        return 0
    row = connection.execute(b"SELECT max(version) AS version FROM taggerd.schema_versions")
    found = row.fetchone()
    return int(found["version"] or 0) if found else 0


def refuse_other_version(version: int) -> None:
    """Refuse a schema that is not this taggerd's.

    Raises:
        StartError: there is none, an older or a newer taggerd made it.
    """
    ours = newest_version()
    if version == 0:
        message = "the database of ledger.url holds no ledger: taggerd ledger init"
    elif version < ours:
        message = (
            f"the shared ledger has schema {version}, this taggerd needs {ours}: "
            "taggerd ledger upgrade, once every host has this version"
        )
    elif version > ours:
        message = (
            f"the shared ledger was made by a newer taggerd (schema {version}, this one knows "
            f"{ours}): update taggerd on this host"
        )
    else:
        return
    raise StartError(message)


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[Row]]:
    """Connect for a moment; errors as ours."""
    try:
        with connect(url) as connection:
            yield connection
    except psycopg.Error as error:
        raise faults.when_starting(error) from None


def check(url: str) -> int:
    """Return the version of the schema, which is this taggerd's.

    Raises:
        StartError: it is another one, there is none, its rows are being moved or were, or the
            server refuses us.
        LedgerAway: it cannot be reached now.
    """
    with _connected(url) as connection:
        refuse_changed(connection)
        return version_of(connection)


def refuse_changed(connection: psycopg.Connection[Row]) -> None:
    """Refuse a database whose rows are not a ledger of this version.

    Raises:
        StartError: they are not.
    """
    refuse_other_version(version_of(connection))
    refuse_moving(connection)


def init(url: str) -> bool:
    """Make the ledger; return False if it is there already, in this version.

    Raises:
        StartError: it is there in another version; the role lacks the right to make it, or the
            server refuses us.
        LedgerAway: it cannot be reached now.
    """
    return _take_steps(url, new=True)


def upgrade(url: str) -> bool:
    """Bring the ledger up to date; return False if it is.

    Raises:
        StartError: there is none, a newer taggerd made it, the role lacks the right to change it,
            or the server refuses us.
        LedgerAway: it cannot be reached now.
    """
    return _take_steps(url, new=False)


def _has_schema(connection: psycopg.Connection[Row]) -> bool:
    found = connection.execute(b"SELECT to_regnamespace('taggerd') AS schema").fetchone()
    return found is not None and found["schema"] is not None


def _refuse_living(connection: psycopg.Connection[Row]) -> None:
    """Refuse to change tables under programs that know them as they are."""
    rows = connection.execute(LIVING).fetchall()
    if hosts := ", ".join(str(row["host"]) for row in rows):
        message = f"taggerd runs with the older schema on {hosts}: stop it there, then upgrade"
        raise StartError(message)


def _take_steps(url: str, *, new: bool) -> bool:
    """Take the steps that are missing, all or none; return whether there were any."""
    with _connected(url) as connection:
        connection.execute(b"BEGIN")
        connection.execute(_LOCK)
        # From here on no table is waited for longer: everybody else would wait behind us.
        connection.execute(b"SET LOCAL lock_timeout = '5s'")
        version = version_of(connection)
        if version == newest_version() and jobs.is_current(connection):
            return False
        if (version == 0) is not new or version > newest_version():
            refuse_other_version(version)
        if not new:
            _refuse_living(connection)
        if new:
            if not _has_schema(connection):  # IF NOT EXISTS wants the right to make it anyway
                connection.execute(b"CREATE SCHEMA taggerd")
            connection.execute(_VERSIONS)
        jobs.install(connection)
        for step in steps():
            if step.version > version:
                connection.execute(step.script.encode())
                connection.execute(
                    b"INSERT INTO taggerd.schema_versions (version, name) VALUES (%s, %s)",
                    (step.version, step.name),
                )
        connection.execute(b"COMMIT")
    return True
