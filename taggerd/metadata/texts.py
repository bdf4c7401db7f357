"""Which text goes into which field, and which field is left to the human who wrote in it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from taggerd.metadata.camera import Camera, is_camera_text
from taggerd.metadata.ownership import text_hash
from taggerd.metadata.xmp.document import Form, Item, Property
from taggerd.metadata.xmp.namespaces import named
from taggerd.metadata.xmp.splice import Array, Draft, Entry
from taggerd.metadata.xmp.tree import BLANK

if TYPE_CHECKING:
    from collections.abc import Collection

    from taggerd.metadata.options import Options
    from taggerd.metadata.ownership import Ownership
    from taggerd.metadata.xmp.document import Document
    from taggerd.photo import Tags
    from taggerd.settings import TextField


_NOT_XML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class TextRule(NamedTuple):
    """How one text field is written."""

    name: TextField
    holds: Literal["caption", "description", "neither"] = "neither"
    """What it holds where the settings do not say."""
    languages: bool = True
    """It is a language alternative (Alt); else plain text."""
    lines: bool = False
    """It keeps a text's line ends."""
    longest: int = 0
    """Characters; 0: no limit. 250 is the IPTC Photo Metadata Standard's; 256 is what the same
    field holds in IPTC-IIM, into which several programs copy it."""
    overwritten: bool = True
    """``overwrite`` may replace a human's text in it."""
    twin: str = ""
    """Another name for the same thing. Readers take either first, so a machine text in one would
    hide the human text in the other."""


TEXT_FIELDS: dict[str, TextRule] = {
    rule.name: rule
    for rule in (
        TextRule("dc:description", "description", lines=True, twin="tiff:ImageDescription"),
        TextRule("dc:title", "caption", overwritten=False),
        TextRule("photoshop:Headline", "caption", languages=False, longest=256),
        TextRule("tiff:ImageDescription", "description", lines=True, twin="dc:description"),
        TextRule("Iptc4xmpCore:AltTextAccessibility", "caption", longest=250),
        TextRule("Iptc4xmpCore:ExtDescrAccessibility", lines=True),
        TextRule("photoshop:Instructions", languages=False, longest=256),
        TextRule("acdsee:notes", languages=False, lines=True),
    )
}
"""Every field that may take a text. Another one is a row here and a name in the settings."""

DESCRIPTIONS = ("dc:description", "tiff:ImageDescription")
"""The fields into which cameras write their names."""


class _State(NamedTuple):
    """What is in a field before the pass."""

    found: Property | None
    item: Item | None
    """The item that readers show, in a list of languages."""
    human: bool
    ours: bool
    edited: bool = False
    """It is as a person made it with taggerd, perhaps empty."""
    copies: tuple[Item, ...] = ()
    """Our words in other languages than the one that readers show."""
    others: tuple[Item, ...] = ()
    """All other words in such languages."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What was done to the text fields."""

    edited: dict[str, str] = field(default_factory=dict)
    """Field → hash of the words that a person gave it, where it still has them."""
    written: dict[str, str] = field(default_factory=dict)
    """Field → hash of the machine text that is in it now."""
    replaced: dict[str, str] = field(default_factory=dict)
    """Field → the words that were there before."""
    notes: list[str] = field(default_factory=list)


def xml_text(text: str) -> str:
    """Return *text* trimmed, NFC, with Unix line ends and no character that XML forbids."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    return _NOT_XML.sub("", text).strip()


def one_line(text: str) -> str:
    """Return *text* for a field that holds one line."""
    return " ".join(xml_text(text).split())


def _shortened(text: str, longest: int) -> str:
    """Return *text* in at most *longest* characters, cut between words."""
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > longest // 2 else cut).rstrip(" ,;:-–—") + "…"  # noqa: RUF001 - dashes are meant


def write_texts(  # noqa: PLR0913 - what a merge depends on, each with its own name
    draft: Draft,
    tags: Tags,
    options: Options,
    ownership: Ownership,
    camera: Camera | None = None,
    *,
    withheld: Collection[str] = (),
) -> Texts:
    """Put the texts of *tags* into *draft*, but for the fields *withheld*.

    Fields that hold languages get the text as ``x-default`` and, where the *options* name a
    language, a second time in that one. What humans wrote in any language stays. The name of the
    *camera* in a description is not a human's.
    """
    wanted = {
        name: text
        for name, text in wanted_texts(tags, options).items()
        if name not in withheld and text_hash(text) not in ownership.refused
    }
    states = {name: _state(draft.document, name, ownership, camera) for name in TEXT_FIELDS}
    texts = Texts()
    for name, rule in TEXT_FIELDS.items():
        state, text = states[name], wanted.get(name, "")
        twin = states.get(rule.twin)
        texts.edited.update({name: ownership.edited[name]} if state.edited else {})
        replaced = options.overwrite and rule.overwritten and bool(text) and not state.edited
        if state.human and not replaced:
            if text:
                wrote = "edited" if state.edited else "wrote"
                texts.notes.append(f"kept {name}: a human {wrote} it")
            _drop_copies(draft, state)
        elif twin is not None and twin.human and (twin.edited or not options.overwrite):
            if state.ours and not state.others:
                _undo(draft, name, state, ownership.replaced.get(name, ""))
        elif not text:
            if state.ours:
                texts.written[name] = ownership.written.get(name) or text_hash(_shown(state))
                texts.replaced.update(_put_back_later(name, state, ownership))
        elif _write(draft, name, state, text, options.language):
            texts.written[name] = text_hash(text)
            texts.replaced.update(_put_back_later(name, state, ownership))
            texts.notes.extend(_replaced(name, state))
        else:
            texts.notes.append(f"kept {name}: it is in a form that taggerd does not overwrite")
    return texts


def field_texts(document: Document, ownership: Ownership) -> list[tuple[str, str, bool]]:
    """Return the content of each text field, and whether it is taggerd's."""
    states = {name: _state(document, name, ownership) for name in TEXT_FIELDS}
    shown = [(name, _shown(state).strip(), state.ours) for name, state in states.items()]
    return [(name, text, ours) for name, text, ours in shown if text]


