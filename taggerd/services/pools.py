"""The processes that read and write photos, and the threads that open files for them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple, cast

from taggerd import files, imaging, metadata
from taggerd.arrivals import Executor
from taggerd.arrivals.archives import Contents, Progress
from taggerd.errors import PhotoError, PhotoMoved, PhotosDiskError
from taggerd.metadata.camera import Camera
from taggerd.metadata.keywords.normalise import Normalised
from taggerd.metadata.ownership import WrittenBefore
from taggerd.metadata.views import Words
from taggerd.metadata.xmp.splice import Array, Entry
from taggerd.photo import (
    FieldChange,
    Fingerprint,
    Keyword,
    PhotoFile,
    Picture,
    Preview,
    Sidecar,
    Stamp,
    extension,
    printable,
)
from taggerd.workers.pool import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from taggerd.files import OpenFile
    from taggerd.metadata import Embedded
    from taggerd.photo import Photo
    from taggerd.settings import Settings
    from taggerd.workers.pool import SecondsFor

_ANSWER_SECONDS = 30.0
"""A disk that has not opened a file by then is taken for hung; disks that spin up take ten."""
_THREADS = 32
"""For a scan of photos in ever so many folders, which are the roots then."""


DECODED = (
    *(Picture, Fingerprint, Stamp),
    *(metadata.Embedded, Camera, Array, Entry),
)
"""What decoders may return, and the types in its fields."""
WRITTEN = (
    *(Sidecar, metadata.Inspection, WrittenBefore, metadata.Circumstances),
    *(metadata.Adopted, metadata.UndoOutcome, Stamp),
    *(metadata.Edited, metadata.WordChange, metadata.Stale),
    *(metadata.View, metadata.SidecarView, Words, metadata.Shown),
    *(metadata.Written, PhotoFile),
    *(Contents, Progress),
    *(Normalised, Keyword),
    *(Preview, FieldChange),
)
"""Likewise for those that write sidecars and unpack archives."""

DECODING = (
    *(
        "taggerd.settings.tree",
        "taggerd.metadata.embedded",
        "pyexiv2",
        "pillow_jxl",
        "PIL.ImageOps",
    ),
    *("taggerd.imaging.preparing", "taggerd.imaging.vips", "taggerd.imaging.raw"),
    *(f"PIL.{format_}ImagePlugin" for format_ in ("Jpeg", "Png", "Tiff", "Gif", "Bmp", "Ppm")),
)
"""What decoders are forked with. Modules alone: nothing is called before the cage is closed."""
WRITING = (
    *("taggerd.settings.tree", "taggerd.context", "taggerd.metadata.sidecars"),
    *("taggerd.metadata.inspection", "taggerd.metadata.previews", "taggerd.metadata.undo.files"),
    "taggerd.metadata.keywords.normalise:load_rules",
)
"""Likewise for those that write: with the rules of English plurals."""


class Disks:
    """Opens photos for processes that cannot: one thread per root, so none waits for another's."""

    def __init__(self, answer_seconds: float = _ANSWER_SECONDS) -> None:
        """Start no thread yet."""
        self._answer_seconds = answer_seconds
        self._executors: dict[Path | None, Executor] = {}

    @asynccontextmanager
    async def opened(self, path: Path) -> AsyncIterator[OpenFile]:
        """Open the photo at *path* for reading, and close it again.

        Raises:
            PhotoGone, PhotoUnreadable, PhotoUndecodable: it cannot be opened.
            PhotosDiskError: its disk does not answer.
        """
        with await self._open(path) as file:
            yield file

    def close(self) -> None:
        """Let the threads end; one that hangs is left behind."""
        for executor in self._executors.values():
            executor.close()

    async def _open(self, path: Path) -> OpenFile:
        root = next((r for r in files.declared() if path.is_relative_to(r)), path.parent)
        opening = asyncio.ensure_future(self._executor_of(root).run(imaging.open_photo, path))
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await asyncio.shield(opening)
        except TimeoutError:
            opening.add_done_callback(_close_late)
            message = (
                f"{printable(root)}: its disk has not answered for {self._answer_seconds:g} s: "
                "check the share or the card"
            )
            raise PhotosDiskError(message) from None
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise

    def _executor_of(self, root: Path) -> Executor:
        key = root if root in self._executors or len(self._executors) < _THREADS else None
        if key not in self._executors:
            self._executors[key] = Executor(f"photos {printable(key or 'elsewhere')}")
        return self._executors[key]


def _close_late(opening: asyncio.Future[OpenFile]) -> None:
    """Close the file that nobody waits for any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


async def read_embedded(
    photo: Photo,
    decoders: Workers,
    disks: Disks,
    *,
    primary: OpenFile | None = None,
    with_ours: bool = False,
) -> dict[Path, Embedded]:
    """Have a decoder read what each file of *photo* says itself; see `metadata.read_embedded`.

    A photo is never lost for its metadata: of a file that ends its decoder nothing is known.

    Args:
        photo: the photo.
        decoders: what reads it.
        disks: what opens its files.
        primary: its primary file, where that is open already.
        with_ours: see `metadata.read_embedded`.

    Raises:
        PhotosDiskError: its disk does not answer. StartError: no process starts.
    """
    said: dict[Path, Embedded] = {}
    is_open = {} if primary is None else {primary.path: primary}
    for path in (file.path for file in photo.files):
        try:
            async with (
                nullcontext(is_open[path]) if path in is_open else disks.opened(path) as file
            ):
                said[path] = await decoders.run(metadata.read_embedded, file, with_ours=with_ours)
        except (PhotoError, PhotoMoved) as error:
            said[path] = metadata.unreadable(path, str(error))
    return said


class Pools(NamedTuple):
    """What works on photos outside the main process."""

    decoders: Workers
    """Foreign bytes become values here. They are lent open files and can reach nothing else."""
    slow_decoder: Workers
    """One process for slow photos, with more memory and time."""
    writers: Workers
    """They write sidecars, unpack archives and know the words of English."""
    disks: Disks


def seconds_for(settings: Settings) -> SecondsFor:
    """Return what says how long decoding a photo may take, by the size and kind of its file."""

    def seconds(function: Callable[..., object], args: tuple[object, ...]) -> float | None:
        if function is not imaging.prepare:
            return None
        file, stamp = cast("tuple[OpenFile, Stamp]", args[:2])
        return imaging.deadline_seconds(stamp.size, extension(file.path), settings.workers)

    return seconds


@asynccontextmanager
async def open_pools(settings: Settings) -> AsyncIterator[Pools]:
    """Give the pools, which start processes when there is work, and close them again."""
    pools = Pools(
        decoders=Workers(
            settings.workers,
            caged=True,
            seconds_for=seconds_for(settings),
            returns=DECODED,
            loads=DECODING,
            calls_per_file=2,
        ),
        slow_decoder=Workers(
            settings.workers,
            caged=True,
            slow=True,
            returns=DECODED,
            loads=DECODING,
            calls_per_file=2,
        ),
        writers=Workers(settings.workers, returns=WRITTEN, loads=WRITING, calls_per_file=3),
        disks=Disks(),
    )
    try:
        yield pools
    finally:
        pools.disks.close()
        processes = pools.decoders, pools.slow_decoder, pools.writers
        await asyncio.gather(*(each.close() for each in processes))
