"""Which folders a service may write to."""

from __future__ import annotations

from pathlib import Path

import pytest

from taggerd.units.folders import may_be_remade, writable_folder

NO_MOUNTS = {Path("/")}


def opened(root: Path, mounts: set[Path] = NO_MOUNTS, home: Path = Path("/nowhere")) -> Path:
    """Return the folder that is opened where *mounts* are mounted."""
    return writable_folder(root, home, lambda path: path in mounts)


def test_the_folder_above_is_opened(tmp_path: Path) -> None:
    """An import folder that is removed and made again is another one: only its name stays."""
    root = tmp_path / "photos" / "import"
    root.mkdir(parents=True)
    assert opened(root) == root.parent


def test_of_a_missing_folder_the_nearest_that_exists_is_opened(tmp_path: Path) -> None:
    """A folder that comes later is writable then."""
    assert opened(tmp_path / "2026" / "import") == tmp_path


def test_a_home_is_never_opened_as_a_whole(tmp_path: Path) -> None:
    """~/.ssh and ~/.bashrc are nothing that a tagger of photos writes to."""
    root = tmp_path / "alice" / "import"
    root.mkdir(parents=True)
    assert opened(root, home=root.parent) == root
    assert not may_be_remade(root, root.parent)


@pytest.mark.parametrize("root", ["/import", "/home/import", "/usr/import", "/var/lib/import"])
def test_the_system_is_never_opened_as_a_whole(root: str) -> None:
    """An import folder right below one of the system's is opened alone."""
    assert opened(Path(root)) == Path(root)


def test_a_mount_point_is_opened_itself(tmp_path: Path) -> None:
    """What is mounted there comes and goes; the folder above has nothing to do with it."""
    root = tmp_path / "card"
    root.mkdir()
    assert opened(root, {root}) == root


def test_nothing_is_bound_below_a_mount_point(tmp_path: Path) -> None:
    """A bind mount below would keep a card mounted in the service after it was taken out."""
    root = tmp_path / "card" / "DCIM" / "100CANON"
    root.mkdir(parents=True)
    assert opened(root, {tmp_path / "card"}) == tmp_path / "card"


def test_below_a_mounted_home_the_folder_above_is_opened(tmp_path: Path) -> None:
    """A home on a partition of its own is not opened either; it stays mounted anyway."""
    home = tmp_path / "alice"
    root = home / "Pictures" / "import"
    root.mkdir(parents=True)
    assert opened(root, {home}, home) == home / "Pictures"


def test_a_link_is_followed(tmp_path: Path) -> None:
    """What a link leads to is opened by systemd, so the folder above that has to be."""
    (tmp_path / "disk" / "photos" / "import").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "import").symlink_to(tmp_path / "disk" / "photos" / "import")
    assert opened(tmp_path / "home" / "import") == tmp_path / "disk" / "photos"