def lacking_texts(
    document: Document, tags: Tags, options: Options, ownership: Ownership
) -> list[str]:
    """Return the fields that will be written and that *document* lacks, twins included.

    A field that a person emptied is not lacking: the photo's own words would come back in it.
    """
    return [
        name
        for name in wanted_texts(tags, options)
        for rule in [TEXT_FIELDS[name]]
        if not (rule.overwritten and options.overwrite)
        and not ownership.emptied(name)
        and not any(named(each) in document for each in (name, rule.twin) if each)
    ]


def fitted(name: str, text: str) -> str:
    """Return *text* as the field *name* takes it."""
    rule = TEXT_FIELDS[name]
    fitting = xml_text(text) if rule.lines else one_line(text)
    return _shortened(fitting, rule.longest) if rule.longest else fitting


def edit_text(  # noqa: PLR0913 - what it depends on, each with its own name
    draft: Draft, name: str, text: str, seen: str, ownership: Ownership, *, wanted: bool
) -> Literal["edited", "kept", "refused", "other"]:
    """Give the field *name* a person's *text*; empty: take out what is there.

    The machine's words go, and so do those that the person has *seen* and replaces, in every
    language. Where neither stands there the field is another's: it is filled only if it is empty.

    Args:
        draft: the sidecar.
        name: the field.
        text: as the field takes it.
        seen: what the person saw.
        ownership: what the machine wrote.
        wanted: the field is one that the text is to be written into.

    Returns:
        ``"edited"``: it says so now; ``"kept"``: other words stand there, and stay; ``"refused"``:
        it is in a form that cannot be written; ``"other"``: it is not concerned.
    """
    state = _state(draft.document, name, ownership)
    found, replaced = state.found, {text_hash(seen), text_hash(fitted(name, seen))}
    if found is None:
        if wanted and text:
            _put_text(draft, name, text)
        return "edited" if wanted else "other"
    if found.form is Form.OTHER:
        return "refused" if wanted else "other"
    texts = found.items or (found.text,)
    said = [each if isinstance(each, str) else each.text for each in texts]
    ours = state.ours or bool(state.copies)
    stale = ours or any(text_hash(each) in replaced for each in said)
    if not stale and not all(is_camera_text(each) for each in said):
        return "kept" if wanted else "other"
    return _replace_text(draft, name, state, text, replaced)


def _replace_text(
    draft: Draft, name: str, state: _State, text: str, replaced: Collection[str]
) -> Literal["edited", "refused"]:
    """Write *text* where the machine's words or those that are *replaced* stand."""
    found, item = state.found, state.item
    if found is None or not found.items:
        if found is not None and not found.replaceable:
            return "refused"
        if text:
            _put_text(draft, name, text)
        else:
            draft.remove(named(name))
        return "edited"
    if found.form is not Form.ARRAY or (item is not None and not item.plain):
        return "refused"
    given: list[tuple[Item, str | None]] = [(each, None) for each in state.copies]
    for each in found.items:
        if each is item or (each.plain and text_hash(each.text) in replaced):
            given = [pair for pair in given if pair[0] is not each]
            given.append((each, text or None))
    if item is not None and text and item.text == text and all(t == i.text for i, t in given):
        return "edited"
    new = [Entry(text, "x-default")] if item is None and text else []
    if not new and len(given) == len(found.items) and not text and found.replaceable:
        draft.remove(named(name))
    else:
        draft.change_items(found, given, new)
    return "edited"


def _put_text(draft: Draft, name: str, text: str) -> None:
    found = draft.document.read(named(name))
    if found is not None and found.form is not Form.ARRAY and found.text == text:
        return
    languages = TEXT_FIELDS[name].languages
    draft.put(named(name), Array("Alt", (Entry(text, "x-default"),)) if languages else text)


