"""The files of one scan: ``--output-jsonl PATH`` and ``--summary PATH``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from taggerd.errors import ConfigurationError
from taggerd.journal.day import Day
from taggerd.journal.dayfile import encoded, read_lines
from taggerd.journal.disk import failing_as_storage, replace, replacing
from taggerd.journal.summary import markdown, page
from taggerd.photo import extension, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PAGES = frozenset({"html", "htm"})
_TEXTS = frozenset({"md", "markdown"})


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
            with path.open("wb") as file:
                file.writelines(map(encoded, lines))
        else:
            earlier = path.read_bytes() if path.exists() else b""
            if earlier and not earlier.endswith(b"\n"):
                earlier += b"\n"
            path.resolve().parent.mkdir(parents=True, exist_ok=True)
            with replacing(path.resolve()) as file:
                file.write(earlier)
                file.writelines(map(encoded, lines))


def write_summary(path: Path, lines: Iterable[str], *, title: str, thumbnails: Path) -> None:
    """Write the summary of one scan to *path*: Markdown or HTML, as its extension says.

    Args:
        path: ``.md``, ``.markdown``, ``.html`` or ``.htm``.
        lines: the records as JSON.
        title: the summary's title; a day ``YYYY-MM-DD`` is spelled out.
        thumbnails: the journal's thumbnails folder.

    Raises:
        ConfigurationError: *path* cannot be written, or has another extension.
        StorageError: disk full or failing; *path* is as it was.
    """
    check_scan_file(path, summary=True)
    target = path.resolve()
    day = Day(title, read_lines(lines))
    html = extension(path) in _PAGES
    text = page(day, target.parent, thumbnails.resolve()) if html else markdown(day)
    with failing_as_storage("write", path):
        target.parent.mkdir(parents=True, exist_ok=True)
    replace(target, text.encode())


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file()
