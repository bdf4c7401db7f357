"""Writing sidecars on disk: whole or not at all, and never over somebody else's words."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from support.embedded import inspect, write

from taggerd.errors import SidecarChanged, StorageError
from taggerd.metadata import Options, atomic
from taggerd.photo import Photo, Provenance, Tags

if TYPE_CHECKING:
    from pathlib import Path

PhotoOf = Callable[..., Photo]
Make = Callable[..., bytes]
Read = Callable[[bytes, str], list[str]]


@pytest.fixture
def photo(tmp_path: Path, photo_of: PhotoOf) -> Photo:
    """A JPEG alone in a folder."""
    return photo_of(tmp_path / "a.jpg")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_sidecar(photo: Photo, tags: Tags, provenance: Provenance, texts: Read) -> None:
    """It is made once, says so, carries the photo's mode without execute bits, and is whole."""
    photo.primary.path.chmod(0o750)
    (made,) = write(photo, tags, provenance, Options())
    data = made.path.read_bytes()
    assert (made.path.name, made.written, made.created, made.error) == ("a.jpg.xmp", True, True, "")
    assert made.digest == hashlib.blake2b(data, digest_size=32).hexdigest()
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o640
    assert texts(data, "dc:subject") == ["dog", "beach", "car park"]
    assert _names(photo.folder) == ["a.jpg", "a.jpg.xmp"]
    assert inspect(photo, Options()).tagged == provenance.digest


