"""Photos that are renamed, moved, copied, deleted and brought back: none is paid for twice."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.program import CountingBackend, Program

ASKED = 3
"""Requests that one photo costs."""


@pytest.fixture
def counted(taggerd: Program, backend: CountingBackend) -> Program:
    """Return the program, asking a backend that counts."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__ARRIVALS__RECONCILE_MINUTES"] = "0.01"
    return taggerd


def tagged(program: Program, image: Path, *roots: Path) -> subprocess.Popen[bytes]:
    """Start the daemon, and wait until the photo *image* is tagged and recorded."""
    folders = [word for root in roots or (image.parent,) for word in ("--input-dir", root)]
    daemon = program.start(*folders)
    until(lambda: sidecar(image).exists() and program.records())
    return daemon


def sidecar(image: Path) -> Path:
    """Return the sidecar that belongs to *image*."""
    return image.with_name(f"{image.name}.xmp")


def on_record(program: Program, *, gone: bool = False) -> int:
    """Return how many files the ledger knows, or how many of them it knows to be gone."""
    only = "WHERE missing_since IS NOT NULL" if gone else ""
    with closing(sqlite3.connect(program.state / "ledger.sqlite")) as ledger:
        count: int = ledger.execute(f"SELECT count(*) FROM files {only}").fetchone()[0]  # noqa: S608 - no input
    return count


@pytest.mark.parametrize(
    ("running", "takes_sidecar"),
    [
        (True, True),
        (False, False),
        pytest.param(True, False, marks=pytest.mark.long),
        pytest.param(False, True, marks=pytest.mark.long),
    ],
)
def test_a_renamed_photo_keeps_its_tags(
    counted: Program, inbox: Path, backend: CountingBackend, *, running: bool, takes_sidecar: bool
) -> None:
    """With its sidecar or without, while the daemon runs or is down: no request, the same tags."""
    image = photo(inbox / "IMG_1.jpg", 1)
    daemon = tagged(counted, image)
    before = sidecar(image).read_bytes()
    if not running:
        counted.stop(daemon)
    renamed = inbox / "Anna" / "birthday.jpg"
    renamed.parent.mkdir()
    if takes_sidecar:
        sidecar(image).rename(sidecar(renamed))
    image.rename(renamed)
    if not running:
        daemon = counted.start("--input-dir", inbox)
    until(lambda: sidecar(renamed).exists() and len(counted.records()) == 2)
    assert counted.stop(daemon) == 0
    assert backend.photo_requests == ASKED
    assert counted.records()[1]["keywords"] == counted.records()[0]["keywords"]
    if takes_sidecar:
        assert sidecar(renamed).read_bytes() == before
    else:
        assert sidecar(image).read_bytes() == before


def test_a_photo_may_move_to_another_root(
    counted: Program, inbox: Path, tmp_path: Path, backend: CountingBackend
) -> None:
    """And copies of it in both cost nothing either."""
    other = tmp_path / "other"
    other.mkdir()
    image = photo(inbox / "IMG_1.jpg", 1)
    daemon = tagged(counted, image, inbox, other)
    image.rename(other / "moved.jpg")
    until(sidecar(other / "moved.jpg").exists)
    shutil.copy(other / "moved.jpg", inbox / "copy.jpg")
    until(sidecar(inbox / "copy.jpg").exists)
    assert counted.stop(daemon) == 0
    assert backend.photo_requests == ASKED


