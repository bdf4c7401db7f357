"""Unpacking: carries archives that settled into worker processes, and remembers them in the ledger.

An archive is unpacked once. Its folder's note in the ledger holds the stamp and the identity of
each archive in it, so that a restart, a walk or a touch does not unpack it again, nor the loss of
what was unpacked; one that was replaced is another, and gets a folder of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar
from urllib.parse import quote_from_bytes

import structlog

from taggerd.arrivals import archives
from taggerd.arrivals.orders import Limits, Order
from taggerd.arrivals.settling import Settling
from taggerd.errors import ArchiveError, PhotoMoved, StartError, StorageError, WorkerLost
from taggerd.photo import Keyword, Stamp, extension, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from taggerd.arrivals.walk import Seen
    from taggerd.photo import Photo, PhotoFile
    from taggerd.settings import Arrivals

P = ParamSpec("P")
T = TypeVar("T")
Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

log = structlog.get_logger(__name__)

STEP_SECONDS = 5.0
"""For which a worker process is kept from the photos at a time."""
RETRY_SECONDS = 600.0
"""After which an archive is looked at again that could not be unpacked for want of room or right,
or that another taggerd is at."""

_UNDER_WAY = "archives under way"
"""Note: the hidden folders of archives that are being unpacked."""


class Memory(Protocol):
    """What is remembered between runs; the ledger is it."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the photos' files known in *folder* itself, with their stamps."""

    async def note(self, key: str, value: Json) -> None:
        """Keep *value* under *key*."""

    async def recall(self, key: str) -> Json:
        """Return what was noted under *key*; None if nothing was."""


class Workers(Protocol):
    """Runs functions over untrusted bytes in processes of their own."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* in a process and return what it returns, or raise what it raises."""


class _Entry(NamedTuple):
    """One archive as it is remembered."""

    stamp: Stamp
    identity: str
    """Empty for one that could not be unpacked."""
    reason: str = ""
    """Why it could not be."""


class Unpacked(NamedTuple):
    """What became of an archive."""

    folder: Path | None = None
    """The new folder; None where nothing was unpacked."""
    reason: str = ""
    """Why it could not be unpacked; empty if all is well."""


def is_archive(file: PhotoFile) -> bool:
    """Say whether *file* is an archive, and not a photo."""
    return extension(file.path) == archives.EXTENSION


