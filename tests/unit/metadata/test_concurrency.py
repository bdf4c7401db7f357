"""Another program writes the sidecar at the same moment: what it wrote is never lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
from support.embedded import write

from taggerd import files
from taggerd.errors import SidecarChanged
from taggerd.metadata import Options, UndoOptions, atomic
from taggerd.metadata.options import Retries
from taggerd.metadata.undo.files import undo_sidecar
from taggerd.photo import Keyword

if TYPE_CHECKING:
    from collections.abc import Callable

    from taggerd.photo import Photo, Provenance, Tags

    Make = Callable[..., bytes]
    Read = Callable[[bytes, str], list[str]]


class Writer(Protocol):
    """A way to write a file."""

    def __call__(self, path: Path, data: bytes) -> None:
        """Write *data* to *path*."""


def truncating(path: Path, data: bytes) -> None:
    """Cut the file to nothing and fill it again, in two steps."""
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        file.write(data[len(data) // 2 :])


def by_rename(path: Path, data: bytes) -> None:
    """Write another file and rename it over."""
    other = path.with_name("theirs.tmp")
    other.write_bytes(data)
    other.replace(path)


WRITERS: dict[str, Writer] = {"truncating": truncating, "by rename": by_rename}


class Instant:
    """Does something right before the n-th exchange of names."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], None], able: bool = True
    ) -> None:
        """Do the *steps*, one before each exchange; not *able*: the system has no exchange."""
        self.steps = list(steps)
        real = files.exchange

        def exchanged(one: Path, other: Path) -> bool:
            if self.steps:
                self.steps.pop(0)()
            return real(one, other) if able else False

        monkeypatch.setattr(files, "exchange", exchanged)


@pytest.fixture
def path(tmp_path: Path, sidecar: Make) -> Path:
    """Return a sidecar beside a photo."""
    path = tmp_path / "a.jpg.xmp"
    path.write_bytes(sidecar("<dc:source>0</dc:source>"))
    return path


@pytest.fixture
def photo(tmp_path: Path, path: Path, photo_of: Callable[..., Photo]) -> Photo:
    """Return the photo."""
    assert path.parent == tmp_path
    return photo_of(tmp_path / "a.jpg")


def _names(path: Path) -> list[str]:
    return sorted(each.name for each in path.parent.iterdir())


@pytest.mark.parametrize("able", [True, False])
@pytest.mark.parametrize("how", WRITERS)
def test_what_is_written_in_the_last_instant_is_merged(
    monkeypatch: pytest.MonkeyPatch,
    photo: Photo,
    path: Path,
    tags: Tags,
    provenance: Provenance,
    sidecar: Make,
    texts: Read,
    how: str,
    able: bool,
) -> None:
    """After the last look at the old bytes, too: theirs stays, and ours is merged into it."""
    theirs = sidecar("<dc:source>1</dc:source><dc:subject>Anna</dc:subject>")
    Instant(monkeypatch, lambda: WRITERS[how](path, theirs), able=able)
    (done,) = write(photo, tags, provenance, Options())
    assert done.written
    assert texts(path.read_bytes(), "dc:source") == ["1"]
    assert texts(path.read_bytes(), "dc:subject") == ["Anna", "dog", "beach", "car park"]
    assert _names(path) == ["a.jpg", "a.jpg.xmp"]


def test_a_half_written_sidecar_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    photo: Photo,
    path: Path,
    tags: Tags,
    provenance: Provenance,
    sidecar: Make,
    texts: Read,
) -> None:
    """A program that has cut the file and not yet filled it keeps its file, and fills it."""
    theirs = sidecar("<dc:source>1</dc:source>")
    with path.open("r+b") as file:

        def cut() -> None:
            file.truncate()
            file.flush()

        def fill(seconds: float) -> None:
            if seconds:
                file.write(theirs)
                file.flush()

        Instant(monkeypatch, cut)
        retries = Retries(wait=fill)
        (done,) = write(photo, tags, provenance, Options(retries=retries))
    assert done.written, done.error
    assert texts(path.read_bytes(), "dc:source") == ["1"]
    assert "dog" in texts(path.read_bytes(), "dc:subject")


def test_a_damaged_sidecar_is_waited_for_only_while_it_is_fresh(
    photo: Photo, path: Path, tags: Tags, provenance: Provenance
) -> None:
    """A folder of damaged sidecars is not held up by each of them."""
    path.write_bytes(b"<x:xmpmeta")
    for age, pauses in ((0.1, 4), (5.0, 0)):
        waits: list[float] = []
        clock = partial(float, path.stat().st_mtime + age)
        retries = Retries(clock=clock, wait=waits.append)
        (left,) = write(photo, tags, provenance, Options(retries=retries))
        assert "left unchanged" in left.error
        assert len(waits) == pauses
    assert path.read_bytes() == b"<x:xmpmeta"


