"""What kind of file system a path lies on, by ``/proc/self/mountinfo``."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

_OCTAL = re.compile(rb"\\([0-7]{3})")
_POLLED = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "fuse", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "overlay", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs",
    }
)  # fmt: skip
"""Kinds on which another machine, or another layer, changes files without an event here."""


def kind_of_file_system(path: Path, mountinfo: bytes | None = None) -> str:
    """Return the kind of file system *path* lies on, e.g. ``"ext4"``; ``""`` if it is not told.

    *mountinfo* is the table to read, by default the kernel's own (proc(5)). Of several mounts on
    one point the last one is on top.

    Raises:
        OSError: where the kernel's table cannot be read.

    """
    table = MOUNTINFO.read_bytes() if mountinfo is None else mountinfo
    real = os.fsencode(os.path.realpath(path))
    longest, kind = -1, ""
    for line in table.splitlines():
        mount, found, about = line.partition(b" - ")
        fields = mount.split(b" ")
        if not found or len(fields) < 5:  # noqa: PLR2004 - proc(5): the fifth is the mount point
            continue
        point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), fields[4]).rstrip(b"/")
        if len(point) >= longest and (real == point or real.startswith(point + b"/")):
            longest, kind = len(point), about.split(b" ", 1)[0].decode("ascii", "replace")
    return kind


def must_be_polled(kind: str) -> bool:
    """Say whether files can change on this *kind* of file system without an inotify event."""
    return kind in _POLLED or kind.startswith("fuse.")
