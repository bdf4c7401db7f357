"""Walks everything below a root, folder by folder; no file is opened."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from taggerd import files
from taggerd.arrivals.filters import SIDECAR
from taggerd.errors import ConfigurationError
from taggerd.photo import PhotoFile, Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from taggerd.arrivals.filters import Filters

    Skipped: TypeAlias = Callable[["Skip"], None]

TOO_LONG = "its path is too long for this system"
_PATH_MAX = 4096
"""Bytes, with the closing zero: the longest path the kernel accepts."""
_KIND = 0o170000
"""The bits of a mode that say what kind of file it is."""
_REGULAR = stat.S_IFREG
_NAME_MAX = 255
"""Bytes: the longest name that Linux accepts."""

SkipKind: TypeAlias = Literal["", "sidecar", "unreadable", "too long"]
"""Kinds of skipped files that callers treat differently."""
_KINDS: dict[str, SkipKind] = {SIDECAR: "sidecar", TOO_LONG: "too long"}


class RootOffline(ConfigurationError):
    """The import folder cannot be read."""


class Skip(NamedTuple):
    """A file or folder that is not taken, and why."""

    path: Path
    reason: str
    kind: SkipKind = ""
    named: bool = False
    """The user named this very file."""


class Seen(NamedTuple):
    """A file that is taken, as the walk saw it."""

    file: PhotoFile
    ctime_ns: int
    """Nanoseconds since the epoch: the kernel's own, so `cp -p` cannot make it older."""


Row: TypeAlias = "tuple[bytes, int, int, int, int]"
"""A file's name, size, mtime_ns, inode and device: a walk compares a million of them."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of the walk."""

    path: Path
    inode: int
    rows: list[Row]
    """The photos directly in it."""
    ctimes: list[int]
    """Their ctimes, nanoseconds since the epoch."""

    @property
    def files(self) -> list[Seen]:
        """The photos directly in it, by name.

        Made on demand: most folders hold no news, and nobody asks for their files.
        """
        return [
            Seen(PhotoFile(self.path / os.fsdecode(name), Stamp(*stamp)), ctime)
            for (name, *stamp), ctime in sorted(zip(self.rows, self.ctimes, strict=True))
        ]


def walk(root: Path, filters: Filters, *, skipped: Skipped | None = None) -> Iterator[Seen]:
    """Return the photos below *root*, folder by folder.

    Symbolic links are never followed and never taken, hard links are files of their own.
    *skipped* is called for every name that is left out. A folder that cannot be read is reported
    the same way and does not stop the walk.

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
        with files.listing(root):
            pass
    except OSError as error:
        raise RootOffline(offline_reason(root, error)) from error
    listings = _descend(root, filters, top or root, skipped or _ignore)
    return listings if deep else islice(listings, 1)


def offline_reason(root: Path, error: OSError) -> str:
    """Say in one line why *root* cannot be read, and what to do about it."""
    shown = printable(root)
    if isinstance(error, FileNotFoundError):
        return f"{shown} does not exist: create it, mount it or name another"
    if isinstance(error, NotADirectoryError):
        return f"{shown} is not a folder: an import folder is needed"
    if isinstance(error, PermissionError):
        return (
            f"the import folder {shown} cannot be read: "
            "its user or group must give taggerd read and search permission"
        )
    return f"the import folder {shown} cannot be read: {error.strerror or error}"


def see(path: Path | str) -> Seen | str:
    """Return what one file is now, or the reason why it is not taken.

    Raises:
        OSError: it is gone or cannot be read.
    """
    status = files.lstat(path)
    seen = Seen(PhotoFile(Path(path), Stamp.of(status)), status.st_ctime_ns)
    return _not_regular(status.st_mode) or seen


def _ignore(_skip: Skip) -> None:
    """Do nothing: nobody asked for what is skipped."""


def _not_regular(mode: int) -> str:
    """Return ``""`` for a regular file, else what it is."""
    if mode & _KIND == _REGULAR:
        return ""
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a folder"
    return "not a regular file (FIFO, socket or device)"


def _skip_of(path: str, error: OSError) -> Skip:
    """Say why *path* could not be read."""
    if error.errno == errno.ENAMETOOLONG:
        return Skip(Path(path), TOO_LONG, "too long")
    if error.errno in {errno.ELOOP, errno.ENOTDIR}:
        return Skip(Path(path), "no longer a folder")
    reason = f"cannot be read: {(error.strerror or str(error)).lower()}"
    return Skip(Path(path), reason, "unreadable")


def _descend(root: Path, filters: Filters, top: Path, skipped: Skipped) -> Iterator[Folder]:
    """Go down depth first on a stack of our own: a tree can be deeper than Python's."""
    base = "" if top == root else os.fspath(top.relative_to(root)) + "/"
    stack: list[tuple[str, str]] = [(os.fspath(top), base)]
    while stack:
        path, prefix = stack.pop()
        listing = _Listing(path, prefix, filters, skipped)
        folder = listing.read()
        if folder is not None:
            yield folder
        stack.extend(sorted(listing.deeper, reverse=True))


