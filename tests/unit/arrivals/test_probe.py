"""What is at a root's path, and which kind of file system it lies on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.racing import give, needs_root

from taggerd import files
from taggerd.arrivals.filters import Filters
from taggerd.arrivals.probe import Probe, mounts_of, must_be_polled, warning_about

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


def test_a_root_is_the_same_whatever_is_in_it(tmp_path: Path) -> None:
    """Files that come and go do not make it another root; a folder made in its place does."""
    root = tmp_path / "import"
    root.mkdir()
    empty = Probe.at(root, Filters())
    (root / "a.jpg").touch()
    filled = Probe.at(root, Filters())
    assert (empty.empty, filled.empty) == (True, False)
    assert filled.same_root(empty)
    assert not filled.same_root(None)
    root.rename(tmp_path / "away")
    gone = Probe.at(root, Filters())
    assert "does not exist" in gone.offline_since(filled)
    assert not gone.same_root(filled)
    root.mkdir()
    assert not Probe.at(root, Filters()).same_root(filled)


@pytest.mark.parametrize(
    ("owner", "mode", "who"),
    [(0, 0o755, ""), (0, 0o757, "everybody"), (12, 0o755, "its owner (user 12)")],
)
def test_root_is_told_who_else_may_write(tmp_path: Path, owner: int, mode: int, who: str) -> None:
    """Whoever runs taggerd as root learns what that means, in plain words, and what to do."""
    if os.geteuid() != 0:
        assert warning_about(tmp_path) == ""
        pytest.skip("only root is told")
    os.chown(tmp_path, owner, 0)
    tmp_path.chmod(mode)
    warning = warning_about(tmp_path)
    assert bool(warning) == bool(who)
    if who:
        assert f"runs as root, and {who} may write to {tmp_path}" in warning
    assert warning_about(tmp_path / "gone") == ""


def test_another_user_s_link_is_told_of(tmp_path: Path) -> None:
    """A root that is never read because of one does not fail in silence."""
    needs_root()
    home, root = tmp_path / "home", tmp_path / "home" / "import"
    home.mkdir()
    root.symlink_to(tmp_path)
    give(home, root)
    files.work_below(root)
    assert "another user's link leads there: name the folder itself" in warning_about(root)


def test_an_empty_folder_on_another_disk_is_an_unmounted_root() -> None:
    """Its photos are not gone; the same disk emptied, or another disk with files, is served."""
    mounted = Probe(device=2, inode=2)
    below = Probe(device=1, inode=7, empty=True)
    assert "is its disk mounted?" in below.offline_since(mounted)
    assert below.offline_since(None) == ""
    assert below._replace(device=2).offline_since(mounted) == ""
    assert below._replace(empty=False).offline_since(mounted) == ""
