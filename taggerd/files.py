"""Files below the user's folders: the one module that opens, lists, writes and renames them.

Whoever may write to an import folder may exchange any folder in it for a link, at any instant.
Each system call looks a path up again, so between a check and its use it may come to lead to /etc.
Here every operation starts at a folder that the user named (a root), declared once by
:func:`work_below`, and the kernel refuses each link below it: ``openat2`` with
``RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`` (openat2(2), Linux 5.6), or one
``openat`` with ``O_NOFOLLOW`` per folder where there is no openat2. What is done to a file is done
through its descriptor, or by its name in the descriptor of its folder.

The root itself is opened again each time, as the user named it: a descriptor that is kept would
prevent a card from being unmounted. On the way to it links are followed that
lie in a folder where nobody else could have put them. Others are not, whoever made them: a user in
whose home the root lies could lead it anywhere.

Foreign libraries get a descriptor's bytes, never a path.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import shutil
import stat
from typing import TYPE_CHECKING, Any, NoReturn

from taggerd.photo import printable
from taggerd.settings.permissions import is_ours_alone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader, BufferedWriter
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ONLY_A_HANDLE = os.O_PATH | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY})
"""Network file systems, FAT and old kernels."""
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES, errno.EXDEV}
)
"""FAT and some network file systems."""

_roots: list[Path] = []
"""The longest first."""


def work_below(*folders: Path) -> None:
    """Let this process touch what lies below *folders*, besides those it was given before.

    A folder inside another is reached from the outer one, where nobody can exchange it for a link;
    only one that is a link already is a root of its own: whoever named it meant what it leads to.
    Blocks, if one lies in another.
    """
    for folder in sorted(set(folders) - set(_roots), key=lambda folder: len(folder.parts)):
        if not folder.is_absolute():
            message = f"{printable(folder)} is not absolute"
            raise ValueError(message)
        if not _is_within_reach(folder):
            _roots.append(folder)
    _roots.sort(key=lambda root: len(root.parts), reverse=True)


def declared() -> tuple[Path, ...]:
    """Return the folders that this process works below."""
    return tuple(_roots)


class NotRegular(OSError):
    """It is a link, a folder, a pipe, a socket or a device."""


class OpenFile:
    """A regular file that is open for reading, or a new one for writing; close it after use."""

    def __init__(self, descriptor: int, path: Path) -> None:
        """Own *descriptor*; *path* is what people and the file's kind know it by."""
        self.descriptor = descriptor
        self.path = path

    def stat(self) -> os.stat_result:
        """Return what the file is now."""
        return os.fstat(self.descriptor)

    def reader(self) -> BufferedReader:
        """Return a buffered reader at the file's start; closing it leaves the file open."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return open(self.descriptor, "rb", closefd=False)

    def writer(self) -> BufferedWriter:
        """Return a buffered writer at the file's start; closing it leaves the file open."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        return open(self.descriptor, "wb", closefd=False)

    def close(self) -> None:
        """Close it; closing it twice does nothing."""
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class OpenFolder(OpenFile):
    """A folder that is open: what is done in it is done there, wherever it has been moved to."""

    def make_folder(self, name: str, mode: int = 0o700) -> OpenFolder:
        """Make the folder *name* in it and open that.

        Raises:
            OSError: the system's reason; FileExistsError if the name is taken.
        """
        with self._naming(name):
            os.mkdir(name, mode, dir_fd=self.descriptor)
        return self.open_folder(name)

    def open_folder(self, name: str) -> OpenFolder:
        """Open the folder *name* in it.

        Raises:
            OSError: the system's reason.
        """
        with self._naming(name):
            descriptor = os.open(name, _FOLDER, dir_fd=self.descriptor)
        return OpenFolder(descriptor, self.path / name)

    def new_file(self, name: str) -> OpenFile:
        """Create the file *name* in it, readable and writable for its owner alone.

        Raises:
            OSError: the system's reason; FileExistsError if the name is taken.
        """
        with self._naming(name):
            descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=self.descriptor)
        return OpenFile(descriptor, self.path / name)

    def unlink(self, name: str) -> None:
        """Remove the file *name* in it.

        Raises:
            OSError: the system's reason.
        """
        with self._naming(name):
            os.unlink(name, dir_fd=self.descriptor)

    def folders(self) -> list[str]:
        """Return the names of the folders in it.

        Raises:
            OSError: the system's reason.
        """
        with os.scandir(self.descriptor) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]

    def clear(self) -> None:
        """Remove all that is in it; what is linked to stays.

        Raises:
            OSError: the system's reason; what was removed by then is gone.
        """
        with os.scandir(self.descriptor) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_folder in found:
            with self._naming(name):
                if is_folder:
                    shutil.rmtree(name, dir_fd=self.descriptor)
                else:
                    os.unlink(name, dir_fd=self.descriptor)

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        """Give errors of the block the whole path."""
        try:
            yield
        except OSError as error:
            raise _named(error, self.path / name) from None


