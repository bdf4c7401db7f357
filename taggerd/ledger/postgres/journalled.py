"""The records that any host has journalled.

Day files lie with the host that wrote them: whoever asks elsewhere finds their records here.

They are most of what the ledger keeps of a photo, and look alike: each is compressed by what stands
in all of them. PostgreSQL itself compresses no row below two kilobytes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from taggerd.ledger.postgres.database import PostgresDatabase
    from taggerd.ledger.queries import Database

_RECORDS = 500
"""Read, or removed, at once."""
_VERSION = b"\x01"
"""The first byte: by which text a record is compressed. What was kept is read by the same for ever,
so that another text gets another number."""
_USUAL = b"""
, standing, sitting, wearing, surrounded by, holding, people, woman, man, child, group, front,
background, foreground, scene, soft, bright, natural light, sunlight, shadows, overcast, sky,
clouds, trees, grass, water, green, blue, white, black, brown, yellow, grey, red, orange, small,
large, wooden, stone, building, window, street, mountain, landscape, outdoor, indoor, day,
summer, winter, portrait, nature.  The light is with a in the background. and the on the of a at
the while an to the under over near from behind beside its in front of {"schema_version": 1,
"id": "1-20250630T120000.", "image": "archive:/2025/06/IMG_.JPG", "digest": "", "files":
[".jpg", "@/srv/photos/import/DSC_.ARW"], "keywords": [{"keyword": "", "score": 0.95},
{"keyword": "", "score": 0.8}, {"keyword": "", "score": 1.0}, {"keyword": "", "score": null}],
"caption": "A ", "description": "A ", "roles": {"caption": "", "keywords": "", "description":
""}, "models": {"caption": "", "keywords": "", "description": ""}, "inherited_from": "",
"backend": "http://localhost:8000/v1", "prompt_profile": "default", "prompt_profile_digest": "",
"metadata_written": true, "sidecars": [".xmp"], "embedded": [], "notes": [], "error": "",
"error_kind": "", "attempts": 1, "started_at": "2025-06-30T12:00:00.000+02:00", "finished_at":
"", "duration_seconds": 1.5, "stages": {"decode": 0.1, "caption": 1.2, "keywords": 1.,
"description": 1., "metadata": 0.0}, "usage": {"requests": 3, "prompt_tokens": 1,
"completion_tokens": 1}, "dry_run": false, "no_meta": false, "held": false, "run": "run-",
"version": "0.1.0"}""".replace(b"\n", b" ")
"""What the records of photos say."""
_RAW = -15
"""zlib's word for a stream with neither header nor checksum: they would be another six bytes."""


def packed(line: str) -> bytes:
    """Return the JSON of a record as it is kept."""
    packing = zlib.compressobj(9, wbits=_RAW, zdict=_USUAL)
    return _VERSION + packing.compress(line.encode()) + packing.flush()


def unpacked(kept: bytes) -> str:
    """Return what :func:`packed` was given."""
    return zlib.decompressobj(_RAW, _USUAL).decompress(kept[1:]).decode()


def deliver(database: PostgresDatabase, records: Iterable[str]) -> None:
    """Take *records*, given by id, out of the outbox, as they are journalled now."""
    rows = database.bulk("delivered", records=list(records))
    kept = [row for row in sorted(rows, key=lambda row: row["id"]) if row["stream"] == ""]
    if kept:
        database.bulk(
            "keep_journalled",
            days=[row["day"] for row in kept],
            lines=[packed(row["line"]) for row in kept],
        )


def lines(database: Database, day: str) -> Iterator[str]:
    """Yield the records of *day*, in the order they came, with the paths of this host."""
    behind = 0
    while rows := database.rows("journalled", day=day, behind=behind, limit=_RECORDS):
        for row in rows:
            yield database.paths.readable(unpacked(row["line"]))
        behind = rows[-1]["number"]


def since(database: Database, number: int) -> Iterator[tuple[str, str, int]]:
    """Yield day, line and number of each record behind *number*, likewise."""
    while rows := database.rows("journalled_since", behind=number, limit=_RECORDS):
        for row in rows:
            number = row["number"]
            yield row["day"], database.paths.readable(unpacked(row["line"])), number


def forget(database: Database, before: str) -> bool:
    """Remove some records of days *before* that one; say whether there may be more."""
    return database.do("forget_journalled", before=before, limit=_RECORDS) == _RECORDS
