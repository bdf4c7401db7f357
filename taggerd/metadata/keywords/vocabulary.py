"""The user's own list of keywords: read from a file once, then searched for every machine word.

Two text formats are read. Lightroom's (Metadata > Export Keywords): a tab for every level, a word
in ``[brackets]`` that is not exported, ``{synonyms}`` one level below their word. And a flat list:
one word a line, with levels as in ``Animals|Dog``.

Words match without regard to case, spaces, hyphens and, in English, number. The list itself is not
inflected, so that 100,000 words are read in a second. It stays in the program's own process: a
worker would have to be sent all of it for every photo.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import ConfigurationError
from taggerd.metadata.keywords.normalise import folded
from taggerd.photo import Keyword, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from taggerd import settings
    from taggerd.metadata.keywords.normalise import Normalised

LARGEST_FILE = 64 << 20
"""Bytes."""
LONGEST_WORD = 255
"""Characters; a longer line is no keyword, and the file no list of them."""
MOST_SHOWN = 120
"""Words of a list that is short enough to be named in a prompt."""
MOST_SHOWN_CHARACTERS = 1500

_LINE_END = re.compile("\r\n|\r|\n")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ufffd-\uffff]")


class Entry(NamedTuple):
    """A word of the list and its levels."""

    word: str
    path: tuple[str, ...]
    """The words above it, from the root down."""
    parents: tuple[str, ...]
    """Those of *path* that are exported."""
    exported: bool


class _Line(NamedTuple):
    """One line of the file, taken apart."""

    number: int
    depth: int
    text: str


class Vocabulary:
    """The list, ready to be searched."""

    def __init__(
        self, entries: Iterable[Entry], synonyms: Iterable[tuple[str, Entry]] = ()
    ) -> None:
        """Index *entries*, and *synonyms* of some of them."""
        self._words: dict[str, tuple[Entry, ...]] = {}
        for entry in entries:
            key = folded(entry.word)
            self._words[key] = (*self._words.get(key, ()), entry)
        self._synonyms: dict[str, tuple[Entry, ...]] = {}
        for synonym, entry in synonyms:
            key = folded(synonym)
            self._synonyms[key] = (*self._synonyms.get(key, ()), entry)

    def __len__(self) -> int:
        """Return the number of different words."""
        return len(self._words)

    @property
    def shown(self) -> tuple[str, ...]:
        """The words that may be used, in the list's order; none if there are too many to name."""
        if len(self._words) > MOST_SHOWN:
            return ()
        entries = (entry for found in self._words.values() for entry in found if entry.exported)
        words = tuple(dict.fromkeys(entry.word for entry in entries))
        return words if sum(map(len, words)) <= MOST_SHOWN_CHARACTERS else ()

    def find(self, forms: Sequence[str], said: Collection[str] = frozenset()) -> Entry | None:
        """Return the word of the list that is meant by any of *forms*, the best first.

        A word goes before a synonym. Of several of one spelling ("orange", a fruit and a colour)
        the one below a word that was *said* too is meant, else the first in the file.
        """
        for table in (self._words, self._synonyms):
            for form in forms:
                if found := table.get(form):
                    near = (p for p in found if any(folded(level) in said for level in p.path))
                    return next(near, found[0])
        return None

    def means(self, synonym: str, word: str) -> bool:
        """Say whether *synonym* stands for *word* in the list."""
        entry = self.find([folded(synonym)])
        return entry is not None and folded(entry.word) == folded(word.rsplit("|", maxsplit=1)[-1])


def choose(
    words: Iterable[Normalised], options: settings.Keywords, vocabulary: Vocabulary | None = None
) -> tuple[Keyword, ...]:
    """Return the keywords that are written: those of the *vocabulary* with its spelling and levels.

    A word that the list has in brackets is never written. One that the list lacks stays only with
    ``mode = "prefer"``. At most ``options.max``.
    """
    words = tuple(words)
    if vocabulary is None:
        return tuple(word.keyword for word in words)[: options.max]
    said = frozenset(form for word in words for form in word.forms)
    stopped = frozenset(map(folded, options.stop))
    chosen: dict[tuple[str, ...], Keyword] = {}
    for (word, score, *_), forms in words:
        entry = vocabulary.find(forms, said)
        if entry is None:
            if options.mode == "prefer":
                chosen.setdefault((word,), Keyword(word, score))
        elif entry.exported and folded(entry.word) not in stopped:
            key = (*entry.path, entry.word)
            held = chosen.get(key)
            best = max((s for s in (score, held.score if held else None) if s), default=score)
            chosen[key] = Keyword(entry.word, best, entry.path, entry.parents)
    return tuple(chosen.values())[: options.max]


def load_vocabulary(path: Path) -> Vocabulary:
    """Read the list at *path*.

    Raises:
        ConfigurationError: it is not there, not text, or not such a list; one line that says where.
    """
    where = f"keywords.vocabulary: {printable(path)}"
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= LARGEST_FILE and path.is_file() else None
    except OSError as error:
        message = f"{where}: cannot read the list of keywords: {error.strerror}"
        raise ConfigurationError(message) from None
    if data is None:
        what = "not a file" if not path.is_file() else f"more than {LARGEST_FILE >> 20} MB"
        message = f"{where}: {what}; a list of keywords is a text file"
        raise ConfigurationError(message)
    try:
        entries, synonyms = _parsed(_lines(_decoded(data)))
    except ValueError as error:
        message = f"{where}: {error}"
        raise ConfigurationError(message) from None
    return Vocabulary(entries, synonyms)


