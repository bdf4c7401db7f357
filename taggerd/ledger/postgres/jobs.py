"""procrastinate's tables: https://procrastinate.readthedocs.io, the queue that the hosts share.

Its own SQL makes and upgrades them, in the schema that holds our tables. Photos and jobs are kept
in step by the database itself (``steps/0002_jobs.sql``), so that a host needs no certain version of
procrastinate: the version that counts is that of the tables.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from procrastinate.schema import SchemaManager

if TYPE_CHECKING:
    import psycopg

    from taggerd.ledger.queries import Row

DEAD_SECONDS = 30.0
"""So long after its last sign of life a program is dead, by the database's clock. That is also what
procrastinate's own workers take for dead."""
BEAT_SECONDS = 10.0
"""Between two signs of life: two may be lost."""

_FIND_VERSION = b"""
SELECT obj_description(found, 'pg_class') AS comment
FROM to_regclass('taggerd.procrastinate_jobs') AS found WHERE found IS NOT NULL
"""
_FUNCTIONS = b"""
SELECT CAST(oid AS regprocedure)::text AS name FROM pg_proc
WHERE pronamespace = 'taggerd'::regnamespace AND proname LIKE 'procrastinate%'
"""
_VERSION = re.compile(r"^\d\d\.\d\d\.\d\d_\d\d", re.ASCII)


def migrations() -> dict[str, Path]:
    """Return procrastinate's own steps by their version, ``"03.04.00_50"``, oldest first."""
    files = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    return {found[0]: file for file in files if (found := _VERSION.match(file.name))}


def version(connection: psycopg.Connection[Row]) -> str:
    """Return the version of procrastinate's tables in our schema; empty: there are none."""
    row = connection.execute(_FIND_VERSION).fetchone()
    return str(row["comment"] or "").rpartition(" ")[2] if row else ""


def newest_version() -> str:
    """Return the version of the tables that the installed procrastinate makes."""
    return max(migrations())


def is_current(connection: psycopg.Connection[Row]) -> bool:
    """Say whether the tables are at least as new as the installed procrastinate."""
    return version(connection) >= newest_version()


def install(connection: psycopg.Connection[Row]) -> None:
    """Make procrastinate's tables, or bring those that are there up to the installed version.

    Runs in its caller's transaction. Tables that are newer than the installed version stay: no host
    runs procrastinate's own code on them.
    """
    there = version(connection)
    connection.execute(b"SET LOCAL search_path TO taggerd, pg_temp")
    if not there:
        connection.execute(SchemaManager.get_schema())
    else:
        for step, file in migrations().items():
            if step > there:
                connection.execute(file.read_bytes())
    if newest_version() > there:
        comment = f"COMMENT ON TABLE procrastinate_jobs IS 'schema {newest_version()}'"
        connection.execute(comment.encode())
    # Sessions have no search path of ours: a pooler would lose it.
    for row in connection.execute(_FUNCTIONS).fetchall():
        function = f"ALTER FUNCTION {row['name']} SET search_path TO taggerd, pg_temp"
        connection.execute(function.encode())
    connection.execute(b"SET LOCAL search_path TO DEFAULT")