@pytest.mark.parametrize("copied", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_photo_that_comes_back_within_the_grace_time_is_as_it_was(
    counted: Program, inbox: Path, tmp_path: Path, backend: CountingBackend, *, copied: bool
) -> None:
    """Deleted and restored: its sidecar is untouched, nothing is asked, no second record."""
    image = photo(inbox / "IMG_1.jpg", 1)
    daemon = tagged(counted, image)
    before = sidecar(image).read_bytes()
    shutil.move(image, tmp_path / "kept.jpg")
    until(lambda: on_record(counted, gone=True) == 1)
    (shutil.copy if copied else shutil.move)(tmp_path / "kept.jpg", image)
    until(lambda: on_record(counted, gone=True) == 0)
    photo(inbox / "later.jpg", 2)
    until(lambda: len(counted.records()) == 2)
    assert counted.stop(daemon) == 0
    assert sidecar(image).read_bytes() == before
    assert backend.photo_requests == 2 * ASKED
    assert on_record(counted) == 2


def test_a_deleted_photo_is_forgotten_after_the_grace_time(
    counted: Program, inbox: Path, tmp_path: Path, backend: CountingBackend
) -> None:
    """Its sidecar stays; its answers too, so that it costs nothing should it come back."""
    counted.environment["TAGGERD__ARRIVALS__FORGET_DAYS"] = "0.00001"
    image = photo(inbox / "sub" / "IMG_1.jpg", 1)
    photo(inbox / "IMG_2.jpg", 2)
    daemon = tagged(counted, image, inbox)
    until(lambda: len(counted.records()) == 2)
    shutil.move(image, tmp_path / "kept.jpg")
    until(lambda: on_record(counted) == 1)
    assert sidecar(image).exists()
    sidecar(image).unlink()
    shutil.move(tmp_path / "kept.jpg", image)
    until(sidecar(image).exists)
    assert counted.stop(daemon) == 0
    assert backend.photo_requests == 2 * ASKED


@pytest.mark.long
def test_scans_forget_as_the_daemon_does(
    counted: Program, inbox: Path, backend: CountingBackend
) -> None:
    """A nightly scan notes what is gone, and forgets it when its time is over; a dry one does not.

    A scan of another folder says nothing about this one.
    """
    for number in range(2):
        photo(inbox / str(number) / "IMG.jpg", number)
    assert counted("scan", inbox).returncode == 0
    shutil.rmtree(inbox / "0")
    assert counted("scan", "--dry-run", inbox).returncode == 0
    assert counted("scan", inbox / "1").returncode == 0
    assert on_record(counted, gone=True) == 0
    assert counted("scan", inbox).returncode == 0
    assert (on_record(counted), on_record(counted, gone=True)) == (2, 1)
    counted.environment["TAGGERD__ARRIVALS__FORGET_DAYS"] = "0"
    assert counted("scan", inbox).returncode == 0
    assert on_record(counted) == 1
    assert backend.photo_requests == 2 * ASKED


@pytest.mark.parametrize("hidden", ["root", "folder"])
def test_nothing_is_forgotten_that_is_only_out_of_sight(
    powerless: Program, inbox: Path, tmp_path: Path, backend: CountingBackend, hidden: str
) -> None:
    """A root that is away, a folder that may not be read: what is in it keeps its place."""
    powerless.base_url = backend.base_url
    powerless.environment |= {
        "TAGGERD__ARRIVALS__FORGET_DAYS": "0",
        "TAGGERD__ARRIVALS__RECONCILE_MINUTES": "0.01",
    }
    other = tmp_path / "other"
    image, witness = photo(inbox / "sub" / "IMG_1.jpg", 1), photo(other / "witness.jpg", 2)
    photo(inbox / "IMG_3.jpg", 3)
    daemon = tagged(powerless, image, inbox, other)
    until(lambda: len(powerless.records()) == 3)
    if hidden == "root":
        inbox.rename(tmp_path / "away")
        until(lambda: powerless.live()["roots"][0]["state"] == "offline")
    else:
        image.parent.chmod(0)
        (inbox / "IMG_3.jpg").unlink()
        until(lambda: on_record(powerless) == 2)  # the root was walked
    witness.unlink()
    until(lambda: on_record(powerless) == (2 if hidden == "root" else 1))
    if hidden == "root":
        (tmp_path / "away").rename(inbox)
        (inbox / "IMG_3.jpg").unlink()
        until(lambda: on_record(powerless) == 1)
    else:
        image.parent.chmod(0o755)
    assert powerless.stop(daemon) == 0
    assert sidecar(image).exists()
    assert backend.photo_requests == 3 * ASKED
