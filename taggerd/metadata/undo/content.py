"""Take back what taggerd wrote into a sidecar, from the sidecar alone.

What nobody has touched since goes back to the very bytes it was, by its seal (:mod:`.undo.seal`); a
file that taggerd made goes as a whole. Out of anything else only taggerd's own is taken: texts that
still hash to ours, our keywords in every list, our namespace; and the human words that had to give
way (``--overwrite-metadata``) come back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal, get_args

from taggerd.metadata.keywords.owners import withdraw_keywords
from taggerd.metadata.merge import put_record, sealed_text
from taggerd.metadata.ownership import DATE, Ownership
from taggerd.metadata.texts import withdraw_texts
from taggerd.metadata.undo.seal import Origin, origin
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import Encoded, decode
from taggerd.metadata.xmp.namespaces import TAGGERD
from taggerd.metadata.xmp.splice import Draft
from taggerd.settings import TextField

if TYPE_CHECKING:
    from datetime import date

    from taggerd.settings import Fields

Part = Literal["caption", "description", "keywords"]
PARTS: frozenset[Part] = frozenset(get_args(Part))

End = Literal["removed", "restored", "cleaned", "partly", "nothing"]
"""``removed``: taggerd made the file, and it goes; ``restored``: byte for byte what it was;
``cleaned``: edited since, so only what was taggerd's went; ``partly``: some parts were taken back;
``nothing``: there was nothing to take back."""

_ENCODINGS = ("ascii", "utf-16-le", "utf-16-be")
"""In which the namespace may stand in a sidecar that taggerd wrote."""

_EMPTY = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>'

_CAPTIONS = frozenset({"photoshop:Headline", "dc:title", "Iptc4xmpCore:AltTextAccessibility"})
"""Fields that hold the caption where the settings do not say."""
_DESCRIPTIONS = frozenset({"dc:description", "tiff:ImageDescription"})
"""The same of the description. Any other field holds what a role of the user's own said."""


@dataclass(frozen=True, slots=True)
class Undone:
    """A sidecar without what was taken back."""

    end: End
    data: bytes | None
    """Its bytes; None: the file goes."""
    parts: tuple[str, ...] = ()
    """What was taken out, for people: fields, and how many keywords."""
    reason: str = ""
    """Why there was nothing to take back."""
    untagged: bool = True
    """Nothing of taggerd's is left in it."""


def undo(
    data: bytes,
    fields: Fields,
    parts: frozenset[Part] = PARTS,
    since: date | None = None,
    own: frozenset[TextField] = frozenset(),
) -> Undone:
    """Take taggerd's words out of the sidecar *data*.

    Args:
        data: the sidecar as it is on disk.
        fields: which answer goes where; decides what is of the caption and what of the description.
        parts: what is taken back.
        since: only what was tagged on this local day or later.
        own: the fields of the user's own roles.

    Raises:
        SidecarRefused: it cannot be understood, or not be changed without a doubt.
    """
    # Also one that could not be understood: it is nobody's business here.
    encoded = decode(data) if speaks_of_us(data) else decode(_EMPTY)
    document = Document(encoded.text)
    if not any(name.uri == TAGGERD for name in document.names):
        return Undone("nothing", data, reason="nothing in it is taggerd's")
    if since is not None and (reason := _too_old(document, since)):
        return Undone("nothing", data, reason=reason, untagged=False)
    before = origin(encoded, document)
    if parts < PARTS:
        partly = _partly(encoded, document, before, _texts_of(parts, fields, own), parts)
        if partly is not None:
            return partly
    if before.made and before.intact:
        return Undone("removed", None)
    if before.text is not None and before.intact:
        return Undone("restored", encoded.restore(before.text))
    return _cleaned(encoded, document, made=before.made)


def speaks_of_us(data: bytes) -> bool:
    """Say whether *data* names taggerd's namespace."""
    return any(TAGGERD.encode(encoding) in data for encoding in _ENCODINGS)


def _texts_of(parts: frozenset[Part], fields: Fields, own: frozenset[TextField]) -> frozenset[str]:
    """Return the text fields that *parts* stand in."""
    texts = set()
    for field in get_args(TextField):
        if field in own:
            continue
        caption = field in fields.caption or (
            field not in fields.description and field in _CAPTIONS
        )
        described = field in fields.description or field in _DESCRIPTIONS
        if (caption and "caption" in parts) or (
            described and not caption and "description" in parts
        ):
            texts.add(field)
    return frozenset(texts)


def _too_old(document: Document, since: date) -> str:
    """Say why the sidecar's date keeps it from being taken back; empty if it does not."""
    texts = document.texts(DATE)
    try:
        tagged = datetime.fromisoformat(texts[0]) if texts else None
    except ValueError:
        tagged = None
    if tagged is None:
        return "it does not say when it was tagged"
    day = tagged.astimezone().date()
    return f"tagged on {day}" if day < since else ""


def _partly(
    encoded: Encoded,
    document: Document,
    before: Origin,
    texts: frozenset[str],
    parts: frozenset[Part],
) -> Undone | None:
    """Take some parts back and keep the record of the others; None if nothing else is left."""
    ownership, draft = Ownership.read(document), Draft(document)
    changed = withdraw_texts(draft, ownership, texts)
    words = withdraw_keywords(draft, ownership) if "keywords" in parts else []
    left = Ownership(
        rejected=ownership.rejected,
        lists=ownership.lists,
        written={f: h for f, h in ownership.written.items() if f not in texts},
        replaced={f: t for f, t in ownership.replaced.items() if f not in texts},
    )
    if "keywords" not in parts:
        left = replace(ownership, written=left.written, replaced=left.replaced)
    if left.empty:
        return None
    if not draft.changed:
        data = encoded.restore(encoded.text)
        reason = "nothing of that in it is taggerd's"
        return Undone("nothing", data, reason=reason, untagged=False)
    put_record(draft, left.words())
    text = sealed_text(draft, encoded, before)
    return Undone("partly", encoded.restore(text), _said(changed, words), untagged=False)


def _cleaned(encoded: Encoded, document: Document, *, made: bool) -> Undone:
    """Take out what is taggerd's, and leave all else."""
    ownership, draft = Ownership.read(document), Draft(document)
    changed = withdraw_texts(draft, ownership, frozenset(get_args(TextField)))
    words = withdraw_keywords(draft, ownership)
    for name in sorted(document.names):
        if name.uri == TAGGERD:
            draft.remove(name)
    text = draft.apply(encoded.settled)
    if made and not Document(text).names:
        return Undone("removed", None)
    return Undone("cleaned", encoded.restore(text), _said(changed, words))


def _said(fields: list[str], words: list[str]) -> tuple[str, ...]:
    """Put what was taken out into words."""
    count = f"{len(words)} keyword{'' if len(words) == 1 else 's'}"
    return (*fields, *([count] if words else []))
