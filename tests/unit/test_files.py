"""Files below the user's folders are reached through no link, whatever is exchanged meanwhile."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest
from support.racing import NOBODY, give, needs_root

from taggerd import files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.parametrize("lookup", ["openat2", "step by step"], indirect=True)


@pytest.fixture
def lookup(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Look paths up by openat2, or as on a kernel without it."""
    if request.param == "step by step":
        monkeypatch.setattr(files, "_has_openat2", lambda: False)
    elif not files._has_openat2():
        pytest.skip("this kernel has no openat2 (Linux 5.6), or this container refuses it")
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with a photo in it, beside a folder that is none of ours."""
    folder = tmp_path / "outer" / "root"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.jpg").write_bytes(b"photo")
    (tmp_path / "outer" / "secret").mkdir()
    (tmp_path / "outer" / "secret" / "a.jpg").write_bytes(b"secret")
    files.work_below(folder)
    return folder


OPERATIONS: dict[str, Callable[[Path], object]] = {
    "open": lambda folder: files.open_file(folder / "a.jpg"),
    "create": lambda folder: files.new_file(folder / "new"),
    "lstat": lambda folder: files.lstat(folder / "a.jpg"),
    "list": files.names_in,
    "sync": files.fsync_folder,
    "open a folder": lambda folder: files.open_folder(folder / "inner"),
    "make a folder": lambda folder: files.make_folder(folder / "new"),
    "remove a folder": lambda folder: files.remove_empty_folder(folder / "inner"),
    "rename": lambda folder: files.rename(folder / "a.jpg", folder / "b.jpg"),
    "exchange": lambda folder: files.exchange(folder / "a.jpg", folder / "c.jpg"),
    "link": lambda folder: files.link(folder / "a.jpg", folder / "b.jpg"),
    "unlink": lambda folder: files.unlink(folder / "a.jpg"),
    "statvfs": lambda folder: files.statvfs(folder / "a.jpg"),
    "may write": lambda folder: files.may_write(folder / "a.jpg"),
}


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_operation_follows_a_folder_that_is_a_link(root: Path, name: str) -> None:
    """A folder that was exchanged for a link stops every operation, and nothing there changes."""
    outside = root.parent / "secret"
    (outside / "inner").mkdir()
    (outside / "c.jpg").write_bytes(b"other")
    before = sorted((path, path.lstat().st_ino) for path in outside.rglob("*"))
    (root / "sub").rename(root / "away")
    (root / "sub").symlink_to(outside)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which number it is differs
        OPERATIONS[name](root / "sub")
    assert caught.value.errno in {errno.ELOOP, errno.ENOTDIR}
    assert sorted((path, path.lstat().st_ino) for path in outside.rglob("*")) == before


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_works_without_links(root: Path, name: str) -> None:
    """The same operations succeed where no link is in the way, and in the root itself."""
    for folder in (root / "sub", root):
        (folder / "inner").mkdir()
        (folder / "a.jpg").write_bytes(b"photo")
        (folder / "c.jpg").write_bytes(b"other")
        result = OPERATIONS[name](folder)
        if isinstance(result, files.OpenFile):
            result.close()


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("kind", ["..", "elsewhere", "beside"])
def test_a_path_outside_is_refused(root: Path, kind: str) -> None:
    """A path that lies below no root, or leaves it by its dots, is not opened."""
    path = {
        "..": root / ".." / "secret" / "a.jpg",
        "elsewhere": type(root)("/etc/hostname"),
        "beside": type(root)("/etc") / root.name,
    }[kind]
    with pytest.raises(PermissionError):
        files.open_file(path)


@pytest.mark.usefixtures("lookup")
def test_the_root_itself_may_be_a_link(root: Path) -> None:
    """Who named a link as an import folder meant what it leads to, wherever it leads next."""
    link = root.parent / "link"
    link.symlink_to(root)
    files.work_below(link)
    with files.open_file(link / "sub" / "a.jpg") as file, file.reader() as reader:
        assert reader.read() == b"photo"
    assert sorted(files.names_in(link)) == ["sub"]
    assert files.lstat(link).st_ino == root.stat().st_ino


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("where", ["the root", "above the root"])
def test_a_link_of_another_user_leads_to_no_root(root: Path, where: str) -> None:
    """Whoever owns the folder that a root lies in cannot make it another one."""
    needs_root()
    home = root.parent
    files._roots.clear()
    files.work_below(root)
    assert files.exists(root / "sub" / "a.jpg")
    link, target = (root, home / "secret") if where == "the root" else (home, home.parent / "other")
    (home.parent / "other" / "root" / "sub").mkdir(parents=True)
    link.rename(link.with_name("away"))
    link.symlink_to(target if where == "above the root" else link.with_name("secret"))
    give(link, link.parent)
    for operation in (files.lstat, files.names_in, files.statvfs, files.open_folder):
        with pytest.raises(OSError, match="another user's link") as caught:
            operation(root)
        assert caught.value.errno == errno.ELOOP
    link.unlink()  # nor by one of our own, which they may have brought there
    link.symlink_to(link.with_name("away"))
    assert not files.exists(root / "sub" / "a.jpg")
    os.chown(link.parent, 0, 0)
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    assert files.exists(root / "sub" / "a.jpg"), "nobody else could have put it there"


@pytest.mark.usefixtures("lookup")
def test_links_that_lead_in_a_circle_to_a_root_end(root: Path) -> None:
    """As many are followed as the kernel follows."""
    for name, target in (("one", "two"), ("two", "one")):
        (root.parent / name).symlink_to(target)
    files.work_below(root.parent / "one")
    with pytest.raises(OSError, match="link") as caught:
        files.names_in(root.parent / "one")
    assert caught.value.errno == errno.ELOOP


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("target", ["root", "../outer/./root/", "{}/root", "chain/../root"])
def test_a_root_is_reached_along_any_form_of_link(root: Path, target: str) -> None:
    """Relative, absolute, with dots, through other links: as the kernel does."""
    outer = root.parent
    (outer / "chain").symlink_to(outer / "secret")
    (outer / "link").symlink_to(target.format(outer))
    files._roots.clear()
    files.work_below(outer / "link" / "sub")
    assert files.names_in(outer / "link" / "sub") == ["a.jpg"]
    with files.open_file(outer / "link" / "sub" / "a.jpg") as file, file.reader() as reader:
        assert reader.read() == b"photo"


@pytest.mark.usefixtures("lookup")
def test_a_folder_named_inside_a_root_cannot_become_a_link(root: Path) -> None:
    """It is reached from the outer root: whoever may write there leads nobody elsewhere."""
    files.work_below(root / "sub")
    assert files.exists(root / "sub" / "a.jpg")
    (root / "sub").rename(root / "away")
    (root / "sub").symlink_to(root.parent / "secret")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - which number it is differs
        files.open_file(root / "sub" / "a.jpg")
    assert caught.value.errno in {errno.ELOOP, errno.ENOTDIR}


@pytest.mark.usefixtures("lookup")
@pytest.mark.parametrize("kind", ["fifo", "socket", "link", "folder", "device"])
def test_only_regular_files_are_opened(root: Path, kind: str) -> None:
    """A pipe does not block, a link is not followed, a device is not read."""
    path = root / "sub" / "x"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as end:
            end.bind(str(path))
    elif kind == "link":
        path.symlink_to("a.jpg")
    elif kind == "folder":
        path.mkdir()
    elif os.geteuid() == 0:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))
    else:
        pytest.skip("only root makes devices")
    with pytest.raises(files.NotRegular):
        files.open_file(path)


@pytest.mark.usefixtures("lookup")
def test_errors_name_the_whole_path(root: Path) -> None:
    """A message names the file as people know it, not its last part alone."""
    gone = root / "sub" / "gone.jpg"
    for operation in (files.open_file, files.lstat, files.unlink):
        with pytest.raises(FileNotFoundError) as caught:
            operation(gone)
        assert caught.value.filename == str(gone)


@pytest.mark.usefixtures("lookup")
def test_no_descriptor_is_left_open(root: Path) -> None:
    """A service that runs for months runs out of no descriptors, whatever fails."""
    (root / "sub" / "link").symlink_to("a.jpg")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone are counted
    for _ in range(10):
        for path in (root / "sub" / "a.jpg", root / "sub" / "link", root / "gone" / "b"):
            for operation in (files.open_file, files.lstat, files.statvfs, files.exists):
                try:
                    result = operation(path)
                except OSError:
                    continue
                if isinstance(result, files.OpenFile):
                    result.close()
    # Fewer: a server of an earlier test has closed a connection meanwhile.
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 - as above
