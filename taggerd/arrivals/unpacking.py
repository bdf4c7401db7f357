"""Unpacks settled archives in worker processes, each once, and remembers them in the ledger.

A note in the ledger for each folder holds the stamp and the identity of every archive in it. So an
archive is not unpacked again by a restart, a walk, a touch, or when what was unpacked is deleted.
One that was replaced is another archive, and gets a folder of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_from_bytes

from taggerd import files
from taggerd.arrivals import archives
from taggerd.arrivals.members import UnpackRequest
from taggerd.arrivals.settling import Settling
from taggerd.errors import ArchiveError, PhotoMoved, StartError, StorageError, WorkerLost
from taggerd.logs import get_logger
from taggerd.photo import Keyword, Stamp, extension, printable
from taggerd.retry import ARCHIVE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from taggerd.arrivals.dependencies import Json, Record, Workers
    from taggerd.arrivals.walk import Row, Seen
    from taggerd.files import OpenFile
    from taggerd.photo import Photo, PhotoFile
    from taggerd.settings import Arrivals

log = get_logger(__name__)

STEP_SECONDS = 5.0
"""How long a worker process unpacks before it may work on a photo again."""

_IN_FLIGHT = "archives in flight"
"""Key of the note of the hidden folders of archives that are being unpacked."""


class _Entry(NamedTuple):
    """What is remembered of one archive."""

    stamp: Stamp
    identity: str
    """Empty for one that could not be unpacked."""
    reason: str = ""
    """Why it could not be."""


class Unpacked(NamedTuple):
    """The result for one archive."""

    folder: Path | None = None
    """The new folder; None where nothing was unpacked."""
    reason: str = ""
    """Why it could not be unpacked; empty if it could."""


def is_archive(file: PhotoFile) -> bool:
    """Say whether *file* is an archive, and not a photo."""
    return extension(file.path) == archives.EXTENSION


class Unpacking:
    """The archives of one run."""

    def __init__(
        self,
        arrivals: Arrivals,
        record: Record,
        workers: Workers,
        *,
        unpacked: Callable[[Path], None] = lambda _folder: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Unpack by the settings *arrivals*; call *unpacked* with each new folder."""
        self._arrivals = arrivals
        self._record = record
        self._memory = _Memory(record)
        self._workers = workers
        self._unpacked = unpacked
        self._clock = clock
        self._waiting: asyncio.Queue[PhotoFile] = asyncio.Queue()
        self._pending: dict[Path, Stamp] = {}
        """Waiting or being unpacked."""
        self._postponed: dict[Path, tuple[Stamp, float]] = {}
        """Not to be tried before that time, by the monotonic clock."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the photos on record in *folder* itself, and the archives that need nothing."""
        return await self._record.known(folder) | await self._archives(folder)

    async def stamps(self, folders: Sequence[Path]) -> Sequence[AbstractSet[Row]]:
        """Return the same for many folders, as rows."""
        if not self._arrivals.unpack:
            return await self._record.stamps(folders)
        rows: list[AbstractSet[Row]] = []
        for folder, photos in zip(folders, await self._record.stamps(folders), strict=True):
            archived = await self._archives(folder)
            rows.append(photos | {(os.fsencode(path.name), *s) for path, s in archived.items()})
        return rows

    async def unknown(self, files: Sequence[PhotoFile]) -> list[PhotoFile]:
        """Return those of *files* that are not known as they are: to be admitted or unpacked."""
        photos = [file for file in files if not is_archive(file)]
        states = await self._record.file_states(photos)
        return [
            *(file for file in photos if states[file.path].state in {"new", "changed"}),
            *[f for f in files if is_archive(f) and not await self._needs_nothing(f)],
        ]

    def put(self, files: Iterable[PhotoFile]) -> None:
        """Have the settled archives *files* unpacked by :meth:`run`."""
        for file in files:
            self._pending[file.path] = file.stamp
            self._waiting.put_nowait(file)

    async def run(self) -> None:
        """Unpack what is put, one after the other, until cancelled."""
        while True:
            file = await self._waiting.get()
            try:
                await self.unpack(file)
            except Exception:  # one archive must not end the service
                log.exception("unexpected error", archive=printable(file.path))
                self._postpone(file)
            finally:
                if self._pending.get(file.path) == file.stamp:
                    del self._pending[file.path]

    async def unpack(self, file: PhotoFile) -> Unpacked:
        """Unpack one settled archive, unless it was before. A failure is logged as well."""
        shown = printable(file.path)
        try:
            entry = (await self._memory.entries(file.path.parent)).get(file.path.name)
            if entry is not None and entry.stamp == file.stamp:
                return Unpacked(reason=entry.reason)
            async with _locked(file.path) as ours:
                if ours:
                    return Unpacked(await self._unpack(file))
            reason = "another taggerd is unpacking it"
        except (ArchiveError, WorkerLost) as error:
            reason = str(error)
            log.warning("archive refused", archive=shown, reason=reason)
            with suppress(StorageError):
                await self._memory.remember(file, "", reason)
            return Unpacked(reason=reason)
        except PhotoMoved as moved:  # the walk or event that sees the new file brings it back
            return Unpacked(reason=str(moved))
        except (StorageError, StartError) as error:
            reason = str(error)
            log.error("archive cannot be unpacked yet", archive=shown, reason=reason)
        self._postpone(file)
        return Unpacked(reason=reason)

    async def unpack_all(
        self, files: Sequence[Seen], *, timeout_seconds: float
    ) -> dict[Path, Unpacked]:
        """Unpack archives as they settle, and say so of those that have not by the timeout."""
        settling = Settling(self._arrivals.settle_seconds, limit=len(files) + 1)
        done = {seen.file.path: Unpacked(reason="still being written, or gone") for seen in files}
        batches = settling.settle(files, timeout_seconds=timeout_seconds, clock=self._clock)
        async for batch in batches:
            for file in batch:
                done[file.path] = await self.unpack(file)
        return done

    async def remove_leftovers(self) -> None:
        """Remove what runs that were killed left half unpacked."""
        for scratch, archive in (await self._memory.in_flight()).items():
            async with _locked(archive) as ours:
                if ours:
                    with suppress(OSError):  # the next start tries again
                        await asyncio.to_thread(archives.clear, scratch)
                        await self._memory.note_in_flight(scratch, None)

    async def _needs_nothing(self, archive: PhotoFile) -> bool:
        known = await self._archives(archive.path.parent)
        return known.get(archive.path) == archive.stamp

    def _postpone(self, file: PhotoFile) -> None:
        self._postponed[file.path] = (file.stamp, self._clock() + ARCHIVE_SECONDS)

    async def _archives(self, folder: Path) -> dict[Path, Stamp]:
        """Return the archives in *folder* itself that need nothing, or nothing for now."""
        if not self._arrivals.unpack:
            return {}
        entries = await self._memory.entries(folder)
        known = {folder / name: entry.stamp for name, entry in entries.items()}
        now = self._clock()
        self._postponed = {path: held for path, held in self._postponed.items() if held[1] > now}
        postponed = {path: stamp for path, (stamp, _) in self._postponed.items()}
        waiting = postponed | self._pending
        return known | {path: stamp for path, stamp in waiting.items() if path.parent == folder}

    async def _unpack(self, file: PhotoFile) -> Path | None:
        request = UnpackRequest(file.path, file.stamp, self._arrivals)
        contents = await self._workers.run(archives.contents, request)
        entries = await self._memory.entries(file.path.parent)
        if await asyncio.to_thread(_is_among, entries, file, contents.identity):
            await self._memory.remember(file, contents.identity)
            return None
        folder = await asyncio.to_thread(archives.unpacked_before, request, contents.identity)
        if folder is None and contents.members:
            folder = await self._unpack_in_steps(request, contents)
        await self._memory.remember(file, contents.identity)
        for name, reason in contents.named:
            log.info("left in the archive", archive=printable(file.path), member=name, why=reason)
        log.info(
            "archive unpacked" if folder else "archive contains no photos",
            archive=printable(file.path),
            **({"folder": printable(folder)} if folder else {}),
            taken=contents.members,
            left_out=contents.left_out,
        )
        if folder is not None:
            self._unpacked(folder)
        return folder

    async def _unpack_in_steps(self, request: UnpackRequest, contents: archives.Contents) -> Path:
        """Unpack step by step; after a failure remove what was begun.

        A kill leaves it, for :meth:`remove_leftovers` at the next start.
        """
        run = self._workers.run
        with await asyncio.to_thread(archives.begin, request) as scratch:
            await self._memory.note_in_flight(scratch.path, request.archive)
            try:
                begin = 0
                while begin < contents.members:
                    step = await run(archives.unpack, request, scratch, begin, STEP_SECONDS)
                    begin = step.begin
                    for name, reason in step.lost:
                        shown = printable(request.archive)
                        log.warning("left in the archive", archive=shown, member=name, why=reason)
                folder = await run(archives.publish, request, scratch, contents.identity)
            except (ArchiveError, WorkerLost, PhotoMoved, StorageError, StartError):
                with suppress(OSError):
                    await asyncio.to_thread(archives.remove, scratch)
                    await self._memory.note_in_flight(scratch.path, None)
                raise
            await self._memory.note_in_flight(scratch.path, None)
        return folder