class _Listing:
    """The reading of one folder."""

    def __init__(self, path: str, prefix: str, filters: Filters, skipped: Skipped) -> None:
        self.path = path
        self.prefix = prefix
        self.filters = filters
        self.skipped = skipped
        # Paths are measured only where a name could take them past the limit.
        self.near_limit = len(os.fsencode(path)) + 1 + _NAME_MAX >= _PATH_MAX
        self.rows: list[Row] = []
        self.ctimes: list[int] = []
        self.deeper: list[tuple[str, str]] = []

    def read(self) -> Folder | None:
        """Read the folder; None where it cannot even be opened."""
        if self.near_limit and len(os.fsencode(self.path)) >= _PATH_MAX:
            # It could be read step by step, but not watched, and it would count as forgotten.
            self.skipped(Skip(Path(self.path), TOO_LONG, "too long"))
            return None
        inode = None
        try:
            with files.listing(self.path) as (status, entries):
                inode = status.st_ino
                self._take_all(entries)
        except OSError as error:
            self._report(self.path, error)
        return None if inode is None else Folder(Path(self.path), inode, self.rows, self.ctimes)

    def _take_all(self, entries: Iterable[os.DirEntry[str]]) -> None:
        """Take the entries.

        This runs once for every file on the disk, so it makes no object it can do without.
        """
        endings, near_limit = self.filters.plain_endings, self.near_limit
        take, take_ctime = self.rows.append, self.ctimes.append
        for entry in entries:
            name = entry.name
            try:
                if name[-4:] in endings and name[0] not in ".~":
                    is_now = entry.stat(follow_symlinks=False)
                    if is_now.st_mode & _KIND == _REGULAR and not near_limit:  # nearly all are
                        take(
                            (
                                name.encode("utf-8", "surrogateescape"),
                                is_now.st_size,
                                is_now.st_mtime_ns,
                                is_now.st_ino,
                                is_now.st_dev,
                            )
                        )
                        take_ctime(is_now.st_ctime_ns)
                        continue
                reason = self._take(entry, name)
            except OSError as error:
                self._report(f"{self.path}/{name}", error)
                continue
            if reason:
                self.skipped(Skip(Path(f"{self.path}/{name}"), reason, _KINDS.get(reason, "")))

    def _take(self, entry: os.DirEntry[str], name: str) -> str:
        """Take what is not plainly a photo; return why it is not taken. May raise OSError."""
        if entry.is_dir(follow_symlinks=False):
            return self._take_folder(name)
        if reason := self.filters.of_file(name, self.prefix + name):
            return reason
        is_now = entry.stat(follow_symlinks=False)
        reason = _not_regular(is_now.st_mode)
        if self.near_limit and not reason:
            reason = self._too_long(name)
        if not reason:
            raw = name.encode("utf-8", "surrogateescape")
            stamp = is_now.st_size, is_now.st_mtime_ns, is_now.st_ino, is_now.st_dev
            self.rows.append((raw, *stamp))
            self.ctimes.append(is_now.st_ctime_ns)
        return reason

    def _take_folder(self, name: str) -> str:
        reason = self.filters.of_folder(name, self.prefix + name)
        if not reason:
            self.deeper.append((f"{self.path}/{name}", f"{self.prefix}{name}/"))
        return reason

    def _too_long(self, name: str) -> str:
        """Return why no program could open *name*: a folder can be deeper than a path is long."""
        return TOO_LONG if len(os.fsencode(f"{self.path}/{name}")) >= _PATH_MAX else ""

    def _report(self, path: str, error: OSError) -> None:
        """Report what cannot be read; what has just gone is no news."""
        if not isinstance(error, FileNotFoundError):
            self.skipped(_skip_of(path, error))
