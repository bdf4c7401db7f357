"""Purging the Debian package, as root, in folders that belong to others."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCRIPT = Path(__file__).parents[2] / "config" / "debian" / "taggerd.postrm"
_NOBODY = 65534


@pytest.fixture
def machine() -> Iterator[Path]:
    """Return a folder to take for the root of a machine, which everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _purge(machine: Path) -> None:
    text = _SCRIPT.read_text(encoding="utf-8")
    for folder in ("/var/lib", "/usr/lib", "/etc/"):
        text = text.replace(folder, f"{machine}{folder}")
    subprocess.run(
        ["/bin/sh", "-c", text.replace("#DEBHELPER#", ""), "postrm", "purge"], check=True
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another user's place")
def test_what_a_user_links_to_stays(machine: Path) -> None:
    """Neither what they may not remove, nor what they keep elsewhere; the state itself goes."""
    state = machine / "var" / "lib" / "taggerd-me"
    others = machine / "home"
    for folder in (state, others / "results", others / "owners"):
        folder.mkdir(parents=True)
    kept = [others / "results" / "photo.jpg", others / "owners" / "photo.jpg"]
    for path in kept:
        path.write_text("a photo")
    (state / "outputs").symlink_to(others)
    (state / "owners").symlink_to(others / "owners")
    (state / "ledger.sqlite").write_text("")
    for path in (state, *state.iterdir()):
        os.chown(path, _NOBODY, _NOBODY, follow_symlinks=False)
    _purge(machine)
    assert [path.is_file() for path in kept] == [True, True]
    assert not (state / "ledger.sqlite").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another user's place")
def test_photos_in_the_state_directory_stay(machine: Path) -> None:
    """Whatever they are called."""
    state = machine / "var" / "lib" / "taggerd"
    state.mkdir(parents=True)
    for name in ("ledger.jpg", "ledger.sqlite", "ledger.sqlite-wal"):
        (state / name).write_text("")
    _purge(machine)
    assert [path.name for path in state.iterdir()] == ["ledger.jpg"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may take another user's place")
def test_nothing_of_the_review_stays(machine: Path) -> None:
    """A purge takes its catalogue, its password, what was compared, its pictures and its pages."""
    state = machine / "var" / "lib" / "taggerd"
    for folder in ("comparisons/20260101-120000-0a1b", "previews"):
        (state / folder).mkdir(parents=True)
        (state / folder / "0000.jpg").write_text("")
    (state / "outputs" / "summaries").mkdir(parents=True)
    names = "catalogue.sqlite", "catalogue.sqlite-wal", "web-password", "outputs/index.html"
    for name in (*names, "outputs/summaries/2026-01-01.html"):
        (state / name).write_text("")
    _purge(machine)
    assert not state.exists()
