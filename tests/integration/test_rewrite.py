"""``taggerd rewrite``: changed settings reach tagged photos, and nothing is asked."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from support.program import CountingBackend, Program, other_words, photo

if TYPE_CHECKING:
    from pathlib import Path

NOTE = "settings for sidecars have changed since these photos were tagged: taggerd rewrite"


@pytest.fixture
def tagged(taggerd: Program, backend: CountingBackend, card: Path) -> Program:
    """Return the program, with the card tagged by a backend that is down since."""
    taggerd.base_url = backend.base_url
    first = taggerd("scan", card)
    assert "tagged 5 of 5 photos" in first.stdout, first.stderr
    backend.die()
    return taggerd


def rewrite(program: Program, card: Path) -> str:
    """Rewrite the card, and return what was said."""
    done = program("rewrite", card)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def keywords(program: Program, path: Path) -> list[str]:
    """Return the record's keywords of the photo's last record."""
    record: dict[str, Any] = [r for r in program.records() if r["image"] == str(path)][-1]
    return [each["keyword"] for each in record["keywords"]]


@pytest.mark.long
def test_tags_are_embedded_after_the_fact(
    tagged: Program, backend: CountingBackend, card: Path
) -> None:
    """A changed target reaches the photos though the backend is down; an undo removes all of it."""
    photos = {name: data for name, data in files(card).items() if name.endswith(".jpg")}
    asked = backend.photo_requests
    tagged.environment["TAGGERD__METADATA__TARGET"] = "both"
    assert "applied the settings to 5 of 5 photos" in rewrite(tagged, card)
    assert backend.photo_requests == asked
    assert all(b"taggerd" in path.read_bytes() for path in card.glob("*.jpg"))
    records = tagged.records()[5:]
    assert len(records) == 5
    assert all(r["embedded"] and r["sidecars"] and not r["usage"]["requests"] for r in records)
    assert all("rewritten from answers that are held" in r["notes"] for r in records)
    assert tagged.status()["counts"]["recorded"] == 5
    scanned = tagged("scan", card)
    assert "5 tagged before" in scanned.stdout
    assert scanned.returncode == 0
    assert tagged("undo", card).returncode == 0
    assert files(card) == photos


@pytest.mark.long
def test_a_scan_says_that_settings_have_changed(
    tagged: Program, card: Path, tmp_path: Path
) -> None:
    """In one line, until the photos are rewritten; another folder's rewrite does not silence it."""
    assert NOTE not in tagged("scan", card).stderr
    tagged.environment["TAGGERD__OWNERSHIP__KEYWORD"] = "AI"
    assert tagged("scan", card).stderr.count(NOTE) == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    rewrite(tagged, empty)
    said = json.loads(tagged("scan", card, "--json").stdout)
    assert said["outdated"] == 5
    rewrite(tagged, card)
    assert NOTE not in tagged("scan", card).stderr
    del tagged.environment["TAGGERD__OWNERSHIP__KEYWORD"]
    assert NOTE in tagged("scan", card, "--dry-run").stderr


@pytest.mark.long
def test_a_parent_keyword_is_added(tagged: Program, card: Path) -> None:
    """The hierarchical lists repeat the machine keywords below it, and an undo removes them."""
    tagged.environment["TAGGERD__OWNERSHIP__KEYWORD"] = "Robot"
    rewrite(tagged, card)
    assert all("Robot|" in path.read_text() for path in card.glob("*.xmp"))
    assert tagged("undo", card).returncode == 0
    assert not list(card.glob("*.xmp"))


@pytest.mark.long
def test_a_field_is_added(tagged: Program, card: Path) -> None:
    """A property that takes the description now gets it; a human's words stay."""
    sidecar = next(card.glob("*.xmp"))
    text = sidecar.read_text()
    assert "photoshop:Instructions" not in text
    tagged.environment["TAGGERD__METADATA__FIELDS__DESCRIPTION"] = "photoshop:Instructions"
    rewrite(tagged, card)
    assert "photoshop:Instructions" in sidecar.read_text()


