"""Which kind of file system a path lies on."""

from __future__ import annotations

from pathlib import Path

import pytest

from taggerd.arrivals.probe import mounts_of, must_be_polled

TABLE = rb"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
36 22 0:32 / /mnt/nas rw,relatime shared:17 master:3 - nfs4 nas:/photos rw,vers=4.2
37 22 0:33 / /mnt/nas/local\040disk rw - xfs /dev/sdb1 rw
38 22 0:34 / /mnt/card rw - ext4 /dev/sdc1 rw
39 22 0:35 / /mnt/card rw - exfat /dev/sdc1 rw
40 22 0:36 / /mnt/phone rw - fuse.jmtpfs jmtpfs rw
a torn line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/nowhere/photos", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/2026/a", "nfs4"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/nas/local disk/x", "xfs"),
        ("/mnt/card/DCIM", "exfat"),
        ("/mnt/phone/x", "fuse.jmtpfs"),
    ],
)
def test_the_longest_mount_point_and_the_topmost_mount_decide(path: str, kind: str) -> None:
    """The nearest mount above a path tells its kind; of two on one point, the later."""
    _, (mount, *_) = mounts_of(Path(path), TABLE)
    assert mount.kind == kind


def test_the_kernel_s_own_table() -> None:
    """The real table can be read."""
    _, (mount, *_) = mounts_of(Path("/proc"))
    assert mount.kind == "proc"


def test_the_mounts_below_a_path() -> None:
    """Mounts below are told too, the topmost of each point, and no neighbour's."""
    _, mounts = mounts_of(Path("/mnt/nas"), TABLE)
    assert [(str(m.point), m.kind) for m in mounts] == [
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/local disk", "xfs"),
    ]
    _, mounts = mounts_of(Path("/mnt"), TABLE)
    assert {m.number for m in mounts} == {"22", "36", "37", "39", "40"}


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "virtiofs", "overlay"]
)
def test_kinds_that_are_polled(kind: str) -> None:
    """Where others change files unseen, inotify is no use."""
    assert must_be_polled(kind)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "xfs", "zfs", "tmpfs", "fuseblk", "exfat", ""])
def test_kinds_that_are_watched(kind: str) -> None:
    """A local disk is watched, NTFS by ntfs-3g (fuseblk) among them."""
    assert not must_be_polled(kind)
