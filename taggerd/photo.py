"""The values that all packages share: photos and their files, answers, tags, sidecars.

They are frozen and import nothing from any package. In memory a path is a :class:`pathlib.Path`
(with ``surrogateescape`` for names that are not UTF-8), in a database bytes (``os.fsencode``).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

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
"""Rendered formats. If a photo has several files, the first in this order is read."""

IMAGE_EXTENSIONS = frozenset(RENDERED_EXTENSIONS) | RAW_EXTENSIONS
"""Every file name extension that taggerd reads: lower case, no dot."""


def extension(path: Path) -> str:
    """Return the lower-case extension of *path* without its dot, e.g. ``"jpg"``."""
    return path.suffix[1:].lower()


def is_raw(path: Path) -> bool:
    """Say whether *path* names a raw file."""
    return extension(path) in RAW_EXTENSIONS


def printable(path: Path | str | bytes) -> str:
    """Return *path* as one printable line: control characters and invalid UTF-8 are escaped."""
    return _escaped(os.fsencode(path).decode("utf-8", "backslashreplace"))


def brief(text: str, limit: int = 200) -> str:
    """Return *text* from a file as one printable line of at most about *limit* characters."""
    line = _escaped(text[:limit].encode("utf-8", "backslashreplace").decode())
    return f"{line}…" if len(text) > limit else line


def storable(text: str, limit: int) -> str:
    """Return *text* from outside as every store can hold it, of at most *limit* characters.

    A surrogate without its partner is no text in UTF-8, and NUL ends one in C: SQLite, JSON files,
    XMP and the terminal refuse them, some only when the answer is paid for. Each becomes U+FFFD.
    """
    return _UNSTORABLE.sub("\ufffd", text[:limit])


def escape_controls(text: str) -> str:
    r"""Return *text* with C1 controls, DEL and what changes its order or its lines as ``\uXXXX``.

    A terminal obeys C1 controls, and a bidi control (Unicode's Bidi_Control) makes a name or a
    caption read as another. In JSON the escape means the same character. C0 controls stay: they
    cannot occur in JSON, and a program's own output has line ends and colours.
    """
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_CONTROLS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Stamp(NamedTuple):
    """What `lstat` says about a file. If it is equal, the file is taken to be unchanged."""

    size: int
    """Bytes."""
    mtime_ns: int
    """Nanoseconds since the epoch; any value, also before 1970 or far in the future."""
    inode: int
    device: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        """Return the stamp in an `os.stat_result`."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev)

    @property
    def foreign(self) -> bool:
        """Whether another host took it: its inode and device, which say nothing here, are 0."""
        return self.inode == self.device == 0

    def matches(self, seen: Stamp) -> bool:
        """Say whether a file *seen* on this host is the one that this stamp was taken of.

        Of a :attr:`foreign` stamp size and time count, as far as both file systems keep it: SMB
        cuts it off at 100 ns, others at a second.
        """
        if self == seen or not self.foreign:
            return self == seen
        return self.size == seen.size and any(
            self.mtime_ns // unit == seen.mtime_ns // unit
            and 0 in {self.mtime_ns % unit, seen.mtime_ns % unit}
            for unit in _CUT_OFF
        )


_CUT_OFF = (1, 100, 1_000, 1_000_000, 1_000_000_000)
"""Nanoseconds at which file systems cut times off."""


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """One file on disk, as it was when it was seen."""

    path: Path
    """Absolute."""
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Photo:
    """One picture: a file, or a raw file with the rendered files of the same stem beside it."""

    files: tuple[PhotoFile, ...]
    """At least one; the first is the one that is read."""

    @property
    def primary(self) -> PhotoFile:
        """The file that is decoded and asked about."""
        return self.files[0]

    @property
    def folder(self) -> Path:
        """The folder of all its files."""
        return self.primary.path.parent

    @property
    def name(self) -> str:
        """The primary file's name, printable on one line."""
        return printable(self.primary.path.name)


def _reading_order(file: PhotoFile) -> tuple[int, bytes]:
    """Put rendered files before raw ones: cheaper to decode, and what the photographer saw."""
    ext = extension(file.path)
    rank = RENDERED_EXTENSIONS.index(ext) if ext in RENDERED_EXTENSIONS else 99
    return (rank, os.fsencode(file.path.name))


def group(files: Iterable[PhotoFile]) -> list[Photo]:
    """Group *files* into photos, in the order of their first file's path.

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


FINGERPRINT_EDGE = 9
"""Pixels: eight differences between neighbours in a row, and eight in a column."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells whether another picture shows the same, and which is sharper."""

    grey: bytes
    """The picture with :data:`FINGERPRINT_EDGE` pixels on each side, in greys, row by row."""
    sharpness: float
    """Variance of its Laplacian: of two pictures of the same the sharper one has more."""

    def __post_init__(self) -> None:
        """Refuse another number of pixels: the photos that it is compared with would pay for it."""
        if len(self.grey) != FINGERPRINT_EDGE**2:
            message = "a fingerprint with another number of pixels"
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded photo, ready to be sent: pixels only."""

    jpeg: bytes
    """JPEG: upright, sRGB, long edge at most ``image.max_edge``, no metadata."""
    width: int
    height: int
    thumbnail: bytes
    """JPEG of at most 320 pixels for the report page, without metadata, too."""
    digest: str
    """BLAKE2b-256 of the file's bytes, 64 hex digits."""
    stamp: Stamp
    """Of the file while it was read."""
    notes: tuple[str, ...] = ()
    """For people, e.g. ``"only a small preview could be read"``."""
    fingerprint: Fingerprint | None = None
    """None where nobody wants to compare it."""


class Keyword(NamedTuple):
    """One keyword."""

    word: str
    score: float | None = None
    """The model's own confidence, 0 to 1, if it gave one."""
    path: tuple[str, ...] = ()
    """The words above it in the user's vocabulary, from the root down."""
    parents: tuple[str, ...] = ()
    """Those of *path* that are also written as keywords of their own."""


class Usage(NamedTuple):
    """What was asked of a backend."""

    requests: int = 0
    prompt_tokens: int = 0
    """Of what was asked, as the backend counts them; 0 also where it does not."""
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.prompt_tokens + self.completion_tokens

    def plus(self, other: Usage) -> Usage:
        """Return both together."""
        return Usage(*map(sum, zip(self, other, strict=True)))


Spending: TypeAlias = "Mapping[tuple[str, str], Usage]"
"""What was asked, by local day (``"2025-06-30"``) and model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A backend's answer in one role."""

    role: str
    """``"caption"``, ``"keywords"``, ``"description"``, or one of the user's own."""
    question: str
    """Identity of the question: digest of role, model and texts, 32 hex digits."""
    text: str = ""
    """Cleaned text; empty in the keywords role."""
    keywords: tuple[Keyword, ...] = ()
    """Normalised keywords; empty in text roles."""
    raw: str = ""
    """The content of the message, unchanged."""
    model: str = ""
    """The model that answered, by its own account."""
    backend: str = ""
    """Base URL of the endpoint that answered, without credentials."""
    profile: str = ""
    """Name of the prompt profile that the question came from."""
    profile_digest: str = ""
    """Digest of the texts in that profile."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    requests: int = 1
    """Requests it took; 0 for all but the last of several answers in one response."""
    inherited_from: str = ""
    """Name of the photo that was asked about, where that is another one of the same burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """What is written about a photo."""

    caption: str = ""
    """One line."""
    description: str = ""
    """One or more sentences."""
    keywords: tuple[Keyword, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)
    """XMP property → text of the user's own roles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where tags come from, as written into the sidecar's taggerd namespace."""

    version: str
    """Version of taggerd."""
    date: datetime
    """When the tags were written; aware."""
    profile: str
    """Name of the prompt profile."""
    models: Mapping[str, str]
    """Model per role."""
    digest: str
    """Digest of the file that was read."""
    profile_digest: str = ""
    """Digest of the texts of the prompts."""
    reused: tuple[str, ...] = ()
    """Roles whose answer was given to another question."""
    inherited_from: str = ""
    """Name of the photo of the same burst that was asked about instead."""
    body: str = ""
    """Digest of a photo file without its XMP; only for tags that are embedded in it."""


class FieldChange(NamedTuple):
    """What would change in one field."""

    field: str
    """The XMP property of a text, or ``"keywords"`` for all lists of keywords together."""
    before: tuple[str, ...]
    """A text, or the keywords; empty: there is nothing."""
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What writing a photo's tags would change."""

    changes: tuple[FieldChange, ...] = ()
    notes: tuple[str, ...] = ()
    """What would be kept as it is, or not written, and why."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What a hook is to hear, and has not heard yet."""

    id: str
    """The hook knows it again by this; without dots."""
    hook: str
    at: float
    """When it was made, seconds since the epoch."""
    body: str
    """JSON."""
    attempts: int = 0
    """How often its delivery was tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What happened to one sidecar."""

    path: Path
    written: bool
    """False if there was nothing to change, or if it could not be written."""
    created: bool = False
    digest: str = ""
    """BLAKE2b-256 of its bytes now."""
    backup: Path | None = None
    notes: tuple[str, ...] = ()
    """Fields kept because a human wrote them, lists that may shadow ours, ..."""
    shadowing: tuple[str, ...] = ()
    """Keyword lists of other programs that may hide taggerd's keywords; ``notes`` say so too."""
    error: str = ""
    """Why it was not written; empty if all is well."""
    embedded: bool = False
    """It is not a sidecar: ``path`` is the photo file, and the tags are in it."""
    stamp: Stamp | None = None
    """The new stamp of the photo file that was written to."""
    emptied: bool = False
    """taggerd's tags were removed from the photo file ``path``."""
