"""ZIP archives: unpacked beside themselves, once, whole or not at all.

Every function here reads bytes that anybody may have made, so they run in a worker process. An
archive is unpacked into a hidden folder in its own folder, in steps that each take a few seconds,
and that folder is renamed at the end: what is killed on the way leaves nothing that is taken for a
photo. A hidden file in the folder (:data:`MARKER`) says which archive it came from.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import time
import zipfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from taggerd.arrivals import members
from taggerd.arrivals.orders import SCRATCH, Order, check, identity_of, sorted_out
from taggerd.errors import ArchiveError, PhotoChanged, PhotoGone, StorageError, TaggerdError
from taggerd.files import copy_owner, fsync_folder
from taggerd.photo import Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

EXTENSION = "zip"
MARKER = ".taggerd-archive"
"""JSON: ``archive``, its name when it was unpacked, and ``identity``."""

_PIECE = 1 << 20
"""Bytes read at once."""
_SPARE_BYTES = 64 << 20
"""Left free on the disk."""
_MOST_NAMED = 20
_NOT_HERE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
)
"""What the folder or its disk is at fault for, not the archive."""
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds."""

    identity: str
    """Digest of its directory: names, sizes, checksums. 32 hex digits."""
    members: int
    """Files that are taken."""
    left_out: int
    named: tuple[tuple[str, str], ...]
    """The first of those left out: name, printable, and why."""


class Progress(NamedTuple):
    """How far an archive is unpacked."""

    begin: int
    """The member to go on with; the number of them when all are there."""
    lost: tuple[tuple[str, str], ...]
    """Members that could not be given a file in this step: name, and why."""


def contents(order: Order) -> Contents:
    """Look into an archive and judge it as a whole; nothing is written.

    Raises:
        ArchiveError: it is damaged, encrypted or past a limit: it is not to be unpacked.
        PhotoMoved: it is not what settled.
        StorageError: it cannot be read now, or there is no room for it.
    """
    with _opened(order) as archive:
        taken, left_out = sorted_out(archive, order)
        check(order, taken)
        _check_room(order, sum(member.info.file_size for member in taken))
        return Contents(
            identity_of(archive), len(taken), len(left_out), tuple(left_out[:_MOST_NAMED])
        )


def unpack(order: Order, begin: int, seconds: float) -> Progress:
    """Unpack members from number *begin* on, for about *seconds*; 0 begins with an empty folder.

    Raises:
        ArchiveError, PhotoMoved, StorageError: as :func:`contents`.
    """
    if begin == 0:
        _begin(order)
    end = time.monotonic() + seconds
    lost: list[tuple[str, str]] = []
    with _opened(order) as archive:
        taken, _ = sorted_out(archive, order)
        like = order.archive.stat()
        for number, member in enumerate(taken[begin:], start=begin):
            reason = _extract(archive, member, order.scratch, like)
            if reason:
                lost.append((printable(str(member.path)), reason))
            if time.monotonic() >= end:
                return Progress(number + 1, tuple(lost))
    return Progress(len(taken), tuple(lost))


def put_in_place(order: Order, identity: str) -> Path:
    """Give the unpacked folder its name, the archive's or a free one like it; return its path.

    Raises:
        StorageError: it cannot be written.
    """
    scratch, archive = order.scratch, order.archive
    try:
        said = json.dumps({"archive": archive.name, "identity": identity})
        with (scratch / MARKER).open("x", encoding="ascii") as marker:
            marker.write(said)
            marker.flush()
            os.fsync(marker.fileno())
        for folder, _, _ in os.walk(scratch):
            _make_last(Path(folder))
        like = archive.stat()
        copy_owner(scratch, like, _folder_mode(like))
        place = _moved(scratch, archive)
        _make_last(archive.parent)
    except FileNotFoundError as error:
        message = f"{printable(archive)} is no longer there"
        raise PhotoGone(message) from error
    except OSError as error:
        _not_now(order, error)
    return place


def unpacked_before(order: Order, identity: str) -> Path | None:
    """Return the folder beside the archive that its content already lies in, if there is one.

    So nothing is unpacked twice when the ledger is lost, or a kill came before its note.
    """
    for place in _places(order.archive):
        if not os.path.lexists(place):
            return None
        said = _marker(place)
        if said.get("archive") == order.archive.name and said.get("identity") == identity:
            return place
    return None


def origin(folder: Path) -> str:
    """Return the name, without extension, of the archive that *folder* came out of, or ``""``.

    The nearest folder at or above it that says so counts. Blocks.
    """
    for place in (folder, *folder.parents):
        archive = _marker(place).get("archive", "")
        if archive:
            return Path(archive).stem
    return ""


def clear(scratch: Path) -> None:
    """Remove what a run that was stopped left behind. Blocks.

    Raises:
        OSError: it cannot be removed.
    """
    if scratch.name.startswith(SCRATCH) and os.path.lexists(scratch):
        shutil.rmtree(scratch)


