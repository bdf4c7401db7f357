"""Unpacks ZIP archives, each into a folder beside it, whole or not at all.

What reads bytes that anybody may have made runs in a worker process. An archive is unpacked into a
hidden folder beside it, in steps of a few seconds, and that folder is renamed at the end: a kill on
the way leaves nothing that is taken for a photo. A hidden file in the folder (:data:`MARKER`) says
which archive it came from.

Whoever may write to the import folder may rename the hidden folder at any instant and put another,
or a link, in its place. So it stays open from the moment it is made, everything is done through
that descriptor, and it is ours alone until it is complete. Owner and mode of what is unpacked are
those of the folder that the archive lies in.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from taggerd import files
from taggerd.arrivals import members
from taggerd.arrivals.members import SCRATCH, UnpackRequest
from taggerd.errors import ArchiveError, PhotoChanged, PhotoGone, StorageError, TaggerdError
from taggerd.files import NotRegular, OpenFolder, copy_owner, fsync_folder
from taggerd.photo import Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.files import OpenFile

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
_PROBE = ".taggerd-probe"
_MOVED = "another program moved what was unpacked"
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


def begin(request: UnpackRequest) -> OpenFolder:
    """Make the hidden folder, empty, and open it. What a killed run left there is removed. Blocks.

    Raises:
        PhotoGone: the archive's folder is gone. StorageError: it cannot be written.
    """
    try:
        for name in _similar(request.scratch.name):
            path = request.scratch.with_name(name)
            with suppress(OSError):
                clear(path)
            try:
                scratch = files.make_folder(path)
            except FileExistsError:
                continue  # somebody else's
            try:
                if _is_ours(scratch):
                    return scratch
            except OSError:
                scratch.close()
                with suppress(OSError):
                    files.remove_empty_folder(path)
                raise
            scratch.close()
    except OSError as error:
        _raise_gone_or_storage_error(request, error)
    message = f"{printable(request.archive.parent)}: other programs take the names of our folders"
    raise StorageError(message)


def unpack(request: UnpackRequest, scratch: OpenFile, begin: int, seconds: float) -> Progress:
    """Unpack members from number *begin* on into the open folder *scratch*, for about *seconds*.

    Raises:
        ArchiveError, PhotoMoved, StorageError: as :func:`contents`.
    """
    end = time.monotonic() + seconds
    lost: list[tuple[str, str]] = []
    folder = OpenFolder(scratch.descriptor, scratch.path)
    with _opened(request) as archive:
        taken, _ = members.select(archive, request)
        like = files.lstat(request.archive.parent)
        for number, member in enumerate(taken[begin:], start=begin):
            reason = _extract(archive, member, folder, like)
            if reason:
                lost.append((printable(str(member.path)), reason))
            if time.monotonic() >= end:
                return Progress(number + 1, tuple(lost))
    return Progress(len(taken), tuple(lost))


def publish(request: UnpackRequest, scratch: OpenFile, identity: str) -> Path:
    """Rename the unpacked folder to the archive's name, or a free one like it; return its path.

    Raises:
        PhotoGone: its folder is gone.
        StorageError: it cannot be written, or another folder is in its place.
    """
    archive = request.archive
    folder = OpenFolder(scratch.descriptor, scratch.path)
    try:
        like = files.lstat(archive.parent)
        with folder.new_file(MARKER) as marker:
            text = json.dumps({"archive": archive.name, "identity": identity})
            os.write(marker.descriptor, text.encode("ascii"))
            copy_owner(marker.descriptor, like, _file_mode(like))
            os.fsync(marker.descriptor)
        _fsync(folder)
        copy_owner(folder.descriptor, like, _folder_mode(like))
        path = _rename(folder, archive)
        with suppress(OSError):
            fsync_folder(archive.parent)
    except OSError as error:
        _raise_gone_or_storage_error(request, error)
    return path


def unpacked_before(request: UnpackRequest, identity: str) -> Path | None:
    """Return the folder beside the archive that it was already unpacked into, if there is one.

    Without this an archive would be unpacked twice after the ledger was lost, or after a kill
    before the ledger's note.
    """
    for folder in _folder_names(request.archive):
        if not files.exists(folder):
            return None
        marker = _marker(folder)
        if marker.get("archive") == request.archive.name and marker.get("identity") == identity:
            return folder
    return None


def origin(folder: Path) -> str:
    """Return the name, without extension, of the archive that *folder* came from, or ``""``.

    The nearest marker at or above the folder counts, up to the root. Blocks.
    """
    for ancestor in (folder, *folder.parents):
        archive = _marker(ancestor).get("archive", "")
        if archive:
            return Path(archive).stem
    return ""


def clear(scratch: Path) -> None:
    """Remove a half unpacked folder, if there is one and it is ours. Blocks.

    Raises:
        OSError: it cannot be removed.
    """
    if scratch.name.startswith(SCRATCH):
        with suppress(FileNotFoundError), files.open_folder(scratch) as folder:
            if _is_ours(folder):
                remove(folder)


def remove(scratch: OpenFolder) -> None:
    """Remove what is in the open folder, and the folder, if it still has its name. Blocks.

    Raises:
        OSError: it cannot be removed.
    """
    scratch.clear()
    if os.path.samestat(files.lstat(scratch.path), scratch.stat()):
        files.remove_empty_folder(scratch.path)


def _is_ours(folder: OpenFolder) -> bool:
    """Say whether we made *folder*, and it is no more than half unpacked.

    Another user may have given it this name: we would delete another's photos for them, or unpack
    into a folder that they could not write to themselves. A file that we make in it shows what ours
    look like; there are file systems where owner or mode say nothing.
    """
    with suppress(FileNotFoundError):  # of a killed run
        folder.unlink(_PROBE)
    with folder.new_file(_PROBE) as probe:
        ours = probe.stat()
    folder.unlink(_PROBE)
    status = folder.stat()
    has_modes = not ours.st_mode & 0o077
    return status.st_uid == ours.st_uid and not (has_modes and status.st_mode & 0o077)


@contextmanager
def _opened(request: UnpackRequest) -> Iterator[zipfile.ZipFile]:
    """Open the archive and map whatever goes wrong in the block to one of our errors."""
    try:
        opened = files.open_file(request.archive)
    except (FileNotFoundError, NotADirectoryError, NotRegular) as error:
        raise _gone(request) from error
    except OSError as error:
        _raise_storage_error(request, error)
    with opened as file, file.reader() as reader:
        _confirm(file, request)
        try:
            with zipfile.ZipFile(reader) as archive:
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


def _confirm(file: OpenFile, request: UnpackRequest) -> None:
    if Stamp.of(file.stat()) != request.stamp:
        message = f"{printable(request.archive)} changed since it settled: it has to settle again"
        raise PhotoChanged(message)


def _check_space(request: UnpackRequest, total: int) -> None:
    try:
        disk = files.statvfs(request.archive.parent)
    except OSError as error:
        _raise_storage_error(request, error)
    if total and total + _SPARE_BYTES > disk.f_bavail * disk.f_frsize:
        message = (
            f"no room to unpack {printable(request.archive)} ({total / 1e9:.1f} GB): "
            "make room on its disk"
        )
        raise StorageError(message)


def _extract(
    archive: zipfile.ZipFile, member: members.Member, scratch: OpenFolder, like: os.stat_result
) -> str:
    """Write one member to a new file; return why it got none, or ``""``."""
    try:
        with ExitStack() as stack:
            folder = _folder(scratch, member, like, stack)
            file = _new_file(folder, member.path.name)
    except OSError as error:
        if error.errno in _DISK_ERRORS:
            raise
        return f"cannot be written: {error.strerror}"
    with file:
        size = 0
        with archive.open(member.info) as source, file.writer() as target:
            while piece := source.read(_PIECE):
                size += len(piece)
                target.write(piece)
        if size != member.info.file_size:
            message = f"is damaged: {printable(str(member.path))} is shorter than it says"
            raise ArchiveError(message)
        copy_owner(file.descriptor, like, _file_mode(like))
        modified = members.modified_ns(member.info)
        if modified is not None:
            with suppress(OSError, OverflowError):
                os.utime(file.descriptor, ns=(modified, modified))
        os.fsync(file.descriptor)
    return ""


def _folder(
    scratch: OpenFolder, member: members.Member, like: os.stat_result, stack: ExitStack
) -> OpenFolder:
    """Make the folders of *member* and return the innermost; *stack* closes them."""
    folder = scratch
    for part in member.path.parent.parts:
        try:
            folder = stack.enter_context(folder.make_folder(part))
        except FileExistsError:
            folder = stack.enter_context(folder.open_folder(part))
        else:
            copy_owner(folder.descriptor, like, _folder_mode(like))
    return folder


def _new_file(folder: OpenFolder, name: str) -> OpenFile:
    """Open a new file of this *name*, or of a similar one where that is taken.

    An archive may hold a name twice, and some disks do not distinguish upper and lower case.
    """
    for free in _similar(name):
        try:
            return folder.new_file(free)
        except FileExistsError:
            continue
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name)


def _similar(name: str) -> Iterator[str]:
    """Return *name*, and then others like it."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, no path
    return (name if number == 1 else f"{stem}-{number}{suffix}" for number in range(1, 1000))


