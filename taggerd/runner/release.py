"""Releases tagged photos where ``arrivals.release_to`` says so; one program does, one at a time.

The moves of a photo are noted in the ledger before they begin. What is found noted at the start was
interrupted, and is carried out first: :mod:`taggerd.arrivals.release`.
"""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taggerd import files, metadata
from taggerd.arrivals import release
from taggerd.errors import StorageError, TaggerdError
from taggerd.logs import get_logger
from taggerd.photo import Photo, PhotoFile, Stamp, group, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd.arrivals.release import Move
    from taggerd.ledger import Json
    from taggerd.runner.outcome import Outcome
    from taggerd.services import Services

log = get_logger(__name__)

_NOTE = "arrivals.release"
"""Key of the ledger's note of the moves that have begun."""
_BEGIN_SECONDS = 30.0
"""How long a disk that hangs may delay the start."""


class Releases:
    """Moves tagged photos to where they are wanted."""

    def __init__(self, services: Services) -> None:
        """Prepare; nothing is moved."""
        arrivals = services.settings.arrivals
        self._services = services
        self._to = arrivals.release_to
        self._roots = [root.path for root in arrivals.roots]
        self._sweep_seconds = arrivals.reconcile_minutes * 60
        self._one = asyncio.Lock()
        self._again = asyncio.Event()
        self._pending: dict[Path, None] = {}
        self._told: dict[Path, str] = {}
        """Why each photo stays, as it was logged."""

    def hear(self, outcome: Outcome) -> None:
        """Hear of an attempt that ended: a photo that was tagged before leaves no record."""
        if self._to and outcome.kind == "already tagged":
            self._pending[outcome.photo.primary.path] = None
            self._again.set()

    async def begin(self) -> None:
        """Carry out what was interrupted, if no other program does; for a while, at most."""
        if self._to is None:
            return
        try:
            async with asyncio.timeout(_BEGIN_SECONDS), self._one:
                if await self._services.ledger.serve_notices():
                    await self._resume()
        except (TimeoutError, TaggerdError, OSError) as error:
            log.warning("photos are not released", reason=str(error) or "the disk does not answer")

    async def run(self) -> None:
        """Carry out what was interrupted, then look for tagged photos now and again."""
        loop = asyncio.get_running_loop()
        sweep_at = loop.time()
        while self._to is not None:
            self._again.clear()
            try:
                if loop.time() >= sweep_at:
                    sweep_at = loop.time() + self._sweep_seconds
                    await self._sweep()
                await self.release_pending()
            except StorageError as error:
                log.warning("photos are not released", reason=str(error))
                self._pending.clear()  # the next sweep finds them
            except Exception:
                log.exception("photos are not released")
                self._pending.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(max(1.0, sweep_at - loop.time())):
                    await self._again.wait()

    async def of(self, record: Mapping[str, Any]) -> Mapping[str, str]:
        """Release the photo of a *record*; return the new path of each file by its old one.

        Raises:
            StorageError: the ledger cannot be used.
        """
        if self._to is None:
            return {}
        path = _path_of(record)
        moved = await self._release(path)
        if moved or (target := release.target_of(path, self._roots, self._to)) is None:
            return moved
        # A sweep, or the program before a kill, may have been faster.
        if await asyncio.to_thread(lambda: files.exists(path) or not files.exists(target)):
            return {}
        named = [*(record.get("files") or ()), *(record.get("sidecars") or ())]
        return {each: str(target.with_name(Path(each).name)) for each in named}

    async def release_pending(self) -> None:
        """Release the photos that were heard of. Raises StorageError."""
        while self._pending:
            path = next(iter(self._pending))
            del self._pending[path]  # before: what is heard of it meanwhile counts
            await self._release(path)

    async def _sweep(self) -> None:
        """Release all tagged photos in the import folders: also those from before the setting."""
        ledger = self._services.ledger
        async with self._one:
            await self._resume()
        for root in self._roots:
            for folder in await ledger.folders(root):
                for path in await ledger.known(folder):
                    self._pending[path] = None

    async def _resume(self) -> Mapping[str, str]:
        """Carry out the moves that were interrupted; return what they were."""
        ledger = self._services.ledger
        noted = await ledger.recall(_NOTE, here=True)
        if noted is None or self._to is None:
            return {}
        moves = _moves_of(noted)
        if not release.is_plan(moves, self._roots, self._to):
            log.error("moves are not carried out: this host does not move files so", moves=noted)
            await ledger.note(_NOTE, None, here=True)
            return {}
        return await self._carry_out(moves)

    async def _release(self, path: Path) -> Mapping[str, str]:
        """Release the photo that has the file *path*, if it is tagged and unchanged since."""
        async with self._one:
            try:
                resumed = await self._resume()
            except OSError as error:  # its disk fails: until it is carried out, no other begins
                self._stays(path, str(error))
                return {}
            if str(path) in resumed:
                return resumed
            target = release.target_of(path, self._roots, self._to) if self._to else None
            photo = await asyncio.to_thread(_photo_at, path) if target else None
            if target is None or photo is None or not await self._is_tagged(photo):
                return {}
            try:
                moves = await self._plan(photo, target.parent)
                note: Json = [_noted(move) for move in moves]
                await self._services.ledger.note(_NOTE, note, here=True)
                return await self._carry_out(moves)
            except StorageError:
                raise
            except (release.NotReleased, TaggerdError, OSError) as error:
                self._stays(path, str(error))
                return {}

    async def _is_tagged(self, photo: Photo) -> bool:
        """Say whether each file is as it was when the photo was tagged, and sidecars written."""
        states = await self._services.ledger.file_states(photo.files)
        return all(state.state == "recorded" for state in states.values())

    async def _plan(self, photo: Photo, folder: Path) -> list[Move]:
        """Return the moves of *photo*, none of which is in anybody's way.

        Raises:
            NotReleased: one is. TaggerdError: a sidecar cannot be read. OSError: the disk fails.
        """
        services = self._services
        named = await services.writers.run(metadata.plan, photo, services.metadata_options)

        def planned() -> list[Move]:
            sidecars = [path for path in named if files.exists(path)]
            moves = release.plan([file.path for file in photo.files], sidecars, folder)
            if self._to is not None:
                release.prepare(moves, self._to)
            return moves

        return await asyncio.to_thread(planned)

    async def _carry_out(self, moves: Sequence[Move]) -> Mapping[str, str]:
        """Carry out *moves*, tell the ledger, and return the new paths by the old ones.

        Raises:
            NotReleased: the photo stays. OSError: the rest is tried again later.
        """
        ledger, photos = self._services.ledger, [move for move in moves if move.is_photo]
        try:
            await asyncio.to_thread(release.carry_out, moves)
        except release.NotReleased as error:
            await ledger.note(_NOTE, None, here=True)
            self._stays(photos[0].source, str(error))
            return {}
        stamps = await asyncio.to_thread(_stamps, [move.target for move in photos])
        moved = {
            move.source: PhotoFile(move.target, stamps[move.target])
            if move.target in stamps and self._is_watched(move.target)
            else None
            for move in photos
        }
        await ledger.relocated(moved)
        await ledger.note(_NOTE, None, here=True)
        log.info("released", photo=printable(photos[-1].source), to=printable(photos[-1].target))
        return {str(move.source): str(move.target) for move in moves}

    def _is_watched(self, path: Path) -> bool:
        """Say whether *path* lies below an import folder, where the queue knows it."""
        return any(path.is_relative_to(root) for root in self._roots)

    def _stays(self, path: Path, why: str) -> None:
        """Log once why a photo stays."""
        if self._told.get(path) != why:
            self._told[path] = why
            log.warning("not released: the photo stays", photo=printable(path), reason=why)


