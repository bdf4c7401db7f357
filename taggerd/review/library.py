"""The library: the catalogue, kept in step with the journal, the ledger and the sidecars."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from taggerd import metadata
from taggerd.arrivals import Executor, complete_photos, reach
from taggerd.catalogue import Catalogue, Entry, Query, key_of
from taggerd.errors import PhotoError, PhotoMoved, ProgramFault, StartError, StorageError
from taggerd.logs import described, get_logger
from taggerd.photo import Photo, PhotoFile
from taggerd.review.entries import with_photo, with_words
from taggerd.review.feed import Feed
from taggerd.services import metadata_options, read_embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from taggerd.ledger import PhotoState
    from taggerd.metadata import Embedded, Written
    from taggerd.services import Pools
    from taggerd.settings import Settings

T = TypeVar("T")

log = get_logger(__name__)

NEWS_SECONDS = 2.0
"""Between looks at the journal and the ledger; longer where looking takes long."""
SHARED_SECONDS = 10.0
"""The same between looks that nobody asked for, where a server has to be asked."""
CENSUS_SECONDS = 600.0
"""Between comparisons of everything with everything."""
_READ = 20
"""Photos whose sidecars a worker reads in one task."""
_SWEEP = 200
"""Photos whose stamps are compared at once."""
_IDLE = 2.0
"""So much longer than it read does a sweep rest: a third of a processor is all that it takes."""
_DISK_SECONDS = 20.0
"""A disk that has not answered by then is taken for hung, and what is known is shown."""


class Library:
    """All photos with their words, as far as anything on this machine tells of them."""

    def __init__(self, catalogue: Catalogue, settings: Settings, pools: Pools) -> None:
        """Use an open *catalogue*; the *pools* read sidecars."""
        self.catalogue = catalogue
        self.trouble = ""
        """Why the catalogue is behind; empty while it is not."""
        self._settings = settings
        self._options = metadata_options(settings)
        self._pools = pools
        self._feed = Feed(catalogue, settings)
        self._thread = Executor("catalogue")
        self._disk = Executor("sidecars")
        self._feeding = asyncio.Lock()
        self._fed_at = 0.0
        self._fed_seconds = 0.0

    async def refresh(self) -> None:
        """Take in what has happened; at most every :data:`NEWS_SECONDS`.

        A disk that is full or failing leaves the catalogue as it was: :attr:`trouble` says why.
        """
        async with self._feeding:
            wait = max(NEWS_SECONDS, 10 * self._fed_seconds)
            if time.monotonic() - self._fed_at >= wait or not self._fed_at:
                await self._feeds(self._feed.news)

    async def rebuild(self) -> None:
        """Make the catalogue again from everything there is."""
        async with self._feeding:
            await self._feeds(self._feed.forget)
            await self._feeds(self._feed.news)
            await self._feeds(self._feed.census)

    async def run(self) -> None:
        """Keep the catalogue in step until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._read_for_ever())

    async def read(self, paths: Iterable[Path], seconds: float = _DISK_SECONDS) -> list[Entry]:
        """Return the photos at *paths* with the words that stand on the disk now.

        What the disk does not say within so many *seconds* is returned as it is known.
        """
        known = await self._thread.run(self._known, list(dict.fromkeys(paths)))
        with suppress(TimeoutError, StorageError, StartError):
            async with asyncio.timeout(seconds):
                known |= await self._read_changed(list(known.values()))
        return list(known.values())

    def _known(self, paths: Sequence[Path]) -> dict[Path, Entry]:
        """Return what is known of *paths* without a look at their disk."""
        entries: dict[str, Entry] = {}
        photos: Mapping[Path, PhotoState] = {}
        with suppress(StorageError):
            entries = self.catalogue.get_all([key_of(path) for path in paths])
        missing = [path for path in paths if key_of(path) not in entries]
        with suppress(StorageError, StartError):
            photos = self._feed.photos(missing)
        for path in missing:
            known = photos.get(path)
            entries[key_of(path)] = with_photo(None, known) if known else Entry(path=path)
        settled = self._feed.settled(entries[key_of(path)] for path in paths)
        with suppress(StorageError):
            self._put_known(settled)
        return {entry.path: entry for entry in settled}

    # Feeding.

    async def _feeds(self, work: Callable[[], None]) -> None:
        began = time.monotonic()
        trouble = ""
        try:
            await self._thread.run(work)
        except (StorageError, StartError) as error:
            trouble = str(error)
        except Exception as error:
            # A cache must not end the review: what is known is shown.
            trouble = described(error)
            if trouble != self.trouble:
                log.exception("the catalogue is behind")
        if trouble != self.trouble:
            if trouble:
                log.warning("the catalogue is behind", reason=trouble)
            self.trouble = trouble
        self._fed_at = time.monotonic()
        self._fed_seconds = self._fed_at - began

    async def _follow(self) -> None:
        census_at = 0.0
        while True:
            await self.refresh()
            if time.monotonic() >= census_at:
                async with self._feeding:
                    await self._feeds(self._feed.census)
                census_at = time.monotonic() + CENSUS_SECONDS
            await asyncio.sleep(
                NEWS_SECONDS if self._settings.ledger.url is None else SHARED_SECONDS
            )

    # Sidecars.

    async def _read_for_ever(self) -> None:
        """Read the sidecars of photos that were tagged or corrected; now and then compare all."""
        sweep_at = time.monotonic() + CENSUS_SECONDS
        while True:
            await asyncio.sleep(NEWS_SECONDS)
            try:
                await self._read_unread()
                if time.monotonic() >= sweep_at:
                    await self._sweep()
                    sweep_at = time.monotonic() + CENSUS_SECONDS
            except (StorageError, StartError, ProgramFault) as error:
                log.warning("sidecars are not read", reason=str(error))
                await asyncio.sleep(CENSUS_SECONDS)
            except Exception:
                log.exception("sidecars are not read")
                await asyncio.sleep(CENSUS_SECONDS)

    async def _read_unread(self) -> None:
        unread = self._feed.unread
        while paths := list(islice(unread, _READ)):
            began = time.monotonic()
            known = await self._thread.run(self.catalogue.get_all, list(map(key_of, paths)))
            await self._read_changed(list(known.values()))
            for path in paths:
                unread.pop(path, None)
            await asyncio.sleep(_IDLE * (time.monotonic() - began))

    async def _sweep(self) -> None:
        """Compare every photo's sidecars with what is known of them; read those that changed."""
        cursor = ""
        while True:
            found = await self._thread.run(self.catalogue.find, Query(), cursor, _SWEEP)
            began = time.monotonic()
            await self._read_changed(found.entries)
            await asyncio.sleep(_IDLE * (time.monotonic() - began))
            if not (cursor := found.next):
                return

    async def _read_changed(self, entries: Sequence[Entry]) -> dict[Path, Entry]:
        """Read the sidecars that changed of *entries*; return what is known of each then.

        Raises:
            StorageError: a disk is full or failing. StartError: no process starts.
        """
        now = await self._disk.run(self._photos, entries)
        changed = [(entry, now[entry.path]) for entry in entries if entry.path in now]
        read = {entry.path: entry for entry in entries}
        for start in range(0, len(changed), _READ):
            batch = changed[start : start + _READ]
            written = await self._written([photo for _, photo in batch])
            new = [
                with_words(entry, words, self._settings)
                for (entry, _), words in zip(batch, written, strict=True)
                if words is not None
            ]
            new = await self._thread.run(self._feed.settled, new)
            read |= {entry.path: entry for entry in new}
            with suppress(StorageError):  # it is shown all the same
                await self._thread.run(self._put_known, new)
        return read

    def _put_known(self, entries: Sequence[Entry]) -> None:
        """Keep *entries*, but for photos that somebody looked at and nobody ever tagged."""
        known = self.catalogue.get_all([entry.key for entry in entries])
        self.catalogue.put(entry for entry in entries if entry.key in known)

    async def _written(self, photos: Sequence[Photo]) -> Sequence[Written | None]:
        """Have a writer read the sidecars of *photos*; None for one that ends its process."""
        try:
            said: dict[Path, Embedded] = {}
            for photo in photos:
                said |= await read_embedded(
                    Photo(photo.files[:1]), self._pools.decoders, self._pools.disks
                )
            read: Sequence[Written] = await self._pools.writers.run(
                metadata.written, photos, self._options, said
            )
        except (PhotoError, PhotoMoved):
            if len(photos) == 1:
                return [None]
            return [each for photo in photos for each in await self._written([photo])]
        return read

    def _photos(self, entries: Iterable[Entry]) -> dict[Path, Photo]:
        """Return the photos of *entries* of which a file or a sidecar has changed."""
        changed: dict[Path, Photo] = {}
        for entry in entries:
            reach(entry.path, self._settings)
            images = [path for path in entry.stamps if path.suffix.lower() != ".xmp"]
            now = metadata.stamps(images or [entry.path])
            if entry.path in now and (now != entry.stamps):
                photo = Photo((PhotoFile(entry.path, now[entry.path]),))
                changed[entry.path] = next(iter(complete_photos([photo])), photo)
        return changed


@asynccontextmanager
async def open_library(settings: Settings, pools: Pools) -> AsyncIterator[Library]:
    """Open the library in the state directory.

    Raises:
        StorageError: the catalogue cannot be made: the disk is full or failing.
        StartError: the state directory is not this user's.
    """
    catalogue = await asyncio.to_thread(Catalogue.open, settings.state_directory)
    try:
        yield Library(catalogue, settings, pools)
    finally:
        catalogue.close()
