"""Which members of an archive are taken, and under which names. Nothing is read or written here."""

from __future__ import annotations

import os
import re
import stat
import struct
import time
import unicodedata
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Container

NOT_TAKEN = "neither a photo nor an XMP sidecar"
HIDDEN = "hidden"
LINK = "a link, device or other special file"
ABSOLUTE = "has an absolute path"
OUTSIDE = "leads out of the archive"
CONTROL = "has control characters in its name"
TOO_LONG = "has too long a name"

ENCRYPTED = 0x1
"""Bit of the general purpose flag (APPNOTE.TXT 4.4.4)."""
_UTF8 = 0x800
_UNIX_TIMES = 0x5455
"""Extra field of Info-ZIP: times in seconds since the epoch, so without a guess at the zone."""
_DRIVE = re.compile(r"[A-Za-z]:")
_MACHINE_FOLDERS = frozenset({"__MACOSX", "@eaDir"})
_LONGEST_NAME = 240
"""Bytes: file systems end at 255, and a sidecar's name is longer than its photo's."""
_LONGEST_PATH = 1024
_DEEPEST = 32


class Member(NamedTuple):
    """One file that is taken out of an archive."""

    info: zipfile.ZipInfo
    path: PurePosixPath
    """Relative; of plain names only."""


def name_of(info: zipfile.ZipInfo) -> str:
    """Return a member's name as it was meant, with ``/`` between its parts.

    The archive says when it is UTF-8. Where it does not say so, many programs wrote UTF-8 all the
    same: what is valid UTF-8 is taken for it, all else for cp437 as the format demands.
    """
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def judged(info: zipfile.ZipInfo, extensions: Container[str]) -> Member | str:
    """Return the member to take, or in words why *info* is left out.

    *extensions* are lower case without the dot. A folder is left out without a word.
    """
    name = name_of(info)
    if name.endswith("/"):
        return ""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    reason = _refused(info, name, parts)
    if reason:
        return reason
    path = PurePosixPath(*parts)
    ending = path.suffix[1:].lower()
    return Member(info, path) if ending == "xmp" or ending in extensions else NOT_TAKEN


def _refused(info: zipfile.ZipInfo, name: str, parts: list[str]) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    long = any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts)
    verdicts = {
        LINK: kind and not stat.S_ISREG(kind),
        ABSOLUTE: name.startswith("/") or _DRIVE.match(name),
        OUTSIDE: not parts or ".." in parts,
        CONTROL: any(unicodedata.category(character) == "Cc" for character in name),
        HIDDEN: any(part.startswith(".") or part in _MACHINE_FOLDERS for part in parts),
        TOO_LONG: long or len(parts) > _DEEPEST or len(os.fsencode(name)) > _LONGEST_PATH,
    }
    return next((reason for reason, refused in verdicts.items() if refused), "")


def modified_ns(info: zipfile.ZipInfo) -> int | None:
    """Return when a member was modified, nanoseconds since the epoch; None if it is not said.

    Info-ZIP's own field first; the format's is local time, to two seconds.
    """
    seconds = _unix_time(info.extra)
    if seconds is None:
        try:
            seconds = int(time.mktime((*info.date_time, 0, 0, -1)))
        except (ValueError, OverflowError):
            return None
    return seconds * 1_000_000_000


def _unix_time(extra: bytes) -> int | None:
    while len(extra) >= 4:  # noqa: PLR2004 - id and length
        kind, length = struct.unpack_from("<HH", extra)
        field = extra[4 : 4 + length]
        if kind == _UNIX_TIMES and len(field) >= 5 and field[0] & 1:  # noqa: PLR2004 - flags, mtime
            seconds: int = struct.unpack_from("<i", field, 1)[0]
            return seconds
        extra = extra[4 + length :]
    return None
