"""Paths, stamps, sidecars and answers as the database keeps them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from taggerd.ledger.port import Held
from taggerd.photo import Answer, Keyword, PhotoFile, Stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_INT64 = range(-(2**63), 2**63)


class Paths:
    """How the paths and stamps of this host stand in the database: here, as they are.

    A ledger that several hosts share has its own: see :mod:`taggerd.ledger.postgres.naming`.
    """

    host: str = ""
    """This host's name."""

    def stored(self, path: Path) -> bytes:
        """Return what is kept of an absolute *path*."""
        return os.fsencode(path)

    def path(self, stored: bytes) -> Path:
        """Return the path that is kept as *stored*."""
        return Path(os.fsdecode(stored))

    def folder(self, folder: Path) -> bytes:
        """Return what is kept of the path of a *folder*, with its final ``/``."""
        return folder_bytes(folder)

    def readable(self, line: str) -> str:
        """Return a journal *line* that was kept with the paths of this host."""
        return line

    def note(self, key: str) -> str:
        """Return what is kept of the *key* of a note about this host."""
        return key

    def ranges(self, below: Path) -> Sequence[tuple[bytes, bytes]]:
        """Return the ranges, each without its end, of the kept paths of the folders *below* it."""
        return [folder_range(below)]

    def stamp(self, row: Mapping[str, Any]) -> Stamp:
        """Return the stamp of a row with ``size, mtime_ns, inode, device``."""
        return stamp_of(row)

    def columns(self, stamp: Stamp) -> dict[str, int | str]:
        """Return the columns of a *stamp* that was taken on this host."""
        return stamp_columns(stamp)

    def key(self, path: Path) -> FileKey:
        """Split *path* as `taggerd.photo.group` does."""
        folder = self.folder(path.parent)
        return FileKey(folder, os.fsencode(path.stem), os.fsencode(path.suffix))

    def file(self, folder: bytes, row: Mapping[str, Any]) -> PhotoFile:
        """Return the file of a row with ``stem, suffix`` and the columns of a stamp."""
        return PhotoFile(self.path(folder + row["stem"] + row["suffix"]), self.stamp(row))


class FileKey(NamedTuple):
    """A file's path in its three parts."""

    folder: bytes
    """Ends in ``/``."""
    stem: bytes
    suffix: bytes
    """With its dot; may be empty."""


PLAIN = Paths()
"""One host's."""


def folder_bytes(folder: Path) -> bytes:
    """Return a folder's path with its final ``/``."""
    path = os.fsencode(folder)
    return path if path.endswith(b"/") else path + b"/"


def folder_range(folder: Path) -> tuple[bytes, bytes]:
    """Return the range, without its end, of the paths of *folder* and all folders below it."""
    low = folder_bytes(folder)
    return low, low[:-1] + b"0"  # "0" follows "/"


def stamp_of(row: Mapping[str, Any]) -> Stamp:
    """Return the stamp of a row with ``size, mtime_ns, inode, device``."""
    return Stamp(int(row["size"]), int(row["mtime_ns"]), int(row["inode"]), int(row["device"]))


def stamp_columns(stamp: Stamp) -> dict[str, int | str]:
    """Return the four columns of *stamp*; a number beyond 64 signed bits becomes text."""
    return {k: v if v in _INT64 else str(v) for k, v in stamp._asdict().items()}


def digest_bytes(digest: str) -> bytes:
    """Return a digest's bytes; none for an empty one."""
    return bytes.fromhex(digest)


def sidecars_json(folder: Path, sidecars: Mapping[Path, str], paths: Paths = PLAIN) -> str:
    """Return a photo's *sidecars* and their digests; those in its *folder* by their name alone."""
    return json.dumps(
        {
            path.name if path.parent == folder else os.fsdecode(paths.stored(path)): digest
            for path, digest in sidecars.items()
        }
    )


def sidecars_of(folder: Path, text: str | None, paths: Paths = PLAIN) -> dict[Path, str]:
    """Return what :func:`sidecars_json` was given; a damaged value is as good as none."""
    try:
        return {
            folder / (paths.path(os.fsencode(name)) if "/" in name else name): str(digest)
            for name, digest in json.loads(text or "{}").items()
        }
    except (ValueError, AttributeError, RecursionError):
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
    except (ValueError, TypeError, KeyError, RecursionError):
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
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        message = f"not an answer: {error}"
        raise ValueError(message) from error
    return Held(answer, row["at"])
