"""The walk: everything that is there, nothing that is not, and no way to make it hang or escape."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from taggerd import files
from taggerd.arrivals.filters import Filters
from taggerd.arrivals.walk import RootOffline, Skip, folders, walk
from taggerd.photo import Stamp


def names(root: Path, filters: Filters | None = None) -> list[str]:
    """Return what the walk takes, relative to *root*."""
    return [
        os.fspath(seen.file.path.relative_to(root)) for seen in walk(root, filters or Filters())
    ]


def test_everything_once_folder_by_folder(tmp_path: Path) -> None:
    """Every photo comes once, those of one folder together and by name, with its stamp."""
    for name in ("b.jpg", "a.jpg", "d/2.jpg", "d/1.cr3", "d/e/f/3.jpg", "c/4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 7)
    assert names(tmp_path) == ["a.jpg", "b.jpg", "c/4.jpg", "d/1.cr3", "d/2.jpg", "d/e/f/3.jpg"]
    assert names(tmp_path, Filters(recursive=False)) == ["a.jpg", "b.jpg"]
    for seen in walk(tmp_path, Filters()):
        status = seen.file.path.lstat()
        assert seen.file.stamp == Stamp.of(status)
        assert seen.file.stamp.size == 7
        assert seen.ctime_ns == status.st_ctime_ns


def test_odd_files_are_skipped_with_a_reason(tmp_path: Path) -> None:
    """Links, FIFOs and sockets named like photos are named, not opened and not followed."""
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.jpg").touch()
    (root / "true.jpg").touch()
    os.link(root / "true.jpg", root / "hard.jpg")
    (root / "link.jpg").symlink_to(root / "true.jpg")
    (root / "out").symlink_to(outside)
    (root / "sub" / "loop").symlink_to(root)
    os.mkfifo(root / "fifo.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.fspath(root / "socket.jpg"))
    skipped: dict[str, str] = {}
    taken = [
        seen.file.path.name
        for seen in walk(
            root, Filters(), skipped=lambda skip: skipped.update({skip.path.name: skip.reason})
        )
    ]
    assert taken == ["hard.jpg", "true.jpg"]
    assert skipped["link.jpg"] == "a symbolic link"
    assert "not a regular file" in skipped["fifo.jpg"]
    assert "not a regular file" in skipped["socket.jpg"]
    assert set(skipped) == {"link.jpg", "fifo.jpg", "socket.jpg", "out", "loop"}


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    """The owner named the link, so what it leads to is the root; paths stay as named."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").touch()
    (tmp_path / "root").symlink_to("real")
    files.work_below(tmp_path / "root")
    assert [s.file.path for s in walk(tmp_path / "root", Filters())] == [tmp_path / "root/a.jpg"]


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    """A name of any bytes comes back as the bytes it is."""
    name = b"caf\xe9 \n\xf0\x9f\x93\xb7.jpg"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    (seen,) = walk(tmp_path, Filters())
    assert os.fsencode(seen.file.path.name) == name


def test_unreadable_folder_does_not_stop_the_walk(tmp_path: Path) -> None:
    """A folder without permission is reported, and the rest is still found."""
    if os.geteuid() == 0:
        # Root reads everything: be nobody while walking.
        os.chmod(tmp_path, 0o755)  # noqa: PTH101, S103 - pytest makes it private
        for parent in tmp_path.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(0o755)
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "a.jpg").touch()
    (tmp_path / "closed").chmod(0)
    skipped: list[Skip] = []
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        found = [
            seen.file.path.name
            for seen in walk(
                tmp_path,
                Filters(),
                skipped=skipped.append,
            )
        ]
    finally:
        if was == 0:
            os.seteuid(0)
        (tmp_path / "closed").chmod(0o700)
    assert found == ["a.jpg"]
    closed = tmp_path / "closed"
    assert skipped == [Skip(closed, "cannot be read: permission denied", "unreadable")]


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_root_that_cannot_be_walked(tmp_path: Path, kind: str) -> None:
    """A missing root, or one that is no folder, is one clear line at once."""
    root = tmp_path / "photos"
    if kind == "file":
        root.touch()
    with pytest.raises(RootOffline, match=str(root)) as caught:
        walk(root, Filters())
    assert ("does not exist" if kind == "missing" else "is not a folder") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_path_longer_than_the_system_allows(tmp_path: Path) -> None:
    """A tree deeper than a path is long is named and does not end the walk."""
    (tmp_path / "zz.jpg").touch()
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for depth in range(25):
            os.mkdir("d" * 200, dir_fd=here)
            deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
            for name in (f"{depth}.jpg", "f" * 240 + ".jpg"):
                os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    skipped: list[Skip] = []
    found = [s.file.path for s in walk(tmp_path, Filters(), skipped=skipped.append)]
    assert len(found) > 15
    assert all(len(os.fsencode(path)) < 4096 for path in found)
    assert "too long" in {skip.kind for skip in skipped}


def test_one_folder_or_one_tree_of_a_root(tmp_path: Path) -> None:
    """A part of a root is read with the root's own rules for paths."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/1.jpg").touch()
    (tmp_path / "a/b/2.jpg").touch()
    filters = Filters(ignore_globs=["a/b/2.jpg"])
    top = tmp_path / "a"

    def files(*, deep: bool, filters: Filters) -> list[list[str]]:
        found = folders(tmp_path, filters, top=top, deep=deep)
        return [[seen.file.path.name for seen in folder.files] for folder in found]

    assert files(deep=True, filters=Filters()) == [["1.jpg"], ["2.jpg"]]
    assert files(deep=False, filters=Filters()) == [["1.jpg"]]
    assert files(deep=True, filters=filters) == [["1.jpg"], []]