def _file_mode(like: os.stat_result) -> int:
    """Return the mode of a file in the folder *like*: who may read or write there, may so here.

    Where each may remove only their own (the sticky bit), each may also write to their own alone.
    """
    mode = stat.S_IMODE(like.st_mode)
    return mode & (0o644 if mode & stat.S_ISVTX else 0o666) | 0o600


def _folder_mode(like: os.stat_result) -> int:
    """Return the mode of a folder in the folder *like*, by the same rule."""
    mode = stat.S_IMODE(like.st_mode)
    return mode & (0o2755 if mode & stat.S_ISVTX else 0o2777) | 0o700


def _folder_names(archive: Path) -> Iterator[Path]:
    """Return the names for the folder, best first."""
    return (archive.with_name(name) for name in _similar(archive.stem))


def _rename(scratch: OpenFolder, archive: Path) -> Path:
    """Rename *scratch* to the first free name; nothing is ever replaced."""
    ours = scratch.stat()
    for path in _folder_names(archive):
        if files.exists(path):
            continue
        _check_same(scratch.path, ours)
        try:
            # If a folder of that name is made at this very moment: rename() replaces it only if it
            # is empty, so nothing is lost.
            files.rename(scratch.path, path)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
        else:
            _check_same(path, ours)
            return path
    raise FileExistsError(errno.EEXIST, "no free name for its folder", str(archive))


