"""Unpacks ZIP archives, each into a folder beside it, whole or not at all.

These functions read bytes that anybody may have made, so they run in a worker process. An archive
is unpacked into a hidden folder beside it, in steps of a few seconds, and that folder is renamed at
the end: a kill on the way leaves nothing that is taken for a photo. A hidden file in the folder
(:data:`MARKER`) says which archive it came from.
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
from taggerd.arrivals.members import SCRATCH, UnpackRequest
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
_DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
)
"""The fault of the folder or its disk, not of the archive."""
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})


@dataclass(frozen=True, slots=True)
class Contents:
    """What an archive holds."""

    identity: str
    """Digest of its directory: names, sizes, checksums. 32 hex digits."""
    members: int
    """Files that are extracted."""
    left_out: int
    named: tuple[tuple[str, str], ...]
    """The first of those left out: name, printable, and why."""


class Progress(NamedTuple):
    """How far an archive is unpacked."""

    begin: int
    """The member to continue with; their number when all are extracted."""
    lost: tuple[tuple[str, str], ...]
    """Members for which no file could be made in this step: name, and why."""


def contents(request: UnpackRequest) -> Contents:
    """Check an archive as a whole; write nothing.

    Raises:
        ArchiveError: it is damaged, encrypted or past a limit: it must not be unpacked.
        PhotoMoved: it is not the file that settled.
        StorageError: it cannot be read now, or there is no room for it.
    """
    with _opened(request) as archive:
        taken, left_out = members.select(archive, request)
        members.check(request, taken)
        _check_space(request, sum(member.info.file_size for member in taken))
        return Contents(
            members.identity_of(archive), len(taken), len(left_out), tuple(left_out[:_MOST_NAMED])
        )


def unpack(request: UnpackRequest, begin: int, seconds: float) -> Progress:
    """Unpack members from number *begin* on, for about *seconds*; 0 starts with an empty folder.

    Raises:
        ArchiveError, PhotoMoved, StorageError: as :func:`contents`.
    """
    if begin == 0:
        _begin(request)
    end = time.monotonic() + seconds
    lost: list[tuple[str, str]] = []
    with _opened(request) as archive:
        taken, _ = members.select(archive, request)
        like = request.archive.stat()
        for number, member in enumerate(taken[begin:], start=begin):
            reason = _extract(archive, member, request.scratch, like)
            if reason:
                lost.append((printable(str(member.path)), reason))
            if time.monotonic() >= end:
                return Progress(number + 1, tuple(lost))
    return Progress(len(taken), tuple(lost))


def publish(request: UnpackRequest, identity: str) -> Path:
    """Rename the unpacked folder to the archive's name, or a free one like it; return its path.

    Raises:
        StorageError: it cannot be written.
    """
    scratch, archive = request.scratch, request.archive
    try:
        with (scratch / MARKER).open("x", encoding="ascii") as marker:
            json.dump({"archive": archive.name, "identity": identity}, marker)
            marker.flush()
            os.fsync(marker.fileno())
        for below, _, _ in os.walk(scratch):
            _fsync_folder(Path(below))
        like = archive.stat()
        copy_owner(scratch, like, _folder_mode(like))
        folder = _rename(scratch, archive)
        _fsync_folder(archive.parent)
    except FileNotFoundError as error:
        raise _gone(request) from error
    except OSError as error:
        _raise_storage_error(request, error)
    return folder


def unpacked_before(request: UnpackRequest, identity: str) -> Path | None:
    """Return the folder beside the archive that it was already unpacked into, if there is one.

    Without this an archive would be unpacked twice after the ledger was lost, or after a kill
    before the ledger's note.
    """
    for folder in _folder_names(request.archive):
        if not os.path.lexists(folder):
            return None
        marker = _marker(folder)
        if marker.get("archive") == request.archive.name and marker.get("identity") == identity:
            return folder
    return None


def origin(folder: Path) -> str:
    """Return the name, without extension, of the archive that *folder* came from, or ``""``.

    The nearest marker at or above the folder counts. Blocks.
    """
    for ancestor in (folder, *folder.parents):
        archive = _marker(ancestor).get("archive", "")
        if archive:
            return Path(archive).stem
    return ""


def clear(scratch: Path) -> None:
    """Remove a half unpacked folder. Blocks.

    Raises:
        OSError: it cannot be removed.
    """
    if scratch.name.startswith(SCRATCH) and os.path.lexists(scratch):
        shutil.rmtree(scratch)


@contextmanager
def _opened(request: UnpackRequest) -> Iterator[zipfile.ZipFile]:
    """Open the archive and map whatever goes wrong in the block to one of our errors."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(request.archive, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _gone(request) from error
    except OSError as error:
        _raise_storage_error(request, error)
    with os.fdopen(descriptor, "rb") as file:
        _confirm(file, request)
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except (TaggerdError, MemoryError):
            raise
        except Exception as error:  # zipfile and the decoders may raise anything
            _confirm(file, request)
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                _raise_storage_error(request, error)
            message = f"is damaged: {error or type(error).__name__}"
            raise ArchiveError(message) from error
        _confirm(file, request)