@pytest.mark.parametrize("again", WRITERS)
@pytest.mark.parametrize("how", WRITERS)
def test_two_writes_in_one_instant(
    monkeypatch: pytest.MonkeyPatch, path: Path, how: str, again: str
) -> None:
    """The later of theirs stays, also where it came while the exchange was reversed."""
    old = atomic.read(path)
    assert old is not None
    steps = (lambda: WRITERS[how](path, b"first"), lambda: WRITERS[again](path, b"second"))
    Instant(monkeypatch, *steps)
    with pytest.raises(SidecarChanged):
        atomic.replace(path, old, b"ours")
    assert path.read_bytes() == b"second"
    assert _names(path) == ["a.jpg.xmp"]


def test_a_sidecar_that_is_deleted_is_not_made_again(
    monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    """Of what another program deletes, no copy of the old one comes back."""
    old = atomic.read(path)
    assert old is not None
    Instant(monkeypatch, path.unlink)
    with pytest.raises(SidecarChanged):
        atomic.replace(path, old, b"ours")
    assert _names(path) == []


@pytest.mark.parametrize("how", WRITERS)
def test_an_undo_removes_no_file_that_was_just_written(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    photo_of: Callable[..., Photo],
    tags: Tags,
    provenance: Provenance,
    texts: Read,
    how: str,
) -> None:
    """A sidecar that taggerd made goes, but not with what another program put there since."""
    write(photo_of(tmp_path / "b.jpg"), tags, provenance, Options())
    path = tmp_path / "b.jpg.xmp"
    edited = path.read_bytes().replace(b"<dc:title>", b"<dc:source>1</dc:source><dc:title>")
    waiting = [edited]
    real = files.rename

    def rename(old: Path, new: Path) -> None:
        if old == path and waiting:
            WRITERS[how](path, waiting.pop())
        real(old, new)

    monkeypatch.setattr(files, "rename", rename)
    done = undo_sidecar(path, UndoOptions(), Options())
    assert (done.end, waiting) == ("cleaned", [])
    assert texts(path.read_bytes(), "dc:source") == ["1"]
    assert texts(path.read_bytes(), "dc:subject") == []
    assert _names(path) == ["b.jpg", "b.jpg.xmp"]


_SECONDS = 4.0

_PROGRAM = """
import random, re, sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from test_concurrency import WRITERS
path, how, seconds = Path(sys.argv[1]), WRITERS[sys.argv[2]], float(sys.argv[3])
body = Path(sys.argv[4]).read_text()
chance, number, lost = random.Random(1), 0, []

def there():
    found = re.search(r"<dc:source>(\\d+)<", path.read_text())
    return int(found[1]) if found else -1

until = time.monotonic() + seconds
while time.monotonic() < until:
    number += 1
    how(path, body.replace("<dc:source>0<", f"<dc:source>{{number}}<").encode())
    time.sleep(chance.random() * 0.004)
    back_by = time.monotonic() + 30
    while there() != number and time.monotonic() < back_by:
        time.sleep(0.01)  # an exchange may be on its way back
    if there() != number:
        lost.append(number)
print(number, len(lost))
"""


@pytest.mark.long
@pytest.mark.parametrize("how", WRITERS)
def test_a_program_that_never_stops_writing(
    photo: Photo, path: Path, tags: Tags, provenance: Provenance, texts: Read, how: str
) -> None:
    """For seconds, in a process of its own, while we merge again and again: nothing it wrote goes.

    At the end ours is merged into its last file.
    """
    body = path.with_name("body.txt")
    body.write_bytes(path.read_bytes())
    here = Path(__file__)
    program = _PROGRAM.format(paths=[os.fspath(here.parent), os.fspath(here.parents[2])])
    line = [sys.executable, "-c", program, str(path), how, str(_SECONDS), str(body)]
    theirs = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    chance, written = random.Random(2), 0  # noqa: S311 - pauses
    while theirs.poll() is None:
        word = Keyword(f"word{chance.randrange(1000)}")
        (done,) = write(photo, replace(tags, keywords=(word,)), provenance, Options())
        written += done.written
        time.sleep(chance.random() * 0.004)
    assert theirs.stdout is not None
    number, lost = map(int, theirs.stdout.read().split())
    theirs.stdout.close()
    assert theirs.returncode == 0
    assert lost == 0, f"of {number}"
    assert min(number, written) > 10, (number, written)
    (done,) = write(photo, tags, provenance, Options())
    assert not done.error
    assert texts(path.read_bytes(), "dc:source") == [str(number)]
    assert "dog" in texts(path.read_bytes(), "dc:subject")
    body.unlink()
    assert _names(path) == ["a.jpg", "a.jpg.xmp"]


def test_the_old_file_is_not_taken_for_one_that_a_dead_process_left(tmp_path: Path) -> None:
    """It has the temporary name for an instant: whoever removed it then lost the photo to a race.

    Another taggerd begins to write at that very moment; it waits until the exchange is over.
    """
    path = tmp_path / "a.jpg"
    path.write_bytes(b"old")
    temporary = atomic.temporary_name(path)
    temporary.write_bytes(b"new")
    other = threading.Thread(target=atomic.clear, args=(path,))

    def is_old(there: Path) -> bool:
        other.start()
        other.join(0.5)
        return there.exists() and there.read_bytes() == b"old"

    assert atomic.swap(temporary, path, is_old)
    other.join()
    assert path.read_bytes() == b"new"
    assert not temporary.exists()
