"""Files made to break whoever reads them: the daemon lives, stays small, and tags the others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import bombs
from support.program import corpus, photo, until

from taggerd.photo import IMAGE_EXTENSIONS, extension

if TYPE_CHECKING:
    from subprocess import Popen

    from support.program import Program

GOOD = 12
LARGEST_MEGABYTES = 400
"""What the daemon may come to need, whatever it meets."""


def most_memory(daemon: Popen[bytes]) -> float:
    """Return the most memory that the daemon's own process has had, megabytes."""
    for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise AssertionError


def served(taggerd: Program, inbox: Path) -> dict[str, dict[str, Any]]:
    """Let the daemon meet all that lies in *inbox*, and return the record of each file's photo.

    It must live, stay small, end with every photo tagged or given up on with a reason, and leave
    every byte of every picture as it was.
    """
    for number in range(GOOD):
        photo(inbox / f"good-{number:02}.jpg", number)
    before = {path: path.read_bytes() for path in inbox.iterdir()}
    pictures = {path for path in before if extension(path) in IMAGE_EXTENSIONS}
    daemon = taggerd.start("--input-dir", inbox)

    def all_met() -> bool:
        assert daemon.poll() is None, taggerd.log()
        done = {file for record in taggerd.records() for file in record["files"]}
        return done >= set(map(str, pictures))

    until(all_met, 300)
    memory = most_memory(daemon)
    status = taggerd.status()
    assert taggerd.stop(daemon) == 0
    print(f"the daemon's memory: at most {memory:.0f} MB")  # noqa: T201 - to be judged
    assert memory < LARGEST_MEGABYTES

    records = {Path(file).name: r for r in taggerd.records() for file in r["files"]}
    failed = {r["image"] for r in records.values() if r["error"]}
    assert status["counts"]["quarantined"] == len(failed)
    assert all(each["reason"] and each["path"] in failed for each in status["failed"])
    for path, content in before.items():
        if path in pictures:
            assert path.read_bytes() == content
            assert path.with_name(f"{path.name}.xmp").exists() or records[path.name]["error"]
    assert not [r for name, r in records.items() if name.startswith("good-") and r["error"]]
    assert not list(inbox.glob(".*"))
    return records


@pytest.mark.long
def test_bombs(taggerd: Program, inbox: Path) -> None:
    """Small files that ask for gigabytes, or for hours, cost one photo each at most.

    The HEIC is made of one tile's bytes, with the place of 300 of its 320 tiles past the file's
    end; the decoder shows those in one colour and says nothing.
    """
    bombs.png(inbox / "170-megapixels.png", 13000, 13077)
    bombs.png(inbox / "300-megapixels.png", 20000, 15000)
    bombs.tiff_header(inbox / "huge.tif", 60_000, 60_000)
    bombs.gif(inbox / "frames.gif", 10_000)
    bombs.gif(inbox / "frames-of-a-gif.jpg", 10_000)
    bombs.heic(inbox / "whole.heic", 20, 16, missing=0)
    bombs.heic(inbox / "tiles-missing.heic", 20, 16, missing=300)
    photo(inbox / "beside-deep.jpg", 201)
    deep = bombs.deep_sidecar(inbox / "beside-deep.jpg.xmp", 100_000)
    photo(inbox / "beside-long.jpg", 202)
    long = bombs.long_sidecar(inbox / "beside-long.jpg.xmp", 5_000_000)
    before = deep.read_bytes(), long.read_bytes()

    records = served(taggerd, inbox)

    assert "megapixels" in records["huge.tif"]["error"]
    assert "megapixels" in records["300-megapixels.png"]["error"]
    assert records["huge.tif"]["attempts"] == records["300-megapixels.png"]["attempts"] == 1
    # A sound picture of any size is scaled while it is read.
    assert records["170-megapixels.png"]["error"] == ""
    assert {r["attempts"] for n, r in records.items() if n.startswith("good-")} == {1}
    assert "GIF" in records["frames-of-a-gif.jpg"]["error"]
    assert "nests deeper" in records["beside-deep.jpg"]["error"]
    assert records["whole.heic"]["error"] == ""
    assert "parts" in records["beside-long.jpg"]["error"]
    assert (deep.read_bytes(), long.read_bytes()) == before


@pytest.mark.long
def test_files_that_crashed_decoders(taggerd: Program, inbox: Path) -> None:
    """Each file of the corpus, under its own name and as a JPEG: tagged, or given up on and why."""
    for path in corpus("hostile").iterdir():
        shutil.copyfile(path, inbox / path.name)
        shutil.copyfile(path, inbox / f"{path.name}.jpg")
    served(taggerd, inbox)