def _path_of(record: Mapping[str, Any]) -> Path:
    """Return the photo's path, exact also where it is not UTF-8."""
    exact = record.get("image_base64")
    if isinstance(exact, str):
        with suppress(ValueError):
            return Path(os.fsdecode(base64.b64decode(exact, validate=True)))
    return Path(str(record.get("image", "")))


def _photo_at(path: Path) -> Photo | None:
    """Return the photo that has the file *path*, as it is on the disk, if it is. Blocks."""
    found = []
    for each in release.files_of_stem(path):
        with suppress(OSError):
            found.append(PhotoFile(each, Stamp.of(files.lstat(each))))
    return next(
        (photo for photo in group(found) if any(file.path == path for file in photo.files)), None
    )


def _stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    found = {}
    for path in paths:
        with suppress(OSError):
            found[path] = Stamp.of(files.lstat(path))
    return found


def _noted(move: Move) -> Json:
    return [os.fsencode(move.source).hex(), os.fsencode(move.target).hex(), move.is_photo]


def _moves_of(noted: Json) -> list[Move]:
    """Return the moves of a note; none if it is another's than ours."""
    found = []
    for each in noted if isinstance(noted, list) else ():
        match each:
            case [str() as source, str() as target, bool() as is_photo]:
                with suppress(ValueError):
                    paths = [Path(os.fsdecode(bytes.fromhex(path))) for path in (source, target)]
                    found.append(release.Move(paths[0], paths[1], is_photo=is_photo))
                    continue
        return []
    return found
