"""One photo of the catalogue, and how it is stored."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from taggerd.photo import Stamp, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

Whose: TypeAlias = Literal["machine", "human"]
State: TypeAlias = Literal["failed", "rejected", "held", "queued", "tagged", "reviewed"]
"""Given up on; a human rejected all of it; answered, and waits for acceptance; waits to be tagged;
tagged; tagged and accepted by a human."""
STATES: tuple[State, ...] = get_args(State)
_URGENT: tuple[State, ...] = ("failed", "rejected")
"""These need a human, and come first."""


class Word(NamedTuple):
    """A keyword, or a whole text."""

    text: str
    whose: Whose = "machine"
    model: str = ""
    """Which model said it; empty for a human's, and where nobody knows."""


NO_WORD = Word("")


class NotAnEntry(ValueError):
    """What is stored is not what was put in."""


def key_of(path: Path) -> str:
    """Return the key of the photo at *path*: 24 hex digits, the same wherever it is computed."""
    return hashlib.blake2b(os.fsencode(path), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the catalogue knows of one photo."""

    path: Path
    """Of the file that is read, absolute."""
    day: str = ""
    """Local day of the latest record, ``YYYY-MM-DD``; empty where there is none."""
    run: str = ""
    """Of the latest record: ``run-…`` for a daemon, ``scan-…`` for a scan."""
    digest: str = ""
    """Of the file's bytes when it was read last; names the thumbnail."""
    caption: Word = NO_WORD
    description: Word = NO_WORD
    keywords: tuple[Word, ...] = ()
    rejected: tuple[str, ...] = ()
    """Machine keywords that a human removed: never written again."""
    own: Mapping[str, str] = field(default_factory=dict)
    """What the user's own roles answered, by role."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Model by role."""
    inherited_from: str = ""
    """Name of the photo of the same burst that was asked about instead."""
    state: State = "tagged"
    written: bool = True
    """The words stand on the disk; False: they were only answered so far."""
    error: str = ""
    """Why it is not tagged; empty if it is."""
    at: float = 0.0
    """When the latest record ended, seconds since the epoch."""
    answers: str = ""
    """Digest of the words in the latest record that has any."""
    answered_at: float = 0.0
    """When a record first had these words: what a human decided since is about them."""
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)
    """The photo's files, and what may be their sidecars, as they were when the words were read.
    Empty: the words are those of the record."""

    @property
    def key(self) -> str:
        """Return what names the photo in addresses: see :func:`key_of`."""
        return key_of(self.path)

    @property
    def name(self) -> str:
        """The file's name, printable."""
        return printable(self.path.name)

    @property
    def folder(self) -> str:
        """The folder that the photo lies in, printable."""
        return printable(self.path.parent)

    @property
    def words(self) -> tuple[str, ...]:
        """The keywords alone."""
        return tuple(word.text for word in self.keywords)

    @property
    def is_urgent(self) -> bool:
        """Whether a human has to do something about it."""
        return self.state in _URGENT


def entry_json(entry: Entry) -> str:
    """Return what is stored of *entry* beside its path; empty values are left out."""
    said: dict[str, Any] = {
        "day": entry.day,
        "run": entry.run,
        "digest": entry.digest,
        "caption": _stored(entry.caption),
        "description": _stored(entry.description),
        "keywords": [_stored(word) for word in entry.keywords],
        "rejected": entry.rejected,
        "own": dict(entry.own),
        "models": dict(entry.models),
        "inherited_from": entry.inherited_from,
        "state": entry.state,
        "error": entry.error,
        "at": entry.at,
        "answers": entry.answers,
        "answered_at": entry.answered_at,
        "stamps": {os.fsdecode(path): stamp for path, stamp in entry.stamps.items()},
    }
    # ASCII: a surrogate, which stands for a byte of a path that is no UTF-8, stays one.
    kept = {name: value for name, value in said.items() if value}
    return json.dumps(kept if entry.written else {**kept, "written": False})


def entry_of(path: bytes, text: str) -> Entry:
    """Return the entry that :func:`entry_json` was given.

    Raises:
        NotAnEntry: it is damaged.
    """
    try:
        said = json.loads(text)
        for name in ("caption", "description"):
            if name in said:
                said[name] = Word(*said[name])
        said["keywords"] = tuple(Word(*word) for word in said.get("keywords", ()))
        said["rejected"] = tuple(said.get("rejected", ()))
        stamps = said.get("stamps", {}).items()
        said["stamps"] = {Path(name): Stamp(*stamp) for name, stamp in stamps}
        return Entry(path=Path(os.fsdecode(path)), **said)
    except (AttributeError, TypeError, ValueError) as error:
        message = f"not an entry: {error}"
        raise NotAnEntry(message) from error


def _stored(word: Word) -> list[str]:
    """Return *word* without what is usual."""
    stored = list(word)
    while stored and stored[-1] == Word._field_defaults.get(Word._fields[len(stored) - 1], ""):
        del stored[-1]
    return stored


_NUMBER = re.compile(rb"([0-9]+)")


def sort_key(entry: Entry) -> bytes:
    """Return bytes that order photos as they are shown, different for each photo.

    Those that need a human come first, then the latest day, folder by folder, IMG_2 before IMG_10.
    """
    try:
        age = date.max.toordinal() - date.fromisoformat(entry.day).toordinal()
    except ValueError:
        age = 0 if entry.state == "queued" else date.max.toordinal()
    first = b"\0" if entry.is_urgent else b"\1"
    folder = _natural(os.fsencode(entry.path.parent))
    name = _natural(os.fsencode(entry.path.name))
    unique = bytes.fromhex(entry.key)
    return b"".join((first, age.to_bytes(4, "big"), folder, b"\0", name, b"\0", unique))


def _natural(name: bytes) -> bytes:
    """Return *name* so that bytes compare as people read numbers, whatever the case."""
    folded = name.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape")
    pieces = _NUMBER.split(folded)
    # A number is preceded by how many digits it has; "0" keeps it where digits sort.
    pieces[1::2] = [
        b"0%03d%b" % (min(len(number), 999), number)
        for number in (piece.lstrip(b"0") or b"0" for piece in pieces[1::2])
    ]
    return b"".join(pieces)
