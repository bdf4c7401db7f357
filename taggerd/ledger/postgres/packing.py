"""Texts that look alike, compressed by what stands in all of them.

Answers and records are most of what the ledger keeps of a photo. PostgreSQL itself compresses no
row below two kilobytes, and by that row alone.
"""

from __future__ import annotations

import zlib

PACKED = frozenset({"answer"})
"""Columns whose texts the database has compressed, and nobody else."""
_VERSION = b"\x01"
"""The first byte: by which text it is compressed. What was kept is read by the same for ever, and
another text gets another number."""
_USUAL = rb"""
, standing, sitting, wearing, surrounded by, holding, people, woman, man, child, group, front,
background, foreground, scene, soft, bright, natural light, sunlight, shadows, overcast, sky,
clouds, trees, grass, water, green, blue, white, black, brown, yellow, grey, red, orange, small,
large, wooden, stone, building, window, street, mountain, landscape, outdoor, indoor, day,
summer, winter, portrait, nature.  The light is with a in the background. and the on the of a at
the while an to the under over near from behind beside its in front of
{"text":"","keywords":[["",0.95],["",0.8],["",1.0],["",0.7]],"model":"","backend":"http://localhost:8000/v1","profile":"default","profile_digest":"","prompt_tokens":1,"completion_tokens":1,"seconds":1.,"raw":"{\"keywords\":
[\"", \""]}"} {"schema_version": 1, "id": "1-20250630T120000.", "image":
"archive:/2025/06/IMG_.JPG", "digest": "", "files": [".jpg", "@/srv/photos/import/DSC_.ARW"],
"keywords": [{"keyword": "", "score": 0.95}, {"keyword": "", "score": 0.8}, {"keyword": "",
"score": 1.0}, {"keyword": "", "score": null}], "caption": "A ", "description": "A ", "roles":
{"caption": "", "keywords": "", "description": ""}, "models": {"caption": "", "keywords": "",
"description": ""}, "inherited_from": "", "backend": "http://localhost:8000/v1",
"prompt_profile": "default", "prompt_profile_digest": "", "metadata_written": true, "sidecars":
[".xmp"], "embedded": [], "notes": [], "error": "", "error_kind": "", "attempts": 1,
"started_at": "2025-06-30T12:00:00.000+02:00", "finished_at": "", "duration_seconds": 1.5,
"stages": {"decode": 0.1, "caption": 1.2, "keywords": 1., "description": 1., "metadata": 0.0},
"usage": {"requests": 3, "prompt_tokens": 1, "completion_tokens": 1}, "dry_run": false,
"no_meta": false, "held": false, "run": "run-", "version": "0.1.0"}""".replace(b"\n", b" ")
"""What answers and records say."""
_RAW = -15
"""zlib's word for a stream with neither header nor checksum: they would be another six bytes."""


def packed(text: str) -> bytes:
    """Return *text*, which has no lone surrogate, as it is kept."""
    packing = zlib.compressobj(9, wbits=_RAW, zdict=_USUAL)
    return _VERSION + packing.compress(text.encode()) + packing.flush()


def unpacked(kept: bytes) -> str:
    """Return what :func:`packed` was given; nothing where it is damaged."""
    try:
        return zlib.decompressobj(_RAW, _USUAL).decompress(kept[1:]).decode()
    except (zlib.error, ValueError):
        return ""