@contextmanager
def _opened(order: Order) -> Iterator[zipfile.ZipFile]:
    """Open the archive and map whatever goes wrong inside the block to one of our errors."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(order.archive, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        message = f"{printable(order.archive)} is no longer there"
        raise PhotoGone(message) from error
    except OSError as error:
        _not_now(order, error)
    with os.fdopen(descriptor, "rb") as file:
        _confirm(file, order)
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (TaggerdError, MemoryError):
            raise
        except Exception as error:  # zipfile and the decoders may raise anything over such bytes
            _confirm(file, order)
            if isinstance(error, OSError) and error.errno in _NOT_HERE:
                _not_now(order, error)
            message = f"is damaged: {error or type(error).__name__}"
            raise ArchiveError(message) from error
        _confirm(file, order)


def _confirm(file: BufferedReader, order: Order) -> None:
    if Stamp.of(os.fstat(file.fileno())) != order.stamp:
        message = f"{printable(order.archive)} changed since it settled: it is left to settle again"
        raise PhotoChanged(message)


def _check_room(order: Order, total: int) -> None:
    try:
        disk = os.statvfs(order.archive.parent)
    except OSError as error:
        _not_now(order, error)
    if total and total + _SPARE_BYTES > disk.f_bavail * disk.f_frsize:
        message = (
            f"no room to unpack {printable(order.archive)} ({total / 1e9:.1f} GB): make room on "
            "its disk"
        )
        raise StorageError(message)


def _begin(order: Order) -> None:
    """Make the hidden folder, anew if a run that was killed left one."""
    try:
        clear(order.scratch)
        order.scratch.mkdir(mode=0o700)
    except FileNotFoundError as error:
        message = f"{printable(order.archive)} is no longer there"
        raise PhotoGone(message) from error
    except OSError as error:
        _not_now(order, error)


def _extract(
    archive: zipfile.ZipFile, member: members.Member, scratch: Path, like: os.stat_result
) -> str:
    """Write one member to a new file; return in words why it got none, or ``""``."""
    try:
        folder = _folder(scratch, member, like)
        descriptor = _new_file(folder, member.path.name)
    except OSError as error:
        if error.errno in _NOT_HERE:
            raise
        return f"cannot be given a file: {error.strerror}"
    with os.fdopen(descriptor, "wb") as file:
        size = 0
        with archive.open(member.info) as source:
            while piece := source.read(_PIECE):
                size += len(piece)
                file.write(piece)
        if size != member.info.file_size:
            message = f"is damaged: {printable(str(member.path))} is not as long as it says"
            raise ArchiveError(message)
        file.flush()
        copy_owner(descriptor, like, stat.S_IMODE(like.st_mode) & 0o666 | 0o600)
        modified = members.modified_ns(member.info)
        if modified is not None:
            with suppress(OSError, OverflowError):
                os.utime(descriptor, ns=(modified, modified))
        os.fsync(descriptor)
    return ""


def _folder(scratch: Path, member: members.Member, like: os.stat_result) -> Path:
    """Make the folders that *member* lies in."""
    folder = scratch
    for part in member.path.parent.parts:
        folder = folder / part
        with suppress(FileExistsError):
            folder.mkdir()
            copy_owner(folder, like, _folder_mode(like))
    return folder


def _new_file(folder: Path, name: str) -> int:
    """Open a new file of this *name*, or of one like it where that is taken.

    An archive may hold a name twice, and two that differ by case alone are one to some disks.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, no path
    for number in range(1, 1000):
        free = name if number == 1 else f"{stem}-{number}{suffix}"
        try:
            return os.open(folder / free, flags, 0o600)
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def _folder_mode(like: os.stat_result) -> int:
    """Return the mode of a folder that whoever may read the archive may look into."""
    mode = stat.S_IMODE(like.st_mode) & 0o666 | 0o700
    return mode | (mode & 0o444) >> 2


def _places(archive: Path) -> Iterator[Path]:
    """Return the names for the folder, best first."""
    yield archive.with_name(archive.stem)
    for number in range(2, 1000):
        yield archive.with_name(f"{archive.stem}-{number}")


def _moved(scratch: Path, archive: Path) -> Path:
    """Rename *scratch* to the first name that is free; nothing is ever replaced."""
    for place in _places(archive):
        if os.path.lexists(place):
            continue
        try:
            # Should a folder of that name come at this very moment: an empty one loses nothing,
            # any other is not replaced.
            scratch.rename(place)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        else:
            return place
    raise FileExistsError(errno.EEXIST, "no free name for its folder", str(archive))


def _marker(folder: Path) -> dict[str, str]:
    """Return what the marker in *folder* says; nothing where there is none or it is not ours."""
    try:
        with (folder / MARKER).open("rb") as marker:
            said = json.loads(marker.read(_PIECE))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    return {key: value for key, value in said.items() if isinstance(value, str)}


def _make_last(folder: Path) -> None:
    """Make the names in *folder* last, as far as the file system can."""
    with suppress(OSError):
        fsync_folder(folder)


def _not_now(order: Order, error: OSError) -> NoReturn:
    """Raise *error* as one of the folder or its disk: another day it may go well."""
    reason = error.strerror or str(error)
    message = (
        f"{printable(order.archive)} cannot be unpacked now: {reason}; its folder must be "
        "writable and have room"
    )
    raise StorageError(message) from error
