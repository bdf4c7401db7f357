"""ZIP archives that arrive: unpacked once, beside themselves, whole or not at all."""

from __future__ import annotations

import os
import shutil
import signal
import zipfile
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program


@pytest.fixture
def unpacking(taggerd: Program) -> Program:
    """Return the program, with unpacking on."""
    taggerd.environment["TAGGERD__ARRIVALS__UNPACK"] = "true"
    return taggerd


def zipped(card: Path, archive: Path) -> Path:
    """Put a folder of photos into an archive, which appears whole under its name."""
    part = archive.with_name(f"{archive.name}.part")
    with zipfile.ZipFile(part, "w") as made:
        for file in sorted(card.rglob("*.*")):
            made.write(file, f"DCIM/{file.relative_to(card)}")
        made.writestr("readme.txt", "not a photo")
    return part.rename(archive)


def sidecars(folder: Path) -> int:
    """Count the sidecars below a folder."""
    return len(list(folder.rglob("*.xmp")))


def words(sidecar: Path, field: str) -> tuple[str, ...]:
    """Return the texts of one property of a sidecar."""
    return Document.load(sidecar.read_bytes()).texts(named(field))


@pytest.mark.parametrize("mode", ["inotify", pytest.param("poll", marks=pytest.mark.long)])
def test_an_archive_that_arrives_is_unpacked_and_tagged(
    unpacking: Program, card: Path, inbox: Path, mode: str
) -> None:
    """Its photos get their sidecars in a folder beside it; the archive is left as it was."""
    unpacking.environment["TAGGERD__ARRIVALS__ROOTS"] = f'[{{"path": "{inbox}", "mode": "{mode}"}}]'
    unpacking.environment["TAGGERD__ARRIVALS__POLL_SECONDS"] = "0.5"
    daemon = unpacking.start()
    archive = zipped(card, inbox / "Wedding.zip")
    before = archive.read_bytes()
    until(lambda: sidecars(inbox / "Wedding" / "DCIM") == 5)
    until(lambda: len(unpacking.records()) == 5)
    assert unpacking.stop(daemon) == 0
    assert archive.read_bytes() == before
    assert not list(inbox.rglob("readme.txt"))
    assert sorted(path.name for path in inbox.iterdir()) == ["Wedding", "Wedding.zip"]


def test_it_is_left_alone_unless_that_is_wanted(taggerd: Program, card: Path, inbox: Path) -> None:
    """By default an archive is no photo."""
    archive = zipped(card, inbox / "Wedding.zip")
    assert taggerd("scan", inbox).returncode == 0
    assert list(inbox.iterdir()) == [archive]


@pytest.mark.long
def test_what_was_unpacked_and_deleted_does_not_come_back(
    unpacking: Program, card: Path, inbox: Path
) -> None:
    """Not by a restart, a reconcile, a touch or a rename; a replaced archive is unpacked again."""
    archive = zipped(card, inbox / "a.zip")
    daemon = unpacking.start("--input-dir", inbox)
    until(lambda: len(unpacking.records()) == 5)
    shutil.rmtree(inbox / "a")
    os.utime(archive)
    archive = archive.rename(inbox / "b.zip")
    unpacking.stop(daemon)
    daemon = unpacking.start("--input-dir", inbox)
    daemon.send_signal(signal.SIGHUP)
    photo(inbox / "later.jpg", 9)
    until((inbox / "later.jpg.xmp").exists)
    assert unpacking.stop(daemon) == 0
    assert not (inbox / "a").exists()
    assert not (inbox / "b").exists()
    photo(card / "IMG_0009.jpg", 9)
    zipped(card, archive)
    assert unpacking("scan", inbox).returncode == 0
    assert sidecars(inbox / "b") == 6
    (inbox / "b" / "mine.txt").write_text("mine")
    photo(card / "IMG_0010.jpg", 10)
    zipped(card, archive)
    assert unpacking("scan", inbox).returncode == 0
    assert sidecars(inbox / "b-2") == 7
    assert (inbox / "b" / "mine.txt").read_text() == "mine"


def test_the_archive_s_keywords_are_written_as_they_are(
    unpacking: Program, card: Path, inbox: Path
) -> None:
    """In every list, known as ours, never shaped by the rules for a model's words."""
    (card / "IMG_0000.jpg.xmp").write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>Aunt May'
        "</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    unpacking.environment["TAGGERD__ARRIVALS__ARCHIVE_KEYWORDS"] = (
        '["Clients 2025 ", "from {archive}"]'
    )
    zipped(card, inbox / "Müller's.zip")
    photo(inbox / "other.jpg", 7)
    assert unpacking("scan", inbox).returncode == 0
    for number in range(5):
        sidecar = inbox / "Müller's" / "DCIM" / f"IMG_{number:04}.jpg.xmp"
        for field in ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"):
            assert {"Clients 2025", "from Müller's"} <= set(words(sidecar, field))
        assert {"Clients 2025", "from Müller's"} <= set(words(sidecar, "taggerd:keywords"))
    assert "Aunt May" in words(inbox / "Müller's" / "DCIM" / "IMG_0000.jpg.xmp", "dc:subject")
    assert "Clients 2025" not in words(inbox / "other.jpg.xmp", "dc:subject")
    assert unpacking("scan", "--overwrite-metadata", inbox).returncode == 0
    sidecar = inbox / "Müller's" / "DCIM" / "IMG_0001.jpg.xmp"
    assert words(sidecar, "dc:subject").count("Clients 2025") == 1


