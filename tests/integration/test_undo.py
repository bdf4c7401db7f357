"""``taggerd undo``, ``scan --retag`` and ``show`` as their user runs them."""

from __future__ import annotations

import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest
from support.program import otherwise, photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

SIDECAR = """<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/" dc:title="Mine">{}</rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file of a folder with its bytes and mode."""
    return {path.name: (path.read_bytes(), path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.long
def test_an_undo_gives_the_folder_back(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """Byte for byte and mode for mode; the photos are left alone until somebody asks for them."""
    taggerd.base_url = backend.base_url
    (card / "IMG_0001.jpg.xmp").write_text(SIDECAR.format(""))
    (card / "IMG_0001.jpg.xmp").chmod(0o640)
    before = tree(card)
    assert taggerd("scan", card).returncode == 0
    tagged = tree(card)
    dry = taggerd("undo", "--dry-run", card)
    assert "5 sidecars: 4 would be removed, 1 would be restored byte for byte" in dry.stdout
    assert f"would be removed: {card}/IMG_0002.jpg.xmp" in dry.stdout
    assert tree(card) == tagged
    done = taggerd("undo", card)
    assert done.returncode == 0, done.stderr
    assert "5 sidecars: 4 removed, 1 restored byte for byte" in done.stdout
    assert tree(card) == before
    counts = taggerd.status()["counts"]
    assert (counts["recorded"], counts["unwritten"]) == (0, 5)
    asked = backend.photo_requests
    assert "5 undone before" in taggerd("scan", card).stdout
    assert "retry" in taggerd("scan", "--list", card).stdout
    assert taggerd("undo", card).returncode == 0
    assert tree(card) == before
    assert taggerd("retry", "--all").stdout == "no photo to retry\n"
    assert "5 photos are back" in taggerd("retry", card).stdout
    assert "tagged 5 of 5" in taggerd("scan", card).stdout
    assert backend.photo_requests == asked
    assert tree(card).keys() == tagged.keys()


@pytest.mark.long
def test_a_running_daemon_leaves_what_was_undone(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """Through events, a reconcile and a restart; what is new is still tagged."""
    taggerd.base_url = backend.base_url
    (taggerd.home / "taggerd.toml").write_text(f'[arrivals]\nroots = ["{inbox}"]\n')
    first = photo(inbox / "first.jpg", 1)
    settings = ("--config", taggerd.home / "taggerd.toml")
    daemon = taggerd.start(*settings)
    sidecar = inbox / "first.jpg.xmp"
    until(lambda: taggerd.status()["counts"]["recorded"] == 1)
    assert taggerd("undo", "--all", *settings).returncode == 0
    assert not sidecar.exists()
    os.utime(first, ns=(first.stat().st_atime_ns, first.stat().st_mtime_ns))
    daemon.send_signal(signal.SIGHUP)
    photo(inbox / "second.jpg", 2)
    until((inbox / "second.jpg.xmp").exists)
    daemon.terminate()
    daemon.wait(180)
    taggerd.start(*settings)
    photo(inbox / "third.jpg", 3)
    until((inbox / "third.jpg.xmp").exists)
    assert not sidecar.exists()
    assert backend.photo_requests == 9


def test_an_undo_needs_no_ledger(taggerd: Program, card: Path) -> None:
    """Nor does it make one."""
    before = tree(card)
    taggerd("scan", card)
    taggerd.state.rename(taggerd.home / "lost")
    done = taggerd("undo", card / "IMG_0000.jpg", *sorted(card.glob("IMG_000[1-4].jpg.xmp")))
    assert "5 sidecars: 5 removed" in done.stdout, done.stderr
    assert tree(card) == before
    assert not taggerd.state.exists()


@pytest.mark.long
def test_a_retag_replaces_only_machine_words(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """Human texts and keywords stay, a rejected word stays away, what is said no more goes."""
    taggerd.base_url = backend.base_url
    path = card / "IMG_0000.jpg.xmp"
    taggerd("scan", card)
    first = path.read_text()
    said = re.findall(r"<rdf:li>([^<]+)</rdf:li>", first.partition("<dc:subject>")[2])
    rejected, stale = said[0], "landscape format"
    assert stale in said
    edited = first.replace("A landscape-format picture", "My very own", 1)
    head, mark, record = edited.partition("<taggerd:version>")
    head = head.replace(f"<rdf:li>{rejected}</rdf:li>", "").replace(
        f"<rdf:li>{said[1]}</rdf:li>", f"<rdf:li>{said[1]}</rdf:li><rdf:li>Oslo</rdf:li>", 1
    )
    path.write_text(head + mark + record)
    otherwise(backend)
    assert "5 tagged before" in taggerd("scan", card).stdout
    done = taggerd("scan", "--retag", card)
    assert "tagged 5 of 5 photos" in done.stdout
    assert backend.photo_requests == 30
    head, _, record = path.read_text().partition("<taggerd:version>")
    assert "My very own" in head
    assert "<rdf:li>Oslo</rdf:li>" in head
    assert f"<rdf:li>{rejected}</rdf:li>" not in head
    assert stale not in head
    assert "wide format" in head
    assert f"<rdf:li>{rejected}</rdf:li>" in record.partition("<taggerd:rejected>")[2]
    done = taggerd("undo", path)
    assert done.returncode == 0
    left = path.read_text()
    assert "My very own" in left
    assert "Oslo" in left
    assert "wide" not in left
    assert taggerd("undo", path).stdout.startswith(f"left: {path}: nothing in it is taggerd's")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to undo: name photos, sidecars or folders"),
        (["--all"], "--all needs arrivals.roots"),
        (["--all", "."], "--all and PATH exclude each other"),
        (["--since", "yesterday", "."], "--since"),
        (["--field", "title", "."], "--field"),
        (["nowhere"], "does not exist"),
    ],
)
def test_a_wrong_request_touches_nothing(taggerd: Program, arguments: list[str], said: str) -> None:
    """One line, exit code 2."""
    done = taggerd("undo", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_what_cannot_be_undone_is_named(powerless: Program, card: Path) -> None:
    """Exit code 1; the file stays; the others are undone."""
    powerless("scan", card)
    damaged, locked = card / "IMG_0001.jpg.xmp", card / "IMG_0002.jpg.xmp"
    damaged.write_bytes(damaged.read_bytes()[:-30])
    locked.chmod(0o444)
    before = tree(card)
    done = powerless("undo", card)
    assert done.returncode == 1
    assert f"refused: {damaged}: is not well-formed" in done.stdout
    assert f"refused: {locked}: is read-only" in done.stdout
    assert "5 sidecars: 3 removed, 2 refused" in done.stdout
    assert {name: tree(card)[name] for name in (damaged.name, locked.name)} == {
        name: before[name] for name in (damaged.name, locked.name)
    }


def test_show_is_readable_at_80_columns(taggerd: Program, card: Path) -> None:
    """Without colour in a pipe, with a refused sidecar and none; and the same as JSON."""
    taggerd("scan", card / "IMG_0000.jpg")
    (card / "IMG_0001.jpg.xmp").write_text("<x")
    taggerd.environment["COLUMNS"] = "80"
    done = taggerd("show", "--verbose", card)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    tables = [
        line for line in done.stdout.splitlines() if not line.startswith(("/", "IMG_", "  2"))
    ]
    assert max(map(len, tables)) <= 80
    for word in ("machine", "keywords", "PhotoPrism", "made by taggerd", "no sidecar",
                 "not known: the sidecar is damaged", "is not well-formed"):  # fmt: skip
        assert word in done.stdout, word
    (one,) = json.loads(taggerd("show", "--json", card / "IMG_0000.jpg.xmp").stdout)
    shows = {each["reader"]: each for each in one["readers"]}
    texts = {each["field"]: each for each in one["sidecars"][0]["texts"]}
    assert shows["Immich"]["description"] == texts["tiff:ImageDescription"]["text"]
    assert texts["tiff:ImageDescription"]["whose"] == "machine"
    assert shows["digiKam"]["keywords"] == one["sidecars"][0]["keywords"]["machine"]


@pytest.mark.long
def test_show_says_in_a_line_what_a_program_shows_of_a_folder(taggerd: Program, card: Path) -> None:
    """Whose words each photo carries stays; per program there is one line a folder."""
    (card / "more").mkdir()
    (card / "IMG_0004.jpg").rename(card / "more" / "one.jpg")
    taggerd("scan", card / "IMG_0000.jpg", card / "IMG_0001.jpg", card / "more")
    (card / "IMG_0002.jpg.xmp").write_text("<x")
    done = taggerd("show", card)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if line.startswith("digiKam shows")]) == 2
    broken = "(1 not known: the sidecar is damaged)"
    of_two = f"shows titles, descriptions and keywords of 2 of 4 photos {broken}"
    assert f"digiKam {of_two}" in lines
    assert f"darktable {of_two}" in lines
    assert (
        f"Immich shows descriptions and keywords of 2 of 4 photos, but no titles {broken}" in lines
    )
    assert "Lightroom shows nothing of 4 photos" in lines  # it reads no sidecar of a JPEG
    assert "digiKam shows titles, descriptions and keywords of 1 of 1 photo" in lines
    assert done.stdout.count("IMG_0000.jpg.xmp: made by taggerd") == 1


@pytest.mark.long
def test_a_list_that_may_shadow_is_reported_once(taggerd: Program, inbox: Path) -> None:
    """In the log once a run, in the record of every photo; the list itself is left alone."""
    name = "MicrosoftPhoto:LastKeywordXMP"
    words = f"<{name}><rdf:Bag><rdf:li>Anna</rdf:li></rdf:Bag></{name}>"
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
        (inbox / f"{number}.jpg.xmp").write_text(SIDECAR.format(words))
    taggerd.start("--input-dir", inbox)
    until(lambda: len(taggerd.records()) == 3)
    assert taggerd.log().count("LastKeywordXMP was left alone") == 1
    assert all("LastKeywordXMP" in "".join(record["notes"]) for record in taggerd.records())
    data = (inbox / "0.jpg.xmp").read_text()
    assert words in data
    assert data.count("<rdf:li>Anna</rdf:li>") == 4


@pytest.mark.long
def test_refused_sidecars_are_written_once_they_are_mended(
    taggerd: Program, tmp_path: Path, backend: CountingBackend
) -> None:
    """200 of them: each is named with its reason; retry writes them and sends no request."""
    taggerd.base_url = backend.base_url
    card = tmp_path / "card"
    for number in range(200):
        photo(card / f"{number:03}.jpg", number, size=(64, 48))
        (card / f"{number:03}.jpg.xmp").write_text(SIDECAR.format("")[:-20])
    before = tree(card)
    done = taggerd("scan", card, seconds=300)
    assert done.returncode == 1
    assert tree(card) == before
    for number in range(200):
        assert f"{number:03}.jpg.xmp is not well-formed XML" in done.stdout
    asked = backend.photo_requests
    for number in range(200):
        (card / f"{number:03}.jpg.xmp").write_text(SIDECAR.format(""))
    assert "200 photos are back" in taggerd("retry", card).stdout
    done = taggerd("scan", card, seconds=300)
    assert done.returncode == 0, done.stdout
    assert backend.photo_requests == asked
    for number in range(200):
        data = (card / f"{number:03}.jpg.xmp").read_text()
        assert "<dc:description>" in data
        assert 'dc:title="Mine"' in data
