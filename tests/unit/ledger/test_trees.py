"""Whether a folder shows the tree that others know."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from taggerd import files
from taggerd.ledger.postgres.trees import MARKER, compare
from taggerd.photo import PhotoFile, Stamp

if TYPE_CHECKING:
    from pathlib import Path

ID = "8d3f"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return the folder that the others see, with ten photos."""
    files.work_below(tmp_path)
    there = tmp_path / "nas"
    for number in range(10):
        photo = there / f"{2020 + number % 2}" / f"IMG_{number}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        photo.write_bytes(b"x" * (100 + number))
        os.utime(photo, ns=(0, 1_700_000_000_123_456_789 + number))
    return there


def known(tree: Path, seen_at: Path) -> list[PhotoFile]:
    """Return the photos of *tree* as others know them, by their paths below *seen_at*."""
    found = []
    for path in sorted(tree.rglob("*.jpg")):
        stamp = Stamp.of(path.stat())._replace(inode=0, device=0)
        found.append(PhotoFile(seen_at / path.relative_to(tree), stamp))
    return found


def test_the_tree_is_known_by_its_files_wherever_it_is_mounted(tree: Path, tmp_path: Path) -> None:
    """A second mount of it, and a copy with its times, are the same; half of it is enough."""
    here = tmp_path / "mnt"
    shutil.copytree(tree, here)  # keeps times
    sample = known(tree, here)
    assert compare(here, ID, sample).state == "same"
    for photo in sorted(here.rglob("*.jpg"))[:5]:
        photo.unlink()
    assert compare(here, ID, sample).state == "same"
    assert compare(here, ID, []).state == "unknown"
    assert compare(here, ID, []).usable


def test_another_tree_is_told_with_what_was_seen(tree: Path, tmp_path: Path) -> None:
    """Other files, or files of the same names from another camera, are said to be another tree."""
    here = tmp_path / "mnt"
    (here / "2020").mkdir(parents=True)
    (here / "2020" / "IMG_0.jpg").write_bytes(b"another camera's")
    seen = compare(here, ID, known(tree, here))
    assert (seen.state, seen.usable) == ("another", False)
    assert seen.text == ("of 10 photos known in it 9 are not there, 1 have another size or time")


def test_what_is_still_being_copied_is_another_tree_until_half_is_there(
    tree: Path, tmp_path: Path
) -> None:
    """A copy that grows is no mount of the tree; from half on it cannot be told from one."""
    here = tmp_path / "mnt"
    sample = known(tree, here)
    states = []
    for file, photo in zip(sample, sorted(tree.rglob("*.jpg")), strict=True):
        file.path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(photo, file.path)
        states.append(compare(here, ID, sample).state)
    assert states == ["another"] * 4 + ["same"] * 6


def test_what_is_not_mounted_is_away(tree: Path, tmp_path: Path) -> None:
    """No folder, an empty one, and one that is no folder are out of sight, and not another tree."""
    here = tmp_path / "mnt"
    assert compare(here, ID, known(tree, here)).state == "away"
    here.mkdir()
    assert compare(here, ID, known(tree, here)).text == "it is empty: is its disk mounted?"
    assert compare(here, ID, []).usable  # a new root
    here.rmdir()
    here.write_text("")
    assert compare(here, ID, known(tree, here)).state == "away"


def test_a_marker_decides(tree: Path, tmp_path: Path) -> None:
    """With the root's id in it any tree is the one; with another's id none is."""
    here = tmp_path / "mnt"
    here.mkdir()
    (here / MARKER).write_text(f"{ID}\n")
    assert compare(here, ID, known(tree, here)).state == "same"
    (tree / MARKER).write_text("other")
    seen = compare(tree, ID, known(tree, tree))
    assert seen.state == "another"
    assert seen.text == f"its {MARKER} holds 'other' and not {ID!r}"
    (tree / MARKER).write_text("")
    assert compare(tree, ID, known(tree, tree)).state == "same"
