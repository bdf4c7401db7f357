"""The nouns: grouping, stamps, printable paths, and records as JSON."""

from __future__ import annotations

import itertools
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taggerd.photo import (
    Keyword,
    Photo,
    PhotoFile,
    Record,
    Sidecar,
    Stamp,
    Tags,
    group,
    printable,
)

STAMP = Stamp(1, 2, 3, 4)


def files(*names: str) -> list[PhotoFile]:
    """Make files of these names in one folder."""
    return [PhotoFile(Path("/card") / name, STAMP) for name in names]


def names(photos: list[Photo]) -> list[list[str]]:
    """Return the file names of each photo."""
    return [[file.path.name for file in photo.files] for photo in photos]


def test_raw_and_jpeg_of_one_stem_are_one_photo_read_from_the_jpeg() -> None:
    """A raw file and the JPEG beside it are one picture; the JPEG is the one that is decoded."""
    assert names(group(files("IMG_1.CR3", "IMG_1.JPG"))) == [["IMG_1.JPG", "IMG_1.CR3"]]


def test_rendered_files_of_one_stem_stay_apart() -> None:
    """Without a raw file, equal stems may be two phones' pictures: they are not merged."""
    assert names(group(files("IMG_1.PNG", "IMG_1.JPG"))) == [["IMG_1.JPG"], ["IMG_1.PNG"]]


def test_grouping_does_not_depend_on_the_order_of_arrival() -> None:
    """The same files make the same photos in whatever order they come."""
    arrived = files("A.CR3", "A.JPG", "A.HEIC", "B.jpg", "B.png")
    expected = group(arrived)
    for order in itertools.permutations(arrived):
        assert group(order) == expected


def test_stems_in_two_folders_are_two_photos() -> None:
    """A stem counts within its folder only."""
    there = PhotoFile(Path("/other/A.JPG"), STAMP)
    assert len(group([*files("A.CR3"), there])) == 2


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"/a/plain.jpg", "/a/plain.jpg"),
        (b"/a/two\nlines.jpg", "/a/two\\nlines.jpg"),
        (b"/a/\xff.jpg", "/a/\\xff.jpg"),
        ("/a/grüße 🌅.jpg".encode(), "/a/grüße 🌅.jpg"),
        (b"/a/\x1b[31m.jpg", "/a/\\x1b[31m.jpg"),
    ],
)
def test_a_path_is_printed_on_one_line_of_valid_text(raw: bytes, shown: str) -> None:
    """No name can break a line, send control codes to a terminal, or be invalid UTF-8."""
    assert printable(Path(os.fsdecode(raw))) == shown


def record(path: Path) -> Record:
    """Make a record of a photo at *path*."""
    at = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    return Record(
        id="1",
        photo=Photo((PhotoFile(path, STAMP),)),
        digest="d",
        tags=Tags(caption="A cat", keywords=(Keyword("cat", 0.9),)),
        roles={"caption": "A cat"},
        models={"caption": "m"},
        backend="builtin:",
        prompt_profile="default",
        sidecars=(Sidecar(path=path, written=False, error="read-only"),),
        notes=(),
        error="",
        attempts=1,
        started_at=at,
        finished_at=at,
        stages={},
        usage={},
        dry_run=False,
        version="0",
    )


def test_a_record_starts_with_its_schema_version_and_lists_scored_keywords() -> None:
    """Readers of the JSONL find the schema version first and keywords with their scores."""
    written = record(Path("/card/a.jpg")).to_json()
    assert next(iter(written)) == "schema_version"
    assert written["keywords"] == [{"keyword": "cat", "score": 0.9}]


def test_a_refused_sidecar_does_not_count_as_written() -> None:
    """``sidecars`` names only what holds the tags."""
    written = record(Path("/card/a.jpg")).to_json()
    assert written["sidecars"] == []
    assert written["metadata_written"] is False


def test_a_name_that_is_not_utf8_can_be_found_again_from_the_record() -> None:
    """Such a path is printed with escapes, and kept whole as base64."""
    import base64  # noqa: PLC0415 - only here

    path = Path(os.fsdecode(b"/card/\xff.jpg"))
    written = json.loads(json.dumps(record(path).to_json(), ensure_ascii=False).encode())
    assert written["image"] == "/card/\\xff.jpg"
    assert base64.b64decode(written["image_base64"]) == b"/card/\xff.jpg"