# ── Files ────────────────────────────────────────────────────────────────────────────────────────


def open_file(path: Path) -> OpenFile:
    """Open the regular file *path* for reading. A pipe of that name does not block.

    Raises:
        NotRegular: it is something else, or a link leads to it.
        OSError: the system's reason.
    """
    try:
        file = OpenFile(_opened(path, _FILE), path)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.ENODEV}:
            raise NotRegular(error.errno, "not a regular file", str(path)) from error
        raise
    if not stat.S_ISREG(file.stat().st_mode):
        file.close()
        raise NotRegular(errno.EINVAL, "not a regular file", str(path))
    return file


def open_growing(path: Path, mode: int, *, create: bool = True) -> OpenFile:
    """Open the regular file *path* for reading and appending; *mode*, less the umask, if it is new.

    Raises:
        NotRegular: it is something else, a link, or has a second name that others may have made.
        OSError: the system's reason.
    """
    flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0)
    # Not _FILE: O_RDONLY is 0, and the rest is what keeps links and pipes out.
    file = OpenFile(_opened(path, flags | _FILE, mode if create else 0), path)
    status, why = file.stat(), 0
    with open_folder(path.parent) as folder:
        if status.st_nlink > 1 and not is_ours_alone(folder.stat()):
            why = errno.EMLINK
    if not stat.S_ISREG(status.st_mode):
        why = errno.EINVAL
    if why:
        file.close()
        raise NotRegular(why, "not a regular file of that one name", str(path))
    return file


def new_file(path: Path, mode: int = 0o600) -> OpenFile:
    """Create *path*, which must not exist, by default readable and writable for its owner alone.

    Raises:
        OSError: the system's reason; FileExistsError for any file or link of that name.
    """
    return OpenFile(_opened(path, _NEW_FILE, mode), path)


def lstat(path: Path | str) -> os.stat_result:
    """Return what *path* is now; a link is not followed, unless *path* is a root.

    Raises:
        OSError: it is gone, or a folder above it is a link or cannot be searched.
    """
    descriptor = _opened(path, _ONLY_A_HANDLE | os.O_NOFOLLOW)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def exists(path: Path | str) -> bool:
    """Say whether anything is called *path*, even a broken link; False if that is not known."""
    try:
        lstat(path)
    except OSError:
        return False
    return True


def may_write(path: Path) -> bool:
    """Say whether the permissions let this process write to *path*."""
    with _in_folder(path) as (folder, name):
        return os.access(name, os.W_OK, dir_fd=folder)


# ── Folders ──────────────────────────────────────────────────────────────────────────────────────


def open_folder(path: Path) -> OpenFolder:
    """Open the folder *path*.

    Raises:
        OSError: the system's reason.
    """
    return OpenFolder(_opened(path, _FOLDER), path)


