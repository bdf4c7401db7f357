"""Reads a ledger and changes nothing: what commands use that only show something.

Opening a ledger creates files, takes locks, moves a damaged database aside and queues what the dead
had claimed. A command that shows something and does that takes it out of the daemon's hands: the
daemon's log never names the damaged file, and its ledger changes under it.
"""

from __future__ import annotations

import stat
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from taggerd.errors import LedgerDamaged, StartError, StorageError
from taggerd.ledger import admission, corrections, queue
from taggerd.ledger.database import Database, connect_read_only
from taggerd.ledger.moved import refuse_moved
from taggerd.ledger.opening import DATABASE, refuse_shared
from taggerd.ledger.schema import checked_version, newest_version, write_copy
from taggerd.photo import printable
from taggerd.settings.permissions import trusted_users

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from taggerd.ledger.fleet import Host
    from taggerd.ledger.port import (
        Correction,
        Counts,
        FileState,
        HeldPhoto,
        Json,
        Pause,
        PhotoState,
        Quarantined,
    )
    from taggerd.ledger.queries import Database as Queries
    from taggerd.photo import PhotoFile, Usage

T = TypeVar("T")

_EVERYTHING = {"low": b"/", "high": b"0", "parent": b"", "stem": b"", "suffix": b""}
"""The scope of all photos."""

ATTEMPTS = 5
"""How often a ledger is read that somebody opens or closes in the same moment."""


class LedgerReader:
    """What can be asked of a ledger that is only read."""

    def __init__(self, database: Queries) -> None:
        """Ask an open *database*."""
        self._database = database

    def counts(self) -> Counts:
        """Return how many photos are in each state."""
        return queue.counts(self._database.one("count_all"))

    def quarantined(self, limit: int) -> list[Quarantined]:
        """List photos in quarantine, latest first."""
        return queue.quarantined(self._database, limit)

    def held(self, limit: int, *, unwritten: bool = False) -> list[HeldPhoto]:
        """List photos that are held, as the port does."""
        return queue.held(self._database, limit, unwritten=unwritten)

    def paused(self, now: float) -> Pause | None:
        """Return the pause that holds at *now*, seconds since the epoch."""
        return queue.paused(self._database, now)

    def spent(self, day: str) -> Mapping[str, Usage]:
        """Return what was asked on a local *day*, by model."""
        return queue.spent(self._database, day)

    def hosts(self) -> list[Host]:
        """Return the hosts that share the ledger; empty: nobody does."""
        return []

    def holders(self) -> Mapping[str, str]:
        """Return which of them holds each lease."""
        return {}

    def stamp(self) -> object:
        """Return what is another after each change; None where files tell of it."""
        return None

    def recall(self, key: str) -> Json:
        """Return what was noted under *key*; None if nothing was."""
        return queue.recall(self._database, key)

    def copy_to(self, part: Path) -> None:
        """Copy the whole ledger into the file *part*, and check it.

        Raises:
            OSError: the file cannot be written.
            StartError: the ledger is in a database that several hosts share.
        """
        if not isinstance(self._database, Database):
            message = "a shared ledger is backed up where its server is: pg_dump"
            raise StartError(message)
        self._database.ask(lambda connection: write_copy(connection, part))

    def file_states(self, files: Iterable[PhotoFile]) -> Mapping[Path, FileState]:
        """Return the state of each of *files*."""
        return {file.path: admission.state_of(self._database, file) for file in files}

    def photo_states(self, files: Iterable[Path]) -> dict[Path, PhotoState]:
        """Return the states of the photos that have one of *files*, by the file that is read."""
        rows = (
            self._database.rows("states_of", **self._database.paths.key(path)._asdict())
            for path in files
        )
        return admission.photo_states(self._database, chain.from_iterable(rows))

    def states_after(self, id: int, limit: int) -> dict[Path, PhotoState]:  # noqa: A002 - the photo's
        """Return the states of so many photos, in the order of their ids, from behind *id* on."""
        rows = self._database.rows("states_after", after=id, limit=limit)
        return admission.photo_states(self._database, rows)

    def unfinished(self) -> dict[Path, PhotoState]:
        """Return the states of all photos that are not tagged with their sidecars written."""
        rows = self._database.rows("states_unfinished")
        return admission.photo_states(self._database, rows)

    def corrections(self, after: int, limit: int) -> list[Correction]:
        """Return what was done to any photo; see :meth:`taggerd.ledger.port.Ledger.corrections`."""
        return corrections.since(self._database, after, limit, None, undone=True)

    def corrections_of(self, photo: Path) -> list[Correction]:
        """Return all that was ever done to *photo*, oldest first, also what was undone."""
        return corrections.of(self._database, photo)


