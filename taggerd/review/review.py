"""What a person does with tagged photos: each action goes to the disk at once, and is kept."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import stat
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from taggerd import __version__, files, metadata
from taggerd.arrivals import complete_photos, reach
from taggerd.errors import (
    Conflict,
    PhotoChanged,
    PhotoGone,
    SidecarChanged,
    StorageError,
    TaggerdError,
)
from taggerd.ledger import Correction, Rewritten
from taggerd.logs import get_logger
from taggerd.metadata import Edit
from taggerd.photo import Photo, PhotoFile, Stamp, printable
from taggerd.review.acceptance import accepting, seen_on_disk
from taggerd.review.library import Library, open_library
from taggerd.review.pictures import Pictures
from taggerd.services import metadata_options, open_ledger, open_pools, read_embedded
from taggerd.settings.permissions import open_own

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterable,
        Sequence,
    )
    from pathlib import Path

    from taggerd.catalogue import Entry
    from taggerd.ledger import Ledger
    from taggerd.metadata import Edited, Said, Stale, Written
    from taggerd.review.acceptance import Acceptance
    from taggerd.services.pools import Pools
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration

log = get_logger(__name__)

_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between tries to write what others write at the same moment: a photo takes a while."""

_LOCK_FILES, _LOCK_SECONDS = 16, 0.02
"""Photos share so many lock files; one that another server has is tried again so often."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an action came to for one photo."""

    path: Path
    changed: bool = False
    """Something is other than it was."""
    action: str = ""
    """What the ledger calls it."""
    notes: tuple[str, ...] = ()
    """For people."""
    error: str = ""
    """Why nothing was done; empty if all is well."""