def undo_texts(draft: Draft, ownership: Ownership, fields: Collection[str]) -> list[str]:
    """Take the machine texts out of *fields*, and put back the words that they replaced.

    Returns:
        the fields that changed.
    """
    changed: list[str] = []
    for name in (each for each in TEXT_FIELDS if each in fields):
        state = _state(draft.document, name, ownership)
        before = ownership.replaced.get(name, "")
        if state.human:
            _drop_copies(draft, state)
        elif state.ours or state.copies or (before and state.found is None):
            _undo(draft, name, state, before)
        if named(name) in draft.changed:
            changed.append(name)
    return changed


def _undo(draft: Draft, name: str, state: _State, before: str) -> None:
    """Take our words out of one field, and put back what was there *before*."""
    if before and _write(draft, name, state, before, ""):
        return
    found, item = state.found, state.item
    ours = [*state.copies, *([item] if item is not None and state.ours else [])]
    if found is not None and found.form is Form.ARRAY and len(ours) < len(found.items):
        draft.change_items(found, [(item, None) for item in ours])
    else:
        draft.remove(named(name))


def _put_back_later(name: str, state: _State, ownership: Ownership) -> dict[str, str]:
    """Return the words that an undo puts back into the field *name*, if there are any."""
    before = ownership.replaced.get(name, "") if state.ours else _shown(state)
    return {name: before} if before.strip(BLANK) else {}


def _replaced(field: str, state: _State) -> list[str]:
    """Say whose words were replaced in *field*, if anybody's."""
    shown = _shown(state).strip()
    if state.human:
        return [f"replaced {field}, which a human wrote (overwrite)"]
    if shown and not state.ours:
        return [f"replaced {field}, which a camera filled: {shown}"]
    return []


def wanted_texts(tags: Tags, options: Options) -> dict[str, str]:
    """Return the text for each field; where two answers go there, the caption wins."""
    wanted: dict[str, str] = {}
    pairs: list[tuple[str, str]] = [(f, text) for f, text in tags.own.items() if f in TEXT_FIELDS]
    pairs += [(f, tags.description) for f in options.fields.description]
    pairs += [(f, tags.caption) for f in options.fields.caption]
    for name, text in pairs:
        if fitting := fitted(name, text):
            wanted[name] = fitting
    return wanted


def _state(
    document: Document, field: str, ownership: Ownership, camera: Camera | None = None
) -> _State:
    """Return what is in *field* of the document."""
    found = document.read(named(field))
    if found is None:
        emptied = ownership.emptied(field)
        return _State(None, None, human=emptied, ours=False, edited=emptied)
    if found.form is Form.OTHER:
        return _State(found, None, human=True, ours=False)
    item = _default_item(found)
    shown = item.text if item else found.text
    edited = ownership.edited.get(field) == text_hash(shown)
    ours = ownership.owns(shown, field) and (item is None or item.plain)
    rest = [each for each in found.items if each is not item]
    copies = tuple(each for each in rest if each.plain and ownership.owns(each.text, field))
    others = tuple(each for each in rest if each not in copies)
    texts = [shown, *(each.text for each in others)]
    maker = camera if field in DESCRIPTIONS else None
    human = not ours and not all(is_camera_text(text, maker) for text in texts)
    return _State(found, item, human or edited, ours, edited, copies, others)


def _default_item(found: Property) -> Item | None:
    """Return the item that readers show first: ``x-default``, else one without a language."""
    for wanted in ("x-default", ""):
        for item in found.items:
            if item.language == wanted:
                return item
    return None


def _shown(state: _State) -> str:
    if state.item is not None:
        return state.item.text
    return state.found.text if state.found else ""


def _drop_copies(draft: Draft, state: _State) -> None:
    """Take out our words in other languages: some readers would show them, not the human's."""
    if state.found is not None and state.copies:
        draft.change_items(state.found, [(item, None) for item in state.copies])


def _write(draft: Draft, field: str, state: _State, text: str, language: str) -> bool:
    """Write *text* into *field*; return False if its form does not allow that without a loss."""
    found, item = state.found, state.item
    rule = TEXT_FIELDS[field]
    language = language if rule.languages else ""
    if found is not None and found.items:
        if item is not None and item.text == text and not (language or state.copies):
            return True
        if found.form is not Form.ARRAY or (item is not None and not item.plain):
            return False
        if item is not None or state.others:
            _reword(draft, state, text, language)
            return True
    elif found is not None and _shown(state) == text and not language:
        return True
    if found is not None and not (found.replaceable and found.form is not Form.OTHER):
        return False
    entries = [Entry(text, "x-default"), *([Entry(text, language)] if language else [])]
    draft.put(named(field), Array("Alt", tuple(entries)) if rule.languages else text)
    return True


def _reword(draft: Draft, state: _State, text: str, language: str) -> None:
    """Write *text* into an array of languages that has items to keep."""
    found, item = state.found, state.item
    if found is None:
        return
    spoken = language.lower()
    said = [(each, text if each.language == spoken else None) for each in state.copies]
    said += [(item, text)] if item is not None else []
    new = [] if item is not None else [Entry(text, "x-default")]
    if language and all(each.language != spoken for each in found.items):
        new.append(Entry(text, language))
    if new or any(each.text != wanted for each, wanted in said):
        draft.change_items(found, said, new)
