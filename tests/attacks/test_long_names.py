"""A name with which nothing can be written is found out before anything is paid for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.program import otherwise, photo

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

TOO_LONG = "has a name too long for this file system: give the photo a shorter one"


def named(folder: Path, length: int) -> Path:
    """Make a photo whose name has so many bytes, most of them in characters of two."""
    stem = "é" * ((length - 4) // 2)
    return photo(folder / f"{stem.ljust(length - 4 - len(stem), 'x')}.jpg", length)


@pytest.mark.parametrize("target", ["sidecar", "both", "embed"])
def test_photos_whose_sidecars_could_have_no_name_cost_nothing(
    taggerd: Program, backend: CountingBackend, tmp_path: Path, target: str
) -> None:
    """They fail at once and say why; the others are tagged. Embedding needs no sidecar."""
    card = tmp_path / "card"
    long = {length: named(card, length) for length in (252, 253, 255)}
    good = photo(card / "good.jpg", 1)
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METADATA__TARGET"] = target
    done = taggerd("scan", card)
    by_name = {record["image"]: record for record in taggerd.records()}
    assert by_name[str(good)]["error"] == ""
    if target == "embed":
        assert done.returncode == 0, done.stdout
        return
    assert backend.photo_requests == 3
    assert done.returncode == 1
    for length, path in long.items():
        assert TOO_LONG in by_name[str(path)]["error"]
        assert path.read_bytes() == photo(tmp_path / "same.jpg", length).read_bytes()


def test_backups_of_long_names_have_shorter_ones(
    taggerd: Program, backend: CountingBackend, tmp_path: Path
) -> None:
    """The sidecars fit; their backups' and temporaries' names are cut, so that they do too."""
    card = tmp_path / "card"
    long = [named(card, length) for length in (235, 247, 251)]
    taggerd.base_url = backend.base_url
    sidecars = [path.with_name(f"{path.name}.xmp") for path in long]
    assert taggerd("scan", card).returncode == 0
    otherwise(backend)
    human = [path.read_bytes().replace(b"<dc:subject>", b"<dc:subject >", 1) for path in sidecars]
    for path, content in zip(sidecars, human, strict=True):
        path.write_bytes(content)
    done = taggerd("scan", "--retag", "--backup-originals", card)
    assert done.returncode == 0, done.stdout + done.stderr
    backups = [each for each in card.iterdir() if ".orig-" in each.name]
    assert sorted(each.read_bytes() for each in backups) == sorted(human)
    taggerd.environment["TAGGERD__METADATA__BACKUP_ORIGINALS"] = "true"
    again = taggerd("undo", card)
    assert again.returncode == 0, again.stdout + again.stderr
    assert not list(card.glob(".*"))


def test_a_backup_of_a_photo_with_a_long_name_is_made(
    taggerd: Program, backend: CountingBackend, tmp_path: Path
) -> None:
    """With embedding it is the photo that is kept."""
    card = tmp_path / "card"
    long = named(card, 255)
    before = long.read_bytes()
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METADATA__TARGET"] = "embed"
    done = taggerd("scan", "--backup-originals", card)
    assert done.returncode == 0, done.stdout + done.stderr
    (backup,) = [each for each in card.iterdir() if ".orig-" in each.name]
    assert backup.read_bytes() == before
    assert long.read_bytes() != before
