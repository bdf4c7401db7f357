"""Pictures of the photos for people: thumbnails, which are kept, and large previews.

A photo is decoded once for each, however many ask at the same moment, in the decoders' cage.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from taggerd import files, imaging
from taggerd.arrivals import reach
from taggerd.errors import PhotoError, PhotoMoved, StartError, StorageError, WorkerLost
from taggerd.photo import Stamp
from taggerd.services import make_journal

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from taggerd.catalogue import Entry
    from taggerd.photo import Picture
    from taggerd.review.library import Library
    from taggerd.services import Pools
    from taggerd.settings import Image, Settings

PREVIEW_EDGE = 2048
"""Pixels."""
PREVIEW_QUALITY = 88
CACHE_BYTES = 256 * 1024 * 1024
"""Of previews on the disk; those that nobody looked at for longest go first."""
_NAME = re.compile(r"[0-9a-f]{24}-[0-9a-f]+-[0-9]+\.jpg")


class Pictures:
    """Thumbnails and previews, made when they are first asked for."""

    def __init__(
        self,
        library: Library,
        settings: Settings,
        pools: Pools,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Prepare; nothing is read."""
        self._cache_bytes = cache_bytes
        self._library = library
        self._settings = settings
        self._pools = pools
        self._journal = make_journal(settings)
        self._folder = settings.state_directory.absolute() / "previews"
        files.work_below(settings.state_directory.absolute())
        self._making: dict[str, asyncio.Task[bytes | None]] = {}

    async def thumbnail(self, key: str) -> bytes | None:
        """Return the thumbnail of the photo with *key*, a JPEG of 20 KB at most; None: none can be.

        It is kept with the journal's, by the photo's digest.
        """
        return await self._once(f"thumbnail {key}", lambda: self._thumbnail(key))

    async def preview(self, key: str) -> bytes | None:
        """Return the photo with *key* as a JPEG of at most :data:`PREVIEW_EDGE` pixels.

        None: it cannot be read (any more), and there is none from before.
        """
        return await self._once(f"preview {key}", lambda: self._preview(key))

    async def _once(
        self, name: str, make: Callable[[], Coroutine[None, None, bytes | None]]
    ) -> bytes | None:
        """Let all who ask at the same time wait for the same picture."""
        if (making := self._making.get(name)) is None:

            async def made() -> bytes | None:
                try:
                    return await make()
                finally:
                    del self._making[name]

            making = self._making[name] = asyncio.create_task(made())
        return await asyncio.shield(making)

    async def _thumbnail(self, key: str) -> bytes | None:
        catalogue = self._library.catalogue
        entry = await asyncio.to_thread(catalogue.get, key)
        if entry is None:
            return None
        if entry.digest:
            kept = await asyncio.to_thread(self._kept, entry.digest)
            if kept is not None:
                return kept
        picture = await self._decoded(entry, self._settings.image)
        if picture is None:
            return None
        with suppress(StorageError):  # it is shown all the same
            await asyncio.to_thread(self._journal.thumbnail, picture.digest, picture.thumbnail)
            if picture.digest != entry.digest:
                await asyncio.to_thread(catalogue.put, [replace(entry, digest=picture.digest)])
        return picture.thumbnail

    def _kept(self, digest: str) -> bytes | None:
        with suppress(OSError):
            path = self._journal.thumbnails / digest[:2] / f"{digest}.jpg"
            with files.open_file(path) as file, file.reader() as opened:
                return opened.read()
        return None

    async def _preview(self, key: str) -> bytes | None:
        entry = await asyncio.to_thread(self._library.catalogue.get, key)
        if entry is None:
            return None
        stamp = await asyncio.to_thread(self._stamp, entry.path)
        if stamp is None:  # its disk is away
            return await asyncio.to_thread(self._latest, key)
        path = self._folder / f"{key}-{stamp.mtime_ns & (1 << 64) - 1:x}-{stamp.size}.jpg"
        if (kept := await asyncio.to_thread(_read, path)) is not None:
            return kept
        options = self._settings.image.model_copy(
            update={"max_edge": PREVIEW_EDGE, "quality": PREVIEW_QUALITY}
        )
        picture = await self._decoded(entry, options)
        if picture is None:
            return None
        with suppress(OSError):
            await asyncio.to_thread(self._keep, path, picture.jpeg)
        return picture.jpeg

    async def _decoded(self, entry: Entry, options: Image) -> Picture | None:
        """Have the photo of *entry* decoded; None: it cannot be read, or is no picture."""
        await asyncio.to_thread(reach, entry.path, self._settings)
        for decoders in (self._pools.decoders, self._pools.slow_decoder):
            try:
                async with self._pools.disks.opened(entry.path) as file:
                    stamp = Stamp.of(file.stat())
                    return await decoders.run(imaging.prepare, file, stamp, options)
            except WorkerLost:
                continue  # the other has more time and memory
            except (PhotoError, PhotoMoved, StorageError, StartError):
                break
        return None

    def _stamp(self, path: Path) -> Stamp | None:
        reach(path, self._settings)
        try:
            return Stamp.of(files.lstat(path))
        except OSError:
            return None

    def _latest(self, key: str) -> bytes | None:
        """Return a preview of the photo as it was before; None: there is none."""
        with suppress(OSError):
            for name in files.names_in(self._folder):
                if name.startswith(f"{key}-"):
                    return _read(self._folder / name)
        return None

    def _keep(self, path: Path, jpeg: bytes) -> None:
        """Keep a preview, and remove those that were not looked at for longest.

        Raises:
            OSError: the disk is full, or failing.
        """
        with suppress(FileExistsError):
            files.make_folder(self._folder).close()
        held: list[tuple[int, int, Path]] = []
        for name in files.names_in(self._folder):
            if _NAME.fullmatch(name):
                status = files.lstat(self._folder / name)
                held.append((status.st_mtime_ns, status.st_size, self._folder / name))
        total = len(jpeg) + sum(size for _, size, _ in held)
        key = path.name.partition("-")[0]
        for _, size, old in sorted(held):
            # One of the photo as it was before is of no use.
            if total > self._cache_bytes or old.name.startswith(f"{key}-"):
                files.unlink(old, missing_ok=True)
                total -= size
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with files.new_file(temporary) as file, file.writer() as writer:
                writer.write(jpeg)
            files.rename(temporary, path)
        except OSError:
            with suppress(OSError):
                files.unlink(temporary, missing_ok=True)
            raise


def _read(path: Path) -> bytes | None:
    """Return what is kept at *path*, and note that it was looked at; None: nothing is."""
    try:
        with files.open_file(path) as file, file.reader() as reader:
            with suppress(OSError):
                os.utime(file.descriptor)
            return reader.read()
    except OSError:
        return None
