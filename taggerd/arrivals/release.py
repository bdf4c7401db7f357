"""Releases a tagged photo: moves it and its sidecars to ``arrivals.release_to``.

Whatever is killed when, each file is there under its old name or the new one, and a photo is never
at either place without its sidecars: they come first and go last. No file is ever replaced. The
caller notes the moves before they begin, and carries out what it finds noted at the next start.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taggerd import files
from taggerd.photo import IMAGE_EXTENSIONS, Stamp, extension, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_CHUNK = 1 << 20
_REFUSED = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
)
"""The folder takes no such file now; another photo, in another folder, may find room."""


class NotReleased(Exception):
    """The photo stays where it is; the text says why."""


class Move(NamedTuple):
    """One file and where it goes."""

    source: Path
    target: Path
    is_photo: bool


def target_of(path: Path, roots: Iterable[Path], release_to: Path) -> Path | None:
    """Return where the photo *path* is released to; None if it is not.

    It keeps its path below its import folder, the innermost of *roots*.
    """
    holding = [root for root in roots if path.is_relative_to(root)]
    if not holding:
        return None
    root = max(holding, key=lambda each: len(each.parts))
    if release_to.is_relative_to(root) and path.is_relative_to(release_to):
        return None  # it is there
    return release_to / path.relative_to(root)


def plan(photos: Sequence[Path], sidecars: Sequence[Path], folder: Path) -> list[Move]:
    """Return the moves of a photo's files into *folder*, in their order: sidecars come first."""
    moves = [Move(path, folder / path.name, is_photo=False) for path in sidecars]
    return moves + [Move(path, folder / path.name, is_photo=True) for path in reversed(photos)]


def is_plan(moves: Sequence[Move], roots: Sequence[Path], release_to: Path) -> bool:
    """Say whether *moves* are what :func:`plan` may have made of one photo of these import folders.

    They are read from the ledger, which others may write where several hosts share one: a move of a
    file to itself would remove it.
    """
    photos = [move for move in moves if move.is_photo]
    folders = {(move.source.parent, move.target.parent) for move in moves}
    return (
        bool(photos)
        and len(folders) == 1
        and all(target_of(move.source, roots, release_to) == move.target for move in photos)
        and all(move.source.name == move.target.name for move in moves)
        and all(extension(move.source) in IMAGE_EXTENSIONS for move in photos)
        and all(extension(move.source) == "xmp" for move in moves if not move.is_photo)
        and not any(".." in path.parts for pair in folders for path in pair)
    )


def prepare(moves: Sequence[Move], release_to: Path) -> None:
    """Check that every new name is free, and make the folder. Blocks.

    Raises:
        NotReleased: a name is taken, or *release_to* is not there.
        OSError: the system's reason.
    """
    if not files.exists(release_to):
        # Not made: it may be a disk that is not mounted.
        message = f"{printable(release_to)}, arrivals.release_to, is not there: mount or create it"
        raise NotReleased(message)
    ours = {move.target for move in moves}
    for name in (*ours, *_read_with(moves)):
        if files.exists(name):
            message = f"{printable(name)} is there already: move or rename one of the two"
            raise NotReleased(message)
    _make_folders(moves[0].source.parent, moves[0].target.parent, release_to)
    # What can never be carried out must not be noted: no other photo would be released.
    with files.open_folder(moves[0].target.parent):
        pass


def _read_with(moves: Sequence[Move]) -> Iterator[Path]:
    """Yield the names of sidecars that programs would read with the photo, in its new folder."""
    ours = {move.target for move in moves}
    for move in moves:
        if move.is_photo:
            stem = move.target.with_suffix("")
            for name in (f"{move.target.name}.xmp", f"{stem.name}.xmp"):
                for sidecar in (name, f"{name[:-4]}.XMP"):
                    if move.target.with_name(sidecar) not in ours:
                        yield move.target.with_name(sidecar)


def _make_folders(source: Path, folder: Path, release_to: Path) -> None:
    """Make *folder* and those above it below *release_to*, owned as those of *source* are."""
    missing = []
    while folder != release_to and not files.exists(folder):
        missing.append((source, folder))
        source, folder = source.parent, folder.parent
    for like, made in reversed(missing):
        with files.open_folder(like) as old:
            status = old.stat()
        with suppress(FileExistsError), files.make_folder(made) as new:
            files.copy_owner(new.descriptor, status, stat.S_IMODE(status.st_mode))
        _fsync(made.parent)


def carry_out(moves: Sequence[Move]) -> None:
    """Move the files of one photo, or what is left to do of that. Blocks.

    Raises:
        NotReleased: another program took a name, or changed a file, meanwhile, or there is no room,
            or no permission; what was moved is back.
        OSError: the system's reason. What is done is done, and the rest can be carried out later.
    """
    done: list[Move] = []
    try:
        for move in moves:
            (_transfer if move.is_photo else _publish)(move)
            done.append(move)
    except NotReleased:
        _put_back(done)
        raise
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        _put_back(done)
        where = printable(moves[0].target.parent)
        message = (
            f"{where}: {os.strerror(error.errno or 0)}: make space there, or let taggerd write"
        )
        raise NotReleased(message) from error
    for move in moves:
        if not move.is_photo:
            _remove_old(move)
    for folder in {path.parent for move in moves for path in move[:2]}:
        _fsync(folder)


