"""``metadata.target = "embed"`` as its user meets it: nothing is asked twice."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from support.program import CountingBackend, Program, corpus, otherwise, photo, until

if TYPE_CHECKING:
    from pathlib import Path

WAITING_FOR_NOTHING = {"queued": 0, "claimed": 0, "unwritten": 0, "held": 0, "quarantined": 0}


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
    assert "5 already tagged" in third.stdout
    shutil.rmtree(embedding.state)
    shutil.copy(next(card.glob("*.jpg")), card / "copy.jpg")
    fourth = embedding("scan", card)
    assert "6 already tagged" in fourth.stdout
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


@pytest.mark.long
def test_a_new_answer_replaces_the_old_one_in_the_photo(
    embedding: Program, backend: CountingBackend, card: Path
) -> None:
    """A retag takes only machine words; a human's survive it and the undo after it."""
    path = card / "IMG_0000.jpg"
    embedding("scan", card)
    said = _words(path)
    rejected = said["Subject"][0]
    assert "landscape format" in said["Subject"]
    _edit(path, "-XMP-dc:title=My very own", f"-XMP-dc:subject-={rejected}",
          "-XMP-dc:subject+=Oslo", "-EXIF:Artist=Anna")  # fmt: skip
    otherwise(backend)
    asked = backend.photo_requests
    done = embedding("scan", "--retag", card)
    assert "tagged 5 of 5 photos" in done.stdout, done.stderr
    assert backend.photo_requests == asked + 15
    assert len(list(card.iterdir())) == 5
    retagged = _words(path)
    assert retagged["Title"] == "My very own"
    assert (said["Headline"][:2], retagged["Headline"][:4]) == ("A ", "One ")
    assert "Oslo" in retagged["Subject"]
    assert "wide format" in retagged["Subject"]
    assert {rejected, "landscape format"}.isdisjoint(retagged["Subject"])
    assert "wide format" in _words(card / "IMG_0001.jpg")["Subject"]
    undone = embedding("undo", card)
    assert "5 photos: 4 restored byte for byte, 1 cleaned" in undone.stdout, undone.stderr
    assert _words(path) == {"Title": "My very own", "Subject": "Oslo", "Artist": "Anna"}
    assert "5 undone before" in embedding("scan", card).stdout


@pytest.mark.long
def test_both_are_tagged_again(embedding: Program, backend: CountingBackend, card: Path) -> None:
    """With ``target = "both"`` the sidecar and the photo say the same, and both are undone."""
    embedding.environment["TAGGERD__METADATA__TARGET"] = "both"
    before = _tree(card)
    embedding("scan", card)
    otherwise(backend)
    assert "tagged 5 of 5 photos" in embedding("scan", "--retag", card).stdout
    path = card / "IMG_0002.jpg"
    inside, beside = _words(path), _words(card / "IMG_0002.jpg.xmp")
    aside = {"Undo", "Body"}
    assert {k: v for k, v in inside.items() if k not in aside} == {
        k: v for k, v in beside.items() if k not in aside
    }
    assert "wide format" in inside["Subject"]
    assert "landscape format" not in inside["Subject"]
    done = embedding("undo", card)
    assert "5 sidecars: 5 removed" in done.stdout
    assert "5 photos: 5 restored byte for byte" in done.stdout
    assert _tree(card) == before


@pytest.mark.long
def test_an_undo_gives_the_photos_back(
    embedding: Program, backend: CountingBackend, card: Path
) -> None:
    """Byte for byte, whatever the target is now; a retry embeds again and sends no request."""
    for number, name in enumerate(("a.png", "b.webp")):
        Image.open(photo(card / "new.jpg", 90 + number)).save(card / name)
    (card / "new.jpg").unlink()
    before = _tree(card)
    assert "tagged 7 of 7" in embedding("scan", card).stdout
    tagged = _tree(card)
    assert tagged.keys() == before.keys()
    assert all(tagged[name] != before[name] for name in before)
    (shown,) = json.loads(embedding("show", "--json", card / "a.png").stdout)
    assert [packet["touched"] for packet in shown["embedded"]] == [
        "made by taggerd, not edited since"
    ]
    assert (shown["sidecars"], shown["own"]["texts"]) == ([], [])
    assert all(each["keywords"] for each in shown["readers"])
    dry = embedding("undo", "--dry-run", card)
    assert "7 photos: 7 would be restored byte for byte" in dry.stdout
    part = embedding("undo", "--field", "keywords", card)
    assert "7 photos: 7 cleaned in part" in part.stdout
    assert "7 tagged before" in embedding("scan", card).stdout
    embedding.environment["TAGGERD__METADATA__TARGET"] = "sidecar"
    done = embedding("undo", card)
    assert "7 photos: 7 restored byte for byte" in done.stdout
    assert done.returncode == 0
    assert _tree(card) == before
    assert "7 undone before" in embedding("scan", card).stdout
    asked = backend.photo_requests
    embedding.environment["TAGGERD__METADATA__TARGET"] = "embed"
    assert "7 photos are back" in embedding("retry", card).stdout
    assert "tagged 7 of 7" in embedding("scan", card).stdout
    assert backend.photo_requests == asked
    assert _tree(card).keys() == before.keys()
    assert _tree(card) != before