@contextlib.contextmanager
def listing(path: Path | str) -> Iterator[tuple[os.stat_result, Iterator[os.DirEntry[str]]]]:
    """Give what the folder *path* is and what is in it; entries are asked within the block.

    Raises:
        OSError: the system's reason.
    """
    descriptor = _opened(path, _FOLDER)
    try:
        with os.scandir(descriptor) as entries:
            yield os.fstat(descriptor), entries
    finally:
        os.close(descriptor)


def names_in(path: Path) -> list[str]:
    """Return the names in the folder *path*, in no order.

    Raises:
        OSError: the system's reason.
    """
    with open_folder(path) as folder:
        return os.listdir(folder.descriptor)  # noqa: PTH208 - a descriptor


def make_folder(path: Path, mode: int = 0o700) -> OpenFolder:
    """Make the folder *path*, which must not exist, and open it.

    What is open may be another folder, if somebody may rename things beside it.

    Raises:
        OSError: the system's reason.
    """
    with open_folder(path.parent) as folder:
        return folder.make_folder(path.name, mode)


def remove_empty_folder(path: Path) -> None:
    """Remove the folder *path*, which must be empty.

    Raises:
        OSError: the system's reason.
    """
    with _in_folder(path) as (folder, name):
        os.rmdir(name, dir_fd=folder)


