"""What people's corrections suggest to set; nothing is changed unasked, and nothing leaves here."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from taggerd import metadata
from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.services import open_ledger, read_ledger
from taggerd.settings import editing
from taggerd.settings.sources import user_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from taggerd.ledger import Correction, Json, LedgerReader
    from taggerd.settings.configuration import Configuration

DROPS = 3
"""Photos that a keyword is dropped from before it is offered as one that is never written."""
MOST_EXAMPLES = 10
"""Captions in ``prompts.examples``, and offered at once."""
LONGEST_EXAMPLE = 300
"""Characters."""
DISMISSED = "review.dismissed_suggestions"
"""Key of the ledger's note of the suggestions that nobody wants to see again."""
_BATCH = 1000
_NEW_LIST = "keywords.txt"
"""Beside the settings, for somebody who has no list of keywords yet."""

Kind = Literal["stop", "vocabulary", "example"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """One change of the settings, or of the list of keywords, with what speaks for it."""

    kind: Kind
    text: str
    """The keyword to stop, the keyword that is meant, or the caption."""
    instead_of: str = ""
    """What the machine wrote; empty for a keyword to stop."""
    photos: tuple[Path, ...] = ()
    """Where somebody said so, the latest first."""

    @property
    def key(self) -> str:
        """Eight hex digits that name it, today and tomorrow."""
        said = "\0".join((self.kind, _same(self.text), _same(self.instead_of)))
        return hashlib.blake2b(said.encode("utf-8", "replace"), digest_size=4).hexdigest()

    @property
    def setting(self) -> str:
        """What it is about."""
        return {
            "stop": "keywords.stop",
            "vocabulary": "keywords.vocabulary",
            "example": "prompts.examples",
        }[self.kind]


def _same(word: str) -> str:
    return " ".join(word.split()).casefold()


def suggested(
    corrections: Iterable[Correction], configuration: Configuration, dismissed: Iterable[str] = ()
) -> list[Suggestion]:
    """Return what *corrections*, oldest first, suggest and nobody has taken or dismissed yet.

    A keyword that people dropped from three photos is offered as one that is never written, a
    renamed one as a synonym in the list of keywords, a caption that was edited as an example. What
    was undone does not count, nor what was done to a human's own words.

    Raises:
        ConfigurationError: the settings file or the list of keywords cannot be read.

    """
    is_taken, gone = _is_taken(configuration), {*dismissed}
    offered = [
        each
        for each in _offered(corrections)
        if each.key not in gone and not is_taken(each)
        if each.kind != "stop" or len(each.photos) >= DROPS
    ]
    examples = [each for each in offered if each.kind == "example"][-MOST_EXAMPLES:][::-1]
    order = ("stop", "vocabulary")
    others = [each for each in offered if each.kind in order]
    others.sort(key=lambda each: (order.index(each.kind), -len(each.photos)))
    return [*others, *examples]


def _offered(corrections: Iterable[Correction]) -> list[Suggestion]:
    """Return what was ever said of the machine's words, with where it was said."""
    found: defaultdict[tuple[Kind, str, str], dict[Path, Suggestion]] = defaultdict(dict)
    captions: dict[Path, Suggestion] = {}
    for each in corrections:
        if each.undone_at is not None:
            continue
        said: Suggestion | None = None
        if each.kind == "edited" and each.field == "caption":
            # Somebody who mends a caption twice has first mended the machine's.
            before = captions.pop(each.photo, None)
            if each.model or before:
                said = Suggestion(kind="example", text=each.after, instead_of=each.before)
            if said and 0 < len(each.after) <= LONGEST_EXAMPLE:
                captions[each.photo] = replace(said, photos=(each.photo,))
            continue
        if each.model and each.kind == "dropped" and each.field == "keywords":
            said = Suggestion(kind="stop", text=each.before)
        elif each.model and each.kind == "renamed" and each.after:
            said = Suggestion(kind="vocabulary", text=each.after, instead_of=each.before)
        if said:
            found[said.kind, _same(said.text), _same(said.instead_of)][each.photo] = said
    return [
        *(
            replace(next(iter(photos.values())), photos=(*reversed(photos),))
            for photos in found.values()
        ),
        *captions.values(),
    ]


def suggestions(configuration: Configuration) -> list[Suggestion]:
    """Return what the corrections in the ledger suggest; see :func:`suggested`. Blocks.

    Raises:
        ConfigurationError: as of :func:`suggested`. StartError: the state cannot be used.
        StorageError: the ledger cannot be read.

    """

    def read(ledger: LedgerReader) -> tuple[list[Correction], list[str]]:
        corrections: list[Correction] = []
        while batch := ledger.corrections(corrections[-1].id if corrections else 0, _BATCH):
            corrections += batch
        return corrections, _keys(ledger.recall(DISMISSED))

    found = read_ledger(configuration.settings, read)
    return suggested(found[0], configuration, found[1]) if found else []


def _keys(noted: Json) -> list[str]:
    return [str(each) for each in noted] if isinstance(noted, list) else []


async def dismiss(suggestion: Suggestion, configuration: Configuration) -> None:
    """Do not offer *suggestion* again. Raises StorageError, StartError."""
    async with open_ledger(configuration.settings) as ledger:
        known = _keys(await ledger.recall(DISMISSED))
        await ledger.note(DISMISSED, [*dict.fromkeys([*known, suggestion.key])])


def take(suggestion: Suggestion, configuration: Configuration) -> str:
    """Set what *suggestion* offers, and say where.

    Raises:
        ConfigurationError: the file is somebody else's, changed meanwhile, or cannot be written; or
            a layer above the file says something else.

    """
    file = _file(configuration)
    if suggestion.kind == "vocabulary":
        return _take_synonym(suggestion, configuration, file)
    listed = editing.listed(file, suggestion.setting)
    if suggestion.kind == "example" and len(listed) >= MOST_EXAMPLES:
        message = f"{printable(file)}: prompts.examples has {MOST_EXAMPLES}: remove one there first"
        raise ConfigurationError(message)
    _change(configuration, file, {suggestion.setting: [*listed, suggestion.text]})
    return f"added to {suggestion.setting} in {printable(file)}"


def _take_synonym(suggestion: Suggestion, configuration: Configuration, file: Path) -> str:
    """Add a synonym to the user's list of keywords; begin one beside the settings if need be."""
    path = configuration.settings.keywords.vocabulary
    target = path or file.with_name(_NEW_LIST)
    before, after = metadata.with_synonym(target, suggestion.text, suggestion.instead_of)
    line = editing.Line(suggestion.text, "", suggestion.instead_of)
    editing.Change(target, (line,), before, after).write()
    if path is None:
        _change(configuration, file, {"keywords.vocabulary": str(target)})
    return f"added to the list of keywords {printable(target)}"


def _change(configuration: Configuration, file: Path, values: Mapping[str, object]) -> None:
    """Change the settings *file*, where nothing outranks it."""
    for key in values:
        origin = configuration.origins.get(key, "default")
        if origin not in {"default", str(file)}:
            message = f"{key} is set by {origin}, which outranks {printable(file)}: change it there"
            raise ConfigurationError(message)
    editing.change(file, values)


def _file(configuration: Configuration) -> Path:
    """Return the settings file that is written."""
    return configuration.file or user_file(os.environ)


def _is_taken(configuration: Configuration) -> Callable[[Suggestion], bool]:
    """Return what says whether a suggestion is set already, in force or in the file."""
    settings, file = configuration.settings, _file(configuration)
    said = {
        "keywords.stop": {*map(_same, settings.keywords.stop)},
        "prompts.examples": {*map(_same, settings.prompts.examples)},
    }
    for key, words in said.items():
        words.update(map(_same, editing.listed(file, key)))
    path, vocabulary = settings.keywords.vocabulary or file.with_name(_NEW_LIST), None
    with suppress(ConfigurationError):  # there is none yet; whoever takes one is told what is wrong
        vocabulary = metadata.load_vocabulary(path)

    def is_taken(suggestion: Suggestion) -> bool:
        if suggestion.kind != "vocabulary":
            return _same(suggestion.text) in said[suggestion.setting]
        return vocabulary is not None and vocabulary.means(suggestion.instead_of, suggestion.text)

    return is_taken
