"""A streaming look at everything below a root: `os.scandir` and `lstat`, nothing opened."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import ConfigurationError
from taggerd.photo import PhotoFile, Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taggerd.arrivals.filters import Filters

    Skipped = Callable[[Path, str], None]
    """Told of each name that is not taken, and why."""


TOO_LONG = "its path is too long for the system"
UNREADABLE = "cannot be read"
_PATH_MAX = 4096
"""Bytes, the closing zero included: what the kernel takes as one path."""


class RootOffline(ConfigurationError):
    """The import folder cannot be read."""


class Seen(NamedTuple):
    """A file that is taken, as the walk saw it."""

    file: PhotoFile
    ctime_ns: int
    """Nanoseconds since the epoch: the kernel's own, so `cp -p` cannot make it older."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of the walk."""

    path: Path
    inode: int
    files: list[Seen]
    """The photos directly in it, by name."""
    whole: bool
    """False where it could not be read to its end: nothing follows from what is missing."""


def walk(root: Path, filters: Filters, *, skipped: Skipped | None = None) -> Iterator[Seen]:
    """Return the photos below *root*; those of one folder come one after the other.

    Symbolic links are never followed and never taken, hard links are files of their own, and
    *skipped* is told of every name that is left out and why. A folder that cannot be read is
    reported the same way and does not stop the walk.

    Raises:
        RootOffline: at once, if *root* is missing, not a folder or not readable.

    """
    return (seen for folder in folders(root, filters, skipped=skipped) for seen in folder.files)


def folders(
    root: Path,
    filters: Filters,
    *,
    top: Path | None = None,
    deep: bool = True,
    skipped: Skipped | None = None,
) -> Iterator[Folder]:
    """Return the folders of *root* one by one, or those of the tree under *top* in it.

    *top* itself comes first; without *deep* it comes alone.

    Raises:
        RootOffline: at once, if *root* is missing, not a folder or not readable.

    """
    try:
        with os.scandir(root):
            pass
    except OSError as error:
        raise RootOffline(offline_reason(root, error)) from error
    listings = _descend(root, filters, top or root, skipped or _unheard)
    return listings if deep else islice(listings, 1)


def offline_reason(root: Path, error: OSError) -> str:
    """Say in one line why *root* cannot be read and what to do."""
    shown = printable(root)
    if isinstance(error, FileNotFoundError):
        return f"the import folder {shown} does not exist: create it, mount it or name another"
    if isinstance(error, NotADirectoryError):
        return f"{shown} is not a folder: an import folder is needed"
    if isinstance(error, PermissionError):
        return (
            f"the import folder {shown} cannot be read: "
            "its user or group must give taggerd read and search permission"
        )
    return f"the import folder {shown} cannot be read: {error.strerror or error}"


def see(path: Path | str) -> Seen | str:
    """Look at one file: return what it is now, or the reason why it is not taken.

    Raises:
        OSError: when it is gone or cannot be looked at.

    """
    status = os.lstat(path)
    return _kind(status.st_mode) or _seen(path, status)


def _seen(path: Path | str, status: os.stat_result) -> Seen:
    return Seen(PhotoFile(Path(path), Stamp.of(status)), status.st_ctime_ns)


def _unheard(_path: Path, _reason: str) -> None:
    """Nobody asked for what is skipped."""


def _kind(mode: int) -> str:
    """Return ``""`` for a regular file, else in words why it is none."""
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "not a regular file (FIFO, socket or device)"


def _why(error: OSError) -> str:
    """Put into words why a name could not be looked at."""
    if error.errno == errno.ENAMETOOLONG:
        return TOO_LONG
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return "no longer a folder"
    return f"{UNREADABLE}: {(error.strerror or str(error)).lower()}"


def _too_long(path: str) -> str:
    """Say so where no program could open *path*: a folder can be deeper than a path is long."""
    long = len(path) * 4 >= _PATH_MAX and len(os.fsencode(path)) >= _PATH_MAX
    return TOO_LONG if long else ""


def _descend(root: Path, filters: Filters, top: Path, skipped: Skipped) -> Iterator[Folder]:
    """Go down depth first on a stack of our own: a tree can be deeper than Python's."""
    base = "" if top == root else os.fspath(top.relative_to(root)) + "/"
    stack: list[tuple[str, str]] = [(os.fspath(top), base)]
    while stack:
        path, prefix = stack.pop()
        # The root may be a symbolic link: its owner named it. Nothing below may be one, not even
        # by a folder that is swapped for a link while we come to it.
        listing = _Listing(path, prefix, filters, skipped, follow=prefix == "")
        folder = listing.read()
        if folder is not None:
            yield folder
        stack.extend(sorted(listing.deeper, reverse=True))


class _Listing:
    """The reading of one folder."""

    def __init__(
        self, path: str, prefix: str, filters: Filters, skipped: Skipped, *, follow: bool
    ) -> None:
        self.path = path
        self.prefix = prefix
        self.filters = filters
        self.skipped = skipped
        self.flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        self.files: list[Seen] = []
        self.deeper: list[tuple[str, str]] = []
        self.whole = True

    def read(self) -> Folder | None:
        """Read the folder; None where it cannot even be opened."""
        try:
            descriptor = os.open(self.path, self.flags)
        except OSError as error:
            self._report(self.path, error)
            return None
        try:
            inode = os.fstat(descriptor).st_ino
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self._take(entry)
        except OSError as error:
            self._report(self.path, error)
            self.whole = False
        finally:
            os.close(descriptor)
        self.files.sort(key=lambda seen: seen.file.path.name)
        return Folder(Path(self.path), inode, self.files, self.whole)

    def _take(self, entry: os.DirEntry[str]) -> None:
        name = entry.name
        path = f"{self.path}/{name}"
        try:
            if entry.is_dir(follow_symlinks=False):
                reason = self.filters.of_folder(name, self.prefix + name)
                if not reason:
                    self.deeper.append((path, f"{self.prefix}{name}/"))
            else:
                reason = self.filters.of_file(name, self.prefix + name)
                if not reason:
                    status = entry.stat(follow_symlinks=False)
                    reason = _kind(status.st_mode) or _too_long(path)
                    if not reason:
                        self.files.append(_seen(path, status))
        except OSError as error:
            self._report(path, error)
            self.whole = False
            return
        if reason:
            self.skipped(Path(path), reason)

    def _report(self, path: str, error: OSError) -> None:
        """Report what cannot be read; what has just gone is no news."""
        if not isinstance(error, FileNotFoundError):
            self.skipped(Path(path), _why(error))
