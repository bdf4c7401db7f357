"""The photo's file while it is embedded into: whole at every instant, and nobody's work is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import pytest
from PIL import Image
from support.embeddable import replace_packet
from support.embedded import write

from taggerd import files
from taggerd.errors import PhotoChanged, StorageError
from taggerd.metadata import Options
from taggerd.metadata.embedding import replacement
from taggerd.metadata.embedding.photo import origin, read_packet
from taggerd.photo import Photo, Provenance, Sidecar, Stamp, Tags

if TYPE_CHECKING:
    from pathlib import Path

PhotoOf = Callable[..., Photo]
Run = Callable[..., tuple[Sidecar, ...]]
EMBED = Options(target="embed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a photo."""
    made = tmp_path / "a.jpg"
    Image.new("RGB", (32, 32), "green").save(made)
    os.utime(made, ns=(1_000_000_000, 2_000_000_000))
    return made


@pytest.fixture
def embedded(photo_of: PhotoOf, tags: Tags, provenance: Provenance) -> Run:
    """Write tags about a photo file."""

    def run(path: Path, options: Options = EMBED) -> tuple[Sidecar, ...]:
        return write(photo_of(path), tags, provenance, options)

    return run


def test_mode_owner_attributes_and_times_are_kept(path: Path, embedded: Run) -> None:
    """The mtime moves by two seconds: seen by what compares it, not by what sorts by it."""
    path.chmod(0o640)
    os.setxattr(path, "user.tag", b"mine")
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
    before = path.stat()
    (done,) = embedded(path)
    after = path.stat()
    assert done.embedded
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.getxattr(path, "user.tag") == b"mine"
    assert after.st_mtime_ns - before.st_mtime_ns == 2_000_000_000


