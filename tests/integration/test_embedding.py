"""``metadata.target = "embed"`` as its user meets it: nothing is asked twice."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from program import CountingBackend, Program, corpus, photo, until

if TYPE_CHECKING:
    from pathlib import Path

WAITING_FOR_NOTHING = {"queued": 0, "claimed": 0, "unwritten": 0, "quarantined": 0}


@pytest.fixture
def embedding(taggerd: Program, backend: CountingBackend) -> Program:
    """Return the program, set to embed, with a backend that counts."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METADATA__TARGET"] = "embed"
    return taggerd


def test_a_scan_embeds_and_is_done(
    embedding: Program, backend: CountingBackend, card: Path
) -> None:
    """No sidecar is made; a second scan, a lost ledger and touched files cost no request."""
    first = embedding("scan", card)
    assert "tagged 5 of 5 photos" in first.stdout
    assert len(list(card.iterdir())) == 5
    records = embedding.records()
    assert sorted(r["embedded"] for r in records) == sorted([r["image"]] for r in records)
    assert all(r["metadata_written"] and not r["sidecars"] for r in records)
    asked = backend.photo_requests
    second = embedding("scan", card)
    assert "5 tagged before" in second.stdout
    for path in card.iterdir():
        path.touch()
    third = embedding("scan", card)
    assert "5 had their tags already" in third.stdout
    shutil.rmtree(embedding.state)
    shutil.copy(next(card.glob("*.jpg")), card / "copy.jpg")
    fourth = embedding("scan", card)
    assert "6 had their tags already" in fourth.stdout
    assert backend.photo_requests == asked
    assert len(list(card.iterdir())) == 6


def test_the_daemon_does_not_take_its_own_write_for_a_new_photo(
    embedding: Program, backend: CountingBackend, inbox: Path
) -> None:
    """One way a photo, also while its folder is watched."""
    daemon = embedding.start("--input-dir", str(inbox))
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
    until(lambda: len(embedding.records()) >= 3)
    photo(inbox / "last.jpg", 9)  # what came of the first three is behind it in the queue
    until(lambda: len(embedding.records()) >= 4)
    until(lambda: embedding.status()["counts"] == WAITING_FOR_NOTHING | {"recorded": 4})
    assert embedding.stop(daemon) == 0
    assert backend.photo_requests == 4 * 3
    assert len(embedding.records()) == 4
    assert "4 tagged before" in embedding("scan", inbox).stdout


def test_a_new_answer_replaces_the_old_one_in_the_photo(
    embedding: Program, backend: CountingBackend, card: Path
) -> None:
    """Where the picture is asked about anew, only machine words go."""
    embedding("scan", card)
    asked = backend.photo_requests
    done = embedding("scan", card, "--overwrite-metadata")
    assert done.returncode == 0, done.stderr
    assert backend.photo_requests >= asked
    assert len(list(card.iterdir())) == 5


def test_real_photos(embedding: Program, tmp_path: Path) -> None:
    """Each is embedded into and reads the same to exiftool, or has a sidecar and a reason."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    card = tmp_path / "real"
    card.mkdir()
    for path in corpus("photos").iterdir():
        shutil.copyfile(path, card / path.name)
    before = _exiftool(card)
    embedding("scan", card)
    records = {r["image"].rpartition("/")[2]: r for r in embedding.records()}
    embedded = {name for name, record in records.items() if record["embedded"]}
    assert {"cr3", "CR3", "raf", "jxl"}.isdisjoint(name.rpartition(".")[2] for name in embedded)
    after = _exiftool(card)
    assert len(embedded) > 25
    for name in embedded:
        assert after[name] == before[name], name
    for name, record in records.items():
        if name not in embedded and not record["error"]:
            assert record["sidecars"]
            assert (card / name).read_bytes() == (corpus("photos") / name).read_bytes()


def _exiftool(folder: Path) -> dict[str, dict[str, object]]:
    options = ["-config", "", "-struct", "-j", "-G1", "-a", "-u", "-b", "-q"]
    shown = subprocess.run(["exiftool", *options, folder], capture_output=True, check=False)
    aside = ("System:", "File:", "ExifTool:", "SourceFile", "XMP", "QuickTime:MediaData",
             "MPImage", "RIFF:WebP_Flags")  # fmt: skip
    return {
        str(fields["System:FileName"]): {
            key: value for key, value in fields.items() if not key.startswith(aside)
        }
        for fields in json.loads(shown.stdout)
    }