class _Memory:
    """What the ledger's notes hold about archives."""

    def __init__(self, record: Record) -> None:
        self._record = record

    async def entries(self, folder: Path) -> dict[str, _Entry]:
        """Return what is remembered of the archives in *folder* itself, by name."""
        noted = await self._record.recall(_key(folder), here=True)
        entries: dict[str, _Entry] = {}
        for name, entry in (noted if isinstance(noted, dict) else {}).items():
            match entry:  # others may write it, where several hosts share the ledger
                case {
                    "stamp": [int() as size, int() as mtime_ns, int() as inode, int() as device],
                    "identity": str() as identity,
                    "reason": str() as reason,
                }:
                    stamp = Stamp(size, mtime_ns, inode, device)
                    entries[name] = _Entry(stamp, identity, reason)
        return entries

    async def remember(self, file: PhotoFile, identity: str, reason: str = "") -> None:
        """Remember an archive; without *identity*, that it could not be unpacked and why."""
        entries = await self.entries(file.path.parent)
        entries[file.path.name] = _Entry(file.stamp, identity, reason)
        noted: Json = {
            name: {**entry._asdict(), "stamp": list(entry.stamp)} for name, entry in entries.items()
        }
        await self._record.note(_key(file.path.parent), noted, here=True)

    async def in_flight(self) -> dict[Path, Path]:
        """Return the archives that are being unpacked, by their hidden folders."""
        noted = await self._record.recall(_IN_FLIGHT, here=True)
        pairs = (noted if isinstance(noted, dict) else {}).items()
        return {Path(scratch): Path(str(archive)) for scratch, archive in pairs}

    async def note_in_flight(self, scratch: Path, archive: Path | None) -> None:
        """Note that *archive* is being unpacked into *scratch*; None: no longer."""
        in_flight = await self.in_flight()
        in_flight.pop(scratch, None)
        if archive is not None:
            in_flight[scratch] = archive
        noted: Json = {str(folder): str(path) for folder, path in in_flight.items()}
        await self._record.note(_IN_FLIGHT, noted, here=True)