@pytest.mark.parametrize("trouble", ["hard link", "read-only", "symbolic link", "attributes"])
def test_what_cannot_be_kept_is_not_risked(
    path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The photo stays as it is, its sidecar is written, the note says why."""
    expected = {"hard link": "several names", "read-only": "read-only"}
    if trouble == "hard link":
        (path.parent / "b").hardlink_to(path)
    elif trouble == "read-only":
        path.chmod(0o444)
    elif trouble == "symbolic link":
        path.rename(path.with_name("real"))
        path.symlink_to("real")
    else:
        os.setxattr(path, "user.tag", b"mine")

        def refused(*_arguments: object, **_options: object) -> NoReturn:
            raise OSError(errno.EPERM, "no")

        monkeypatch.setattr(os, "setxattr", refused)
    before = (path.read_bytes(), path.lstat())
    (done,) = embedded(path)
    assert (done.path.name, done.written) == ("a.jpg.xmp", True)
    assert expected.get(trouble, trouble) in done.notes[0]
    assert (path.read_bytes(), path.lstat().st_ino) == (before[0], before[1].st_ino)
    assert path.lstat().st_mtime_ns == before[1].st_mtime_ns


def test_backups_are_the_old_file_itself(path: Path, embedded: Run) -> None:
    """Same bytes, same times, same inode; a second one gets a name of its own."""
    old, data = path.stat(), path.read_bytes()
    (done,) = embedded(path, Options(target="embed", backup_originals=True))
    assert done.backup == path.with_name("a.jpg.orig-20250102T030405")
    assert done.backup.read_bytes() == data
    assert (done.backup.stat().st_ino, done.backup.stat().st_mtime_ns) == (
        old.st_ino,
        old.st_mtime_ns,
    )
    second = path.read_bytes()
    stamp = Stamp.of(path.lstat())
    replace_packet(path, stamp, None, backup=done.backup)
    assert path.with_name(done.backup.name + "-1").read_bytes() == second
    assert path.read_bytes() == data


def test_backups_without_links(path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links gets a copy with the old times."""

    def refused(*_arguments: object, **_options: object) -> NoReturn:
        raise OSError(errno.EPERM, "no links here")

    data, old = path.read_bytes(), path.stat()
    monkeypatch.setattr(os, "link", refused)
    (done,) = embedded(path, Options(target="embed", backup_originals=True))
    assert done.embedded
    assert done.backup is not None
    assert (done.backup.read_bytes(), done.backup.stat().st_mtime_ns) == (data, old.st_mtime_ns)


def test_a_photo_that_changed_is_left_to_settle(
    path: Path, photo_of: PhotoOf, tags: Tags, provenance: Provenance
) -> None:
    """What was decoded is not what is there: nothing is written at all."""
    photo = photo_of(path)
    Image.new("RGB", (32, 32), "blue").save(path)
    data = path.read_bytes()
    with pytest.raises(PhotoChanged):
        write(photo, tags, provenance, EMBED)
    assert [p.name for p in path.parent.iterdir()] == ["a.jpg"]
    assert path.read_bytes() == data


@pytest.mark.parametrize("moment", ["while it is copied", "in the last instant"])
@pytest.mark.parametrize("how", ["in place", "by rename"])
def test_another_writer_loses_nothing(
    path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch, moment: str, how: str
) -> None:
    """Theirs stays, whether they wrote before our look at it or between that and the exchange."""
    theirs = path.with_name("theirs")
    Image.new("RGB", (32, 32), "blue").save(theirs, "JPEG")
    data = theirs.read_bytes()

    def write_now() -> None:
        if how == "by rename":
            theirs.replace(path)
        else:
            path.write_bytes(data)

    copied = moment == "while it is copied"
    module, name = (replacement, "_copy_attributes") if copied else (files, "exchange")
    real = getattr(module, name)
    written: list[str] = []

    def interrupted(*arguments: object) -> object:
        if not written:
            written.append(name)
            write_now()
        return real(*arguments)

    monkeypatch.setattr(module, name, interrupted)
    with pytest.raises(PhotoChanged):
        embedded(path, Options(target="embed", backup_originals=True))
    theirs.unlink(missing_ok=True)
    assert path.read_bytes() == data
    assert [p.name for p in path.parent.iterdir()] == ["a.jpg"]


def test_without_an_exchange_the_copy_is_renamed(
    path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old kernels and some network file systems cannot exchange two names."""
    monkeypatch.setattr(files, "exchange", lambda *_names: False)
    (done,) = embedded(path)
    assert done.embedded
    assert b"dog" in (read_packet(path) or b"")
    assert [p.name for p in path.parent.iterdir()] == ["a.jpg"]


def test_a_full_disk_leaves_the_photo(
    path: Path, embedded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work pauses; the photo is what it was and nothing lies beside it."""
    before = path.read_bytes()

    def full(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="make room"):
        embedded(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["a.jpg"]


def test_two_at_once(path: Path, embedded: Run) -> None:
    """While another taggerd holds the copy, the photo is left for later; a dead one's copy goes."""
    left = path.with_name(".a.jpg.taggerd-tmp")
    with left.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(PhotoChanged, match="another taggerd"):
            embedded(path)
    (done,) = embedded(path)
    assert done.embedded
    assert not left.exists()


_EMPTY = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'
)
_LOOP = f"""
import sys, itertools
from pathlib import Path
from support.embeddable import replace_packet
from taggerd.files import work_below
from taggerd.photo import Stamp
path = Path(sys.argv[1])
work_below(path.parent)
old = {_EMPTY!r}
replace_packet(path, Stamp.of(path.lstat()), None)
print("begun", flush=True)
for packet in itertools.cycle((old, None)):
    replace_packet(path, Stamp.of(path.lstat()), packet)
"""


@pytest.mark.long
def test_killed_at_any_instant_the_photo_is_whole(path: Path) -> None:
    """It is the old one or the new one; what is left beside it is hidden, and goes next time."""
    Image.effect_noise((1500, 1500), 90).convert("RGB").save(path, quality=95)
    plain = path.read_bytes()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for number in range(25):
        with subprocess.Popen(
            [sys.executable, "-c", _LOOP, str(path)],
            stdout=subprocess.PIPE,
            env=environment,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            time.sleep(0.003 * number)
            process.send_signal(signal.SIGKILL)
        packet = read_packet(path)
        data = path.read_bytes()
        at = data.find(packet) if packet else 0
        assert (
            data == plain
            if packet is None
            else (data[:2], data[at + len(packet) :])
            == (
                plain[:2],
                plain[-len(data[at + len(packet) :]) :],
            )
        )
        names = {p.name for p in path.parent.iterdir()}
        assert names <= {"a.jpg", ".a.jpg.taggerd-tmp"}
    for packet in (_EMPTY, None):
        replace_packet(path, Stamp.of(path.lstat()), packet)
    assert path.read_bytes() == plain
    assert [p.name for p in path.parent.iterdir()] == ["a.jpg"]
    assert origin(path) == ""