def test_the_same_tags_twice_do_not_touch_the_disk(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """The second pass leaves even the modification time as it was."""
    (made,) = write(photo, tags, provenance, Options())
    before = made.path.stat()
    (again,) = write(photo, tags, provenance, Options(backup_originals=True))
    after = made.path.stat()
    assert (again.written, again.created, again.digest) == (False, False, made.digest)
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    assert _names(photo.folder) == ["a.jpg", "a.jpg.xmp"]


def test_an_existing_sidecar_keeps_its_mode_and_attributes(
    photo: Photo, tags: Tags, provenance: Provenance, sidecar: Make
) -> None:
    """Mode and extended attributes are the file's, not ours to set."""
    path = photo.folder / "a.jpg.xmp"
    path.write_bytes(sidecar())
    path.chmod(0o604)
    try:
        os.setxattr(path, "user.tag", b"red")
    except OSError:
        pytest.skip("no extended attributes here: set TMPDIR to a disk that has them")
    (done,) = write(photo, tags, provenance, Options())
    assert done.written
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert os.getxattr(path, "user.tag") == b"red"


def test_backups(photo: Photo, tags: Tags, provenance: Provenance, sidecar: Make) -> None:
    """The old bytes are kept beside it, once a change; a name that is taken is not written over."""
    path = photo.folder / "a.jpg.xmp"
    path.write_bytes(sidecar())
    (first,) = write(photo, tags, provenance, Options(backup_originals=True))
    assert first.backup == path.with_name("a.jpg.xmp.orig-20250102T030405")
    assert first.backup.read_bytes() == sidecar()
    between = path.read_bytes()
    other = replace(tags, caption="Another")
    (second,) = write(photo, other, provenance, Options(backup_originals=True))
    assert second.backup == path.with_name("a.jpg.xmp.orig-20250102T030405-1")
    assert second.backup.read_bytes() == between
    assert first.backup.read_bytes() == sidecar()


@pytest.mark.parametrize("data", [b"", b"<rdf:RDF", b"\0" * 100])
def test_a_damaged_sidecar_is_left_and_the_other_written(
    tmp_path: Path,
    photo_of: PhotoOf,
    tags: Tags,
    provenance: Provenance,
    sidecar: Make,
    data: bytes,
) -> None:
    """One that is refused stays byte for byte and says why; its neighbour is written."""
    photo = photo_of(tmp_path / "a.CR3")
    bad, good = tmp_path / "a.CR3.xmp", tmp_path / "a.xmp"
    bad.write_bytes(data)
    good.write_bytes(sidecar())
    refused, written = write(photo, tags, provenance, Options(backup_originals=True))
    assert (refused.path, refused.written, bad.read_bytes()) == (bad, False, data)
    assert str(bad) in refused.error
    assert "\n" not in refused.error
    assert "taggerd retry" in refused.error
    assert (written.path, written.written, written.error) == (good, True, "")
    assert inspect(photo, Options()).tagged == ""


def test_links_and_folders_are_refused(
    photo: Photo, tags: Tags, provenance: Provenance, sidecar: Make
) -> None:
    """A symbolic link may lead to something shared or precious: nothing is written through it."""
    target = photo.folder / "precious"
    target.write_bytes(sidecar())
    path = photo.folder / "a.jpg.xmp"
    path.symlink_to(target)
    (refused,) = write(photo, tags, provenance, Options())
    assert "symbolic link" in refused.error
    assert path.is_symlink()
    assert target.read_bytes() == sidecar()
    path.unlink()
    path.mkdir()
    (refused,) = write(photo, tags, provenance, Options())
    assert "not a plain file" in refused.error


def test_a_read_only_sidecar_stays(
    photo: Photo, tags: Tags, provenance: Provenance, sidecar: Make
) -> None:
    """Somebody made it read-only: a rename would get round that, and is not done."""
    path = photo.folder / "a.jpg.xmp"
    path.write_bytes(sidecar())
    path.chmod(0o444)
    (kept,) = write(photo, tags, provenance, Options())
    assert "read-only" in kept.error
    assert path.read_bytes() == sidecar()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder: run as another user")
def test_a_read_only_folder(photo: Photo, tags: Tags, provenance: Provenance) -> None:
    """It is the sidecar's error, not the photo's and not a crash."""
    photo.folder.chmod(0o555)
    try:
        (kept,) = write(photo, tags, provenance, Options())
    finally:
        photo.folder.chmod(0o755)
    assert "cannot be written" in kept.error


def test_a_name_too_long_is_an_error_of_the_sidecar(
    tmp_path: Path, photo_of: PhotoOf, tags: Tags, provenance: Provenance
) -> None:
    """``NAME.jpg`` fits, ``NAME.jpg.xmp`` does not; and one that just fits is written."""
    fits, too_long = photo_of(tmp_path / ("n" * 247 + ".jpg")), tmp_path / ("n" * 249 + ".jpg")
    (made,) = write(fits, tags, provenance, Options())
    assert made.written
    (failed,) = write(photo_of(too_long), tags, provenance, Options())
    assert "too long" in failed.error


def test_a_photo_that_is_gone_gets_no_sidecar(
    photo: Photo, tags: Tags, provenance: Provenance
) -> None:
    """No orphan is made."""
    photo.primary.path.unlink()
    (failed,) = write(photo, tags, provenance, Options())
    assert "gone" in failed.error
    assert _names(photo.folder) == []


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_loses_nothing(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    sidecar: Make,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    *,
    existing: bool,
) -> None:
    """Work must pause: StorageError; the old bytes stay and no temporary file is left."""
    path = photo.folder / "a.jpg.xmp"
    if existing:
        path.write_bytes(sidecar())
    before = _names(photo.folder)

    def full(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a\.jpg\.xmp"):
        write(photo, tags, provenance, Options(backup_originals=True))
    assert _names(photo.folder) == before
    if existing:
        assert path.read_bytes() == sidecar()


def test_a_change_at_the_same_moment_is_merged(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    sidecar: Make,
    texts: Read,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Words that another program writes between our reading and renaming are in the result."""
    path = photo.folder / "a.jpg.xmp"
    path.write_bytes(sidecar())
    real, theirs = atomic.replace, [sidecar("<dc:subject>Anna</dc:subject>")]

    def late(path: Path, old: atomic.Old, data: bytes, **rest: Path | None) -> Path | None:
        if theirs:
            path.write_bytes(theirs.pop())
        return real(path, old, data, **rest)

    monkeypatch.setattr(atomic, "replace", late)
    (done,) = write(photo, tags, provenance, Options())
    assert done.written
    assert texts(path.read_bytes(), "dc:subject") == ["Anna", "dog", "beach", "car park"]


def test_a_sidecar_that_keeps_changing_is_left(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    sidecar: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a few tries it is said and left to a retry; no backup and no temporary stays."""
    path = photo.folder / "a.jpg.xmp"
    path.write_bytes(sidecar())
    real, count = atomic.replace, [0]

    def late(path: Path, old: atomic.Old, data: bytes, **rest: Path | None) -> Path | None:
        count[0] += 1
        path.write_bytes(sidecar(f"<dc:source>{count[0]}</dc:source>"))
        return real(path, old, data, **rest)

    monkeypatch.setattr(atomic, "replace", late)
    (left,) = write(photo, tags, provenance, Options(backup_originals=True))
    assert "another program" in left.error
    assert path.read_bytes() == sidecar(f"<dc:source>{count[0]}</dc:source>")
    assert _names(photo.folder) == ["a.jpg", "a.jpg.xmp"]


def test_a_backup_of_a_change_that_failed_goes(
    photo: Photo,
    tags: Tags,
    provenance: Provenance,
    sidecar: Make,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was changed, so there is nothing to keep."""
    path = photo.folder / "a.jpg.xmp"
    path.write_bytes(sidecar())

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(atomic, "swap", denied)
    (kept,) = write(photo, tags, provenance, Options(backup_originals=True))
    assert "cannot be written" in kept.error
    assert _names(photo.folder) == ["a.jpg", "a.jpg.xmp"]
    assert path.read_bytes() == sidecar()


def test_a_new_sidecar_never_replaces_one_that_appeared(photo: Photo) -> None:
    """Making a sidecar fails where another program was first."""
    path = photo.folder / "a.jpg.xmp"
    path.write_bytes(b"theirs")
    with pytest.raises(SidecarChanged):
        atomic.create(path, b"ours", photo.primary.path.stat())
    assert path.read_bytes() == b"theirs"
    assert _names(photo.folder) == ["a.jpg", "a.jpg.xmp"]


def test_a_raw_and_its_jpeg(
    tmp_path: Path, photo_of: PhotoOf, tags: Tags, provenance: Provenance
) -> None:
    """Each file gets its sidecar; one that they share is written once."""
    photo = photo_of(tmp_path / "a.jpg", tmp_path / "a.CR3")
    assert [s.path.name for s in write(photo, tags, provenance, Options())] == [
        "a.jpg.xmp", "a.xmp",
    ]  # fmt: skip
    assert inspect(photo, Options()).tagged == provenance.digest
    (tmp_path / "a.xmp").unlink()
    shared = photo_of(tmp_path / "b.jpg", tmp_path / "b.CR3")
    assert [s.path.name for s in write(shared, tags, provenance, Options(naming="stem"))] == [
        "b.xmp"
    ]


def test_options_travel_to_a_worker() -> None:
    """They are pickled on the way."""
    options = Options(naming="stem", overwrite=True)
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301 - our own bytes


def test_importing_the_package_loads_no_foreign_parser() -> None:
    """Inflect takes a second to import; Exiv2 is for tests alone."""
    code = "import sys, taggerd.metadata; sys.exit(bool({'pyexiv2', 'inflect'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", ["a half-written file", "a second name of the sidecar"])
def test_what_a_killed_process_left_is_removed(
    photo: Photo, tags: Tags, provenance: Provenance, kind: str
) -> None:
    """The next pass takes it away, also when it has nothing to write, and spares the sidecar."""
    (made,) = write(photo, tags, provenance, Options())
    data = made.path.read_bytes()
    left = made.path.with_name(f".{made.path.name}.taggerd-tmp")
    for changed in (tags, replace(tags, caption="Another caption")):
        if kind == "a half-written file":
            left.write_bytes(b"<x:xmpm")
        else:
            os.link(made.path, left)
        write(photo, changed, provenance, Options())
        assert _names(photo.folder) == ["a.jpg", "a.jpg.xmp"]
        assert (made.path.read_bytes() == data) == (changed is tags)
