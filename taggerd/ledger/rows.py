"""Paths, stamps, sidecars and answers as the database keeps them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from taggerd.ledger.port import Held
from taggerd.photo import Answer, Keyword, PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_INT64 = range(-(2**63), 2**63)


class FileKey(NamedTuple):
    """A file's path in its three parts."""

    folder: bytes
    """Ends in ``/``."""
    stem: bytes
    suffix: bytes
    """With its dot; may be empty."""

    @classmethod
    def of(cls, path: Path) -> FileKey:
        """Split *path* as `taggerd.photo.group` does."""
        return cls(folder_bytes(path.parent), os.fsencode(path.stem), os.fsencode(path.suffix))


def folder_bytes(folder: Path) -> bytes:
    """Return a folder's path with its final ``/``."""
    path = os.fsencode(folder)
    return path if path.endswith(b"/") else path + b"/"


def folder_range(folder: Path) -> tuple[bytes, bytes]:
    """Return the range, without its end, of the paths of *folder* and all folders below it."""
    low = folder_bytes(folder)
    return low, low[:-1] + b"0"  # "0" follows "/"


def path_of(path: bytes) -> Path:
    """Return the path that was kept as *path*."""
    return Path(os.fsdecode(path))


def file_of(folder: bytes, row: Mapping[str, Any]) -> PhotoFile:
    """Return the file of a row with ``stem, suffix`` and the stamp's columns."""
    return PhotoFile(path_of(folder + row["stem"] + row["suffix"]), stamp_of(row))


def stamp_of(row: Mapping[str, Any]) -> Stamp:
    """Return the stamp of a row with ``size, mtime_ns, inode, device``."""
    return Stamp(int(row["size"]), int(row["mtime_ns"]), int(row["inode"]), int(row["device"]))


def stamp_columns(stamp: Stamp) -> dict[str, int | str]:
    """Return the four columns of *stamp*; a number beyond 64 signed bits becomes text."""
    return {k: v if v in _INT64 else str(v) for k, v in stamp._asdict().items()}


def digest_bytes(digest: str) -> bytes:
    """Return a digest's bytes; none for an empty one."""
    return bytes.fromhex(digest)


def sidecars_json(folder: Path, sidecars: Mapping[Path, str]) -> str:
    """Return a photo's *sidecars* and their digests; those in its *folder* by their name alone."""
    return json.dumps(
        {path.name if path.parent == folder else str(path): d for path, d in sidecars.items()}
    )


def sidecars_of(folder: Path, text: str | None) -> dict[Path, str]:
    """Return what :func:`sidecars_json` was given; a damaged value is as good as none."""
    try:
        return {folder / name: str(digest) for name, digest in json.loads(text or "{}").items()}
    except (ValueError, AttributeError):
        return {}


def answer_json(answer: Answer) -> str:
    """Return what is kept of *answer* beside its role and question; empty values are left out."""
    said: dict[str, Any] = {
        "text": answer.text,
        "keywords": [[keyword.word, keyword.score] for keyword in answer.keywords],
        "model": answer.model,
        "backend": answer.backend,
        "profile": answer.profile,
        "profile_digest": answer.profile_digest,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "seconds": answer.seconds,
        "inherited_from": answer.inherited_from,
    }
    said = {key: value for key, value in said.items() if value}
    if answer.raw != answer.text:
        said["raw"] = answer.raw
    return json.dumps(said, ensure_ascii=False, separators=(",", ":"))


def answers_json(answers: Iterable[Answer]) -> str:
    """Return what is kept of *answers* together."""
    rows = [{"role": a.role, "question": a.question, "answer": answer_json(a)} for a in answers]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def answers_of(text: str | None) -> tuple[Answer, ...]:
    """Return what :func:`answers_json` was given; a damaged value is as good as none."""
    try:
        return tuple(held_of({**row, "at": 0.0}).answer for row in json.loads(text or "[]"))
    except (ValueError, TypeError, KeyError):
        return ()


def held_of(row: Mapping[str, Any]) -> Held:
    """Return the answer of a row with ``role, question, at, answer``.

    Raises:
        ValueError: it is damaged.
    """
    try:
        kept = json.loads(row["answer"])
        keywords = tuple(Keyword(word, score) for word, score in kept.pop("keywords", ()))
        kept.setdefault("raw", kept.get("text", ""))
        answer = Answer(role=row["role"], question=row["question"], keywords=keywords, **kept)
    except (AttributeError, TypeError, ValueError) as error:
        message = f"not an answer: {error}"
        raise ValueError(message) from error
    return Held(answer, row["at"])