def with_synonym(path: Path, word: str, synonym: str) -> tuple[bytes | None, bytes]:
    """Return the list at *path* as it is, None if there is none, and with a *synonym* of *word*.

    Nothing else of it changes. A word that it lacks is added at its end.

    Raises:
        ConfigurationError: it cannot be read, or would not be such a list.
    """
    where = f"keywords.vocabulary: {printable(path)}"
    try:
        before = path.read_bytes()
    except FileNotFoundError:
        before = None
    except OSError as error:
        message = f"{where}: cannot read the list of keywords: {error.strerror}"
        raise ConfigurationError(message) from None
    try:
        text = (before or b"").decode("utf-8")
        made = _inserted(text, word, synonym)
        _check(made, word, synonym)
    except ValueError as error:
        message = f"{where}: {synonym!r} cannot be a synonym of {word!r} there: {error}"
        raise ConfigurationError(message) from None
    return before, made.encode()


def _check(text: str, word: str, synonym: str) -> None:
    """Raise ValueError unless in the list *text* a *synonym* stands for *word*."""
    entries, synonyms = _parsed(_lines(_decoded(text.encode())))
    if not Vocabulary(entries, synonyms).means(synonym, word):
        message = f"{synonym!r} is a word of the list itself"
        raise ValueError(message)


def _inserted(text: str, word: str, synonym: str) -> str:
    """Return *text* with a line for the *synonym* below that of *word*."""
    end = "\r\n" if "\r\n" in text else "\n"
    lines = re.findall("[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)
    for number, line in enumerate(lines):
        if folded(line.strip("\ufeff\t\r\n ").split("|")[-1]) == folded(
            word.rsplit("|", maxsplit=1)[-1]
        ):
            depth = len(line) - len(line.lstrip("\t")) + 1
            whole = line if line.endswith(("\r", "\n")) else line + end
            below = f"{chr(9) * depth}{{{synonym}}}{end}"
            return "".join([*lines[:number], whole, below, *lines[number + 1 :]])
    gap = "" if not text or text.endswith(("\r", "\n")) else end
    return f"{text}{gap}{word}{end}\t{{{synonym}}}{end}"


def _decoded(data: bytes) -> str:
    """Return the file as text. Raises :class:`ValueError` in words."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data[:2].count(0) == 1:  # a letter of ASCII in UTF-16 without its mark
        encoding = "utf-16-be" if data[0] == 0 else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return unicodedata.normalize("NFC", data.decode(encoding))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"line {line}: not UTF-8 text; save the list as UTF-8"
        raise ValueError(message) from None


def _lines(text: str) -> Iterator[_Line]:
    """Take the lines that say something apart. Raises :class:`ValueError` in words."""
    for number, line in enumerate(_LINE_END.split(text), 1):
        body = " ".join(line.split())
        if not body:
            continue
        if _CONTROL.search(body) or len(body) > LONGEST_WORD:
            message = f"line {number}: not a keyword: {printable(body[:40])!r}"
            raise ValueError(message)
        yield _Line(number, len(line) - len(line.lstrip("\t")), body)


def _parsed(lines: Iterable[_Line]) -> tuple[list[Entry], list[tuple[str, Entry]]]:
    """Read words and synonyms. Raises :class:`ValueError` in words."""
    entries: list[Entry] = []
    synonyms: list[tuple[str, Entry]] = []
    above: list[Entry] = []
    for number, depth, text in lines:
        if depth > len(above):
            message = (
                f"line {number}: {text!r} is indented by {depth} tabs, "
                f"which is more than one under the line above it"
            )
            raise ValueError(message)
        del above[depth:]
        if text.startswith("{") or text.endswith("}"):
            synonym = _inside(text, "{}", number)
            if not above:
                message = f"line {number}: the synonym {text} has no word above it"
                raise ValueError(message)
            synonyms.append((synonym, above[-1]))
            continue
        bracketed = text.startswith("[") or text.endswith("]")
        entry = _entry(
            _inside(text, "[]", number) if bracketed else text, above, exported=not bracketed
        )
        if entry is None:
            message = f"line {number}: not a keyword: {text!r}"
            raise ValueError(message)
        entries.append(entry)
        above.append(entry)
    if not entries:
        message = "no keywords in it"
        raise ValueError(message)
    return entries, synonyms


def _inside(text: str, marks: str, number: int) -> str:
    """Return what stands between two *marks*. Raises :class:`ValueError` in words."""
    inner = text[1:-1].strip()
    if not (text.startswith(marks[0]) and text.endswith(marks[1]) and inner):
        message = f"line {number}: {text!r} has one of {marks[0]} and {marks[1]} without the other"
        raise ValueError(message)
    return inner


def _entry(text: str, above: Sequence[Entry], *, exported: bool) -> Entry | None:
    """Put *text* below the last of *above*; None where one of its levels is empty."""
    levels = [level.strip() for level in text.split("|")]
    if not all(levels) or not folded(levels[-1]):
        return None
    *between, word = levels
    path, parents = (), ()  # type: tuple[str, ...], tuple[str, ...]
    if above:
        last = above[-1]
        path = (*last.path, last.word)
        parents = (*last.parents, last.word) if last.exported else last.parents
    return Entry(word, (*path, *between), (*parents, *between), exported)
