"""What kind of file system a path lies on, by ``/proc/self/mountinfo``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

MOUNTINFO = Path("/proc/self/mountinfo")

_OCTAL = re.compile(rb"\\([0-7]{3})")
_POLLED = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "fuse", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "overlay", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs",
    }
)  # fmt: skip
"""Kinds on which another machine, or another layer, changes files without an event here."""


class Mount(NamedTuple):
    """One mounted file system."""

    number: str
    """Another one each time that something is mounted."""
    point: Path
    kind: str
    """E.g. ``"ext4"``."""


def mounts_of(path: Path, mountinfo: bytes | None = None) -> tuple[Path, list[Mount]]:
    """Return where *path* really is, the mount it lies on, and those below it.

    *mountinfo* is the table to read, by default the kernel's own (proc(5)). Of several mounts on
    one point the last one is on top, and the only one returned.

    Raises:
        OSError: where the kernel's table cannot be read.

    """
    table = MOUNTINFO.read_bytes() if mountinfo is None else mountinfo
    real = os.fsencode(os.path.realpath(path))
    holder: tuple[bytes, Mount] | None = None
    below: dict[bytes, Mount] = {}
    for line in table.splitlines():
        mount, found, about = line.partition(b" - ")
        fields = mount.split(b" ")
        if not found or len(fields) < 5:  # noqa: PLR2004 - proc(5): the fifth is the mount point
            continue
        point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), fields[4]).rstrip(b"/")
        kind = about.split(b" ", 1)[0].decode("ascii", "replace")
        one = Mount(fields[0].decode("ascii", "replace"), Path(os.fsdecode(point or b"/")), kind)
        if real == point or real.startswith(point + b"/"):
            if holder is None or len(point) >= len(holder[0]):
                holder = point, one
        elif point.startswith(real + b"/"):
            below[point] = one
    return Path(os.fsdecode(real)), [*([holder[1]] if holder else []), *below.values()]


def must_be_polled(kind: str) -> bool:
    """Say whether files can change on this *kind* of file system without an inotify event."""
    return kind in _POLLED or kind.startswith("fuse.")
