"""The file: it must be the one that settled, and nothing that is no file may hang or harm us."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from taggerd import files, settings
from taggerd.errors import (
    PhotoChanged,
    PhotoGone,
    PhotoUndecodable,
    PhotoUnreadable,
    TaggerdError,
)
from taggerd.imaging import open_photo, prepare, source
from taggerd.photo import Picture, Stamp


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A small photo."""
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (60, 40), "red").save(path)
    return path


def prepared(path: Path, stamp: Stamp | None = None) -> Picture:
    """Prepare *path*, seen with *stamp* or as it is now."""
    with open_photo(path) as file:
        return prepare(file, stamp or Stamp.of(path.lstat()), settings.Image())


def test_digest_and_stamp(photo: Path) -> None:
    """The digest is of the file's bytes, the stamp what `fstat` said."""
    expected = hashlib.blake2b(photo.read_bytes(), digest_size=32).hexdigest()
    picture = prepared(photo)
    assert picture.digest == expected
    assert picture.stamp == Stamp.of(photo.stat())


def test_gone(tmp_path: Path, photo: Path) -> None:
    """A file or its folder that is no longer there is gone, not broken."""
    stamp = Stamp.of(photo.lstat())
    for path in (tmp_path / "none.jpg", tmp_path / "none" / "a.jpg", photo / "a.jpg"):
        with pytest.raises(PhotoGone):
            prepared(path, stamp)


def test_changed_before_it_is_read(photo: Path) -> None:
    """Another size, time or inode than when it settled: it changed, and the message says how."""
    stamp = Stamp.of(photo.lstat())
    for other, words in (
        (stamp._replace(size=stamp.size - 5), f"{stamp.size} now"),
        (stamp._replace(mtime_ns=stamp.mtime_ns - 1), "written to"),
        (stamp._replace(inode=stamp.inode + 1), "replaced"),
    ):
        with pytest.raises(PhotoChanged, match=words):
            prepared(photo, other)


def test_changed_while_it_is_read(photo: Path) -> None:
    """The open file is looked at again after reading: what grew meanwhile has changed."""
    stamp = Stamp.of(photo.lstat())
    with open_photo(photo) as opened, opened.reader() as file:
        source.check_unchanged(file, stamp)
        with photo.open("ab") as writer:
            writer.write(b"more")
        with pytest.raises(PhotoChanged):
            source.check_unchanged(file, stamp)


@pytest.mark.parametrize("content", [b"", b"half of something"])
def test_a_change_explains_what_cannot_be_decoded(
    photo: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is rewritten while it is decoded has changed; it is not called damaged."""
    stamp = Stamp.of(photo.lstat())

    def rewritten(file: object) -> str:
        assert file
        photo.write_bytes(content)
        return "0" * 64

    monkeypatch.setattr(source, "digest", rewritten)
    with pytest.raises(PhotoChanged):
        prepared(photo, stamp)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")  # paths of sockets must be short
        finally:
            os.close(folder)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        Path.mkdir,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        _make_socket,
    ],
    ids=["pipe", "folder", "link", "loop", "socket"],
)
def test_no_regular_file(tmp_path: Path, make: object) -> None:
    """A pipe, folder, link or socket called .jpg is refused at once and does not hang."""
    path = tmp_path / "a.jpg"
    assert callable(make)
    make(path)
    with pytest.raises(PhotoUndecodable, match="not a regular file"):
        prepared(path)


def test_a_link_to_a_photo_is_not_followed(photo: Path) -> None:
    """Links may lead out of the import folder; what they lead to is found where it is."""
    link = photo.with_name("link.jpg")
    link.symlink_to(photo)
    with pytest.raises(PhotoUndecodable, match="not a regular file"):
        prepared(link, Stamp.of(photo.stat()))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device is no photo either."""
    monkeypatch.setattr(files, "_roots", [Path("/dev")])
    with pytest.raises(PhotoUndecodable, match="not a regular file"):
        prepared(Path("/dev/zero"))


def test_an_io_error_is_not_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that cannot be read: unreadable, to be tried again, with the system's words."""
    monkeypatch.setattr(files, "_roots", [Path("/proc/self")])
    path = Path("/proc/self/mem")  # a regular file whose first byte cannot be read
    with pytest.raises(PhotoUnreadable, match="Input/output error"):
        prepared(path)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, PhotoUnreadable),
        (errno.EPERM, PhotoUnreadable),
        (errno.EIO, PhotoUnreadable),
        (errno.ENOENT, PhotoGone),
        (errno.ESTALE, PhotoGone),
        (errno.ENXIO, PhotoUndecodable),
    ],
)
def test_faults(number: int, kind: type[TaggerdError]) -> None:
    """Each thing that the system may say has its error."""
    error = source.mapped(OSError(number, os.strerror(number)))
    assert type(error) is kind
    assert "\n" not in str(error)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: run as another user")
def test_permission(photo: Path) -> None:
    """A photo that may not be read is unreadable, and the message says what to check."""
    photo.chmod(0)
    with pytest.raises(PhotoUnreadable, match="permission"):
        prepared(photo)


def test_names_of_any_bytes(photo: Path) -> None:
    """A name that is not UTF-8, or has a newline in it, is a name."""
    for name in (b"\xff\xfe.jpg", b"a\nb.jpg", "Ünï 🏔.jpg".encode()):
        path = photo.with_name(os.fsdecode(name))
        path.write_bytes(photo.read_bytes())
        assert prepared(path).width == 60
