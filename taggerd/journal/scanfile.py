"""The files of one scan: ``--output-jsonl PATH`` and ``--summary PATH``."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from taggerd import files
from taggerd.errors import ConfigurationError
from taggerd.journal.dayfile import encoded
from taggerd.journal.disk import failing_as_storage, replace, replacing
from taggerd.journal.summary import markdown
from taggerd.photo import extension, printable
from taggerd.settings.permissions import is_ours_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from taggerd.journal.day import Day

    Pages = Callable[[Day, Path], Iterable[tuple[str, Iterable[bytes]]]]

_PAGES = frozenset({"html", "htm"})
_TEXTS = frozenset({"md", "markdown"})
_MOST_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""


def check_scan_file(path: Path, *, summary: bool = False) -> None:
    """Find out before hours of work whether *path* can be written afterwards.

    Args:
        path: a file, existing or not.
        summary: it will hold a summary, in the format that its extension names.

    Raises:
        ConfigurationError: one line that says why not.
    """
    if summary and extension(path) not in _PAGES | _TEXTS:
        reason = "its name must end in .md or .html"
    elif path.is_dir():
        reason = "it is a folder; name a file in it"
    elif not (existing := _existing(path)).is_dir() and existing != path.resolve():
        reason = f"{printable(existing)} is not a folder"
    elif not os.access(path if _is_device(path) else _existing(path.parent), os.W_OK):
        reason = "permission denied or read-only"
    else:
        return
    message = f"cannot write {printable(path)}: {reason}"
    raise ConfigurationError(message)


def _existing(path: Path) -> Path:
    """Return *path* without links or, where it does not exist, the nearest above that does."""
    resolved = path.resolve()
    return next(at for at in (resolved, *resolved.parents) if at.exists() or at == at.parent)


def write_jsonl(path: Path, lines: Iterable[str]) -> None:
    """Add the records of one scan to *path*, all or none; those of earlier scans stay.

    A device or pipe (``/dev/stdout``) is written to as it is.

    Raises:
        ConfigurationError: *path* cannot be written.
        StorageError: disk full or failing; *path* is as it was.
    """
    check_scan_file(path)
    with failing_as_storage("write", path):
        if _is_device(path):
            # /dev/stdout is a link, in a folder of root's.
            follow = 0 if is_ours_alone(path.parent.stat()) else os.O_NOFOLLOW
            device = os.open(path, os.O_WRONLY | os.O_CLOEXEC | follow)
            with os.fdopen(device, "wb") as file:
                file.writelines(map(encoded, lines))
        else:
            target = _target(path)
            earlier = b""
            with suppress(FileNotFoundError), files.open_file(target) as old, old.reader() as held:
                earlier = held.read()
            if earlier and not earlier.endswith(b"\n"):
                earlier += b"\n"
            with replacing(target) as file:
                file.write(earlier)
                file.writelines(map(encoded, lines))


def write_summary(path: Path, day: Day, page: Pages) -> None:
    """Write the summary of one scan to *path*: Markdown or HTML, as its extension says.

    Args:
        path: ``.md``, ``.markdown``, ``.html`` or ``.htm``.
        day: the records.
        page: makes names and contents of the files of an HTML page, which lie beside each other.

    Raises:
        ConfigurationError: *path* cannot be written, or has another extension.
        StorageError: disk full or failing; *path* is as it was.
    """
    check_scan_file(path, summary=True)
    with failing_as_storage("write", path):
        target = _target(path)
    if extension(path) not in _PAGES:
        replace(target, markdown(day).encode())
        return
    for name, content in page(day, target):
        with failing_as_storage("write", path), replacing(target.with_name(name)) as file:
            file.writelines(content)


def _target(path: Path) -> Path:
    """Return what *path* leads to, in a folder that exists and that this process works below.

    Raises:
        OSError: the folder cannot be made, or another user may have put a link there: it would say
            which file is replaced.
    """
    path = path.absolute()
    for _ in range(_MOST_LINKS):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.work_below(path.parent)
        with files.open_folder(path.parent) as folder:
            try:
                leads_to = os.readlink(path.name, dir_fd=folder.descriptor)
            except OSError:  # no link
                return path
            if not is_ours_alone(folder.stat()):
                message = "another user's link leads there: name the file itself"
                raise OSError(errno.ELOOP, message, str(path))
        path = path.parent / leads_to
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()
