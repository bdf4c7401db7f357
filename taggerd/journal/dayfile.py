"""The day file: one day's records as JSONL, appended to by any number of processes.

Appending is at least once from the ledger's side and exactly once in the file: an id that the file
holds is not written again. A reader needs no lock, it takes whole lines only.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from taggerd.files import sync_folder
from taggerd.journal.disk import failing_as_storage, replacing
from taggerd.journal.record import Record, identity, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_PIECE = 1 << 20
"""Bytes read at once when a file is copied or searched."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record on its way into a day file."""

    id: str
    """The ``id`` inside *line*."""
    day: str
    """``YYYY-MM-DD``, local time."""
    line: str
    """The record as JSON without line breaks."""


class _Seen(NamedTuple):
    """A file as it was when its ids were learnt."""

    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> _Seen:
        return cls(stat.st_ino, stat.st_size, stat.st_mtime_ns)


def encoded(line: str) -> bytes:
    r"""Return *line* as bytes with its line end.

    Half surrogate pairs (models do send them) cannot be UTF-8: they become ``\udXXX``, which
    inside JSON is the same character.

    Raises:
        ValueError: *line* holds a line break.
    """
    if "\n" in line or "\r" in line:
        message = "a record must be one line"
        raise ValueError(message)
    return line.encode("utf-8", "backslashreplace") + b"\n"


