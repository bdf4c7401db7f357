"""Records are written and read back by one schema."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.records import record_of

from taggerd.journal.record import parse

if TYPE_CHECKING:
    from taggerd.journal import Record

KEYS = (
    *("schema_version", "id", "image", "digest", "files", "keywords", "caption", "description"),
    *("roles", "models", "inherited_from", "backend", "prompt_profile", "prompt_profile_digest"),
    *("metadata_written", "sidecars", "embedded", "notes", "error", "error_kind", "attempts"),
    *(
        "started_at",
        "finished_at",
        "duration_seconds",
        "stages",
        "usage",
        "dry_run",
        "no_meta",
        "held",
        "run",
        "version",
    ),
)


def stored(record: Record) -> bytes:
    """Return *record* as a line of a day file."""
    return json.dumps(record.to_json(), ensure_ascii=False).encode()


def test_the_keys_of_a_line_are_fixed() -> None:
    """Other programs read the JSONL: the schema version comes first, and no key is missing."""
    assert tuple(record_of().to_json()) == KEYS
    assert record_of().to_json()["keywords"] == [
        {"keyword": "tree", "score": 0.9},
        {"keyword": "word 1", "score": None},
    ]


def test_unused_answers_are_in_a_line_only_if_there_are_any() -> None:
    """``raw`` holds the rejected answers of a photo that failed."""
    assert tuple(record_of(raw={"caption": "<html>"}).to_json()) == (*KEYS, "raw")


def test_what_was_written_is_read_back() -> None:
    """Every field, whatever was said in it, and also its absence."""
    record = record_of(
        7,
        roles={"caption": "A cat", "mood": "calm"},
        sidecars=("/srv/import/card/IMG_7.xmp",),
        metadata_written=True,
        notes=("kept: a human's title",),
        error="no answer",
        error_kind="AnswerError",
        raw={"keywords": "[]"},
        duration_seconds=1.234,
    )
    assert parse(stored(record)) == record
    bare = record_of(started_at=record.started_at, digest="", models={}, stages={}, usage={})
    assert parse(stored(bare)) == bare


def test_a_line_of_another_version_is_read_as_far_as_it_goes() -> None:
    """A missing or unknown key costs nothing else."""
    line: dict[str, Any] = {"id": "1", "image": "/a.jpg", "caption": "A\ncat", "new": [1]}
    read = parse(json.dumps(line).encode())
    assert read is not None
    assert (read.name, read.caption, read.keywords, read.started_at) == ("a.jpg", "A cat", (), None)


def test_a_name_that_is_not_utf8_can_be_found_again_from_the_record() -> None:
    """Such a path is printed with escapes, and kept whole as base64."""
    path = Path(os.fsdecode(b"/card/\xff.jpg"))
    line = stored(record_of(image=path))
    assert json.loads(line)["image"] == "/card/\\xff.jpg"
    assert base64.b64decode(json.loads(line)["image_base64"]) == b"/card/\xff.jpg"
    assert getattr(parse(line), "image", None) == path