class Unpacking:
    """The archives of one run."""

    def __init__(
        self,
        arrivals: Arrivals,
        ledger: Memory,
        workers: Workers,
        *,
        unpacked: Callable[[Path], None] = lambda _folder: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Unpack by the settings *arrivals*; *unpacked* is told of each new folder."""
        self._arrivals = arrivals
        self._ledger = ledger
        self._workers = workers
        self._unpacked = unpacked
        self._clock = clock
        self._waiting: asyncio.Queue[PhotoFile] = asyncio.Queue()
        self._pending: dict[Path, Stamp] = {}
        """Waiting or being unpacked."""
        self._put_off: dict[Path, tuple[Stamp, float]] = {}
        """Not to be tried before that time, by the monotonic clock."""

    async def known(self, folder: Path) -> dict[Path, Stamp]:
        """Return the files known in *folder* itself: photos as the ledger knows them, archives."""
        known = await self._ledger.known(folder)
        if not self._arrivals.unpack:
            return known
        entries = await self._entries(folder)
        known |= {folder / name: entry.stamp for name, entry in entries.items()}
        now = self._clock()
        self._put_off = {path: held for path, held in self._put_off.items() if held[1] > now}
        for path, (stamp, _) in self._put_off.items():
            if path.parent == folder:
                known[path] = stamp
        return known | {p: stamp for p, stamp in self._pending.items() if p.parent == folder}

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
                self._put_off[file.path] = (file.stamp, self._clock() + RETRY_SECONDS)
            finally:
                if self._pending.get(file.path) == file.stamp:
                    del self._pending[file.path]

    async def unpack(self, file: PhotoFile) -> Unpacked:
        """Unpack one settled archive, if it was not yet. What is wrong is logged too."""
        shown = printable(file.path)
        try:
            held = (await self._entries(file.path.parent)).get(file.path.name)
            if held is not None and held.stamp == file.stamp:
                return Unpacked(reason=held.reason)
            async with _locked(file.path) as ours:
                if ours:
                    return Unpacked(await self._unpack(file))
            reason = "another taggerd is unpacking it"
        except (ArchiveError, WorkerLost) as error:
            reason = str(error)
            log.warning("an archive is not unpacked", archive=shown, reason=reason)
            with suppress(StorageError):
                await self._remember(file, "", reason)
            return Unpacked(reason=reason)
        except PhotoMoved as moved:  # the walk or the event that sees what it is now brings it back
            return Unpacked(reason=str(moved))
        except (StorageError, StartError) as error:
            reason = str(error)
            log.error("an archive cannot be unpacked yet", archive=shown, reason=reason)
        self._put_off[file.path] = (file.stamp, self._clock() + RETRY_SECONDS)
        return Unpacked(reason=reason)

    async def unpack_all(
        self, files: Sequence[Seen], *, patience_seconds: float
    ) -> dict[Path, Unpacked]:
        """Unpack archives as they settle; what still grows when patience ends is named as such."""
        settling = Settling(self._arrivals.settle_seconds, limit=len(files) + 1)
        done = {seen.file.path: Unpacked(reason="still being written, or gone") for seen in files}
        give_up_at = self._clock() + patience_seconds
        for seen in files:
            settling.observe(seen, self._clock(), event=False)
        while len(settling) and self._clock() < give_up_at:
            for file in await asyncio.to_thread(settling.due, self._clock()):
                done[file.path] = await self.unpack(file)
            due = settling.next_due()
            if due is not None:
                await asyncio.sleep(max(0.0, due - self._clock()))
        return done

    async def sweep(self) -> None:
        """Remove what runs that were killed left half unpacked."""
        left = await self._ledger.recall(_UNDER_WAY)
        for scratch, archive in (left if isinstance(left, dict) else {}).items():
            async with _locked(Path(str(archive))) as ours:
                if ours:
                    with suppress(OSError):  # the next start tries again
                        await asyncio.to_thread(archives.clear, Path(scratch))
                        await self._note_under_way(Path(scratch), None)

    async def _unpack(self, file: PhotoFile) -> Path | None:
        order = self._order(file)
        contents = await self._workers.run(archives.contents, order)
        entries = await self._entries(file.path.parent)
        if await asyncio.to_thread(_is_among, entries, file, contents.identity):
            await self._remember(file, contents.identity)
            return None
        place = await asyncio.to_thread(archives.unpacked_before, order, contents.identity)
        if place is None and contents.members:
            place = await self._carried_out(order, contents)
        await self._remember(file, contents.identity)
        for name, reason in contents.named:
            log.info("left in the archive", archive=printable(file.path), member=name, why=reason)
        log.info(
            "an archive is unpacked" if place else "an archive holds no photo",
            archive=printable(file.path),
            **({"folder": printable(place)} if place else {}),
            taken=contents.members,
            left_out=contents.left_out,
        )
        if place is not None:
            self._unpacked(place)
        return place

    async def _carried_out(self, order: Order, contents: archives.Contents) -> Path:
        """Unpack step by step. What was begun is removed if it fails, and left if we are killed."""
        await self._note_under_way(order.scratch, order.archive)
        try:
            begin = 0
            while begin < contents.members:
                step = await self._workers.run(archives.unpack, order, begin, STEP_SECONDS)
                begin = step.begin
                for name, reason in step.lost:
                    shown = printable(order.archive)
                    log.warning("left in the archive", archive=shown, member=name, why=reason)
            place = await self._workers.run(archives.put_in_place, order, contents.identity)
        except (ArchiveError, WorkerLost, PhotoMoved, StorageError, StartError):
            with suppress(OSError):
                await asyncio.to_thread(archives.clear, order.scratch)
                await self._note_under_way(order.scratch, None)
            raise
        await self._note_under_way(order.scratch, None)
        return place

    def _order(self, file: PhotoFile) -> Order:
        limits = Limits(
            members=self._arrivals.unpack_members,
            total_bytes=int(self._arrivals.unpack_gigabytes * 1e9),
            ratio=self._arrivals.unpack_ratio,
        )
        extensions = frozenset(self._arrivals.image_extensions)
        return Order(file.path, file.stamp, extensions, limits)

    # What is remembered.

    async def _entries(self, folder: Path) -> dict[str, _Entry]:
        held = await self._ledger.recall(_key(folder))
        entries: dict[str, _Entry] = {}
        for name, entry in (held if isinstance(held, dict) else {}).items():
            if isinstance(entry, dict) and isinstance(stamp := entry.get("stamp"), list):
                entries[name] = _Entry(
                    Stamp(*map(_int, stamp)), str(entry["identity"]), str(entry["reason"])
                )
        return entries

    async def _remember(self, file: PhotoFile, identity: str, reason: str = "") -> None:
        entries = await self._entries(file.path.parent)
        entries[file.path.name] = _Entry(file.stamp, identity, reason)
        noted: Json = {
            name: {**entry._asdict(), "stamp": list(entry.stamp)} for name, entry in entries.items()
        }
        await self._ledger.note(_key(file.path.parent), noted)

    async def _note_under_way(self, scratch: Path, archive: Path | None) -> None:
        held = await self._ledger.recall(_UNDER_WAY)
        under_way = dict(held) if isinstance(held, dict) else {}
        if archive is None:
            under_way.pop(str(scratch), None)
        else:
            under_way[str(scratch)] = str(archive)
        await self._ledger.note(_UNDER_WAY, under_way)


async def keywords_of_archive(photo: Photo, arrivals: Arrivals) -> tuple[Keyword, ...]:
    """Return the user's keywords for *photo* if it came out of an archive: trimmed, each once."""
    if not arrivals.archive_keywords:
        return ()
    archive = await asyncio.to_thread(archives.origin, photo.folder)
    if not archive:
        return ()
    named = (word.replace("{archive}", printable(archive)) for word in arrivals.archive_keywords)
    words = dict.fromkeys(word.strip() for word in named)
    return tuple(Keyword(word) for word in words if word)


def _is_among(entries: Mapping[str, _Entry], file: PhotoFile, identity: str) -> bool:
    """Say whether this archive is one of *entries*, touched, copied over or renamed since."""
    return any(
        name == file.path.name or not os.path.lexists(file.path.with_name(name))
        for name, entry in entries.items()
        if entry.identity == identity
    )


def _key(folder: Path) -> str:
    return f"archives in {quote_from_bytes(os.fsencode(folder))}"


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[bool]:
    """Lock the archive against other taggerds; say whether it is ours.

    Where it cannot be opened or the file system has no locks, it counts as ours.
    """
    descriptor, ours = await asyncio.to_thread(_lock, path)
    try:
        yield ours
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(path: Path) -> tuple[int | None, bool]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None, True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return descriptor, False
    except OSError:
        return descriptor, True
    return descriptor, True
