"""Words of other taggers: adopted, replaced by a retag, removed by an undo."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import Program

pytestmark = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="exiftool is not there: apt-get install libimage-exiftool-perl",
)
TITLE, DESCRIPTION = "A dog by the sea", "A dog stands by the sea. It is wet."


def _exiftool(*words: str | Path) -> bytes:
    return subprocess.run(
        ["exiftool", "-config", "", *words], check=True, capture_output=True
    ).stdout


def _words(path: Path) -> dict[str, object]:
    """Return what another reader finds."""
    options = ("-j", "-XMP-dc:Title", "-XMP-dc:Description", "-XMP-dc:Subject",
               "-XMP-lr:HierarchicalSubject")  # fmt: skip
    (shown,) = json.loads(_exiftool(*options, path))
    return {key: value for key, value in shown.items() if key != "SourceFile"}


def _write(path: Path, *keywords: str) -> None:
    """Write words as imageworks does: title, description, and each keyword into two lists."""
    lists = [f"-XMP-{name}+={word}" for word in keywords
             for name in ("dc:Subject", "lr:HierarchicalSubject")]  # fmt: skip
    _exiftool(f"-XMP-dc:Title={TITLE}", f"-XMP-dc:Description={DESCRIPTION}", *lists, path)


@pytest.fixture
def photo(card: Path) -> Path:
    """Return a JPEG with a sidecar that a human and another tagger wrote."""
    path = next(path for path in sorted(card.iterdir()) if path.suffix == ".jpg")
    for other in card.iterdir():
        if other != path:
            other.unlink()
    _write(path.with_name(path.name + ".xmp"), "Anna", "dog", "sea")
    return path


@pytest.fixture
def records(photo: Path, tmp_path: Path) -> Path:
    """Return imageworks' JSONL about the photo, from another folder."""
    record = {
        "image": f"/old/archive/{photo.name}",
        "keywords": [{"keyword": "dog", "score": 0.9}, {"keyword": "sea", "score": 0.5}],
        "caption": TITLE,
        "description": DESCRIPTION.replace(". ", ".\n"),
        "models": {"caption": "qwen-vl", "keywords": "None"},
        "metadata_written": True,
    }
    path = tmp_path / "tagger.jsonl"
    path.write_text(json.dumps(record) + "\n")
    return path


@pytest.mark.long
def test_a_retag_replaces_them(taggerd: Program, photo: Path, records: Path) -> None:
    """What the record says is machine words now; what it does not say is still a human's."""
    beside = photo.with_name(photo.name + ".xmp")
    before = _words(beside)
    done = taggerd("adopt", "--jsonl", records, photo.parent)
    assert done.returncode == 0, done.stderr
    assert "dc:description, dc:title; keywords dog, sea" in done.stdout
    assert _words(beside) == before, "not a word has changed"
    assert "caption=qwen-vl" in beside.read_text()
    assert "1 photo" in taggerd("scan", photo.parent).stdout
    assert _words(beside) == before, "a scan takes it for tagged"
    assert taggerd("scan", "--retag", photo.parent).returncode == 0
    shown = _words(beside)
    assert shown["Title"] != TITLE
    assert shown["Description"] != DESCRIPTION
    assert isinstance(shown["Subject"], list)
    assert "Anna" in shown["Subject"]
    assert not {"dog", "sea"} & set(shown["Subject"])
    assert not {"dog", "sea"} & set(shown["HierarchicalSubject"])  # type: ignore[call-overload]  # a list of words


def test_an_undo_removes_them(taggerd: Program, photo: Path, records: Path) -> None:
    """And leaves what a human wrote."""
    beside = photo.with_name(photo.name + ".xmp")
    taggerd("adopt", "--jsonl", records, photo.parent)
    assert taggerd("undo", photo.parent).returncode == 0
    assert _words(beside) == {"Subject": "Anna", "HierarchicalSubject": "Anna"}


def test_a_dry_run_lists(taggerd: Program, photo: Path, records: Path) -> None:
    """And changes nothing."""
    beside = photo.with_name(photo.name + ".xmp")
    before = beside.read_bytes()
    done = taggerd("adopt", "--dry-run", "--jsonl", records, photo.parent)
    assert f"would adopt: {beside}: dc:description, dc:title; keywords dog, sea" in done.stdout
    assert beside.read_bytes() == before


