"""Which members of an archive are taken, under which names, and whether it may be unpacked at all.

Nothing is read from the disk or written here.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import time
import unicodedata
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import ArchiveError
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Container
    from pathlib import Path

    from taggerd import settings
    from taggerd.photo import Stamp

SCRATCH = ".taggerd-unpacking-"
"""How the name of the hidden folder begins that an archive is first unpacked into."""

NOT_TAKEN = "neither a photo nor an XMP sidecar"
HIDDEN = "hidden"
LINK = "a link, device or other special file"
ABSOLUTE = "has an absolute path"
OUTSIDE = "points outside the archive"
CONTROL = "has control characters in its name"
TOO_LONG = "has a name that is too long"

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
_HARMLESS_BYTES = 64 << 20
"""An archive that unpacks to less is no bomb, however well it is packed."""
_KNOWN_COMPRESSION = frozenset(
    {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
)


@dataclass(frozen=True, slots=True)
class UnpackRequest:
    """What is to be unpacked, and how."""

    archive: Path
    stamp: Stamp
    """As it settled."""
    settings: settings.Arrivals

    @property
    def scratch(self) -> Path:
        """The hidden folder that it is first unpacked into."""
        digest = hashlib.blake2b(os.fsencode(self.archive.name), digest_size=8).hexdigest()
        return self.archive.with_name(SCRATCH + digest)


class Member(NamedTuple):
    """One file that is extracted from an archive."""

    info: zipfile.ZipInfo
    path: PurePosixPath
    """Relative; of plain names only."""


def name_of(info: zipfile.ZipInfo) -> str:
    """Return a member's name as it was meant, with ``/`` between its parts.

    A flag says that it is UTF-8. Many programs write UTF-8 without the flag, so what is valid
    UTF-8 is read as such, and all else as cp437, as the format demands.
    """
    name = info.orig_filename
    if not info.flag_bits & _UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def member_of(info: zipfile.ZipInfo, extensions: Container[str]) -> Member | str:
    """Return the member to extract, or why *info* is left out; ``""`` for a folder.

    *extensions* are lower case without the dot.
    """
    name = name_of(info)
    if name.endswith("/"):
        return ""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    reason = _refusal(info, name, parts)
    if reason:
        return reason
    path = PurePosixPath(*parts)
    ending = path.suffix[1:].lower()
    return Member(info, path) if ending == "xmp" or ending in extensions else NOT_TAKEN


def _refusal(info: zipfile.ZipInfo, name: str, parts: list[str]) -> str:
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
    """Return when a member was modified, nanoseconds since the epoch; None if it does not say.

    Info-ZIP's extra field is preferred: the format's own is local time, to two seconds.
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


def select(
    archive: zipfile.ZipFile, request: UnpackRequest
) -> tuple[list[Member], list[tuple[str, str]]]:
    """Return the members to extract, and the names of the others with the reasons.

    Raises:
        ArchiveError: it has more members than it may have.
    """
    infos = archive.infolist()
    if len(infos) > request.settings.unpack_members:
        most = f"arrivals.unpack_members ({request.settings.unpack_members})"
        message = f"has {len(infos)} members, more than {most}"
        raise ArchiveError(message)
    taken: list[Member] = []
    left_out: list[tuple[str, str]] = []
    for info in infos:
        member = member_of(info, request.settings.image_extensions)
        if isinstance(member, Member):
            taken.append(member)
        elif member:
            left_out.append((printable(name_of(info)), member))
    return taken, left_out


def check(request: UnpackRequest, taken: list[Member]) -> None:
    """Refuse what is encrypted, compressed in an unknown way, or past the limits.

    Raises:
        ArchiveError: it is to be refused.
    """
    reason = _reason_to_refuse(request, taken)
    if reason:
        raise ArchiveError(reason)


def _reason_to_refuse(request: UnpackRequest, taken: list[Member]) -> str:
    limits, size = request.settings, request.stamp.size
    if any(member.info.flag_bits & ENCRYPTED for member in taken):
        return "is encrypted: unpack it yourself"
    methods = {member.info.compress_type for member in taken} - _KNOWN_COMPRESSION
    if methods:
        return f"uses an unknown compression method ({min(methods)}): unpack it yourself"
    total = sum(member.info.file_size for member in taken)
    if total > limits.unpack_gigabytes * 1e9:
        most = f"arrivals.unpack_gigabytes ({limits.unpack_gigabytes:g})"
        return f"unpacks to {total / 1e9:.1f} GB, more than {most}"
    if total > _HARMLESS_BYTES and total > limits.unpack_ratio * size:
        most = f"arrivals.unpack_ratio ({limits.unpack_ratio:g})"
        return f"unpacks to {total / max(size, 1):.0f} times its size, more than {most}: a bomb"
    if sum(member.info.compress_size for member in taken) > size:
        return "has members that overlap: a bomb"
    return ""


def identity_of(archive: zipfile.ZipFile) -> str:
    """Return a digest of its directory: names, sizes, checksums. 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for info in archive.infolist():
        about = (info.orig_filename, info.CRC, info.file_size, info.compress_size, info.date_time)
        digest.update(repr(about).encode())
    return digest.hexdigest()