async def keywords_of_archive(photo: Photo, arrivals: Arrivals) -> tuple[Keyword, ...]:
    """Return the user's keywords for *photo* if it came out of an archive; trimmed, no doubles."""
    if not arrivals.archive_keywords:
        return ()
    archive = await asyncio.to_thread(archives.origin, photo.folder)
    if not archive:
        return ()
    named = (word.replace("{archive}", printable(archive)) for word in arrivals.archive_keywords)
    words = dict.fromkeys(word.strip() for word in named)
    return tuple(Keyword(word) for word in words if word)


def _is_among(entries: Mapping[str, _Entry], file: PhotoFile, identity: str) -> bool:
    """Say whether this archive is one of *entries*, since touched, copied over or renamed."""
    return any(
        name == file.path.name or not files.exists(file.path.with_name(name))
        for name, entry in entries.items()
        if entry.identity == identity
    )


def _key(folder: Path) -> str:
    return f"archives in {quote_from_bytes(os.fsencode(folder))}"


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[bool]:
    """Lock the archive against other taggerds; say whether it is ours.

    Where it cannot be opened, or the file system has no locks, it counts as ours.
    """
    locking = asyncio.ensure_future(asyncio.to_thread(_lock, path))
    try:
        file, ours = await asyncio.shield(locking)
    except asyncio.CancelledError:
        locking.add_done_callback(_close_late)  # the thread goes on
        raise
    with file or nullcontext():
        yield ours


def _close_late(locking: asyncio.Future[tuple[OpenFile | None, bool]]) -> None:
    """Close the file that nobody waits for any more: its lock would last as long as we do."""
    if not locking.cancelled() and locking.exception() is None:
        file, _ = locking.result()
        if file is not None:
            file.close()


def _lock(path: Path) -> tuple[OpenFile | None, bool]:
    try:
        file = files.open_file(path)
    except OSError:
        return None, True
    try:
        fcntl.flock(file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return file, False
    except OSError:
        return file, True
    return file, True
