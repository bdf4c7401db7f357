"""What is at an import folder's path at the moment, and which file systems it lies on."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taggerd import files
from taggerd.arrivals.walk import offline_reason
from taggerd.photo import printable
from taggerd.settings.permissions import other_writers

if TYPE_CHECKING:
    from taggerd.arrivals.filters import Filters

MOUNTINFO = Path("/proc/self/mountinfo")

_OCTAL = re.compile(rb"\\([0-7]{3})")
_POLLED = frozenset(
    {
        "9p", "afs", "ceph", "cifs", "fuse", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "overlay", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs",
    }
)  # fmt: skip
"""Kinds on which another machine, or another layer, changes files without an inotify event."""


class Mount(NamedTuple):
    """One mounted file system."""

    number: str
    """Differs each time something is mounted."""
    point: Path
    kind: str
    """E.g. ``"ext4"``."""


def mounts_of(path: Path, mountinfo: bytes | None = None) -> tuple[Path, list[Mount]]:
    """Return the real path of *path*, the mount it lies on, and the mounts below it.

    *mountinfo* is the table to read, by default the kernel's own (proc(5)). Of several mounts on
    one point only the last, which hides the others, is returned.

    Raises:
        OSError: the kernel's table cannot be read.
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


class Probe(NamedTuple):
    """What an import folder's path shows at this moment."""

    offline: str = ""
    """Why it cannot be read; ``""`` if it can."""
    device: int = 0
    inode: int = 0
    empty: bool = False
    mounts: frozenset[Mount] = frozenset()
    """At the root and on folders below that are taken."""
    read_only: str = ""
    """Why nothing can be written there; ``""`` if it can, or if that is not known."""

    @classmethod
    def at(cls, path: Path, filters: Filters) -> Probe:
        """Look at the root's *path*. Blocks."""
        try:
            with files.listing(path) as (status, entries):
                empty = next(entries, None) is None
        except OSError as error:
            return cls(offline_reason(path, error))
        mounts, read_only = _mounts(path, filters), files.read_only_reason(path)
        return cls("", status.st_dev, status.st_ino, empty, mounts, read_only)

    def same_root(self, other: Probe | None) -> bool:
        """Say whether both saw the same folder, on the same file systems."""
        if other is None:
            return False
        return self._replace(empty=other.empty, read_only=other.read_only) == other

    def offline_since(self, last: Probe | None) -> str:
        """Return why the root is offline, given what the *last* good probe saw; ``""`` if not."""
        if last is not None and self.device != last.device and self.empty:
            # Rather a disk that was unmounted than a root whose photos were all deleted.
            return "another, empty folder is in its place: is its disk mounted?"
        return self.offline


def warning_about(root: Path) -> str:
    """Say what whoever runs taggerd should know about the import folder *root*. Blocks.

    That another user's link leads there, or what it means that others may write to it while taggerd
    runs as root. Empty where neither is so, or cannot be known now.
    """
    try:
        status = files.lstat(root)
    except OSError as error:
        return offline_reason(root, error) if error.errno == errno.ELOOP else ""
    if os.geteuid() != 0:
        return ""
    who = other_writers(status)
    if status.st_uid and who != "everybody":
        who = f"its owner (user {status.st_uid})"
    if not who:
        return ""
    return (
        f"taggerd runs as root, and {who} may write to {printable(root)}: their files are read and "
        "changed with root's rights, though no link leads out of that folder; run taggerd as a "
        "user that may do no more than they, as the units in systemd/ do"
    )


def _mounts(path: Path, filters: Filters) -> frozenset[Mount]:
    """Return the mount that *path* lies on and those on folders below it that are taken. Blocks.

    A card that is mounted below the root comes without any event.
    """
    try:
        real, mounts = mounts_of(path)
    except OSError:
        return frozenset()
    return frozenset(
        mount
        for mount in mounts
        if real.is_relative_to(mount.point) or not filters.verdict(mount.point, real, is_dir=True)
    )
