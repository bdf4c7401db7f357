"""The record in a sidecar of what taggerd wrote into it.

It is in taggerd's own namespace, ``http://taggerd.org/ns/1.0/``:

============== ===== ======================================================================
property       form  holds
============== ===== ======================================================================
``version``    text  version of taggerd
``date``       text  when, ISO 8601
``profile``    text  the prompt profile
``prompts``    text  BLAKE2b-128 of its texts
``models``     Bag   ``role=model``
``reused``     Bag   roles whose answer was given to another question (``--reuse-answers``)
``inherited_from`` text name of the photo of the same burst that was asked about instead
``digest``     text  BLAKE2b-256 of the file that was looked at
``body``       text  embedded only: what the photo file is without it (see :mod:`.embedding.packet`)
``keywords``   Bag   the exact machine keywords in the lists, flat
``paths``      Bag   those that stand in the user's hierarchy, ``Animals|Dog``
``root``       text  the keyword below which they are listed again in hierarchical lists, ``AI``
``rejected``   Bag   machine keywords that somebody removed: never written again
``refused``    Bag   hashes of machine texts that somebody rejected: never written again
``edited``     Bag   per text field the hash of what a person made of it, ``dc:title 0f3a…``
``lists``      Bag   the keyword lists that got the machine keywords, ``dc:subject``
``mirrored``   Bag   human keywords copied from another list, ``digiKam:TagsList Places/Beach``
``written``    Bag   per text field the hash of what was written, ``dc:title 0f3a…``
``replaced``   Bag   per text field the human words it replaced (``--overwrite-metadata``)
``undo``       text  what an undo needs to restore every byte (see :mod:`.undo.seal`)
============== ===== ======================================================================
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING

from taggerd.metadata.xmp.namespaces import TAGGERD, Name
from taggerd.metadata.xmp.splice import Array, Entry, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taggerd.metadata.xmp.document import Document
    from taggerd.photo import Answer, Provenance

_DRIVE = re.compile(r"[A-Za-z]:\\")
DATE = Name(TAGGERD, "date")
DIGEST = Name(TAGGERD, "digest")
BODY = Name(TAGGERD, "body")
"""As long as it is true of the photo file it is in, ``digest`` is that of the file before anything
was embedded."""


def text_hash(text: str) -> str:
    """Return 32 hex digits that stay the same when a program re-wraps or re-composes *text*."""
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return hashlib.blake2b(plain.encode("utf-8", "replace"), digest_size=16).hexdigest()


EMPTY = text_hash("")


def local_day(text: str) -> date | None:
    """Return the local day of a date in ISO 8601; None where it is none, or in no year there is."""
    try:
        return datetime.fromisoformat(text).astimezone().date()
    except (ValueError, OverflowError):
        return None


_NEVER = 1e18
"""Seconds since the epoch: after every answer. Processes send no infinite numbers."""


@dataclass(frozen=True, slots=True)
class WrittenBefore:
    """Whose answers an earlier pass wrote, and when."""

    models: tuple[str, ...] = ()
    """``role=model``."""
    at: float = _NEVER
    """Seconds since the epoch, to the second."""

    @classmethod
    def read(cls, document: Document) -> WrittenBefore:
        """Read the record in *document*."""
        at = _NEVER
        with suppress(ValueError, OverflowError, OSError):
            at = datetime.fromisoformat("".join(document.texts(DATE)[:1])).timestamp()
        return cls(document.texts(Name(TAGGERD, "models")), at)

    def wrote(self, answer: Answer, answered_at: float) -> tuple[bool, bool, float]:
        """Return a key by which the answer that was written sorts behind others to its role."""
        same_model = f"{answer.role}={file_name_of(answer.model)}" in self.models
        return same_model, answered_at < self.at + 1, answered_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Which words in a sidecar are taggerd's."""

    keywords: tuple[str, ...] = ()
    """As in flat lists: the words, then those of their parents that are written too."""
    paths: tuple[tuple[str, ...], ...] = ()
    """From the root down, each of two levels or more, as in hierarchical lists."""
    root: str = ""
    """Every entry of a hierarchical list is there again below this keyword; empty: it is not."""
    rejected: tuple[str, ...] = ()
    refused: frozenset[str] = frozenset()
    """Hashes of texts, whichever field they are for."""
    edited: Mapping[str, str] = field(default_factory=dict)
    """Field → hash of the text that a person gave it, or of an empty one; as long as it says that,
    it is the person's, whatever any pass wrote or is told to overwrite."""
    lists: frozenset[str] = frozenset()
    mirrored: frozenset[tuple[str, str]] = frozenset()
    """(list, item text)."""
    written: Mapping[str, str] = field(default_factory=dict)
    """Field → hash."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Field → the words that were there before; an undo puts them back."""

    @classmethod
    def read(cls, document: Document) -> Ownership:
        """Read the record an earlier pass left in *document*; an empty one where there is none."""

        def bag(local: str) -> tuple[str, ...]:
            return document.texts(Name(TAGGERD, local))

        return cls(
            keywords=bag("keywords"),
            paths=tuple(tuple(path.split("|")) for path in bag("paths") if "|" in path),
            root="".join(bag("root")[:1]),
            rejected=bag("rejected"),
            refused=frozenset(bag("refused")),
            edited=dict(_pairs(bag("edited"))),
            lists=frozenset(bag("lists")),
            mirrored=frozenset(_pairs(bag("mirrored"))),
            written=dict(_pairs(bag("written"))),
            replaced=dict(_pairs(bag("replaced"))),
        )

    def owns(self, text: str, name: str = "") -> bool:
        """Say whether taggerd wrote *text*, whichever field it is in now.

        In the field *name* it did not if a person has given it the same words since.
        """
        said = text_hash(text)
        return said in self.written.values() and self.edited.get(name) != said

    def still_edited(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        """Return the fields whose *texts* are as a person made them; a missing one is empty."""
        edited = self.edited.items()
        return tuple(name for name, said in edited if text_hash(texts.get(name, "")) == said)

    def emptied(self, name: str) -> bool:
        """Say whether a person took the text out of the field *name*."""
        return self.edited.get(name) == EMPTY

    def leaves(self) -> list[tuple[str, ...]]:
        """Return each keyword with its levels, without the parents that are only above others."""
        paths = {path[-1]: path for path in self.paths}
        above = {level for path in self.paths for level in path[:-1]}
        return [paths.get(w, (w,)) for w in self.keywords if w in paths or w not in above]

    @property
    def empty(self) -> bool:
        """Say whether no word in the sidecar is taggerd's."""
        return not (self.keywords or self.mirrored or self.written or self.replaced)

    def properties(self, provenance: Provenance) -> dict[Name, Value | None]:
        """Return the record as properties; None for one that is empty."""
        models = [
            f"{role}={file_name_of(model)}" for role, model in sorted(provenance.models.items())
        ]
        texts = {
            "version": provenance.version,
            "date": provenance.date.isoformat(timespec="seconds"),
            "profile": provenance.profile,
            "prompts": provenance.profile_digest,
            "digest": provenance.digest,
            "body": provenance.body,
            "inherited_from": provenance.inherited_from,
        }
        record: dict[Name, Value | None] = {
            Name(TAGGERD, local): text or None for local, text in texts.items()
        }
        return record | _bags({"models": models, "reused": provenance.reused}) | self.words()

    def words(self) -> dict[Name, Value | None]:
        """Return the part of the record about words, as properties."""
        bags = {
            "keywords": self.keywords,
            "paths": ["|".join(path) for path in self.paths],
            "rejected": self.rejected,
            "refused": sorted(self.refused),
            "edited": [" ".join(pair) for pair in sorted(self.edited.items())],
            "lists": sorted(self.lists),
            "mirrored": [" ".join(pair) for pair in sorted(self.mirrored)],
            "written": [" ".join(pair) for pair in sorted(self.written.items())],
            "replaced": [" ".join(pair) for pair in sorted(self.replaced.items())],
        }
        return _bags(bags) | {Name(TAGGERD, "root"): self.root or None}


def file_name_of(model: str) -> str:
    """Return *model*, or its file name if a server names it by a path, as llama-server does.

    Sidecars and photos travel, and a home folder's path is nobody's business.
    """
    is_path = model.startswith(("/", "~", "./", "../")) or _DRIVE.match(model) is not None
    if is_path or model.lower().endswith((".gguf", ".safetensors")):
        return re.split(r"[/\\]", model.rstrip("/\\"))[-1]
    return model


def _bags(bags: Mapping[str, Sequence[str]]) -> dict[Name, Value | None]:
    """Return *bags* as properties; None for an empty one."""
    record: dict[Name, Value | None] = {}
    for local, words in bags.items():
        entries = tuple(Entry(word) for word in words)
        record[Name(TAGGERD, local)] = Array("Bag", entries) if entries else None
    return record


def _pairs(words: Iterable[str]) -> list[tuple[str, str]]:
    """Split ``"field rest"``; skip what has no rest, which taggerd never wrote."""
    split = (word.partition(" ") for word in words)
    return [(head, rest) for head, _, rest in split if rest]