@pytest.mark.long
def test_a_running_daemon_leaves_what_was_undone(embedding: Program, inbox: Path) -> None:
    """It sees the photo change, and knows that it was taggerd itself."""
    first = photo(inbox / "first.jpg", 1)
    before = first.read_bytes()
    daemon = embedding.start("--input-dir", inbox)
    until(lambda: embedding.status()["counts"]["recorded"] == 1)
    assert "1 photo: 1 restored byte for byte" in embedding("undo", inbox).stdout
    daemon.send_signal(signal.SIGHUP)
    photo(inbox / "second.jpg", 2)
    until(lambda: len(embedding.records()) == 2)
    assert embedding.stop(daemon) == 0
    assert first.read_bytes() == before
    assert "1 tagged before; 1 undone before" in embedding("scan", inbox).stdout
    assert first.read_bytes() == before


@pytest.mark.long
def test_an_undo_killed_at_any_instant_leaves_whole_photos(
    embedding: Program, tmp_path: Path
) -> None:
    """Each is the tagged one or the one that was; the next undo ends it and clears up."""
    card = tmp_path / "many"
    for number in range(40):
        photo(card / f"{number:02}.jpg", number, size=(1200, 900))
    before = _tree(card)
    embedding("scan", card, seconds=300)
    tagged = _tree(card)
    left = dict(tagged)
    for number in range(12):
        with subprocess.Popen(
            embedding.command("undo", card),
            env=embedding.full_environment(),
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as undo:
            assert undo.stdout is not None
            read = undo.stdout.read(1)  # it has begun, or it is through
            threading.Event().wait(0.004 * number)
            undo.kill()
        left = {path.name: path.read_bytes() for path in card.glob("[!.]*")}
        assert left.keys() == before.keys()
        assert all(left[name] in {before[name], tagged[name]} for name in left)
        if not read or left == before:
            break
    assert embedding("undo", card).returncode == 0
    assert _tree(card) == before


@pytest.mark.long
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
    follow = ("Keywords", "Caption-Abstract", "Headline", "CodedCharacterSet", "IPTCDigest",
              "ThumbnailOffset")  # fmt: skip  # exiftool counts it from the start of the file
    for name in embedded:
        changed = {key for key, value in after[name].items() if before[name].get(key) != value}
        assert all(key.endswith(follow) for key in changed), (name, changed)
        assert before[name].keys() <= after[name].keys()
        assert set(_list(before[name], "IPTC:Keywords")) <= set(_list(after[name], "IPTC:Keywords"))
    assert any(after[name] != before[name] for name in embedded), "some have IPTC-IIM"
    for name, record in records.items():
        if name not in embedded and not record["error"]:
            assert record["sidecars"]
            assert (card / name).read_bytes() == (corpus("photos") / name).read_bytes()
    embedding("undo", card)
    for name in (name for name in embedded if name.lower().endswith(("jpg", "jpeg"))):
        assert (card / name).read_bytes() == (corpus("photos") / name).read_bytes(), name


def _list(shown: dict[str, object], key: str) -> list[object]:
    """Return a list as exiftool shows it: one value alone is no list."""
    value = shown.get(key, [])
    return value if isinstance(value, list) else [value]


def _tree(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder with its bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _words(path: Path) -> dict[str, Any]:
    """Return what exiftool finds of the words in a photo or a sidecar; all of it if little."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    tags = ["-XMP-dc:all", "-XMP-photoshop:all", "-XMP-lr:all", "-XMP-tiff:all", "-XMP-digiKam:all",
            "-XMP-iptcCore:all", "-XMP-taggerd:all", "-IFD0:Artist"]  # fmt: skip
    shown = subprocess.run(["exiftool", "-j", *tags, path], capture_output=True, check=True)
    (words,) = json.loads(shown.stdout)
    del words["SourceFile"]
    return dict(words)


def _edit(path: Path, *changes: str) -> None:
    """Edit a photo as a human does with exiftool."""
    command = ["exiftool", "-q", "-overwrite_original", *changes, str(path)]
    subprocess.run(command, check=True)


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