def _confirm(file: BufferedReader, request: UnpackRequest) -> None:
    if Stamp.of(os.fstat(file.fileno())) != request.stamp:
        message = f"{printable(request.archive)} changed since it settled: it has to settle again"
        raise PhotoChanged(message)


def _check_space(request: UnpackRequest, total: int) -> None:
    try:
        disk = os.statvfs(request.archive.parent)
    except OSError as error:
        _raise_storage_error(request, error)
    if total and total + _SPARE_BYTES > disk.f_bavail * disk.f_frsize:
        message = (
            f"no room to unpack {printable(request.archive)} ({total / 1e9:.1f} GB): "
            "make room on its disk"
        )
        raise StorageError(message)


def _begin(request: UnpackRequest) -> None:
    """Make the hidden folder; one that a killed run left is removed first."""
    try:
        clear(request.scratch)
        request.scratch.mkdir(mode=0o700)
    except FileNotFoundError as error:
        raise _gone(request) from error
    except OSError as error:
        _raise_storage_error(request, error)


def _extract(
    archive: zipfile.ZipFile, member: members.Member, scratch: Path, like: os.stat_result
) -> str:
    """Write one member to a new file; return why it got none, or ``""``."""
    try:
        folder = _folder(scratch, member, like)
        descriptor = _new_file(folder, member.path.name)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise
        return f"cannot be written: {error.strerror}"
    with os.fdopen(descriptor, "wb") as file:
        size = 0
        with archive.open(member.info) as source:
            while piece := source.read(_PIECE):
                size += len(piece)
                file.write(piece)
        if size != member.info.file_size:
            message = f"is damaged: {printable(str(member.path))} is shorter than it says"
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
    """Make the folders of *member* and return the innermost."""
    folder = scratch
    for part in member.path.parent.parts:
        folder = folder / part
        with suppress(FileExistsError):
            folder.mkdir()
            copy_owner(folder, like, _folder_mode(like))
    return folder


def _new_file(folder: Path, name: str) -> int:
    """Open a new file of this *name*, or of a similar one where that is taken.

    An archive may hold a name twice, and some disks do not distinguish upper and lower case.
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
    """Return the mode of a folder that whoever may read the archive may list."""
    mode = stat.S_IMODE(like.st_mode) & 0o666 | 0o700
    return mode | (mode & 0o444) >> 2


def _folder_names(archive: Path) -> Iterator[Path]:
    """Return the names for the folder, best first."""
    yield archive.with_name(archive.stem)
    for number in range(2, 1000):
        yield archive.with_name(f"{archive.stem}-{number}")


def _rename(scratch: Path, archive: Path) -> Path:
    """Rename *scratch* to the first free name; nothing is ever replaced."""
    for folder in _folder_names(archive):
        if os.path.lexists(folder):
            continue
        try:
            # If a folder of that name is made at this very moment: rename() replaces it only if it
            # is empty, so nothing is lost.
            scratch.rename(folder)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        else:
            return folder
    raise FileExistsError(errno.EEXIST, "no free name for its folder", str(archive))


def _marker(folder: Path) -> dict[str, str]:
    """Return the content of the marker in *folder*; nothing where there is none of ours."""
    try:
        with (folder / MARKER).open("rb") as marker:
            content = json.loads(marker.read(_PIECE))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str)}


def _fsync_folder(folder: Path) -> None:
    """Flush the names in *folder* to the disk, where the file system can."""
    with suppress(OSError):
        fsync_folder(folder)


def _gone(request: UnpackRequest) -> PhotoGone:
    return PhotoGone(f"{printable(request.archive)} is no longer there")


def _raise_storage_error(request: UnpackRequest, error: OSError) -> NoReturn:
    """Raise *error* as one of the folder or its disk: later it may succeed."""
    reason = error.strerror or str(error)
    message = (
        f"{printable(request.archive)} cannot be unpacked now: {reason}; its folder must be "
        "writable and have room"
    )
    raise StorageError(message) from error