class Review:
    """The photos as a person reviews them; see :func:`open_review`.

    Actions on several photos go on where one fails: its outcome says why.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        pools: Pools,
        library: Library,
        acceptance: Acceptance | None = None,
    ) -> None:
        """Use what is open; without *acceptance*, others write what was held."""
        self.library = library
        self.pictures = Pictures(library, settings, pools)
        self._settings = settings
        self._ledger = ledger
        self._acceptance = acceptance
        self._pools = pools
        self._options = metadata_options(settings)
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()

    async def words(self, path: Path) -> Entry:
        """Return the photo at *path* with its words as they stand on the disk."""
        return (await self.library.read([path]))[0]

    async def edit(self, path: Path, edit: Edit, by: str = "") -> Outcome:
        """Make *edit* of the words of the photo at *path*, as a human's.

        Raises:
            Conflict: a text is not what the person saw; nothing was written.
            SidecarError: a sidecar cannot be written; nothing was.
            PhotoMoved: the photo is gone, or changes all the time.
            StorageError: a disk is full or failing; nothing was written.

        """
        async with self._locked(path):
            photo, edited = await self._edited(path, edit)
            if not edited.changes:
                return Outcome(path=path, notes=edited.notes)
            return await self._kept(photo, edited, by, [])

    async def edit_all(self, paths: Iterable[Path], edit: Edit, by: str = "") -> list[Outcome]:
        """Make *edit* of the words of each of *paths*."""
        return [await self._tried(path, self.edit(path, edit, by)) for path in paths]

    async def accept(self, paths: Iterable[Path], by: str = "") -> list[Outcome]:
        """Note that the words of *paths* are good; those of held photos are written now."""
        chosen = list(paths)
        outcomes = [await self._tried(path, self._accept(path, by)) for path in chosen]
        if await self._ledger.accept(chosen) and self._acceptance:
            self._acceptance.write(chosen)
        return outcomes

    async def reject(self, paths: Iterable[Path], by: str = "") -> list[Outcome]:
        """Take every word of the machine's out of *paths*; none of them is written again."""
        return [await self._tried(path, self._reject(path, by)) for path in paths]

    async def retag(self, paths: Iterable[Path], by: str = "") -> list[Outcome]:
        """Have *paths* asked about again; what a human said stays."""
        return [await self._tried(path, self._retag(path, by)) for path in paths]

    async def undo(self, path: Path, by: str = "", action: str = "") -> Outcome:
        """Undo what was done to the photo at *path* and stands, but for asking again.

        Words that changed since stay as they are.

        Args:
            path: the photo.
            by: who undoes it, for people.
            action: what to undo, as its outcome calls it; empty: what was done last.

        Raises:
            SidecarError, PhotoMoved, StorageError: as :meth:`edit`.

        """
        async with self._locked(path):
            actions = [each for each in await self.history(path) if each.undone_at is None]
            rows = [each for each in actions if each.kind != "retagged"]
            last = action or (rows[-1].action if rows else "")
            if last not in {row.action for row in rows}:
                return Outcome(path=path, notes=("there is nothing to undo",))
            notes: tuple[str, ...] = ()
            for row in (row for row in rows if row.action == last and row.undo):
                notes += (await self._restored(path, row.undo)).notes
            await self._ledger.undo_corrections(last)
            if any(row.kind == "rejected" for row in rows if row.action == last):
                notes += await self._queued_again(path)
            await self.library.read([path])
            log.info("undid a review", photo=printable(path), who=by)
            return Outcome(path=path, changed=True, action=last, notes=notes)

    async def history(self, path: Path) -> list[Correction]:
        """Return what people did to the photo at *path*, oldest first, also what was undone."""
        return await self._ledger.corrections_of(path)

    async def _tried(self, path: Path, action: Coroutine[None, None, Outcome]) -> Outcome:
        try:
            return await action
        except TaggerdError as error:
            return Outcome(path=path, error=str(error))

    async def _accept(self, path: Path, by: str) -> Outcome:
        return await self._note(Correction(photo=path, kind="accepted", who=by))

    async def _reject(self, path: Path, by: str) -> Outcome:
        async with self._locked(path):
            photo, edited = await self._edited(path, Edit(reject=True))
            await self._ledger.drop_held([path])
            whole = Correction(photo=path, kind="rejected")
            return await self._kept(photo, edited, by, [whole])

    async def _retag(self, path: Path, by: str) -> Outcome:
        photo = await asyncio.to_thread(self._photo, path)
        await self._ledger.admit(photo.files, again=True)
        outcome = await self._note(Correction(photo=path, kind="retagged", who=by))
        if any(path.is_relative_to(root.path) for root in self._settings.arrivals.roots):
            return outcome
        note = f"{photo.name} is in no import folder: taggerd scan asks about it"
        return replace(outcome, notes=(note,))

    async def _note(self, correction: Correction) -> Outcome:
        action = uuid.uuid4().hex
        await self._ledger.correct([replace(correction, action=action)])
        await self.library.read([correction.photo])
        return Outcome(path=correction.photo, changed=True, action=action)

    @asynccontextmanager
    async def _locked(self, path: Path) -> AsyncIterator[None]:
        """Let the actions on one photo wait for each other, those of other servers too."""
        lock = self._locks.setdefault(path, asyncio.Lock())
        async with lock, _alone(path, self._settings.state_directory):
            yield

    async def _edited(self, path: Path, edit: Edit) -> tuple[Photo, Edited]:
        """Write *edit*, again where the photo changes at the same moment."""
        edit = replace(edit, version=__version__, waiting=await self._waiting(path, edit))

        async def write(photo: Photo, said: Said) -> Edited | Stale:
            wanted = await seen_on_disk(edit, photo, said, self._ledger, self._read_words)
            return await self._pools.writers.run(metadata.edit, photo, wanted, self._options, said)

        photo, done = await self._written(path, write)
        if isinstance(done, metadata.Edited):
            await self._known(photo, done)
            return photo, done
        message = f"{photo.name}: somebody else has changed the {done.field}; nothing was written"
        raise Conflict(message, field=done.field, seen=done.seen, now=done.now)

    async def _written(
        self, path: Path, write: Callable[[Photo, Said], Awaitable[T]]
    ) -> tuple[Photo, T]:
        """Have *write* change the photo at *path*, again where others do at the same moment."""
        for pause in _PAUSES:
            photo, said = await self._read(path)
            try:
                return photo, await write(photo, said)
            except (PhotoChanged, SidecarChanged):
                await asyncio.sleep(pause)
        photo, said = await self._read(path)
        return photo, await write(photo, said)

    async def _restored(self, path: Path, undo: str) -> Edited:
        """Undo the edit that said how, in all files of the photo at *path*."""

        def write(photo: Photo, said: Said) -> Awaitable[Edited]:
            return self._pools.writers.run(metadata.restore, photo, undo, self._options, said)

        photo, done = await self._written(path, write)
        await self._known(photo, done)
        return done

    async def _queued_again(self, path: Path) -> tuple[str, ...]:
        """Queue the photo at *path* if the words that waited were dropped; say so.

        Without this an undone rejection would leave it without any words for ever.
        """
        photo = await asyncio.to_thread(self._photo, path)
        states = await self._ledger.file_states(photo.files)
        if all(each.state != "dropped" for each in states.values()):
            return ()
        await self._ledger.retry([path])
        return (f"{photo.name} is queued: its words come back with the next run",)

    async def _waiting(self, path: Path, edit: Edit) -> tuple[str, ...]:
        """Return the keywords that *edit* drops before they are written, which they never are."""
        photo = await asyncio.to_thread(self._photo, path)
        states = await self._ledger.file_states(photo.files)
        if not any(each.state in {"held", "unwritten"} for each in states.values()):
            return edit.waiting
        words = (await self.words(path)).keywords if edit.reject else ()
        machine = (word.text for word in words if word.whose == "machine")
        return (*edit.waiting, *edit.drop, *edit.rename, *machine)

    async def _read(self, path: Path) -> tuple[Photo, Said]:
        """Return the photo at *path* as it is, and what its files say."""
        photo = await asyncio.to_thread(self._photo, path)
        return photo, await read_embedded(photo, self._pools.decoders, self._pools.disks)

    async def _read_words(self, photo: Photo, said: Said) -> Written:
        """Return the words that stand on the disk."""
        (found,) = await self._pools.writers.run(metadata.written, [photo], self._options, said)
        return found

    async def _known(self, photo: Photo, edited: Edited) -> None:
        """Let the ledger know the files of *photo* that were written to."""
        before = {file.path: file.stamp for file in photo.files}
        changed = [
            Rewritten(each.path, before[each.path], each.stamp)
            for each in edited.sidecars
            if each.stamp is not None
        ]
        if changed:
            await self._ledger.mark_undone([], changed)

    async def _kept(
        self, photo: Photo, edited: Edited, by: str, whole: Sequence[Correction]
    ) -> Outcome:
        """Keep what was *edited* in the ledger."""
        action, path = uuid.uuid4().hex, photo.primary.path
        rows = [
            *whole,
            *(
                Correction(
                    photo=path,
                    kind=each.kind,
                    field=each.field,
                    before=each.before,
                    after=each.after,
                    model=each.model,
                )
                for each in edited.changes
            ),
        ]
        rows = [replace(row, action=action, who=by) for row in rows]
        rows[0] = replace(rows[0], undo=edited.undo)
        try:
            await self._ledger.correct(rows)
        except StorageError:
            if edited.undo:  # nobody could undo it
                await self._restored(path, edited.undo)
            raise
        await self.library.read([path])
        return Outcome(path=path, changed=True, action=action, notes=edited.notes)

    def _photo(self, path: Path) -> Photo:
        """Return the photo at *path* with all its files, as they are.

        Raises:
            PhotoGone: it is not there, or is a link: photos are not read through one.

        """
        reach(path, self._settings)
        try:
            status = files.lstat(path)
        except OSError as error:
            message = f"{printable(path)} is not there: {error.strerror}"
            raise PhotoGone(message) from error
        if not stat.S_ISREG(status.st_mode):
            message = f"{printable(path)} is no photo any more, but a link or a folder"
            raise PhotoGone(message)
        (photo,) = complete_photos([Photo((PhotoFile(path, Stamp.of(status)),))])
        return photo


