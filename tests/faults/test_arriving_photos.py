"""The whole service while its import folders go and return, and files come in odd ways."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import CountingBackend, Program

MEGABYTE = 1_000_000


def tagged(path: Path) -> Path:
    """Make a photo and wait until it is tagged."""
    photo(path, hash(path.name) % 1000)
    until(path.with_name(f"{path.name}.xmp").exists)
    return path


def state_of(taggerd: Program) -> str:
    """Return what the daemon says of its import folder."""
    roots = taggerd.live().get("roots") or [{}]
    return str(roots[0].get("state"))


@pytest.mark.long
def test_a_root_deleted_renamed_and_back(taggerd: Program, inbox: Path) -> None:
    """Whatever happens to the import folder, what comes into it is tagged without a restart."""
    daemon = taggerd.start("--input-dir", inbox)
    tagged(inbox / "first.jpg")
    shutil.rmtree(inbox)
    until(lambda: state_of(taggerd) == "offline")
    assert "offline" in taggerd.status_text()
    inbox.mkdir()
    tagged(inbox / "made-again.jpg")
    until(lambda: state_of(taggerd) == "watching")
    inbox.rename(inbox.with_name("away"))
    until(lambda: state_of(taggerd) == "offline")
    inbox.with_name("away").rename(inbox)
    tagged(inbox / "back.jpg")
    until(lambda: state_of(taggerd) == "watching")
    assert taggerd.stop(daemon) == 0
    assert [record["error"] for record in taggerd.records()] == ["", "", ""]
    changes = [line for line in taggerd.log().splitlines() if "import_folder=" in line]
    assert ["offline" in line for line in changes] == [False, True, False, True, False], changes


@pytest.fixture
def mounted(inbox: Path) -> Iterator[Path]:
    """Be able to mount something over the import folder; it is taken away in the end."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    yield inbox
    while subprocess.run(["umount", "-l", inbox], check=False, capture_output=True).returncode == 0:
        pass


@pytest.mark.long
def test_a_disk_mounted_over_the_root_and_unmounted(taggerd: Program, mounted: Path) -> None:
    """A mount over the import folder is served, and so is what was below when it goes."""
    daemon = taggerd.start("--input-dir", mounted)
    tagged(mounted / "below.jpg")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "taggerd-test", mounted], check=False, capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting is not allowed here: " + done.stderr.decode().strip())
    until(lambda: state_of(taggerd) == "offline")  # empty: nothing follows from it
    tagged(mounted / "on-the-disk.jpg")
    subprocess.run(["umount", "-l", mounted], check=True)
    tagged(mounted / "below-again.jpg")
    subprocess.run(["mount", "-t", "tmpfs", "taggerd-test", mounted], check=True)
    tagged(mounted / "another-disk.jpg")
    assert taggerd.stop(daemon) == 0
    assert [record["error"] for record in taggerd.records()] == [""] * 4


class Files:
    """Files that are written in odd ways, all of them 15 MB in the end."""

    def __init__(self, folder: Path, source: Path) -> None:
        """Write into *folder*; *source* is for scratch."""
        self._folder = folder
        self._source = source
        self._pause = threading.Event()

    def _bytes(self, number: int) -> bytes:
        picture = photo(self._source / f"{number}.jpg", number).read_bytes()
        return picture.ljust(15 * MEGABYTE, bytes([number]))

    def _pieces(self, path: Path, whole: bytes, seconds: float) -> None:
        with path.open("wb", buffering=0) as out:
            for start in range(0, len(whole), MEGABYTE):
                out.write(whole[start : start + MEGABYTE])
                self._pause.wait(seconds / 15)

    def in_pieces(self) -> tuple[Path, bytes]:
        """In pieces of 1 MB over 15 s."""
        path, whole = self._folder / "pieces.jpg", self._bytes(1)
        self._pieces(path, whole, 15)
        return path, whole

    def truncated(self) -> tuple[Path, bytes]:
        """Written, truncated and written with something else before it has settled."""
        path, whole = self._folder / "truncated.jpg", self._bytes(2)
        path.write_bytes(self._bytes(3))
        self._pause.wait(1)
        self._pieces(path, whole, 6)
        return path, whole

    def mapped(self) -> tuple[Path, bytes]:
        """At its full size at once, then written through memory, without any event."""
        path, whole = self._folder / "mapped.jpg", self._bytes(4)
        with path.open("w+b") as out:
            out.truncate(len(whole))
            with mmap.mmap(out.fileno(), len(whole)) as memory:
                out.close()
                for start in range(0, len(whole), MEGABYTE):
                    memory[start : start + MEGABYTE] = whole[start : start + MEGABYTE]
                    self._pause.wait(0.5)
        return path, whole

    def of_1990(self) -> tuple[Path, bytes]:
        """With the times of 1990 set while it is written, as a copy of an old photo."""
        return self._dated(self._folder / "1990.jpg", self._bytes(5), 631_152_000)

    def of_2090(self) -> tuple[Path, bytes]:
        """From a camera that believes it is 2090."""
        return self._dated(self._folder / "2090.jpg", self._bytes(6), 3_786_912_000)

    def _dated(self, path: Path, whole: bytes, when: int) -> tuple[Path, bytes]:
        half = len(whole) // 2
        path.write_bytes(whole[:half])
        os.utime(path, (when, when))
        self._pause.wait(1)
        with path.open("ab") as out:
            out.write(whole[half:])
        os.utime(path, (when, when))
        return path, whole


@pytest.mark.parametrize(
    "running",
    [
        pytest.param(True, id="while it runs"),
        pytest.param(False, id="at its start", marks=pytest.mark.long),
    ],
)
def test_files_that_are_written_in_odd_ways(
    taggerd: Program,
    inbox: Path,
    tmp_path: Path,
    backend: CountingBackend,
    running: bool,
) -> None:
    """Each is asked about once, when it is whole, also where the service starts meanwhile."""
    taggerd.base_url = backend.base_url
    # Far more than between two steps of a writer, and less than each takes: a machine may be busy.
    taggerd.environment["TAGGERD__ARRIVALS__SETTLE_SECONDS"] = "5"
    arguments = ("--input-dir", inbox)
    daemon = taggerd.start(*arguments) if running else None
    files = Files(inbox, tmp_path / "source")
    writes = files.in_pieces, files.truncated, files.mapped, files.of_1990, files.of_2090
    with ThreadPoolExecutor(len(writes)) as writers:
        writing = [writers.submit(write) for write in writes]
        if daemon is None:
            daemon = taggerd.start(*arguments)
        written = dict(future.result() for future in writing)
    until(lambda: all(path.with_name(f"{path.name}.xmp").exists() for path in written))
    assert taggerd.stop(daemon) == 0
    digests = {record["image"]: record["digest"] for record in taggerd.records()}
    assert len(taggerd.records()) == len(written)
    for path, whole in written.items():
        assert digests[str(path)] == hashlib.blake2b(whole, digest_size=32).hexdigest(), path.name
    assert backend.photo_requests == 3 * len(written)