class DayFile:
    """The records of one day: ``DAY.jsonl``, ``DAY.jsonl.gz`` once packed, or both."""

    def __init__(self, folder: Path, day: str) -> None:
        """Name the files of *day* (``YYYY-MM-DD``) in *folder*; nothing is opened yet."""
        self.path = folder / f"{day}.jsonl"
        self.packed = folder / f"{day}.jsonl.gz"
        self.torn = folder / f"{day}.jsonl.torn"
        self._ids: set[str] = set()
        self._seen: _Seen | None = None
        self._seen_packed: _Seen | None = None

    def append(self, entries: Sequence[Entry]) -> None:
        """Append those of *entries* that the file does not hold.

        Durable on return, also for the entries that were there already: the process that wrote
        them may have died before it could sync.

        Raises:
            StorageError: disk full or failing; the file ends where it ended before.
        """
        with failing_as_storage("write", self.path), self._locked(create=True) as descriptor:
            size = self._mend(descriptor)
            self._learn(descriptor, size)
            fresh = {entry.id: entry for entry in entries if entry.id not in self._ids}
            content = b"".join(encoded(entry.line) for entry in fresh.values())
            try:
                _write_all(descriptor, content)
                os.fsync(descriptor)
                if size == 0:
                    sync_folder(self.path.parent)
            except OSError:
                self._seen = None
                os.ftruncate(descriptor, size)
                raise
            self._ids.update(fresh)
            self._seen = _Seen.of(os.fstat(descriptor))

    def mend(self) -> None:
        """Set a torn last line aside, if there is one.

        Raises:
            StorageError: disk full or failing.
        """
        with (
            failing_as_storage("repair", self.path),
            suppress(FileNotFoundError),
            self._locked(create=False) as descriptor,
        ):
            self._mend(descriptor)

    def pack(self) -> None:
        """Compress the JSONL; what a packed file holds already is kept and not doubled.

        A packed file that cannot be read to its end is left alone, and so is the JSONL.

        Raises:
            StorageError: disk full or failing; everything is as it was.
        """
        with (
            failing_as_storage("compress", self.path),
            suppress(FileNotFoundError),
            self._locked(create=False) as descriptor,
        ):
            self._mend(descriptor)
            self._pack(descriptor)

    def read(self) -> Iterator[Record | None]:
        """Give the day's records in the order they came, each id once; None for a damaged line.

        Raises:
            StorageError: the disk fails.
        """
        with failing_as_storage("read", self.path):
            yield from _each_once(self._stored())

    def _stored(self) -> Iterator[bytes | None]:
        # The JSONL is opened before the packed file is looked for: packing makes the one before
        # it removes the other, so that in this order a reader always meets every record.
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield from _unpacked(self.packed)
            return
        with os.fdopen(descriptor, "rb") as file:
            yield from _unpacked(self.packed)
            for raw in file:
                yield raw
                if not raw.endswith(b"\n"):
                    return  # being written: what comes next would be the rest of this line

    @contextmanager
    def _locked(self, *, create: bool) -> Iterator[int]:
        """Open the JSONL for appending and hold its lock.

        Packing removes the file under the lock: whoever waited then holds the lock of a file
        without a name, and must open the new one.
        """
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        while True:
            descriptor = os.open(self.path, flags, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_named(descriptor, self.path):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _mend(self, descriptor: int) -> int:
        """End the file with a whole line; return its size in bytes.

        A last line that only lacks its line end gets one. Half a line goes to ``.torn`` first, so
        that it is never silently lost.
        """
        size = os.fstat(descriptor).st_size
        start = _last_line_start(descriptor, size)
        if start == size:
            return size
        rest = os.pread(descriptor, size - start, start)
        if identity(rest):
            _write_all(descriptor, b"\n")
            return size + 1
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        torn = os.open(self.torn, flags, 0o666)
        try:
            _write_all(torn, rest + b"\n")
            os.fsync(torn)
        finally:
            os.close(torn)
        os.ftruncate(descriptor, start)
        os.fsync(descriptor)
        return start

    def _learn(self, descriptor: int, size: int) -> None:
        """Know the ids of the first *size* bytes, reading no more than is new.

        Another process may have appended. A file of the same size with another time, a shorter
        one or another file altogether is read anew.
        """
        now = _Seen.of(os.fstat(descriptor))._replace(size=size)
        packed, seen = _stat(self.packed), self._seen
        same_files = seen is not None and seen.inode == now.inode and packed == self._seen_packed
        if same_files and now == seen:
            return
        if same_files and seen is not None and now.size > seen.size:
            start = seen.size
        else:
            start = 0
            self._ids = {name for raw in _unpacked(self.packed) if raw and (name := identity(raw))}
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(start)
            self._ids.update(filter(None, map(identity, file)))
        self._seen, self._seen_packed = now, packed

    def _pack(self, descriptor: int) -> None:
        held: set[str] = set()
        for raw in _unpacked(self.packed):
            if raw is None:
                return
            held.add(identity(raw))
        with replacing(self.packed) as target:
            with suppress(FileNotFoundError), self.packed.open("rb") as old:
                while piece := old.read(_PIECE):
                    target.write(piece)
            with (
                gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as member,
                os.fdopen(os.dup(descriptor), "rb") as file,
            ):
                file.seek(0)
                for raw in file:
                    if not (name := identity(raw)) or name not in held:
                        member.write(raw)
        self.path.unlink()
        sync_folder(self.path.parent)
        self._seen = None


def read_lines(lines: Iterable[str]) -> Iterator[Record | None]:
    """Read records that are not in a file (yet), each id once; None for what is no record."""
    yield from _each_once(map(encoded, lines))


def _each_once(stored: Iterable[bytes | None]) -> Iterator[Record | None]:
    """Read *stored*, each id once.

    An unreadable end without a line end is passed over in silence: it may just be being written.
    """
    told: set[str] = set()
    for raw in stored:
        line = None if raw is None else parse(raw)
        if line is None:
            if raw is None or (raw.strip() and raw.endswith(b"\n")):
                yield None
        elif line.id not in told:
            told.add(line.id)
            yield line


def _unpacked(path: Path) -> Iterator[bytes | None]:
    """Give the lines of a gzip file, if it exists; a last None if it breaks off."""
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield None


def _stat(path: Path) -> _Seen | None:
    try:
        return _Seen.of(path.stat())
    except FileNotFoundError:
        return None


def _is_named(descriptor: int, path: Path) -> bool:
    """Say whether *path* still names the file that is open as *descriptor*."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _last_line_start(descriptor: int, size: int) -> int:
    """Return the offset after the last line end of the first *size* bytes."""
    end = size
    while end:
        start = max(0, end - _PIECE)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
