"""Which text goes into which field, and which field is left to the human who wrote in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, get_args

from taggerd.metadata.ownership import text_hash
from taggerd.metadata.xmp.document import Form, Item, Property
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Array, Draft, Entry
from taggerd.metadata.xmp.text import (
    LONGEST,
    is_camera_text,
    one_line,
    shortened,
    xml_text,
)
from taggerd.metadata.xmp.tree import BLANK
from taggerd.settings import TextField

if TYPE_CHECKING:
    from collections.abc import Collection

    from taggerd.metadata.ownership import Ownership
    from taggerd.metadata.xmp.document import Document
    from taggerd.photo import Tags
    from taggerd.settings import Fields

_FIELDS: tuple[TextField, ...] = get_args(TextField)

_PLAIN = frozenset({"photoshop:Headline", "photoshop:Instructions", "acdsee:notes"})
"""Fields of plain text; the others are language alternatives (Alt)."""

_MANY_LINES = frozenset(
    {
        "dc:description", "tiff:ImageDescription", "Iptc4xmpCore:ExtDescrAccessibility",
        "acdsee:notes",
    }
)  # fmt: skip
"""Fields that keep a text's line ends."""

NEVER_OVERWRITTEN = frozenset({"dc:title"})

TWINS = {"dc:description": "tiff:ImageDescription", "tiff:ImageDescription": "dc:description"}
"""Two names for one thing. Readers take either first, so a machine text in one would hide the
human text in the other."""


class _Standing(NamedTuple):
    """How a field stands before the pass."""

    found: Property | None
    item: Item | None
    """The item that readers show, in a list of languages."""
    human: bool
    ours: bool
    copies: tuple[Item, ...] = ()
    """Our words in other languages than the one that readers show."""
    others: tuple[Item, ...] = ()
    """All that is in such languages and not ours."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What became of the text fields."""

    written: dict[str, str] = field(default_factory=dict)
    """Field → hash of the machine text that stands in it now."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Field → the words that stood there before."""
    notes: list[str] = field(default_factory=list)


def write_texts(  # noqa: PLR0913 - the switches are named
    draft: Draft,
    tags: Tags,
    fields: Fields,
    ownership: Ownership,
    *,
    overwrite: bool,
    language: str = "",
) -> Texts:
    """Put the caption and the description of *tags* into *draft*.

    Fields that hold languages get the text as ``x-default`` and, where the *language* (BCP 47) is
    said, once more in that. A copy that humans wrote in some language stays.
    """
    wanted = wanted_texts(tags, fields)
    standings: dict[str, _Standing] = {f: _standing(draft, f, ownership) for f in _FIELDS}
    texts = Texts()
    for name, standing in standings.items():
        text = wanted.get(name, "")
        twin = standings.get(TWINS.get(name, ""))
        replaced = overwrite and name not in NEVER_OVERWRITTEN and bool(text)
        if standing.human and not replaced:
            if text:
                texts.notes.append(f"kept {name}: a human wrote it")
            _drop_copies(draft, standing)
        elif twin is not None and twin.human and not overwrite:
            if standing.ours and not standing.others:
                _withdraw(draft, name, standing, ownership.replaced.get(name, ""))
        elif not text:
            if standing.ours:
                texts.written[name] = ownership.written.get(name) or text_hash(_shown(standing))
                texts.replaced.update(_given_way(name, standing, ownership))
        elif _write(draft, name, standing, text, language):
            texts.written[name] = text_hash(text)
            texts.replaced.update(_given_way(name, standing, ownership))
            texts.notes.extend(_replaced(name, standing))
        else:
            texts.notes.append(f"kept {name}: it is in a form that is not overwritten")
    return texts


def standing_texts(document: Document, ownership: Ownership) -> list[tuple[str, str, bool]]:
    """Return per text field what it says, and whether it is taggerd's own."""
    said: list[tuple[str, str, bool]] = []
    for name in _FIELDS:
        standing = _standing(Draft(document), name, ownership)
        if text := _shown(standing).strip():
            said.append((name, text, standing.ours))
    return said


def lacking_texts(document: Document, tags: Tags, fields: Fields, *, overwrite: bool) -> list[str]:
    """Return the fields that are to be written and of which *document* has nothing at all."""
    return [
        name
        for name in wanted_texts(tags, fields)
        if named(name) not in document
        and named(TWINS.get(name, name)) not in document
        and (name in NEVER_OVERWRITTEN or not overwrite)
    ]


def withdraw_texts(draft: Draft, ownership: Ownership, fields: Collection[str]) -> list[str]:
    """Take the machine texts out of *fields*, and put back the words that gave way to them.

    Returns:
        the fields that changed.
    """
    changed: list[str] = []
    for name in (f for f in _FIELDS if f in fields):
        standing = _standing(draft, name, ownership)
        before = ownership.replaced.get(name, "")
        if standing.human:
            _drop_copies(draft, standing)
        elif standing.ours or standing.copies or (before and standing.found is None):
            _withdraw(draft, name, standing, before)
        if named(name) in draft.changed:
            changed.append(name)
    return changed


