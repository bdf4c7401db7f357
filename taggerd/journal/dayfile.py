"""The day file: one day's records as JSONL, appended to by any number of processes.

The ledger delivers at least once; the file holds each record exactly once, because an id that it
holds already is skipped. Readers need no lock: they take whole lines only.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.journal.disk import failing_as_storage, replacing
from taggerd.journal.record import Record, identity, parse
from taggerd.photo import Stamp, escape_controls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

LOCK_SECONDS = 20.0
"""Longest wait for other programs that write a day file; they take milliseconds."""
_POLL_SECONDS = 0.01
_CHUNK = 1 << 20
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


def encoded(line: str) -> bytes:
    r"""Return *line* as bytes with its line end, safe to show on a terminal.

    Half surrogate pairs cannot be encoded as UTF-8: they become ``\udXXX``, which means the same
    character inside JSON. So do C1 and bidi controls.

    Raises:
        ValueError: *line* holds a line break.
    """
    if "\n" in line or "\r" in line:
        message = "a record must be one line"
        raise ValueError(message)
    return escape_controls(line).encode("utf-8", "backslashreplace") + b"\n"


def told(line: str) -> bytes:
    """Return a *line* of another host as bytes; what is no record comes out as damaged."""
    return encoded(line.replace("\n", " ").replace("\r", " "))


class DayFile:
    """The records of one day: ``DAY.jsonl``, ``DAY.jsonl.gz`` once compressed, or both.

    Every method raises :class:`StorageError` when the disk is full or failing; the files are then
    as they were.
    """

    def __init__(self, folder: Path, day: str) -> None:
        """Name the files of *day* (``YYYY-MM-DD``) in *folder*; nothing is opened yet."""
        self.path = folder / f"{day}.jsonl"
        self.compressed = folder / f"{day}.jsonl.gz"
        self.torn = folder / f"{day}.jsonl.torn"
        self._ids: set[str] = set()
        self._seen: Stamp | None = None
        """The JSONL when its ids were last read."""
        self._seen_compressed: Stamp | None = None

    def append(self, entries: Sequence[Entry]) -> None:
        """Append those of *entries* that the file does not hold yet.

        Durable on return, also for entries that were there before: the process that wrote them may
        have died before it could sync.
        """
        with failing_as_storage("write", self.path), self._locked(create=True) as descriptor:
            size = self._repair(descriptor)
            self._read_ids(descriptor, size)
            fresh = {entry.id: entry for entry in entries if entry.id not in self._ids}
            content = b"".join(encoded(entry.line) for entry in fresh.values())
            try:
                _write_all(descriptor, content)
                os.fsync(descriptor)
                if size == 0:
                    files.fsync_folder(self.path.parent)
            except OSError:
                self._seen = None
                os.ftruncate(descriptor, size)
                raise
            self._ids.update(fresh)
            self._seen = Stamp.of(os.fstat(descriptor))

    def reject(self, line: str) -> None:
        """Keep in ``.torn`` a *line* that :meth:`append` does not take."""
        with failing_as_storage("write", self.torn):
            self._tear(line.encode("utf-8", "backslashreplace"))

    def repair(self) -> None:
        """Move half a line at the end of the file, if there is one, to ``.torn``."""
        with (
            failing_as_storage("repair", self.path),
            suppress(FileNotFoundError),
            self._locked(create=False) as descriptor,
        ):
            self._repair(descriptor)

    def compress(self) -> None:
        """Compress the JSONL; records that the compressed file holds already are not added again.

        If the compressed file cannot be read to its end, it is left alone, and so is the JSONL.
        """
        with (
            failing_as_storage("compress", self.path),
            suppress(FileNotFoundError),
            self._locked(create=False) as descriptor,
        ):
            self._repair(descriptor)
            self._compress(descriptor)

    def read(self, elsewhere: Iterable[str] = ()) -> Iterator[Record | None]:
        """Yield the day's records in the order they came, each id once; None for a damaged line.

        The lines from *elsewhere* come first: they are those of all hosts.
        """
        with failing_as_storage("read", self.path):
            yield from _each_once(chain(map(told, elsewhere), self._stored()))

    def read_on(self, mark: str, most: int) -> tuple[list[Record], str]:
        """Return the records behind *mark*, *most* at once, and the mark behind them.

        A record may come again: all do where the file was exchanged or compressed since. Damaged
        lines are left out.

        Args:
            mark: from an earlier call; empty: from the beginning.
            most: bytes read at once. Nothing is behind a mark that comes back as it was given.
        """
        with failing_as_storage("read", self.path):
            try:
                opened = files.open_file(self.path)
            except FileNotFoundError:
                return self._compressed_after(mark)
            with opened, opened.reader() as file:
                now = os.fstat(opened.descriptor)
                packed = _stat(self.compressed)
                which = f"{now.st_dev}:{now.st_ino}:{_mark_of(packed)}"
                known, _, offset = mark.rpartition(" ")
                records: list[Record] = []
                start = int(offset) if known == which and offset.isdecimal() else 0
                if known != which or start > now.st_size:
                    start = 0
                    records = [r for r in map(parse, _whole(_decompressed(self.compressed))) if r]
                file.seek(start)
                data = file.read(most)
                if b"\n" not in data and len(data) == most:
                    data += file.readline()
                data = data[: data.rfind(b"\n") + 1]
                records += [r for r in map(parse, data.splitlines()) if r]
                return records, f"{which} {start + len(data)}"

    def _compressed_after(self, mark: str) -> tuple[list[Record], str]:
        """Return all records of a day that is compressed alone, unless *mark* is behind them."""
        packed = f"{_mark_of(_stat(self.compressed))} all"
        if packed == mark:
            return [], mark
        return [r for r in map(parse, _whole(_decompressed(self.compressed))) if r], packed

    def _stored(self) -> Iterator[bytes | None]:
        # The JSONL is opened first: compressing makes the one file before it removes the other, so
        # in this order a reader sees every record.
        try:
            opened = files.open_file(self.path)
        except FileNotFoundError:
            yield from _decompressed(self.compressed)
            return
        with opened, opened.reader() as file:
            yield from _decompressed(self.compressed)
            for raw in file:
                yield raw
                if not raw.endswith(b"\n"):
                    return  # it is still being written

    @contextmanager
    def _locked(self, *, create: bool) -> Iterator[int]:
        """Open the JSONL for appending and hold its lock.

        Compressing removes the file while holding its lock. Whoever waited then has the lock of a
        deleted file, and has to open the new one.
        """
        while True:
            with files.open_growing(self.path, 0o666, create=create) as file:
                _lock(file.descriptor, self.path)
                if _is_named(file.descriptor, self.path):
                    yield file.descriptor
                    return

    def _repair(self, descriptor: int) -> int:
        """End the file with a whole line; return its size in bytes.

        A last line that only lacks its line end gets one. Half a line is moved to ``.torn``, so
        that nothing is lost silently.
        """
        size = os.fstat(descriptor).st_size
        start = _last_line_start(descriptor, size)
        if start == size:
            return size
        rest = os.pread(descriptor, size - start, start)
        if identity(rest):
            _write_all(descriptor, b"\n")
            return size + 1
        self._tear(rest)
        os.ftruncate(descriptor, start)
        os.fsync(descriptor)
        return start

    def _tear(self, rest: bytes) -> None:
        """Add *rest* to ``.torn``, for this user alone: it may be anything. Durable on return."""
        with files.open_growing(self.torn, 0o600) as torn:
            _write_all(torn.descriptor, rest + b"\n")
            os.fsync(torn.descriptor)

    def _read_ids(self, descriptor: int, size: int) -> None:
        """Read the ids in the first *size* bytes, or only the new ones if the file has just grown.

        Another process may have appended. The file is read from the start if it is another one, is
        shorter, or has the same size and another time.
        """
        now, gz = Stamp.of(os.fstat(descriptor))._replace(size=size), _stat(self.compressed)
        seen = self._seen if gz == self._seen_compressed else None
        if now == seen:
            return
        if seen and seen.inode == now.inode and seen.size < now.size:
            start = seen.size
        else:
            start = 0
            self._ids = {name for raw in _decompressed(self.compressed) if (name := identity(raw))}
        with os.fdopen(os.dup(descriptor), "rb") as file:
            file.seek(start)
            self._ids.update(filter(None, map(identity, file)))
        self._seen, self._seen_compressed = now, gz

    def _compress(self, descriptor: int) -> None:
        held: set[str] = set()
        for raw in _decompressed(self.compressed):
            if raw is None:
                return
            held.add(identity(raw))
        with replacing(self.compressed, os.fstat(descriptor).st_mode) as target:
            with (
                suppress(FileNotFoundError),
                files.open_file(self.compressed) as before,
                before.reader() as old,
            ):
                while chunk := old.read(_CHUNK):
                    target.write(chunk)
            with (
                gzip.GzipFile(fileobj=target, mode="wb", filename="", mtime=0) as member,
                os.fdopen(os.dup(descriptor), "rb") as file,
            ):
                file.seek(0)
                for raw in file:
                    if not (name := identity(raw)) or name not in held:
                        member.write(raw)
        files.unlink(self.path)
        files.fsync_folder(self.path.parent)
        self._seen = None


def read_lines(lines: Iterable[str]) -> Iterator[Record | None]:
    """Read records that are not in a file, each id once; None for what is not a record."""
    yield from _each_once(map(encoded, lines))


def _each_once(stored: Iterable[bytes | None]) -> Iterator[Record | None]:
    """Read *stored*, each id once.

    A damaged last line without a line end is not reported: it may still be being written.
    """
    seen: set[str] = set()
    for raw in stored:
        line = None if raw is None else parse(raw)
        if line is None:
            if raw is None or (raw.strip() and raw.endswith(b"\n")):
                yield None
        elif line.id not in seen:
            seen.add(line.id)
            yield line


def _decompressed(path: Path) -> Iterator[bytes | None]:
    """Yield the lines of a gzip file, if it exists; a last None if it is cut off."""
    try:
        with files.open_file(path) as opened, opened.reader() as raw, gzip.open(raw, "rb") as file:
            yield from file
    except FileNotFoundError:
        return
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield None


def _whole(lines: Iterable[bytes | None]) -> Iterator[bytes]:
    return (line for line in lines if line is not None)


def _mark_of(stamp: Stamp | None) -> str:
    return f"{stamp.inode}-{stamp.size}-{stamp.mtime_ns}" if stamp else ""


def _stat(path: Path) -> Stamp | None:
    try:
        return Stamp.of(files.lstat(path))
    except FileNotFoundError:
        return None


def _lock(descriptor: int, path: Path) -> None:
    """Lock an open day file, as soon as nobody else has.

    Whoever may read it can lock it, and for ever: the wait is bounded, and the records stay in the
    ledger.

    Raises:
        BlockingIOError: it is locked all the time.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise BlockingIOError(error.errno, error.strerror, str(path)) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _is_named(descriptor: int, path: Path) -> bool:
    """Say whether *path* still names the file that is open as *descriptor*."""
    try:
        return os.path.samestat(os.fstat(descriptor), files.lstat(path))
    except FileNotFoundError:
        return False


def _last_line_start(descriptor: int, size: int) -> int:
    """Return the offset after the last line end of the first *size* bytes."""
    end = size
    while end:
        start = max(0, end - _CHUNK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
