"""What an administrator does with a shared ledger: who may use it, and what it is like."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from taggerd.errors import StartError
from taggerd.ledger.postgres import faults, opening
from taggerd.ledger.postgres.connection import connect, parameters
from taggerd.ledger.postgres.moving import Move
from taggerd.photo import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taggerd.ledger.queries import Row

OLDEST_SERVER = 13
_GRANTS = (
    "REVOKE ALL ON SCHEMA {schema} FROM PUBLIC",
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role}",
    "REVOKE INSERT, UPDATE, DELETE ON {schema}.schema_versions FROM {role}",
    # What later versions make.
    "{later} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "{later} GRANT USAGE, SELECT, UPDATE ON SEQUENCES TO {role}",
    "{later} GRANT EXECUTE ON FUNCTIONS TO {role}",
)
_RIGHTS = b"""
SELECT current_user AS role,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser,
    has_database_privilege(current_database(), 'CREATE') AS creates,
    pg_has_role((SELECT nspowner FROM pg_namespace WHERE nspname = 'taggerd'), 'USAGE') AS owns,
    (SELECT string_agg(relname, ', ' ORDER BY relname) FROM pg_class
        WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'taggerd')
        AND relkind IN ('r', 'p') AND relname <> 'schema_versions' AND NOT (
            has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
        )) AS lacking
"""
_ROLE = b"SELECT FROM pg_roles WHERE rolname = %s"
_CLOCK = b"SELECT extract(epoch FROM clock_timestamp())::float8 AS now"
_TLS = b"SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"
_ROOTS = rb"""
SELECT split_part(encode(path, 'escape'), '/', 1) AS root, count(*) AS folders
FROM taggerd.folders GROUP BY 1 ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a shared ledger is like."""

    address: str
    server: str
    """Version of PostgreSQL."""
    schema: int
    role: str
    superuser: bool
    owns: bool
    """Whether the role may change the schema."""
    tls: str
    """Version and cipher, and what is verified; empty: not encrypted."""
    is_local: bool
    """It is reached by a Unix socket or the loopback."""
    ahead_seconds: float
    """How far the server's clock is ahead of this host's."""
    roots: dict[str, int]
    """Folders with photos in each root, as kept: ``archive:`` or ``@host``."""
    away: str
    """Why its rows are not the ledger now; empty: they are."""


def shown(url: str) -> str:
    """Return *url* without its password, or anything else that a person need not see.

    Raises:
        StartError: it is not one.
    """
    said = {key: str(value) for key, value in parameters(url).items()}
    user = f"{said['user']}@" if "user" in said else ""
    host = said.get("host") or said.get("hostaddr", "")
    port = f":{said['port']}" if "port" in said and "/" not in host else ""
    name = said.get("dbname") or said.get("user", "")
    where = f"{user}/{name}?host={host}" if "/" in host else f"{user}{host}{port}/{name}"
    return f"postgresql://{where}"


def preparation(url: str) -> str:
    """Return the SQL that an administrator of the server runs before :func:`opening.init`."""
    said = parameters(url)
    role = str(said.get("user") or "taggerd")
    name = str(said.get("dbname") or role)
    quoted = [sql.Identifier(each).as_string(None) for each in (role, name)]
    return (
        f"CREATE ROLE {quoted[0]} LOGIN PASSWORD '…'; "
        f"CREATE DATABASE {quoted[1]} OWNER {quoted[0]};"
    )


@contextmanager
def connected(url: str) -> Iterator[psycopg.Connection[Row]]:
    """Connect for a moment, to a ledger of this version; errors as ours.

    Raises:
        StartError: there is none, or the server refuses us.
        LedgerAway: it cannot be reached now.
    """
    try:
        with connect(url) as connection:
            opening.refuse_other_version(opening.version_of(connection))
            yield connection
    except psycopg.Error as error:
        raise faults.when_starting(error) from None


def grant(url: str, role: str) -> None:
    """Let *role* read and write rows of the ledger, and change nothing else.

    Raises:
        StartError: there is no such role, or the one of *url* does not own the ledger.
        LedgerAway: the server cannot be reached now.
    """
    schema = sql.Identifier(opening.SCHEMA)
    later = sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {}").format(schema)
    names = {"schema": schema, "role": sql.Identifier(role), "later": later}
    with connected(url) as connection, connection.transaction():
        rights = _one(connection, _RIGHTS)
        if not rights["owns"]:  # it would be a warning, which nobody sees
            message = f"{rights['role']} does not own the schema taggerd, and cannot grant its use"
            raise StartError(message)
        if connection.execute(_ROLE, [role]).fetchone() is None:
            message = (
                f"there is no role {brief(role, 63)} to grant anything to: CREATE ROLE "
                f"{sql.Identifier(role).as_string(None)} LOGIN PASSWORD '…';"
            )
            raise StartError(message)
        for statement in _GRANTS:
            connection.execute(sql.SQL(statement).format(**names))


def about(url: str, clock: Callable[[], float] = time.time) -> About:
    """Look at the ledger in the database at *url*, and change nothing.

    Raises:
        StartError: there is none of this version, the role lacks rights, or the server refuses us.
        LedgerAway: it cannot be reached now.
    """
    with connected(url) as connection:
        rights = _one(connection, _RIGHTS)
        if rights["lacking"]:
            message = (
                f"the role {rights['role']} may not read and write all of the ledger "
                f"({brief(rights['lacking'], 200)}): its owner runs "
                f"taggerd ledger init --grant {rights['role']}"
            )
            raise StartError(message)
        before = clock()
        now = float(_one(connection, _CLOCK)["now"])
        ahead = now - (before + clock()) / 2
        tls = connection.execute(_TLS).fetchone()
        move = Move.of(connection)
        info = connection.info
        host = info.host
        mode = info.get_parameters().get("sslmode", "prefer")
        checked = {"verify-full": "server verified", "verify-ca": "authority verified"}
        return About(
            address=shown(url),
            server=str(info.parameter_status("server_version")).partition(" ")[0],
            schema=opening.version_of(connection),
            role=str(rights["role"]),
            superuser=bool(rights["superuser"]),
            owns=bool(rights["owns"]),
            tls=f"{tls['version']}, {checked.get(mode, 'server not verified')}" if tls else "",
            is_local=host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"},
            ahead_seconds=ahead,
            roots={str(r["root"]): int(r["folders"]) for r in connection.execute(_ROOTS)},
            away=move.message if move else "",
        )


def _one(connection: psycopg.Connection[Row], query: bytes) -> Row:
    row = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101 - a query without a condition
    return row
