"""The nouns that all rooms share: what a photo is, what was said of it, what was done with it.

Values only: frozen, without behaviour beyond their own shape, with no import from any room.
Paths are :class:`pathlib.Path` in memory (``surrogateescape`` for names that are not UTF-8) and
bytes at rest (``os.fsencode``).
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

RAW_EXTENSIONS = frozenset(
    {"cr2", "cr3", "nef", "arw", "raf", "orf", "rw2", "pef", "dng", "srw"},
)
"""Raw formats, read through their embedded preview. Proprietary ones are never written to."""

RENDERED_EXTENSIONS = (
    "jpg", "jpeg", "heic", "heif", "hif", "avif", "jxl", "webp", "png", "tif", "tiff",
)  # fmt: skip
"""Rendered formats, in the order in which one of several files of a photo is chosen to be read."""

IMAGE_EXTENSIONS = frozenset(RENDERED_EXTENSIONS) | RAW_EXTENSIONS
"""Every file name extension that taggerd reads: lower case, no dot."""


def extension(path: Path) -> str:
    """Return the lower-case extension of *path* without its dot, e.g. ``"jpg"``."""
    return path.suffix[1:].lower()


def is_raw(path: Path) -> bool:
    """Say whether *path* names a raw file."""
    return extension(path) in RAW_EXTENSIONS


def printable(path: Path | str | bytes) -> str:
    """Return *path* as one line of valid UTF-8 for people: control bytes and bad UTF-8 escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def brief(text: str, limit: int = 200) -> str:
    """Return what a file said as one printable line of at most about *limit* characters."""
    shown = text[:limit].encode("utf-8", "backslashreplace").decode()
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)
    return f"{line}…" if len(text) > limit else line


class Stamp(NamedTuple):
    """What `lstat` says of a file. Two equal stamps: taken to be the same, unchanged file."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Nanoseconds since the epoch; any value, also before 1970 or far in the future."""
    inode: int
    device: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        """Take the stamp from an `os.stat_result`."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev)


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """One file on disk as it was seen."""

    path: Path
    """Absolute."""
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Photo:
    """One picture: a file, or a raw file with the rendered files of the same stem beside it."""

    files: tuple[PhotoFile, ...]
    """At least one; the one to be read first."""

    @property
    def primary(self) -> PhotoFile:
        """The file that is decoded and asked about."""
        return self.files[0]

    @property
    def folder(self) -> Path:
        """The folder that all its files lie in."""
        return self.primary.path.parent

    @property
    def name(self) -> str:
        """The primary file's name, printable on one line."""
        return printable(self.primary.path.name)


def _reading_order(file: PhotoFile) -> tuple[int, bytes]:
    """Rank rendered files before raw ones (cheaper to decode, and what the photographer saw)."""
    ext = extension(file.path)
    rank = RENDERED_EXTENSIONS.index(ext) if ext in RENDERED_EXTENSIONS else 99
    return (rank, os.fsencode(file.path.name))


def group(files: Iterable[PhotoFile]) -> list[Photo]:
    """Make photos of *files*, in the order of their first file's path.

    Files of one stem in one folder are one photo if one of them is raw (``IMG_1.CR3`` +
    ``IMG_1.JPG``). Rendered files alone stay apart: ``IMG_1.JPG`` and ``IMG_1.PNG`` from two
    phones are often two pictures, and a wrong caption is worse than a second request.
    """
    stems: defaultdict[bytes, list[PhotoFile]] = defaultdict(list)
    for file in files:
        stems[os.fsencode(file.path.with_suffix(""))].append(file)
    photos: list[Photo] = []
    for members in stems.values():
        members.sort(key=_reading_order)
        if any(is_raw(file.path) for file in members):
            photos.append(Photo(tuple(members)))
        else:
            photos.extend(Photo((file,)) for file in members)
    return sorted(photos, key=lambda photo: os.fsencode(photo.primary.path))


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded photo as it is sent: pixels only."""

    jpeg: bytes
    """JPEG: upright, sRGB, long edge at most ``image.max_edge``, no metadata."""
    width: int
    height: int
    thumbnail: bytes
    """JPEG of at most 320 pixels for the report page, as clean as ``jpeg``."""
    digest: str
    """BLAKE2b-256 of the file's bytes, 64 hex digits."""
    stamp: Stamp
    """`fstat` of the file while it was read."""
    notes: tuple[str, ...] = ()
    """What a person should know, e.g. ``"truncated: the lower part is grey"``."""


class Keyword(NamedTuple):
    """One keyword."""

    word: str
    score: float | None = None
    """The model's own confidence, 0 to 1, where it gave one."""
    path: tuple[str, ...] = ()
    """The words above it in the user's vocabulary, from the root down."""
    parents: tuple[str, ...] = ()
    """Those of *path* that are written as keywords of their own, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a backend said in one role."""

    role: str
    """``"caption"``, ``"keywords"``, ``"description"``."""
    question: str
    """Identity of what was asked: digest over role, model and texts, 32 hex digits."""
    text: str = ""
    """Cleaned text; empty in the keywords role."""
    keywords: tuple[Keyword, ...] = ()
    """Normalised keywords; empty in text roles."""
    raw: str = ""
    """The message content as it came."""
    model: str = ""
    """The model that says it answered."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    requests: int = 1
    """Requests it took; 0 for all but one of the answers that came together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What is to be written about a photo."""

    caption: str = ""
    """One line, no final full stop needed."""
    description: str = ""
    """One or more sentences."""
    keywords: tuple[Keyword, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    """XMP property → text, of the user's own roles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where tags come from: written into the sidecar's taggerd namespace."""

    version: str
    """Version of taggerd."""
    date: datetime
    """When the tags were written; aware."""
    profile: str
    """Name of the prompt profile."""
    models: Mapping[str, str]
    """Model per role."""
    digest: str
    """Digest of the file that was looked at."""
    profile_digest: str = ""
    """Digest of the prompts' texts."""
    body: str = ""
    """Digest of all that a photo file holds but its XMP; only where tags are embedded into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What became of one sidecar."""

    path: Path
    written: bool
    """False where it already said all this, or where it was refused."""
    created: bool = False
    digest: str = ""
    """BLAKE2b-256 of its bytes as they now are."""
    backup: Path | None = None
    notes: tuple[str, ...] = ()
    """Fields kept because a human wrote them, lists that may shadow ours, ..."""
    shadowing: tuple[str, ...] = ()
    """Keyword lists of other programs that may hide taggerd's keywords; ``notes`` say so too."""
    error: str = ""
    """Why it was not written; empty if all is well."""
    embedded: bool = False
    """It is no sidecar: the tags stand in the photo file itself, which ``path`` names."""
    stamp: Stamp | None = None
    """The photo file's new stamp, where it was embedded into."""
    emptied: bool = False
    """Embedded, but no more: what taggerd had put into the photo file was taken out of it."""
