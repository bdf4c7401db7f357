"""Reads a ledger that cannot be opened because its disk is full or read-only.

Opening a ledger creates files, takes locks and recovers the claims of dead owners. The status
command can do without.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import StorageError
from taggerd.ledger.owners import Owners, daemon_pid
from taggerd.ledger.port import Counts
from taggerd.ledger.queries import queries
from taggerd.ledger.statedirectory import DATABASE
from taggerd.photo import printable

if TYPE_CHECKING:
    from pathlib import Path


class Probe(NamedTuple):
    """What can be read without opening the ledger."""

    counts: Counts
    daemon_pid: int | None
    """The process id of the daemon that uses it, if one runs."""


def probe(directory: Path) -> Probe:
    """Read the ledger in the state *directory*, writing nothing.

    Raises:
        StorageError: it cannot be read either.
    """
    path = directory / DATABASE
    try:
        try:
            counts = _counts(path, "mode=ro")
        except sqlite3.OperationalError:
            # Read-only, and closed well: no log beside it, and none can be made.
            counts = _counts(path, "mode=ro&immutable=1")
        return Probe(counts, daemon_pid(directory, Owners(directory / "owners")))
    except (sqlite3.Error, OSError) as error:
        message = f"the ledger {printable(path)} cannot be read ({error}): check its disk"
        raise StorageError(message) from error


def _counts(path: Path, how: str) -> Counts:
    uri = f"{path.absolute().as_uri()}?{how}"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        row = connection.execute(queries()["count_all"]).fetchone()
    waiting = {key: int(row[key]) for key in ("queued", "claimed", "unwritten", "quarantined")}
    return Counts(recorded=row["photos"] - sum(waiting.values()), **waiting)
