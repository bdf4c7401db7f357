"""Undo what taggerd wrote into a sidecar, from the sidecar alone.

A sidecar that nobody has touched since returns to the very bytes it was, by its seal
(:mod:`.undo.seal`); a file that taggerd made goes as a whole. From anything else only taggerd's own
words go: texts whose hash is recorded, our keywords in every list, our namespace. Human words that
were replaced (``--overwrite-metadata``) come back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from taggerd.metadata.keywords.lists import undo_keywords
from taggerd.metadata.merge import put_record, sealed_text
from taggerd.metadata.ownership import DATE, Ownership, local_day
from taggerd.metadata.texts import TEXT_FIELDS, undo_texts
from taggerd.metadata.undo.seal import Origin, origin
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import TAGGERD
from taggerd.metadata.xmp.splice import Draft

if TYPE_CHECKING:
    from datetime import date, datetime
    from pathlib import Path

    from taggerd.metadata.options import Options
    from taggerd.photo import Stamp

Part = Literal["caption", "description", "keywords"]
PARTS: frozenset[Part] = frozenset(get_args(Part))

End = Literal["removed", "restored", "cleaned", "partly", "nothing"]
"""``removed``: taggerd made the file, and it goes; ``restored``: byte for byte what it was;
``cleaned``: edited since, so only what was taggerd's went; ``partly``: only some parts were undone;
``nothing``: there was nothing to undo."""

_ENCODINGS = ("ascii", "utf-16-le", "utf-16-be")
"""Codecs of the namespace in a sidecar that taggerd wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoOptions:
    """What is to be undone."""

    parts: frozenset[Part] = PARTS
    since: date | None = None
    """Only what was tagged on this local day or later; None: all."""
    dry_run: bool = False
    """Only say what would happen."""
    now: datetime | None = None
    """Local time, for the name of a backup."""


EVERYTHING = UndoOptions()


@dataclass(frozen=True, slots=True)
class Undone:
    """A sidecar after an undo."""

    end: End
    data: bytes | None
    """Its bytes; None: the file goes."""
    parts: tuple[str, ...] = ()
    """What was taken out, for people: fields, and how many keywords."""
    reason: str = ""
    """Why there was nothing to undo."""
    untagged: bool = True
    """Nothing of taggerd's is left in it."""

    def outcome(self, path: Path) -> UndoOutcome:
        """Return this as the outcome for the file at *path*."""
        return UndoOutcome(
            path=path, end=self.end, parts=self.parts, reason=self.reason, untagged=self.untagged
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoOutcome:
    """What an undo did to one sidecar, or to one photo file that tags were embedded into."""

    path: Path
    end: End | Literal["refused"]
    parts: tuple[str, ...] = ()
    """What was taken out of it, where it was edited since or only in part."""
    reason: str = ""
    """Why it is as it was."""
    backup: Path | None = None
    untagged: bool = False
    """Nothing of taggerd's is in it now."""
    embedded: bool = False
    """It is the photo itself."""
    before: Stamp | None = None
    """The photo's stamp until now, where it was changed."""
    stamp: Stamp | None = None
    """The photo's new stamp, where it was changed."""


def not_ours(data: bytes) -> Undone:
    """Return the outcome for a file into which taggerd wrote nothing."""
    return Undone("nothing", data, reason="nothing in it is taggerd's")


def undo(sidecar: bytes | Document, options: Options, wanted: UndoOptions = EVERYTHING) -> Undone:
    """Take taggerd's words out of a sidecar.

    Args:
        sidecar: its bytes, or what was parsed of them.
        options: which answer goes where: decides what belongs to the caption, what to the
            description, and what to the user's own roles.
        wanted: what is to be undone.

    Raises:
        SidecarRefused: it cannot be understood, or not be changed safely.
    """
    data = sidecar if isinstance(sidecar, bytes) else sidecar.data
    if not mentions_us(
        data
    ):  # not parsed: it may be damaged, and that is not for an undo to report
        return not_ours(data)
    document = Document.load(sidecar) if isinstance(sidecar, bytes) else sidecar
    if not any(name.uri == TAGGERD for name in document.names):
        return not_ours(data)
    return _undo(document, options, wanted)


def _undo(document: Document, options: Options, wanted: UndoOptions) -> Undone:
    if wanted.since is not None and (reason := _too_old(document, wanted.since)):
        return Undone("nothing", document.data, reason=reason, untagged=False)
    before = origin(document)
    if wanted.parts < PARTS:
        partly = _partly(document, before, _texts_of(wanted.parts, options), wanted.parts)
        if partly is not None:
            return partly
    if before.intact and before.made:
        return Undone("removed", None)
    if before.intact and before.text is not None:
        return Undone("restored", document.encoding.encode(before.text))
    return _cleaned(document, made=before.made)


def mentions_us(data: bytes) -> bool:
    """Say whether *data* names taggerd's namespace."""
    return any(TAGGERD.encode(encoding) in data for encoding in _ENCODINGS)


def _texts_of(parts: frozenset[Part], options: Options) -> frozenset[str]:
    """Return the text fields of *parts*; a field of the user's own roles is in none."""
    fields = options.fields
    holds: dict[str, str] = {name: rule.holds for name, rule in TEXT_FIELDS.items()}
    holds |= dict.fromkeys(fields.description, "description")
    holds |= dict.fromkeys(fields.caption, "caption")
    return frozenset(name for name, part in holds.items() if part in parts) - options.own


def _too_old(document: Document, since: date) -> str:
    """Say why the sidecar's date excludes it from the undo; empty if it does not."""
    day = local_day("".join(document.texts(DATE)[:1]))
    if day is None:
        return "it does not say when it was tagged"
    return f"tagged on {day}" if day < since else ""


def _partly(
    document: Document, before: Origin, texts: frozenset[str], parts: frozenset[Part]
) -> Undone | None:
    """Undo some parts and keep the record of the others; None if nothing else is left."""
    ownership, draft = Ownership.read(document), Draft(document)
    changed = undo_texts(draft, ownership, texts)
    words = undo_keywords(draft, ownership) if "keywords" in parts else []
    left = replace(
        ownership,
        written={f: h for f, h in ownership.written.items() if f not in texts},
        replaced={f: t for f, t in ownership.replaced.items() if f not in texts},
    )
    if "keywords" in parts:
        left = replace(left, keywords=(), paths=(), root="", mirrored=frozenset())
    if left.empty:
        return None
    if not draft.changed:
        reason = "none of that in it is taggerd's"
        return Undone("nothing", document.data, reason=reason, untagged=False)
    put_record(draft, left.words())
    data = document.encoding.encode(sealed_text(draft, before))
    return Undone("partly", data, _said(changed, words), untagged=False)


def _cleaned(document: Document, *, made: bool) -> Undone:
    """Take out what is taggerd's, and leave everything else."""
    ownership, draft = Ownership.read(document), Draft(document)
    changed = undo_texts(draft, ownership, TEXT_FIELDS.keys())
    words = undo_keywords(draft, ownership)
    for name in sorted(document.names):
        if name.uri == TAGGERD:
            draft.remove(name)
    text = draft.apply()
    if made and not Document(text).names:
        return Undone("removed", None)
    return Undone("cleaned", document.encoding.encode(text), _said(changed, words))


def _said(fields: list[str], words: list[str]) -> tuple[str, ...]:
    """Return what was taken out, in words."""
    count = f"{len(words)} keyword{'' if len(words) == 1 else 's'}"
    return (*fields, *([count] if words else []))
