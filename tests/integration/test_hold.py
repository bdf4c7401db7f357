"""``review.hold``: nothing is written until somebody accepts the words, and work goes on."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.hearing import Listener
from support.program import CountingBackend, Program, otherwise, photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def holding(taggerd: Program, backend: CountingBackend) -> Program:
    """Return the program, set to hold, with a backend that counts."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__REVIEW__HOLD"] = "true"
    return taggerd


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Return a program that is told."""
    serving = Listener()
    yield serving
    serving.close()


def sidecars(folder: Path) -> list[str]:
    """Return the names of the sidecars in *folder*."""
    return sorted(path.name for path in folder.glob("*.xmp"))


def counts(program: Program) -> dict[str, int]:
    """Return the photos by state, without those of which there are none."""
    found: dict[str, int] = program.status()["counts"]
    return {state: number for state, number in found.items() if number}


def waiting(program: Program) -> list[dict[str, Any]]:
    """Return what ``taggerd accept --list --json`` shows."""
    shown = program("accept", "--list", "--json")
    assert shown.returncode == 0, shown.stderr
    found: list[dict[str, Any]] = json.loads(shown.stdout)
    return found


def accepted(program: Program) -> list[str]:
    """Return the photos that count as reviewed in the browser, too."""
    with closing(sqlite3.connect(program.state / "ledger.sqlite")) as ledger:
        rows = ledger.execute("SELECT photo FROM corrections WHERE kind = 'accepted'")
        return sorted(os.fsdecode(path) for (path,) in rows)


@pytest.mark.slow
def test_words_wait_until_they_are_accepted(
    holding: Program, backend: CountingBackend, card: Path
) -> None:
    """By photo, by folder, or all: what is written then are the words that were shown.

    Also where the model is another by then, which is not asked: the backend is down.
    """
    photos = {path.name: path.read_bytes() for path in card.iterdir()}
    first = holding("scan", card)
    assert first.stdout.count("held: ") == 5
    assert "got answers for 5 of 5 photos, to be accepted (taggerd accept" in first.stdout
    assert {path.name: path.read_bytes() for path in card.iterdir()} == photos
    records = holding.records()
    assert [(r["held"], r["metadata_written"]) for r in records] == [(True, False)] * 5
    shown = waiting(holding)
    captions = {each["files"][0]: each["words"]["caption"] for each in shown}
    assert captions == {r["image"]: r["caption"] for r in records}
    assert "5 photos wait to be accepted" in holding.status_text()
    assert "5 held" in holding.status_text()
    assert "5 answered before, to be accepted" in holding("scan", card).stdout
    listed = holding("scan", "--list", card).stdout
    assert listed.count("waits to be accepted; taggerd accept PATH writes it") == 5
    assert "no photo to retry" in holding("retry", card).stdout
    assert "5 files wait there to be accepted" in holding("undo", card).stdout
    assert "5 not tagged yet" in holding("rewrite", card).stdout

    backend.die()
    holding.environment["TAGGERD__PROMPTS__PROFILE"] = "concise"
    asked = backend.photo_requests
    one = holding("accept", card / "IMG_0001.jpg")
    assert (one.returncode, sidecars(card)) == (0, ["IMG_0001.jpg.xmp"]), one.stderr
    assert "accepted 1 of 1 photo" in one.stdout
    rest = holding("accept", "--all")
    assert "accepted 4 of 4 photos" in rest.stdout, rest.stderr
    assert len(sidecars(card)) == 5
    assert backend.photo_requests == asked
    written = holding.records()[5:]
    assert {r["image"]: r["caption"] for r in written} == captions
    assert accepted(holding) == sorted(captions)
    assert all(r["metadata_written"] and not r["held"] for r in written)
    assert all(not r["usage"]["requests"] and not r["notes"] for r in written)
    for path in card.glob("*.xmp"):
        assert captions[str(path.with_suffix(""))] in path.read_text()
    assert counts(holding) == {"recorded": 5}
    assert "nothing waits to be accepted" in holding("accept", "--all").stdout


@pytest.mark.long
@pytest.mark.slow
def test_what_is_dropped_is_left_alone_until_it_is_named(holding: Program, card: Path) -> None:
    """No sidecar is made; a scan says why, and what to do; asking costs nothing then."""
    holding("scan", card)
    dropped = holding("accept", "--drop", card / "IMG_0001.jpg")
    assert dropped.stdout == "dropped the words of 1 photo\n"
    assert len(waiting(holding)) == 4
    again = holding("scan", "--no-hold", card)
    assert "tagged 4 of 4 photos; 1 not accepted before" in again.stdout
    assert "IMG_0001.jpg.xmp" not in sidecars(card)
    assert "1 photo is back in the queue" in holding("retry", card).stdout
    assert "tagged 1 of 1 photo; 4 tagged before" in holding("scan", "--no-hold", card).stdout
    assert [r["usage"]["requests"] for r in holding.records()[5:]] == [0] * 5


@pytest.mark.long
def test_new_words_of_a_tagged_photo_wait_beside_the_old_ones(
    holding: Program, backend: CountingBackend, card: Path
) -> None:
    """A retag replaces nothing until it is accepted; dropped, the photo is tagged as it was."""
    holding("scan", "--no-hold", card)
    before = {path.name: path.read_bytes() for path in card.iterdir()}
    otherwise(backend)
    assert "got answers for 5 of 5" in holding("scan", "--retag", card).stdout
    assert {path.name: path.read_bytes() for path in card.iterdir()} == before
    assert counts(holding) == {"held": 5}
    holding("accept", "--drop", card / "IMG_0000.jpg")
    assert "accepted 4 of 4" in holding("accept", card).stdout
    assert counts(holding) == {"recorded": 5}
    now = {path.name: path.read_bytes() for path in card.iterdir()}
    changed = sorted(name for name in now if now[name] != before[name])
    assert changed == [f"IMG_000{n}.jpg.xmp" for n in range(1, 5)]
    assert all(b"wide" in now[name] for name in changed)
    assert "nothing to tag; 5 tagged before" in holding("scan", card).stdout


@pytest.mark.long
def test_an_embedded_target(holding: Program, card: Path) -> None:
    """The photo stays as it is until then; after that it is the same photo to the queue."""
    holding.environment["TAGGERD__METADATA__TARGET"] = "embed"
    photos = {path.name: path.read_bytes() for path in card.iterdir()}
    holding("scan", card)
    assert {path.name: path.read_bytes() for path in card.iterdir()} == photos
    assert "accepted 5 of 5" in holding("accept", card).stdout
    assert all(b"taggerd" in path.read_bytes() for path in card.glob("*.jpg"))
    assert "nothing to tag; 5 tagged before" in holding("scan", card).stdout
    assert holding("undo", card).returncode == 0
    assert {path.name: path.read_bytes() for path in card.iterdir()} == photos


@pytest.mark.long
def test_a_photo_that_changes_is_asked_about_again(
    holding: Program, backend: CountingBackend, card: Path
) -> None:
    """Its words were about another picture: they are not written for this one."""
    holding("scan", card)
    photo(card / "IMG_0002.jpg", 9, (320, 480))
    asked = backend.photo_requests
    refused = holding("accept", card)
    assert "accepted 4 of 4" in refused.stdout, refused.stdout
    assert "IMG_0002.jpg.xmp" not in sidecars(card)
    assert "got answers for 1 of 1 photo, to be accepted" in holding("scan", card).stdout
    assert backend.photo_requests == asked + 3


@pytest.mark.long
def test_the_daemon_goes_on_and_writes_what_is_accepted(
    holding: Program, inbox: Path, tmp_path: Path, listener: Listener
) -> None:
    """Hooks hear of a photo, and it is released, once it is accepted; the batch says what waits."""
    album = tmp_path / "album"
    album.mkdir()
    holding.environment |= {
        "TAGGERD__ARRIVALS__RELEASE_TO": str(album),
        "TAGGERD__HOOKS__AFTER_PHOTO__URL": listener.url,
        "TAGGERD__HOOKS__AFTER_BATCH__URL": listener.url,
        "TAGGERD__HOOKS__IDLE_SECONDS": "1",
    }
    holding.start("--input-dir", inbox)
    photo(inbox / "0.jpg")
    until(lambda: len(waiting(holding)) == 1)
    photo(inbox / "1.jpg", 1)  # the first waits, and keeps no other waiting
    until(lambda: len(waiting(holding)) == 2)
    until(lambda: listener.notices("batch.ended"))
    batch = listener.notices("batch.ended")[0]
    assert batch["data"]["tagged"] == 0
    assert batch["data"]["held"] in {1, 2}
    assert batch["text"].startswith("0 photos tagged, ")
    assert batch["text"].endswith(" to be accepted")
    assert listener.notices("photo.tagged") == []
    assert sorted(path.name for path in inbox.iterdir()) == ["0.jpg", "1.jpg"]
    done = holding("accept", inbox / "0.jpg")
    assert done.returncode == 0, done.stdout + done.stderr
    until(lambda: sorted(path.name for path in album.iterdir()) == ["0.jpg", "0.jpg.xmp"])
    until(lambda: [n["data"]["photo"] for n in listener.notices("photo.tagged")])
    assert [path.name for path in inbox.iterdir()] == ["1.jpg"]
    assert len(waiting(holding)) == 1


@pytest.mark.long
@pytest.mark.parametrize(("after", "written"), [("write", 2), ("drop", 0)])
def test_what_nobody_accepts_is_written_or_dropped_after_some_days(
    holding: Program, inbox: Path, after: str, written: int
) -> None:
    """As ``review.after_hold`` says, and the log says so; before that it waits."""
    for number in range(2):
        photo(inbox / f"{number}.jpg", number)
    holding("scan", inbox)
    holding.environment["TAGGERD__REVIEW__AFTER_HOLD"] = after
    holding.environment["TAGGERD__REVIEW__HOLD_DAYS"] = "3"
    listed = holding("accept", "--list").stdout
    assert f"what nobody has accepted is {'written' if written else 'dropped'}, the" in listed
    daemon = holding.start("--input-dir", inbox)
    assert len(waiting(holding)) == 2
    assert holding.stop(daemon) == 0
    holding.environment["TAGGERD__REVIEW__HOLD_DAYS"] = "0.000001"  # a tenth of a second
    holding.start("--input-dir", inbox)
    until(lambda: not waiting(holding))
    until(lambda: len(sidecars(inbox)) == written)
    assert f"nobody accepted in time after_hold={after} photos=2" in holding.log()
    until(lambda: counts(holding) == ({"recorded": 2} if written else {"unwritten": 2}))


@pytest.mark.long
def test_a_scan_ends_long_holds_as_well(holding: Program, card: Path) -> None:
    """For those who run no daemon."""
    holding("scan", card)
    holding.environment["TAGGERD__REVIEW__HOLD_DAYS"] = "0.000001"
    assert "tagged 5 of 5 photos" in holding("scan", card).stdout
    assert len(sidecars(card)) == 5


def test_what_cannot_be_accepted_is_said(holding: Program, card: Path) -> None:
    """Nothing named, two things named, and a path that is not there."""
    assert "nothing to accept: name photos or folders, or add --all" in holding("accept").stderr
    assert "exclude each other" in holding("accept", "--all", card).stderr
    gone = holding("accept", card / "gone.jpg")
    assert (gone.returncode, "no such photo or folder" in gone.stderr) == (2, True)
    assert holding("accept", card).stdout == "nothing waits to be accepted\n"
    assert holding("accept", "--list").stdout == "0 photos wait to be accepted\n"
    assert not (holding.state / "ledger.sqlite").exists()
