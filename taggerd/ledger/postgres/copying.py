"""The rows of a ledger on their way from SQLite into PostgreSQL, or back."""

from __future__ import annotations

import hashlib
import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import sql

from taggerd.errors import StorageError
from taggerd.ledger.port import HERE
from taggerd.ledger.postgres.moving import NOTE
from taggerd.ledger.postgres.packing import PACKED, packed, unpacked
from taggerd.ledger.rows import folder_bytes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from psycopg import Connection

    from taggerd.ledger.postgres.naming import Naming

TABLES = (
    *("folders", "contents", "photos", "files", "answers", "held"),
    *("outbox", "notices", "pause", "notes", "corrections", "spending"),
)
"""In the order in which they are filled: the photos' triggers read folders. Claims and requests
belong to programs, all of which have ended."""
SCHEMA = "taggerd"
_STAMP = frozenset({"size", "mtime_ns", "inode", "device"})
_HOST = re.compile(r" @[^ /]+$")
"""In the key of a note about one host."""
_INT64 = range(-(2**63), 2**63)


class Table(NamedTuple):
    """A table of both ledgers; its rows are those of SQLite, with the paths of the database."""

    name: str
    columns: tuple[str, ...]

    @property
    def selection(self) -> str:
        """The statement that reads it from SQLite."""
        return f"SELECT {', '.join(self.columns)} FROM {self.name}"  # noqa: S608 - the schema's own

    def statement(self, text: str) -> sql.Composed:
        """Return the *text* of a statement with ``{table}``, ``{name}`` and ``{columns}``."""
        return sql.SQL(text).format(
            table=identifier(self.name),
            name=sql.Literal(f"{SCHEMA}.{self.name}"),
            columns=sql.SQL(", ").join(map(sql.Identifier, self.columns)),
        )

    def named(self, row: Sequence[Any], naming: Naming) -> list[Any]:
        """Return a row of SQLite's as the database keeps it."""
        return [self._named(column, v, naming) for column, v in zip(self.columns, row, strict=True)]

    def _named(self, column: str, value: Any, naming: Naming) -> Any:  # noqa: ANN401 - a column's
        match self.name, column:
            case "folders", "path":
                value = naming.folder(_path(value))
            case "corrections", "photo":
                value = naming.stored(_path(value))
            case "photos", "sidecars":
                value = _renamed(value, lambda name: os.fsdecode(naming.stored(Path(name))))
            case "outbox", "line":
                value = naming.portable(value)
            case "notes", "key" if value.startswith(HERE) and not _HOST.search(value):
                value = naming.note(value)
            case "files", _ if isinstance(value, str) and column in _STAMP:
                value = int(value)
        return value

    def stored(self, values: Sequence[Any]) -> list[Any]:
        """Return the *values* of a row as PostgreSQL takes them."""
        found = zip(self.columns, map(storable_value, values), strict=True)
        return [packed(str(value)) if name in PACKED else value for name, value in found]

    def unnamed(self, row: Sequence[Any], naming: Naming) -> list[Any]:
        """Return a row of the database's as SQLite keeps it."""
        return [
            self._unnamed(column, v, naming) for column, v in zip(self.columns, row, strict=True)
        ]

    def _unnamed(self, column: str, value: Any, naming: Naming) -> Any:  # noqa: ANN401 - a column's
        match self.name, column:
            case "folders", "path":
                value = folder_bytes(naming.path(value))
            case "corrections", "photo":
                value = os.fsencode(naming.path(value))
            case "photos", "sidecars":
                value = _renamed(value, lambda name: os.fspath(naming.path(os.fsencode(name))))
            case "outbox", "line":
                value = naming.readable(value)
            case "notes", "key" if value == naming.note(_HOST.sub("", value)):
                value = _HOST.sub("", value)
        return value

    def is_ours(self, row: Sequence[Any]) -> bool:
        """Say whether a row is about a move."""
        return self.name == "notes" and row[self.columns.index("key")] == NOTE


def _path(value: bytes) -> Path:
    return Path(os.fsdecode(value))


def _renamed(sidecars: str | None, named: Callable[[str], str]) -> str | None:
    """Return a photo's *sidecars* with those in other folders as *named* says."""
    try:
        known = json.loads(sidecars or "{}")
        if not any("/" in name for name in known):
            return sidecars
        return json.dumps({named(n) if "/" in n else n: digest for n, digest in known.items()})
    except (ValueError, AttributeError, TypeError):  # damaged: as good as none
        return sidecars


def tables(source: sqlite3.Connection) -> list[Table]:
    """Return the tables that move, with the columns of SQLite's schema."""
    found = []
    for name in TABLES:
        rows = source.execute("SELECT name FROM pragma_table_info(?)", [name])
        found.append(Table(name, tuple(row["name"] for row in _dicts(rows))))
    source.row_factory = None
    return found


def _dicts(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield row if isinstance(row, dict) else {"name": row[0]}


def rows_of(table: Table, connection: Connection[Any], host: str) -> Iterator[list[Any]]:
    """Yield the rows of a table of the database's, as SQLite of the *host* has values."""
    # Inodes and devices of other hosts say nothing here: see taggerd.photo.Stamp.
    own = sql.SQL("CASE host WHEN {} THEN {} ELSE 0 END")
    columns = [
        own.format(sql.Literal(host), sql.Identifier(column))
        if table.name == "files" and column in {"inode", "device"}
        else sql.Identifier(column)
        for column in table.columns
    ]
    with connection.cursor(name="moving") as cursor:
        cursor.itersize = 5000
        names = sql.SQL(", ").join(columns)
        cursor.execute(sql.SQL("SELECT {} FROM {}").format(names, identifier(table.name)))
        for row in cursor:
            values = zip(table.columns, map(_plain, row), strict=True)
            yield [unpacked(value) if name in PACKED else value for name, value in values]


def _plain(value: Any) -> Any:  # noqa: ANN401 - a column's
    if isinstance(value, bool | Decimal):
        return int(value)
    return bytes(value) if isinstance(value, memoryview) else value


class Sum:
    """Tells one set of rows from another, in any order."""

    def __init__(self) -> None:
        """Begin with no row."""
        self._rows = 0
        self._sum = 0

    def add(self, row: Iterable[object]) -> None:
        """Count *row* in."""
        text = repr([storable_value(value) for value in row]).encode("utf-8", "surrogatepass")
        self._sum += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "big")
        self._rows += 1

    def compare(self, other: Sum, table: str) -> None:
        """Raise StorageError if *other* has other rows."""
        if (self._rows, self._sum) != (other._rows, other._sum):
            message = (
                f"what came back of the table {table} is not what was sent ({self._rows} and "
                f"{other._rows} rows): nothing has been moved"
            )
            raise StorageError(message)


def storable_value(value: object) -> object:
    """Return what PostgreSQL takes: its texts have no NUL."""
    return value.replace("\x00", "\\u0000") if isinstance(value, str) else value


def fits(value: object) -> bool:
    """Say whether SQLite has *value*: its numbers have 64 bits."""
    return not isinstance(value, int) or value in _INT64


def identifier(name: str) -> sql.Identifier:
    """Return the *name* of a table, within the schema."""
    return sql.Identifier(SCHEMA, name)
