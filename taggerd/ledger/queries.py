"""The ledger's SQL, read from its ``.sql`` files: queries by name, migrations by number."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def queries() -> Mapping[str, str]:
    """Return every query of ``queries.sql`` by name.

    A query starts at a line ``-- name: NAME``. ``{NAME}`` in a query stands for the text of an
    earlier one.
    """
    text = (files(__package__) / "queries.sql").read_text("utf-8")
    named: dict[str, str] = {}
    for block in re.split(r"^-- name: ", text, flags=re.MULTILINE)[1:]:
        name, _, query = block.partition("\n")
        query = re.sub(r"--.*", "", query).strip().rstrip(";")
        named[name] = re.sub(r"\{(\w+)\}", lambda match: named[match[1]], query)
    return MappingProxyType(named)


@cache
def migrations() -> tuple[str, ...]:
    """Return the scripts ``migrations/0001.sql``, ``0002.sql``, ... in order.

    Script N brings a database of version N - 1 to version N (``PRAGMA user_version``).
    """
    folder = files(__package__) / "migrations"
    scripts = sorted(
        (s for s in folder.iterdir() if s.name.endswith(".sql")), key=lambda script: script.name
    )
    return tuple(script.read_text("utf-8") for script in scripts)