def read_ledger(directory: Path, work: Callable[[LedgerReader], T]) -> T | None:
    """Return what *work* makes of the ledger in the state *directory*; None if there is none.

    All that *work* asks is answered from one moment. It is called again if the ledger is opened or
    closed meanwhile.

    Raises:
        StartError: the directory belongs to somebody else, a newer taggerd made the ledger, or it
            was moved to a server.
        StorageError: the ledger cannot be read, e.g. because it is damaged.
    """
    for attempt in range(1, ATTEMPTS + 1):
        before = _Files.of(directory)
        if before.database is None:
            refuse_moved(directory)
            return None
        result, trouble = None, None
        try:
            result = _read(directory / DATABASE, work, immutable=not before.in_use)
        except (StorageError, StartError) as error:
            trouble = error
        if attempt == ATTEMPTS or before.in_use or before == _Files.of(directory):
            break
    if trouble is not None:
        raise trouble
    return result


def _read(path: Path, work: Callable[[LedgerReader], T], *, immutable: bool) -> T | None:
    """Return what *work* makes of the database *path*; None if it has no tables yet.

    Args:
        path: the database.
        work: asks.
        immutable: it was closed in order, and is opened without the log that SQLite would make. If
            somebody opens and changes it meanwhile, the result is worth nothing.
    """
    with closing(Database(path, connect_read_only(path, immutable=immutable))) as database:
        version = database.ask(lambda connection: checked_version(connection, path))
        if version == 0:
            return None
        with database.reading():
            try:
                database.do("scope")
                database.do("add_scope", **_EVERYTHING)
                return work(LedgerReader(database))
            except LedgerDamaged:
                raise
            except StorageError as error:
                if version == newest_version():
                    raise
                message = (
                    f"the ledger {printable(path)} has schema {version} and this taggerd reads "
                    f"{newest_version()}: restart the service, which migrates it"
                )
                raise StorageError(message) from error


class _Stamp(NamedTuple):
    """What tells a file from another, and from itself after a change."""

    inode: int
    size: int
    mtime_ns: int


class _Files(NamedTuple):
    """The files of a ledger, as far as they tell that somebody wrote, opened or closed it."""

    database: _Stamp | None
    log: _Stamp | None
    has_index: bool

    @classmethod
    def of(cls, directory: Path) -> _Files:
        """Look at the files in *directory*; errors as :func:`read_ledger`."""
        path = directory / DATABASE
        try:
            refuse_shared(directory)
            index = path.with_name(path.name + "-shm").exists()
            files = cls(_stamp(path), _stamp(path.with_name(path.name + "-wal")), index)
        except OSError as error:
            message = f"the state directory {printable(directory)} cannot be read: {error.strerror}"
            raise StartError(message) from error
        if files.log and files.log.size and not index:
            message = (
                f"the ledger {printable(path)} was copied without its -shm file, which holds the "
                "index of its log: taggerd run, or a scan, makes a new one"
            )
            raise StorageError(message)
        return files

    @property
    def in_use(self) -> bool:
        """Whether somebody has it open, or was killed: what was written last is in the log."""
        return self.has_index and self.log is not None


def _stamp(path: Path) -> _Stamp | None:
    """Return the stamp of a file of this user's; None if there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in trusted_users():
        message = f"{printable(path)} is another user's, or not a regular file: it is not read"
        raise StartError(message)
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