def _check_same(path: Path, ours: os.stat_result) -> None:
    """Raise OSError if *path* is not our folder: another program has moved that."""
    if not os.path.samestat(files.lstat(path), ours):
        raise OSError(errno.ESTALE, _MOVED, str(path))


def _marker(folder: Path) -> dict[str, str]:
    """Return the content of the marker in *folder*; nothing where there is none of ours."""
    try:
        with files.open_file(folder / MARKER) as marker, marker.reader() as reader:
            content = json.loads(reader.read(_PIECE))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str)}


def _fsync(folder: OpenFolder) -> None:
    """Flush the names in *folder*, and in the folders in it, to the disk, where that can be."""
    for name in folder.folders():
        with folder.open_folder(name) as below:
            _fsync(below)
    with suppress(OSError):
        os.fsync(folder.descriptor)


def _gone(request: UnpackRequest) -> PhotoGone:
    return PhotoGone(f"{printable(request.archive)} is no longer there")


def _raise_gone_or_storage_error(request: UnpackRequest, error: OSError) -> NoReturn:
    """Raise *error*, met at the hidden folder, as what it means for the archive."""
    if isinstance(error, FileNotFoundError):
        if not files.exists(request.archive):
            raise _gone(request) from error
        # Taken for gone it would be neither reported nor tried again before the next walk.
        error = OSError(errno.ESTALE, _MOVED)
    _raise_storage_error(request, error)


def _raise_storage_error(request: UnpackRequest, error: OSError) -> NoReturn:
    """Raise *error* as one of the folder or its disk: later it may succeed."""
    reason = error.strerror or str(error)
    message = (
        f"{printable(request.archive)} cannot be unpacked now: {reason}; its folder must be "
        "writable and have room"
    )
    raise StorageError(message) from error