def _put_back(done: Sequence[Move]) -> None:
    """Undo the moves that are *done*. May raise OSError: the rest is done at the next start."""
    for move in reversed(done):
        back = Move(move.target, move.source, move.is_photo)
        with suppress(NotReleased):
            _transfer(back) if move.is_photo else _remove_old(back)


def _publish(move: Move) -> None:
    """Give a sidecar its new name, and leave it under the old one."""
    if files.exists(move.target):
        if files.exists(move.source) and not _same(move.source, move.target):
            raise _taken(move.target)
        return
    try:
        if not files.link(move.source, move.target):
            _copy(move.source, move.target)
    except FileExistsError:
        raise _taken(move.target) from None
    except FileNotFoundError:
        return  # it went meanwhile; the photo moves without


def _remove_old(move: Move) -> None:
    """Remove a sidecar under its old name, if it is there under the new one as well.

    One that somebody changed in between stays: both are there then.
    """
    with suppress(FileNotFoundError):
        if files.exists(move.target) and _same(move.source, move.target):
            files.unlink(move.source)


def _transfer(move: Move) -> None:
    """Move a photo file."""
    if files.exists(move.target):
        if not files.exists(move.source):
            return  # an earlier try has done it
        if not _same(move.source, move.target):
            raise _taken(move.target)
        files.unlink(move.source)  # killed between the two
        return
    try:
        if files.rename_new(move.source, move.target):
            return
        before = Stamp.of(files.lstat(move.source))
        if not files.link(move.source, move.target):
            _copy(move.source, move.target)
    except FileExistsError:
        raise _taken(move.target) from None
    except FileNotFoundError:
        message = f"{printable(move.source)} is no longer there"
        raise NotReleased(message) from None
    _fsync(move.target.parent)  # before the old name goes
    if Stamp.of(files.lstat(move.source)) != before:
        with suppress(FileNotFoundError):
            files.unlink(move.target)  # our copy of what it was
        raise _changed(move.source)
    files.unlink(move.source)


def _copy(source: Path, target: Path) -> None:
    """Copy *source* to *target*, which must be free, whole or not at all.

    Raises:
        FileExistsError: the name was taken meanwhile.
        NotReleased: *source* changed meanwhile.
        OSError: the system's reason.
    """
    digest = hashlib.blake2b(os.fsencode(target.name), digest_size=8).hexdigest()
    temporary = target.with_name(f".{digest}.taggerd-tmp")
    files.unlink(temporary, missing_ok=True)  # of a try that was killed
    with files.open_file(source) as old:
        status = old.stat()
        try:
            with files.new_file(temporary) as new:
                written = hashlib.blake2b()
                with old.reader() as reading, new.writer() as writing:
                    while chunk := reading.read(_CHUNK):
                        written.update(chunk)
                        writing.write(chunk)
                files.copy_owner(new.descriptor, status, stat.S_IMODE(status.st_mode) & 0o777)
                files.copy_attributes(old.descriptor, new.descriptor)
                os.utime(new.descriptor, ns=(status.st_atime_ns, status.st_mtime_ns))
                os.fsync(new.descriptor)
                if _digest(new) != written.digest() or Stamp.of(old.stat()) != Stamp.of(status):
                    raise _changed(source)
            _name(temporary, target)
        finally:
            files.unlink(temporary, missing_ok=True)


def _name(temporary: Path, target: Path) -> None:
    """Give *temporary* its name, which must be free. Raises FileExistsError if it is not."""
    if not files.rename_new(temporary, target) and not files.link(temporary, target):
        files.rename(temporary, target)  # link() has looked: the check and this are two steps


def _same(one: Path, other: Path) -> bool:
    """Say whether two files are one, or have the same bytes."""
    with files.open_file(one) as first, files.open_file(other) as second:
        if os.path.samestat(first.stat(), second.stat()):
            return True
        if first.stat().st_size != second.stat().st_size:
            return False
        return _digest(first) == _digest(second)


def _digest(file: files.OpenFile) -> bytes:
    digest = hashlib.blake2b()
    with file.reader() as reading:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()


def _fsync(folder: Path) -> None:
    """Sync *folder*; one that cannot be, of some network file systems, is left."""
    with suppress(OSError):
        files.fsync_folder(folder)


def _taken(path: Path) -> NotReleased:
    return NotReleased(f"{printable(path)} is there already: move or rename one of the two")


def _changed(path: Path) -> NotReleased:
    return NotReleased(f"{printable(path)} was changed at the same moment")


def files_of_stem(path: Path) -> list[Path]:
    """Return the photo files in the folder of *path* that have its stem. Blocks."""
    try:
        names = files.names_in(path.parent)
    except OSError:
        return []
    stems = [path.with_name(name) for name in names if Path(name).stem == path.stem]
    return [each for each in stems if extension(each) in IMAGE_EXTENSIONS]