def _withdraw(draft: Draft, name: str, standing: _Standing, before: str) -> None:
    """Take our words out of one field; what stood there *before* comes back."""
    if before and _write(draft, name, standing, before, ""):
        return
    found, item = standing.found, standing.item
    ours = [*standing.copies, *([item] if item is not None and standing.ours else [])]
    if found is not None and found.form is Form.ARRAY and len(ours) < len(found.items):
        draft.relist(found, ours, [])
    else:
        draft.remove(named(name))


def _given_way(name: str, standing: _Standing, ownership: Ownership) -> dict[str, str]:
    """Return the words to be put back into the field *name* by an undo, if there are any."""
    before = ownership.replaced.get(name, "") if standing.ours else _shown(standing)
    return {name: before} if before.strip(BLANK) else {}


def _replaced(field: str, standing: _Standing) -> list[str]:
    """Say whose words had to give way in *field*, if anybody's."""
    shown = _shown(standing).strip()
    if standing.human:
        return [f"replaced {field}, which a human wrote (overwrite)"]
    if shown and not standing.ours:
        return [f"replaced {field}, which a camera filled: {shown}"]
    return []


def wanted_texts(tags: Tags, fields: Fields) -> dict[str, str]:
    """Return the text that each field is to hold; the caption's fields win a tie."""
    wanted: dict[str, str] = {}
    pairs: list[tuple[str, str]] = [(f, text) for f, text in tags.own.items() if f in _FIELDS]
    pairs += [(f, tags.description) for f in fields.description]
    pairs += [(f, tags.caption) for f in fields.caption]
    for name, text in pairs:
        fitting = xml_text(text) if name in _MANY_LINES else one_line(text)
        if name in LONGEST:
            fitting = shortened(fitting, LONGEST[name])
        if fitting:
            wanted[name] = fitting
    return wanted


def _standing(draft: Draft, field: str, ownership: Ownership) -> _Standing:
    """Look at *field* as it is in the document."""
    found = draft.document.read(named(field))
    if found is None:
        return _Standing(None, None, human=False, ours=False)
    if found.form is Form.OTHER:
        return _Standing(found, None, human=True, ours=False)
    item = _default_item(found)
    shown = item.text if item else found.text
    ours = ownership.owns(shown) and (item is None or item.plain)
    rest = [each for each in found.items if each is not item]
    copies = tuple(each for each in rest if each.plain and ownership.owns(each.text))
    others = tuple(each for each in rest if each not in copies)
    texts = [shown, *(each.text for each in others)]
    human = not ours and not all(is_camera_text(text) for text in texts)
    return _Standing(found, item, human=human, ours=ours, copies=copies, others=others)


def _default_item(found: Property) -> Item | None:
    """Return the item that readers show first: ``x-default``, else one without a language."""
    for wanted in ("x-default", ""):
        for item in found.items:
            if item.language == wanted:
                return item
    return None


def _shown(standing: _Standing) -> str:
    if standing.item is not None:
        return standing.item.text
    return standing.found.text if standing.found else ""


def _drop_copies(draft: Draft, standing: _Standing) -> None:
    """Take out what we said in other languages: it would hide the human's words from some."""
    if standing.found is not None and standing.copies:
        draft.reword(standing.found, [(item, None) for item in standing.copies])


def _write(draft: Draft, field: str, standing: _Standing, text: str, language: str) -> bool:
    """Make *field* say *text*; False if its form does not allow that without a loss."""
    found, item = standing.found, standing.item
    language = "" if field in _PLAIN else language
    if found is not None and found.items:
        if item is not None and item.text == text and not (language or standing.copies):
            return True
        if found.form is not Form.ARRAY or (item is not None and not item.plain):
            return False
        if item is not None or standing.others:
            _reword(draft, standing, text, language)
            return True
    elif found is not None and _shown(standing) == text and not language:
        return True
    if found is not None and not (found.replaceable and found.form is not Form.OTHER):
        return False
    entries = [Entry(text, "x-default"), *([Entry(text, language)] if language else [])]
    draft.put(named(field), text if field in _PLAIN else Array("Alt", tuple(entries)))
    return True


def _reword(draft: Draft, standing: _Standing, text: str, language: str) -> None:
    """Say *text* in an array of languages that has items which stay."""
    found, item = standing.found, standing.item
    if found is None:
        return
    spoken = language.lower()
    said = [(each, text if each.language == spoken else None) for each in standing.copies]
    said += [(item, text)] if item is not None else []
    new = [] if item is not None else [Entry(text, "x-default")]
    if language and all(each.language != spoken for each in found.items):
        new.append(Entry(text, language))
    if new or any(each.text != wanted for each, wanted in said):
        draft.reword(found, said, new)
