"""What the ledger's steps ask of a database: queries by name, whichever SQL it speaks."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from taggerd.ledger.rows import Paths

Value: TypeAlias = "int | float | str | bytes | None"
Row: TypeAlias = "dict[str, Any]"
"""A row by the names of its columns; the schema says what each holds."""


class Database(Protocol):
    """An open database. Everything here is synchronous and belongs to one thread.

    Each method may raise :class:`~taggerd.errors.StorageError`, and ValueError for a value that the
    database does not take.
    """

    @property
    def paths(self) -> Paths:
        """How the paths and stamps of this host stand in it."""

    def transaction(self, *, quick: bool = False) -> AbstractContextManager[None]:
        """Do everything inside, or nothing of it.

        If *quick*, a power cut where the database lies may undo it: the caller waits for the disk
        afterwards, or what it has done can be done again.
        """

    def select(self, within: Sequence[Path] | None) -> None:
        """Say which folders and files the queries about photos in scope mean; None: all."""

    def rows(self, query: str, /, **values: Value) -> list[Row]:
        """Return all rows of the named *query*."""

    def tuples(self, query: str, /, **values: Value) -> set[tuple[Any, ...]]:
        """Return all rows of the named *query* as plain tuples: for very many of them."""

    def row(self, query: str, /, **values: Value) -> Row | None:
        """Return the first row of the named *query*, if there is one."""

    def one(self, query: str, /, **values: Value) -> Row:
        """Return the row of the named *query*, which always gives one."""

    def do(self, query: str, /, **values: Value) -> int:
        """Execute the named *query*; return how many rows it changed."""

    def insert(self, query: str, /, **values: Value) -> int:
        """Execute the named *query*; return the id of the row it made."""


def named(text: str) -> Mapping[str, str]:
    """Return every query of the *text* of a ``queries.sql`` by name.

    A query starts at a line ``-- name: NAME``. ``{NAME}`` in a query stands for the text of an
    earlier one.
    """
    found: dict[str, str] = {}
    for block in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        name, _, query = block.partition("\n")
        query = re.sub(r"--.*", "", query).strip().rstrip(";")
        found[name] = re.sub(r"\{(\w+)\}", lambda match: found[match[1]], query)
    return MappingProxyType(found)
