"""What is gone for certain, and what is only out of sight."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from typing import TYPE_CHECKING

import pytest
from support.arriving import Records

from taggerd import files
from taggerd.arrivals.executor import Executor
from taggerd.arrivals.filters import Filters
from taggerd.arrivals.missing import MissingFileSweep, gone
from taggerd.arrivals.walk import folders

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from taggerd.photo import Stamp

    Stamps = dict[Path, Mapping[Path, Stamp]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give an import folder of two folders with two photos each."""
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"):
        path = tmp_path / "import" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")
    return tmp_path / "import"


def on_record(root: Path, device: int | None = None) -> Stamps:
    """Return what is there now, as the ledger would give it later."""
    known: Stamps = {}
    for folder in folders(root, Filters()):
        stamps = {seen.file.path: seen.file.stamp for seen in folder.files}
        if device is not None:
            stamps = {path: stamp._replace(device=device) for path, stamp in stamps.items()}
        known[folder.path] = stamps
    return known


def names(paths: Collection[Path]) -> list[str]:
    """Return the names of *paths*, sorted."""
    return sorted(path.name for path in paths)


def test_deleted_files_and_folders_are_gone(root: Path) -> None:
    """One file, a whole folder, and a file in whose folder's place something else lies."""
    known = on_record(root)
    assert gone(root, known) == set()
    (root / "a" / "1.jpg").unlink()
    shutil.rmtree(root / "b")
    assert names(gone(root, known)) == ["1.jpg", "3.jpg", "4.jpg"]
    (root / "b").write_bytes(b"a file now")
    assert names(gone(root, known)) == ["1.jpg", "3.jpg", "4.jpg"]


def test_a_file_that_is_no_longer_taken_is_not_gone(root: Path) -> None:
    """It may be ignored by now, or be a link: as long as something has the name, it stays."""
    known = on_record(root)
    (root / "a" / "1.jpg").unlink()
    (root / "a" / "1.jpg").symlink_to("nowhere")
    assert gone(root, known) == set()


def test_an_unmounted_disk_is_not_a_deletion(root: Path) -> None:
    """Where another disk was, its files are out of sight, also if its folder went with it."""
    known = on_record(root, device=4711)
    shutil.rmtree(root / "a")
    (root / "a").mkdir()
    assert gone(root, known) == set()
    shutil.rmtree(root / "b")
    assert gone(root, known) == set()
    (root / "a").rmdir()
    assert gone(root, known) == set()  # the root itself is empty: it was the mount point
    root.rmdir()
    assert gone(root, on_record(root.parent) | known) == set()


def test_what_another_host_found_is_gone_where_its_folder_can_be_read(root: Path) -> None:
    """Its device says nothing here: a file that is not there is gone, one out of sight is not."""
    known = {
        folder: {path: stamp._replace(inode=0, device=0) for path, stamp in stamps.items()}
        for folder, stamps in on_record(root).items()
    }
    assert gone(root, known) == set()
    (root / "a" / "1.jpg").unlink()
    assert names(gone(root, known)) == ["1.jpg"]
    shutil.rmtree(root)
    assert gone(root, known) == set()


@pytest.mark.parametrize("failure", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
def test_what_cannot_be_read_is_not_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch, failure: int
) -> None:
    """A folder without permission, a disk or share that fails: nothing follows from it."""
    known = on_record(root)
    shutil.rmtree(root / "a")

    def fails(_path: object) -> list[str]:
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(files, "names_in", fails)
    assert gone(root, known) == set()
    monkeypatch.undo()
    monkeypatch.setattr(files, "listing", fails)
    assert gone(root, known) == set()


def test_the_sweep_checks_where_something_may_be_missing(root: Path) -> None:
    """Complete folders are skipped; all the missing are told at once, or none if the root went."""
    known = on_record(root)
    records = Records()
    for folder, stamps in known.items():
        records.on_record[folder] = dict(stamps)
    there = True

    async def still_there() -> bool:
        return there

    async def walk_and_sweep() -> None:
        executor = Executor("test")
        sweep = MissingFileSweep(root, records, executor, forget_days=2)
        for folder in folders(root, Filters()):
            news = [s for s in folder.files if known[folder.path].get(s.file.path) != s.file.stamp]
            sweep.saw(folder, known[folder.path], news)
        await sweep.begin()
        while sweep.in_progress:
            await sweep.step(still_there)
        executor.close()

    (root / "a" / "1.jpg").unlink()
    (root / "a" / "new.jpg").write_bytes(b"1")  # as many as before, but not the same
    asyncio.run(walk_and_sweep())
    assert records.told_missing == [{root / "a" / "1.jpg"}]
    assert root / "b" not in records.asked
    there = False
    asyncio.run(walk_and_sweep())
    assert len(records.told_missing) == 1