def fsync_folder(path: Path) -> None:
    """Sync the folder *path*, so that what was created, renamed or removed outlives a power cut.

    Also for folders of our own, e.g. the state's, which lie below no root.

    Raises:
        OSError: it cannot be opened (a folder may be writable but not readable) or synced (some
            network file systems cannot), or its disk fails.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(path, flags) if _root_of(path) is None else _opened(path, _FOLDER)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def statvfs(path: Path) -> os.statvfs_result:
    """Return what the file system of *path* says about itself.

    Raises:
        OSError: the system's reason.
    """
    descriptor = _opened(path, _ONLY_A_HANDLE)
    try:
        return os.fstatvfs(descriptor)
    finally:
        os.close(descriptor)


# ── Names ────────────────────────────────────────────────────────────────────────────────────────


def rename(path: Path, new: Path) -> None:
    """Give *path* the name *new*; a file of that name is replaced.

    Raises:
        OSError: the system's reason.
    """
    with _in_folders(path, new) as (folder, other):
        os.rename(path.name, new.name, src_dir_fd=folder, dst_dir_fd=other)


def rename_new(path: Path, new: Path) -> bool:
    """Give *path* the name *new*, which must be free, in one step (renameat2(2)).

    Returns:
        False where the system cannot: on some file systems, and from one to another.

    Raises:
        OSError: the system's reason; FileExistsError if the name is taken.
    """
    return _renamed(path, new, _RENAME_NOREPLACE, _NO_EXCHANGE | {errno.EXDEV})


def exchange(path: Path, other: Path) -> bool:
    """Exchange two names in one step; return False where the system cannot (renameat2(2)).

    Raises:
        OSError: the system's reason.
    """
    return _renamed(path, other, _RENAME_EXCHANGE, _NO_EXCHANGE)


def _renamed(path: Path, other: Path, how: int, unable: frozenset[int]) -> bool:
    """Call renameat2; return False where it fails with one of the errors *unable*."""
    libc = _libc()
    if not hasattr(libc, "renameat2"):
        return False
    with _in_folders(path, other) as (folder, second):
        names = os.fsencode(path.name), os.fsencode(other.name)
        if libc.renameat2(folder, names[0], second, names[1], how) == 0:
            return True
        number = ctypes.get_errno()
    if number in unable:
        return False
    raise OSError(number, os.strerror(number), str(other))


def link(path: Path, new: Path) -> bool:
    """Give the file *path* the second name *new*, which must be free.

    Returns:
        False where the file system has no hard links and the name is free.

    Raises:
        OSError: the system's reason; FileExistsError if the name is taken.
    """
    with _in_folders(path, new) as (folder, other):
        try:
            os.link(path.name, new.name, src_dir_fd=folder, dst_dir_fd=other, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            return True
    if exists(new):
        raise FileExistsError(errno.EEXIST, "exists", str(new))
    return False


def unlink(path: Path, *, missing_ok: bool = False) -> None:
    """Remove the file *path*.

    Raises:
        OSError: the system's reason; with *missing_ok* not that it is gone.
    """
    with contextlib.suppress(*([FileNotFoundError] if missing_ok else [])), _in_folder(path) as at:
        folder, name = at
        os.unlink(name, dir_fd=folder)


# ── What the disk and the owner are ──────────────────────────────────────────────────────────────


def read_only_reason(folder: Path) -> str:
    """Say that nothing can be written into *folder* because its file system is read-only.

    Empty if it is not, or if that is not known. One file system gives one text.
    """
    try:
        if not statvfs(folder).f_flag & os.ST_RDONLY:
            return ""
        mount = folder
        while mount != mount.parent and _same_read_only(mount, mount.parent):
            mount = mount.parent
        if _is_writable_elsewhere(folder.stat().st_dev):
            root = next((r for r in declared() if folder.is_relative_to(r)), folder)
            return (
                f"{printable(root)} is read-only to taggerd alone, by the sandbox of its service: "
                "no sidecars can be written there; add "
                f"ReadWritePaths={printable(root)} to the unit, "
                "or a folder above it that always stays, and restart it"
            )
    except OSError:
        return ""
    return f"{printable(mount)} is read-only: no sidecars can be written there; remount it"


def _is_writable_elsewhere(device: int) -> bool:
    """Say whether the file system with number *device* is writable, and only a mount of it is not.

    The last field of a mount in the kernel's table (proc(5)) has the options of its file system.

    Raises:
        OSError: the kernel's table cannot be read.
    """
    with open("/proc/self/mountinfo", "rb") as kernel:  # noqa: PTH123 - nothing else needs pathlib here
        table = kernel.read()
    number = f"{os.major(device)}:{os.minor(device)}".encode()
    for line in table.splitlines():
        mount, found, about = line.partition(b" - ")
        if found and mount.split(b" ")[2:3] == [number]:
            return b"rw" in about.split(b" ")[-1].split(b",")
    return False


def _same_read_only(folder: Path, parent: Path) -> bool:
    """Say whether *parent* lies on the same file system as *folder*, and is read-only too."""
    # By path, for the mount may begin above the root; nothing but its number is asked.
    same = folder.stat().st_dev == parent.stat().st_dev
    return same and bool(os.statvfs(parent).f_flag & os.ST_RDONLY)


def copy_attributes(descriptor: int, made: int) -> None:
    """Copy extended attributes (file managers' tags, access lists), as far as is permitted."""
    for name, value in attributes(descriptor).items():
        with contextlib.suppress(OSError):
            os.setxattr(made, name, value)


def attributes(descriptor: int) -> dict[str, bytes]:
    """Return the extended attributes of an open file that can be read."""
    found: dict[str, bytes] = {}
    with contextlib.suppress(OSError):
        for name in os.listxattr(descriptor):
            with contextlib.suppress(OSError):
                found[name] = os.getxattr(descriptor, name)
    return found


def copy_owner(descriptor: int, like: os.stat_result, mode: int) -> None:
    """Give an open file the owner and group of *like*, as far as is permitted, and *mode*.

    Never by path: chown(2) and chmod(2) follow links, and would give away what one leads to.
    """
    made = os.fstat(descriptor)
    if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
        try:
            os.fchown(descriptor, like.st_uid, like.st_gid)
        except OSError:
            with contextlib.suppress(OSError):  # not root, but perhaps a member of the group
                os.fchown(descriptor, -1, like.st_gid)
    with contextlib.suppress(OSError):  # a file system without modes
        os.fchmod(descriptor, mode)


# ── The lookup ───────────────────────────────────────────────────────────────────────────────────


def _root_of(path: Path | str) -> Path | None:
    """Return the root that *path* is, or lies below: of several, the innermost."""
    text = os.fspath(path)
    for root in _roots:
        above = os.fspath(root)
        if text.startswith(above) and text[len(above.rstrip("/")) :][:1] in {"", "/"}:
            return root
    return None


def _is_within_reach(folder: Path) -> bool:
    """Say whether *folder* lies below a root, with no link in between."""
    if _root_of(folder) is None:
        return False
    try:
        os.close(_opened(folder, _ONLY_A_HANDLE | os.O_DIRECTORY | os.O_NOFOLLOW))
    except OSError as error:
        return error.errno not in {errno.ELOOP, errno.ENOTDIR}
    return True


def _opened(path: Path | str, flags: int, mode: int = 0) -> int:
    """Open *path* from its root, through no link; the root itself may be one.

    Raises:
        PermissionError: it lies below no declared root, or its name has ``..`` in it.
        OSError: the system's reason; ELOOP where a folder is a link.
    """
    root, text = _root_of(path), os.fspath(path)
    if root is None or ("/.." in text and ".." in text.split("/")):
        raise PermissionError(errno.EPERM, "lies in no folder that was named", text)
    below = text[len(os.fspath(root)) :].lstrip("/")
    if not below:
        return _opened_root(root, flags & ~os.O_NOFOLLOW)
    top = _opened_root(root, _ONLY_A_HANDLE | os.O_DIRECTORY)
    try:
        if _has_openat2():
            return _by_openat2(top, below, flags, mode, _BENEATH | _NO_LINKS_AT_ALL)
        return _step_by_step(top, below, flags, mode)
    except OSError as error:
        raise _named(error, path) from None
    finally:
        os.close(top)


def _opened_root(root: Path, flags: int) -> int:
    """Open *root* itself; links on the way to it are followed if they can be trusted.

    Raises:
        OSError: the system's reason; ELOOP where a link cannot be trusted.
    """
    if _has_openat2():
        try:
            return _by_openat2(_WORKING_DIRECTORY, os.fspath(root), flags, 0, _NO_LINKS_AT_ALL)
        except OSError as error:
            if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
                raise _named(error, root) from None
    at = os.open("/", _ONLY_A_HANDLE | os.O_DIRECTORY)
    left, links = list(reversed(root.parts[1:])), 0
    try:
        while left:
            found = os.open(left.pop(), _ONLY_A_HANDLE | os.O_NOFOLLOW, dir_fd=at)
            if stat.S_ISLNK(os.fstat(found).st_mode):
                links += 1
                try:
                    target = _target_of(found, at, links)
                finally:
                    os.close(found)
                left += reversed([part for part in target.split("/") if part])
                found = os.open("/" if target.startswith("/") else ".", _ONLY_A_HANDLE, dir_fd=at)
            os.close(at)
            at = found
        return os.open(".", flags, dir_fd=at)
    except OSError as error:
        raise _named(error, root) from None
    finally:
        os.close(at)


def _target_of(link: int, folder: int, links: int) -> str:
    """Return what an open *link* in an open *folder* leads to, if it can be trusted.

    Raises:
        OSError: ELOOP: it cannot, or it is one of too many.
    """
    # Whoever made it: in a folder of theirs others can bring any link, also root's, under its name.
    if links > _MOST_LINKS or not is_ours_alone(os.fstat(folder)):
        message = "another user's link leads there: name the folder itself"
        raise OSError(errno.ELOOP, message)
    return os.readlink("", dir_fd=link)


@contextlib.contextmanager
def _in_folder(path: Path) -> Iterator[tuple[int, str]]:
    """Give a handle of the folder that *path* lies in, and its name there.

    Raises:
        PermissionError: *path* is a root: its own name is not ours to change.
        OSError: as :func:`_opened`, and whatever the block raises, with *path* in it.
    """
    if path in _roots and _root_of(path.parent) is None:
        raise PermissionError(errno.EPERM, "is the folder that was named", str(path))
    folder = _opened(path.parent, _ONLY_A_HANDLE | os.O_DIRECTORY)
    try:
        yield folder, path.name
    except OSError as error:
        raise _named(error, path) from None
    finally:
        os.close(folder)


@contextlib.contextmanager
def _in_folders(path: Path, other: Path) -> Iterator[tuple[int, int]]:
    """Give handles of the folders of two names: the very same one if both are in one folder."""
    with contextlib.ExitStack() as stack:
        folder, _ = stack.enter_context(_in_folder(path))
        if other.parent == path.parent and other not in _roots:
            yield folder, folder
        else:
            yield folder, stack.enter_context(_in_folder(other))[0]


def _named(error: OSError, path: Path | str) -> OSError:
    """Return *error* with the whole *path* in it: the kernel was given only a part."""
    if isinstance(error.filename, str) and os.path.isabs(error.filename):  # noqa: PTH117 - a string
        return error
    return type(error)(error.errno, error.strerror, str(path))


class _OpenHow(ctypes.Structure):
    """``struct open_how`` of openat2(2)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@functools.cache
def _how(flags: int, mode: int, resolve: int) -> _OpenHow:
    return _OpenHow(flags, mode, resolve)  # made once: a walk opens a million folders


_OPENAT2 = 437
"""The number of the system call, the same on every architecture but Alpha."""
_WORKING_DIRECTORY = -100
"""AT_FDCWD; an absolute path does not begin there."""
_NO_LINKS_AT_ALL = 0x02 | 0x04
"""RESOLVE_NO_MAGICLINKS and RESOLVE_NO_SYMLINKS."""
_BENEATH = 0x08
"""RESOLVE_BENEATH."""
_MOST_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""


_TRIES = 100
"""Renames that may come between, each within a microsecond."""


def _by_openat2(top: int, below: str, flags: int, mode: int, resolve: int) -> int:
    path = os.fsencode(below)
    if b"\0" in path:
        _raise(errno.EINVAL)
    how = _how(flags, mode, resolve)
    number = errno.EAGAIN
    for _ in range(_TRIES):
        descriptor: int = _syscall()(_OPENAT2, top, path, how, ctypes.sizeof(how))
        if descriptor >= 0:
            return descriptor
        # A rename somewhere on the machine came between; the kernel asks for another try. It says
        # the same where a lease is held, fcntl(2), and then would for as long as its owner likes.
        if (number := ctypes.get_errno()) not in {errno.EAGAIN, errno.EINTR}:
            break
    raise OSError(number, os.strerror(number))


def _step_by_step(top: int, below: str, flags: int, mode: int) -> int:
    """Open folder after folder: what openat2 does, for kernels and containers without it."""
    *folders, name = below.split("/")
    folder = os.dup(top)
    try:
        for part in folders:
            deeper = os.open(part, _ONLY_A_HANDLE | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=folder)
    finally:
        os.close(folder)


@functools.cache
def _has_openat2() -> bool:
    """Say whether openat2 works: some containers refuse system calls that they do not know."""
    how = _how(_ONLY_A_HANDLE, 0, 0)
    descriptor = _syscall()(_OPENAT2, _WORKING_DIRECTORY, b"/", how, ctypes.sizeof(how))
    if descriptor < 0:
        return False
    os.close(descriptor)
    return True


@functools.cache
def _libc() -> Any:  # noqa: ANN401 - ctypes libraries have no type of their own members
    return ctypes.CDLL(None, use_errno=True)


@functools.cache
def _syscall() -> Any:  # noqa: ANN401 - as above
    """Return syscall(2) with the arguments of openat2."""
    syscall = _libc().syscall
    syscall.restype = ctypes.c_long
    syscall.argtypes = (
        *(ctypes.c_long, ctypes.c_int, ctypes.c_char_p),
        *(ctypes.POINTER(_OpenHow), ctypes.c_size_t),
    )
    return syscall


def _raise(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))