@asynccontextmanager
async def _alone(path: Path, state: Path) -> AsyncIterator[None]:
    """Keep other servers of this *state* from the photo at *path*.

    Without this an edit is lost where two servers write to one sidecar within milliseconds: an
    exchange that is reversed may take a third one with it.

    Raises:
        StorageError: no lock file can be made.

    """
    number = hashlib.blake2b(os.fsencode(path), digest_size=1).digest()[0] % _LOCK_FILES
    file = state / f"review-{number}.lock"
    try:
        descriptor = open_own(file, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        message = f"cannot write {printable(file)}: {error.strerror}"
        raise StorageError(message) from error
    try:
        while not _is_taken(descriptor):  # noqa: ASYNC110 - another process has it
            await asyncio.sleep(_LOCK_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    """Take the lock if nobody has it, and say whether it is ours."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@asynccontextmanager
async def open_review(configuration: Configuration) -> AsyncIterator[Review]:
    """Open what a review needs: the ledger, and processes that read and write photos.

    Raises:
        StartError: the state directory cannot be used.
        StorageError: a disk is full or failing.

    """
    settings = configuration.settings
    async with (
        open_ledger(settings) as ledger,
        open_pools(settings) as pools,
        open_library(settings, pools) as library,
        accepting(configuration) as acceptance,
    ):
        yield Review(settings, ledger, pools, library, acceptance)