@pytest.mark.long
def test_archives_that_cannot_be_unpacked_are_named_and_harm_nobody(
    unpacking: Program, card: Path, inbox: Path
) -> None:
    """Damaged, encrypted, a bomb: one line each, once; photos beside them are tagged."""
    good = zipped(card, inbox / "good.zip").read_bytes()
    (inbox / "damaged.zip").write_bytes(good[: len(good) // 2])
    encrypted = bytearray(good)
    entry = encrypted.index(b"PK\x01\x02")
    encrypted[entry + 8] |= 1
    (inbox / "locked.zip").write_bytes(encrypted)
    with (
        zipfile.ZipFile(inbox / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb,
        bomb.open("bomb.jpg", "w") as member,
    ):
        for _ in range(200):
            member.write(bytes(1 << 20))
    daemon = unpacking.start("--input-dir", inbox)
    until(lambda: sidecars(inbox / "good") == 5)
    until(lambda: unpacking.log().count("archive refused") == 3)
    unpacking.stop(daemon)
    log = unpacking.log()
    for word in ("damaged", "encrypted", "bomb"):
        assert word in log
    daemon = unpacking.start("--input-dir", inbox)
    photo(inbox / "later.jpg", 9)
    until((inbox / "later.jpg.xmp").exists)
    assert unpacking.stop(daemon) == 0
    assert unpacking.log().count("archive refused") == 3
    assert sorted(path.name for path in inbox.iterdir() if path.is_dir()) == ["good"]
    scanned = unpacking("scan", inbox)
    assert scanned.returncode == 1
    for name in ("damaged.zip", "locked.zip", "bomb.zip"):
        assert name in scanned.stdout + scanned.stderr


def test_a_killed_run_leaves_nothing_behind_and_nothing_twice(
    unpacking: Program, inbox: Path, tmp_path: Path, backend: CountingBackend
) -> None:
    """Killed in the middle of unpacking, it unpacks again from the start, into one folder."""
    unpacking.base_url = backend.base_url
    big = tmp_path / "big"
    for number in range(3):
        photo(big / f"{number}.jpg", number)
    with zipfile.ZipFile(tmp_path / "big.zip", "w") as archive:
        for number in range(1500):
            archive.write(big / f"{number % 3}.jpg", f"{number:04}.jpg")
    for name in ("gone.zip", "big.zip"):
        shutil.copy(tmp_path / "big.zip", inbox / name)
        daemon = unpacking.start("--input-dir", inbox)
        until(lambda: list(inbox.glob(".taggerd-unpacking-*/0*.jpg")))
        unpacking.stop(daemon, signal.SIGKILL)
        assert len(list(inbox.glob(".taggerd-unpacking-*"))) == 1
        assert not (inbox / name).with_suffix("").exists()
        (inbox / "gone.zip").unlink(missing_ok=True)
    unpacking.environment["TAGGERD__ARRIVALS__IGNORE"] = '["0*.jpg", "1*.jpg"]'
    daemon = unpacking.start("--input-dir", inbox)
    until((inbox / "big" / "1499.jpg").exists)
    assert unpacking.stop(daemon) == 0
    assert not list(inbox.glob(".taggerd-unpacking-*"))
    assert not list(inbox.glob("big-*"))
    assert len(list((inbox / "big").glob("*.jpg"))) == 1500


@pytest.mark.long
def test_a_scan_and_the_daemon_unpack_it_once(unpacking: Program, card: Path, inbox: Path) -> None:
    """Whoever comes second finds it done, also when the ledger was lost."""
    archive = zipped(card, inbox / "a.zip")
    assert unpacking("scan", archive).returncode == 0
    assert sidecars(inbox / "a") == 5
    daemon = unpacking.start("--input-dir", inbox)
    photo(inbox / "later.jpg", 9)
    until((inbox / "later.jpg.xmp").exists)
    unpacking.stop(daemon)
    shutil.rmtree(unpacking.state)
    assert unpacking("scan", inbox).returncode == 0
    assert sorted(path.name for path in inbox.iterdir() if path.is_dir()) == ["a"]


def test_a_listing_and_a_dry_run_unpack_nothing(
    unpacking: Program, card: Path, inbox: Path
) -> None:
    """They only say that the archive is there."""
    archive = zipped(card, inbox / "a.zip")
    assert "a scan unpacks it once" in unpacking("scan", "--list", inbox).stdout
    assert unpacking("scan", "--dry-run", inbox).returncode == 0
    assert list(inbox.iterdir()) == [archive]
