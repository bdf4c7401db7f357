"""An archive that is to be unpacked: what of it is taken, and whether it may be unpacked at all."""

from __future__ import annotations

import hashlib
import os
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taggerd.arrivals import members
from taggerd.errors import ArchiveError
from taggerd.photo import printable

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.photo import Stamp

SCRATCH = ".taggerd-unpacking-"
"""How the hidden folder begins that an archive is unpacked into first."""
_HARMLESS_BYTES = 64 << 20
"""An archive that unpacks to less is no bomb, however well it is packed."""
_KNOWN_COMPRESSION = frozenset(
    {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one archive may be."""

    members: int
    total_bytes: int
    """Of what is taken, unpacked."""
    ratio: float
    """Unpacked to packed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be unpacked, and how."""

    archive: Path
    stamp: Stamp
    """As it settled."""
    extensions: frozenset[str]
    """Of photos: lower case, no dot."""
    limits: Limits

    @property
    def scratch(self) -> Path:
        """The hidden folder that it is unpacked into first."""
        digest = hashlib.blake2b(os.fsencode(self.archive.name), digest_size=8).hexdigest()
        return self.archive.with_name(SCRATCH + digest)


def sorted_out(
    archive: zipfile.ZipFile, order: Order
) -> tuple[list[members.Member], list[tuple[str, str]]]:
    """Return the members that are taken, and the names and reasons of the others."""
    if len(archive.infolist()) > order.limits.members:
        message = (
            f"has {len(archive.infolist())} members, more than arrivals.unpack_members "
            f"({order.limits.members})"
        )
        raise ArchiveError(message)
    taken: list[members.Member] = []
    left_out: list[tuple[str, str]] = []
    for info in archive.infolist():
        verdict = members.judged(info, order.extensions)
        if isinstance(verdict, members.Member):
            taken.append(verdict)
        elif verdict:
            left_out.append((printable(members.name_of(info)), verdict))
    return taken, left_out


def check(order: Order, taken: list[members.Member]) -> None:
    """Refuse what is encrypted, packed in an unknown way, or past the limits."""
    if any(member.info.flag_bits & members.ENCRYPTED for member in taken):
        message = "is encrypted: unpack it yourself"
        raise ArchiveError(message)
    unknown = [m for m in taken if m.info.compress_type not in _KNOWN_COMPRESSION]
    if unknown:
        message = (
            f"is compressed in a way that cannot be read ({unknown[0].info.compress_type}): "
            "unpack it yourself"
        )
        raise ArchiveError(message)
    total = sum(member.info.file_size for member in taken)
    if total > order.limits.total_bytes:
        message = (
            f"unpacks to {total / 1e9:.1f} GB, more than arrivals.unpack_gigabytes "
            f"({order.limits.total_bytes / 1e9:g})"
        )
        raise ArchiveError(message)
    if total > _HARMLESS_BYTES and total > order.limits.ratio * order.stamp.size:
        message = (
            f"unpacks to {total / max(order.stamp.size, 1):.0f} times its size, more than "
            f"arrivals.unpack_ratio ({order.limits.ratio:g}): taken for a bomb"
        )
        raise ArchiveError(message)
    packed = sum(member.info.compress_size for member in taken)
    if packed > order.stamp.size:
        message = "has members that overlap: taken for a bomb"
        raise ArchiveError(message)


def identity_of(archive: zipfile.ZipFile) -> str:
    """Return a digest of its directory: names, sizes, checksums. 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    for info in archive.infolist():
        about = (info.orig_filename, info.CRC, info.file_size, info.compress_size, info.date_time)
        digest.update(repr(about).encode())
    return digest.hexdigest()