@pytest.mark.long
def test_words_in_the_photo_itself(taggerd: Program, photo: Path, records: Path) -> None:
    """Imageworks writes into JPEGs: a new sidecar holds the words, and an undo removes that."""
    beside = photo.with_name(photo.name + ".xmp")
    beside.unlink()
    _write(photo, "Anna", "dog", "sea")
    photo.with_name(photo.name + "_original").unlink()
    bytes_before = photo.read_bytes()
    done = taggerd("adopt", "--jsonl", records, photo.parent)
    assert "(new: the words are in the photo)" in done.stdout
    assert taggerd("scan", "--retag", photo.parent).returncode == 0
    shown = _words(beside)
    assert shown["Title"] != TITLE
    assert isinstance(shown["Subject"], list)
    assert "Anna" in shown["Subject"]
    assert "sea" not in shown["Subject"]
    taggerd("undo", photo.parent)
    assert not beside.exists()
    assert photo.read_bytes() == bytes_before


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["--marked", "AI"], {}),
        (["--all-words-before", "2999-01-01"], {}),
        pytest.param(["--all-words-before", "2001-01-01"], None, marks=pytest.mark.long),
        (["--marked", "other"], None),
    ],
)
def test_a_mark_or_a_date(
    taggerd: Program, photo: Path, arguments: list[str], left: dict[str, object] | None
) -> None:
    """All words of a photo that has the keyword, or that was last changed before the day."""
    beside = photo.with_name(photo.name + ".xmp")
    _exiftool(
        "-overwrite_original", "-XMP-dc:Subject+=AI", "-XMP-lr:HierarchicalSubject+=AI", beside
    )
    before = _words(beside)
    taggerd("adopt", *arguments, photo.parent)
    taggerd("undo", photo.parent)
    assert _words(beside) == (before if left is None else left)


@pytest.mark.long
def test_the_date_that_the_sidecar_says(taggerd: Program, photo: Path) -> None:
    """It counts before the file's own, which a copy changes."""
    beside = photo.with_name(photo.name + ".xmp")
    _exiftool("-overwrite_original", "-XMP-xmp:MetadataDate=2020:01:02 03:04:05", beside)
    done = taggerd("adopt", "--dry-run", "--all-words-before", "2020-01-03", photo.parent)
    assert "keywords Anna, dog, sea" in done.stdout
    done = taggerd("adopt", "--dry-run", "--all-words-before", "2020-01-02", photo.parent)
    assert done.stdout == "would adopt words in 0 sidecars\n"


@pytest.mark.long
def test_keywords_below_a_mark(taggerd: Program, photo: Path) -> None:
    """As LrGeniusAI and digiKam write them: only those and the mark itself are adopted."""
    beside = photo.with_name(photo.name + ".xmp")
    _exiftool(
        "-overwrite_original", "-XMP-lr:HierarchicalSubject=Anna",
        "-XMP-lr:HierarchicalSubject=AI|dog", "-XMP-lr:HierarchicalSubject=AI|sea",
        "-XMP-dc:Subject+=AI", beside,
    )  # fmt: skip
    taggerd("adopt", "--marked", "ai", photo.parent)
    taggerd("undo", photo.parent)
    assert _words(beside) == {
        "Title": TITLE, "Description": DESCRIPTION, "Subject": "Anna",
        "HierarchicalSubject": "Anna",
    }  # fmt: skip


def test_wrong_usage(taggerd: Program, card: Path, tmp_path: Path) -> None:
    """It says which words are meant by nothing, and which line is no record."""
    assert "--jsonl FILE" in taggerd("adopt", card).stderr
    (tmp_path / "a.jsonl").write_text('{"image": "/a.jpg"}\n{}\n')
    done = taggerd("adopt", "--jsonl", tmp_path / "a.jsonl", card)
    assert done.returncode == 2
    assert "a.jsonl, line 2: no record of a tagged photo" in done.stderr