def test_a_keyword_list_is_applied(tagged: Program, card: Path, tmp_path: Path) -> None:
    """Only the words of a list that is given now are left."""
    path = next(card.glob("*.jpg"))
    word = keywords(tagged, path)[0]
    assert len(keywords(tagged, path)) > 1
    words = tmp_path / "words.txt"
    words.write_text(f"{word}\n")
    tagged.environment["TAGGERD__KEYWORDS__VOCABULARY"] = str(words)
    tagged.environment["TAGGERD__KEYWORDS__MODE"] = "only"
    rewrite(tagged, card)
    assert keywords(tagged, path) == [word]
    words.write_text(f"{word}\nanother\n")
    assert NOTE in tagged("scan", card).stderr


def test_a_human_keeps_the_last_word(tagged: Program, card: Path) -> None:
    """What a human wrote or deleted meanwhile stays so."""
    sidecar = next(card.glob("*.xmp"))
    word = keywords(tagged, sidecar.with_suffix(""))[0]
    ours, mark, record = sidecar.read_text().partition("<taggerd:")
    text = re.sub(rf"\s*<rdf:li>{word}</rdf:li>", "", ours)
    text = re.sub(
        r"(<dc:description>.*?<rdf:li[^>]*>)[^<]*", r"\1My own words", text, flags=re.DOTALL
    )
    assert f">{word}<" not in text
    sidecar.write_text(text + mark + record)
    tagged.environment["TAGGERD__OWNERSHIP__KEYWORD"] = "Robot"
    rewrite(tagged, card)
    text, _, _ = sidecar.read_text().partition("<taggerd:")
    assert f">{word}<" not in text
    assert f"Robot|{word}<" not in text
    assert "Robot|" in text
    assert "My own words" in text


@pytest.mark.long
def test_a_photo_without_held_answers_is_left(
    taggerd: Program, backend: CountingBackend, card: Path
) -> None:
    """Where the ledger is lost, or a photo is not tagged, nothing is written and nothing asked."""
    taggerd.base_url = backend.base_url
    taggerd("scan", card)
    shutil.rmtree(taggerd.state)
    assert "5 already tagged" in taggerd("scan", card).stdout
    photo(card / "new.jpg", 99)
    before, asked = files(card), backend.photo_requests
    taggerd.environment["TAGGERD__METADATA__TARGET"] = "both"
    said = rewrite(taggerd, card)
    assert "5 no answers held" in said
    assert "1 not tagged yet" in said
    assert files(card) == before
    assert backend.photo_requests == asked
    assert taggerd.status()["counts"]["recorded"] == 5
    assert "tagged 1 of 1 photo;" in taggerd("scan", card).stdout


@pytest.mark.long
def test_a_sidecar_keeps_its_name(tagged: Program, card: Path) -> None:
    """Other programs know it by that name; so a scan does not promise another one."""
    before = files(card).keys()
    tagged.environment["TAGGERD__SIDECAR__NAMING"] = "stem"
    assert NOTE not in tagged("scan", card).stderr
    rewrite(tagged, card)
    assert files(card).keys() == before


def test_undone_photos_stay_undone(tagged: Program, card: Path) -> None:
    """Somebody did not want their tags."""
    assert tagged("undo", card).returncode == 0
    before = files(card)
    tagged.environment["TAGGERD__METADATA__TARGET"] = "both"
    assert "5 not tagged yet" in rewrite(tagged, card)
    assert files(card) == before


@pytest.mark.long
@pytest.mark.parametrize("target", ["sidecar", "embed"])
def test_a_trial_is_not_written(
    taggerd: Program, backend: CountingBackend, card: Path, target: str
) -> None:
    """The words that the photo has are rewritten, not those of a dry run that came later."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METADATA__TARGET"] = target
    taggerd("scan", card)
    backend.script = other_words
    asked = backend.photo_requests
    tried = taggerd("scan", card, "--dry-run", "--retag", "--prompt-profile", "concise")
    assert tried.returncode == 0, tried.stderr
    assert "One " in tried.stdout
    assert backend.photo_requests > asked
    taggerd.environment["TAGGERD__OWNERSHIP__KEYWORD"] = "Robot"
    rewrite(taggerd, card)
    written = [path.read_bytes() for path in card.iterdir()]
    texts = [text.decode("latin-1") for text in written if b"taggerd" in text]
    assert len(texts) == 5
    assert all("Robot|" in text and "One " not in text for text in texts)
