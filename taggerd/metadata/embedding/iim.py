"""IPTC-IIM beside XMP in a JPEG: three of its datasets say what XMP says.

Many programs read keywords and captions from IPTC-IIM first. Where a photo has it, the "Guidelines
for Handling Image Metadata" of the Metadata Working Group (version 2.0, 2010) want a program that
changes XMP to change these too, in UTF-8, and to renew the MD5 of the whole (Photoshop resource
0x0425), by which readers see that the two agree. All other datasets and resources stay byte for
byte; no photo gets IPTC-IIM that had none.

=================== ====== ============================= =====
Keywords            2:25   ``dc:subject``, one each      64
Headline            2:105  ``photoshop:Headline``        256
Caption-Abstract    2:120  ``dc:description``            2000
CodedCharacterSet   1:90   ``ESC % G``: UTF-8
=================== ====== ============================= =====

The numbers are bytes (IPTC-IIM 4.2, chapter 6); a longer text is cut between characters.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from taggerd.metadata.camera import is_camera_text
from taggerd.metadata.keywords.lists import machine_entries
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.undo.seal import packed, unpacked
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PHOTOSHOP = b"Photoshop 3.0\0"
_IPTC, _DIGEST = 0x0404, 0x0425
_SIGNATURES = frozenset({b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR"})
_LARGEST = 16 * 1024
"""Bytes of IPTC-IIM that are kept in the packet for an undo, which has to fit into a segment."""
_LARGEST_SEGMENT = 0xFFFF - 2
_UTF_8 = b"\x1b%G"
_TAG = b"\x1c"

_Key = tuple[int, int]
_APPLICATION = 2
"""The record of words."""
_CHARACTERS, _KEYWORDS = (1, 90), (_APPLICATION, 25)
_TEXTS: dict[_Key, tuple[str, str, int]] = {
    (2, 105): ("photoshop:Headline", "headline", 256),
    (2, 120): ("dc:description", "caption", 2000),
}
"""Dataset → the property that it follows, what people call it, bytes."""
_LONGEST_KEYWORD = 64


class Dataset(NamedTuple):
    """One value."""

    key: _Key
    """Record and number."""
    value: bytes
    raw: bytes
    """With its head."""


@dataclass(frozen=True, slots=True)
class Iim:
    """The IPTC-IIM of a photo."""

    data: bytes
    digest: bytes | None = None
    """The MD5 that Photoshop keeps beside it; None: there is none."""

    @property
    def packed(self) -> str:
        """Both as short text, for an undo."""
        return packed(bytes([self.digest is not None]) + (self.digest or b"") + self.data)

    @classmethod
    def unpacked(cls, text: str) -> Iim | None:
        """Return what :attr:`packed` was; None where *text* is no such thing."""
        data = unpacked(text) if text else None
        if not data:
            return None
        return cls(data[17:], data[1:17]) if data[0] else cls(data[1:])

    def rest(self) -> bytes:
        """Return every dataset but those that follow XMP."""
        return b"".join(each.raw for each in _datasets(self.data) if not _follows(each.key))


class Said(NamedTuple):
    """What an XMP packet says of the words that IPTC-IIM has too."""

    keywords: tuple[str, ...] = ()
    machine: frozenset[str] = frozenset()
    """Those of the keywords that are taggerd's."""
    texts: Mapping[str, str] = MappingProxyType({})
    """Property → text."""
    replaced: Mapping[str, str] = MappingProxyType({})
    """Property → the text before taggerd's."""

    @classmethod
    def by(cls, core: bytes | None) -> Said:
        """Read a packet without its padding; None: there is none."""
        if not core:
            return cls()
        document = Document.load(core)
        ownership = Ownership.read(document)
        texts = {name: _shown(document, name) for name, _, _ in _TEXTS.values()}
        return cls(
            tuple(dict.fromkeys(document.texts(named("dc:subject")))),
            frozenset(machine_entries("dc:subject", ownership)),
            {name: text for name, text in texts.items() if text},
            ownership.replaced,
        )


def _shown(document: Document, name: str) -> str:
    found = document.read(named(name))
    if found is None:
        return ""
    default = [item.text for item in found.items if item.language in {"x-default", ""}]
    return (default[0] if default else "") if found.items else found.text


def is_cut_off(data: bytes) -> bool:
    """Say whether IPTC-IIM ends within a dataset; what is between datasets is passed over."""
    position = data.find(_TAG)
    while position >= 0:
        length = int.from_bytes(data[position + 3 : position + 5])
        start = position + 5
        if length > 0x7FFF:  # noqa: PLR2004 - an extended dataset: its length comes first
            width = length & 0x7FFF
            length = int.from_bytes(data[start : start + min(width, 8)])
            start += width
        if start + length > len(data):
            return True
        position = data.find(_TAG, start + length)
    return False


def iptc_in(data: bytes) -> bytes:
    """Return the IPTC-IIM among Photoshop's resources, the bytes behind their mark."""
    position, held = 0, list[bytes]()
    while position + 12 <= len(data):
        signature, kind, name = struct.unpack_from(">4sHB", data, position)
        start = position + 6 + (1 + name + 1) // 2 * 2
        length = int.from_bytes(data[start : start + 4])
        if signature not in _SIGNATURES:
            break
        if signature == b"8BIM" and kind == _IPTC:
            held.append(data[start + 4 : start + 4 + length])  # fewer, if it is cut off
        position = start + 4 + length + length % 2
    return b"".join(held)


def followed(iim: Iim, before: Said, after: Said, *, edited: bool = False) -> tuple[Iim, list[str]]:
    """Return *iim* in step with XMP after a merge, and notes.

    A keyword of a human's stays, and so does a text that XMP does not say; but what a person has
    *edited* out of XMP goes here, too.

    Raises:
        ValueError: it cannot be done without a loss; the message says why.
    """
    datasets, notes = _datasets(iim.data), list[str]()
    wanted = {_cut(word, _LONGEST_KEYWORD): word for word in after.keywords}
    old = before.keywords if edited else before.machine
    had = {_cut(word, _LONGEST_KEYWORD) for word in old}
    words = [word for word in _words(datasets) if word in wanted or word not in had]
    words += [word for word in wanted if word not in words]
    if any(len(word) < len(whole) for word, whole in wanted.items()):
        notes.append(f"keywords are cut to {_LONGEST_KEYWORD} bytes in its IPTC-IIM")
    texts: dict[_Key, str] = {}
    for key, (name, called, longest) in _TEXTS.items():
        held, new = _text(datasets, key), after.texts.get(name, "")
        texts[key] = held
        followed_so_far = (before.texts.get(name, ""), after.replaced.get(name, ""))
        if edited and held and not new and held == _cut(followed_so_far[0], longest):
            texts[key] = ""
        if not new or held == _cut(new, longest):
            continue
        if is_camera_text(held) or held in {_cut(text, longest) for text in followed_so_far}:
            texts[key] = _cut(new, longest)
            if texts[key] != new:
                notes.append(f"the {called} is cut to {longest} bytes in its IPTC-IIM")
        else:
            notes.append(f"kept the {called} in its IPTC-IIM: it is not the one in XMP")
    return _with(iim, datasets, words, texts), notes


def undone(iim: Iim, original: Iim, before: Said, after: Said) -> Iim:
    """Return *iim* without what :func:`followed` put there; the *original* where nobody edited it.

    Raises:
        ValueError: it cannot be done without a loss.
    """
    datasets, first = _datasets(iim.data), _datasets(original.data)
    added = {_cut(word, _LONGEST_KEYWORD) for word in before.keywords} - {*_words(first)}
    added -= {_cut(word, _LONGEST_KEYWORD) for word in after.keywords}
    words = [word for word in _words(datasets) if word not in added]
    texts: dict[_Key, str] = {}
    for key, (name, _, longest) in _TEXTS.items():
        texts[key] = _text(datasets, key)
        was, now = before.texts.get(name, ""), after.texts.get(name, "")
        if texts[key] == _cut(was, longest) and now != was:
            texts[key] = _text(first, key) or _cut(now, longest)
    said = words == _words(first) and all(texts[key] == _text(first, key) for key in _TEXTS)
    if said and iim.rest() == original.rest():
        return original
    return _with(iim, datasets, words, texts)


def _with(iim: Iim, datasets: list[Dataset], words: list[str], texts: Mapping[_Key, str]) -> Iim:
    """Return *iim* with other words; the same where there is nothing to change."""
    if words == _words(datasets) and all(_text(datasets, key) == texts[key] for key in texts):
        return iim
    others = [each for each in datasets if not _follows(each.key)]
    characters = _UTF_8
    if not all(_is_utf8(each.value) for each in others if each.key[0] == _APPLICATION):
        characters = _characters(datasets)
        if not all(text.isascii() for text in (*words, *texts.values())):
            message = "other texts in it are not in UTF-8"
            raise ValueError(message)
    new = [(_CHARACTERS, characters)] if characters else []
    new += [(_KEYWORDS, word.encode()) for word in words]
    new += [(key, text.encode()) for key, text in texts.items() if text]
    for key, value in new:  # in the standard's order, but the others stay in their own
        at = next((at for at, each in enumerate(others) if each.key > key), len(others))
        others.insert(at, Dataset(key, value, _raw(key, value)))
    data = b"".join(each.raw for each in others)
    if len(data) > _LARGEST:
        message = "it would become too large"
        raise ValueError(message)
    return Iim(data, hashlib.md5(data, usedforsecurity=False).digest())


def _raw(key: _Key, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, *key, len(value)) + value


def _follows(key: _Key) -> bool:
    return key in {_CHARACTERS, _KEYWORDS, *_TEXTS}


def _datasets(data: bytes) -> list[Dataset]:
    """Take IPTC-IIM apart.

    Raises:
        ValueError: it is damaged, or in another character set than UTF-8 and Latin-1.
    """
    found: list[Dataset] = []
    position = 0
    while position < len(data) and data[position:].strip(b"\0"):
        head = data[position : position + 5]
        if len(head) < 5 or head[0] != 0x1C:  # noqa: PLR2004 - tag, record, number, length
            message = "it is damaged"
            raise ValueError(message)
        (length,) = struct.unpack(">H", head[3:])
        end = position + 5 + length
        if length > 0x7FFF or end > len(data):  # noqa: PLR2004 - an extended dataset: a picture
            message = "it is damaged"
            raise ValueError(message)
        value = data[position + 5 : end]
        found.append(Dataset((head[1], head[2]), value, data[position:end]))
        position = end
    keys = [each.key for each in found]
    if any(keys.count(key) > 1 for key in (_CHARACTERS, *_TEXTS)):
        message = "it has a text twice"
        raise ValueError(message)
    if _characters(found) not in {b"", _UTF_8}:
        message = "it is in another character set"
        raise ValueError(message)
    return found


def _characters(datasets: Iterable[Dataset]) -> bytes:
    return next((each.value for each in datasets if each.key == _CHARACTERS), b"")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decoded(value: bytes) -> str:
    """Return a text; without a character set it was Latin-1 for decades."""
    return value.decode() if _is_utf8(value) else value.decode("latin-1")


def _words(datasets: Iterable[Dataset]) -> list[str]:
    return [_decoded(each.value) for each in datasets if each.key == _KEYWORDS]


def _text(datasets: Iterable[Dataset], key: _Key) -> str:
    return next((_decoded(each.value) for each in datasets if each.key == key), "")


def _cut(text: str, longest: int) -> str:
    """Return *text* in at most *longest* bytes of UTF-8, cut between characters."""
    return text.encode("utf-8", "replace")[:longest].decode("utf-8", "ignore")


class _Resource(NamedTuple):
    kind: int
    """0 for one with another signature than ``8BIM``."""
    head: bytes
    """Signature, number, name."""
    data: bytes

    @property
    def raw(self) -> bytes:
        padding = b"\0" * (len(self.data) % 2)
        return self.head + struct.pack(">I", len(self.data)) + self.data + padding


def _resources(segment: bytes) -> list[_Resource]:
    """Take the data of Photoshop's segment apart; raises ValueError where that is not exact."""
    found: list[_Resource] = []
    position = len(PHOTOSHOP)
    while position < len(segment):
        signature = segment[position : position + 4]
        number = segment[position + 4 : position + 6]
        name = segment[position + 6 : position + 7]
        start = position + 6 + (1 + (name[0] if name else 0) + 1) // 2 * 2
        size = segment[start : start + 4]
        if signature not in _SIGNATURES or len(size) < 4:  # noqa: PLR2004 - bytes
            break
        (length,) = struct.unpack(">I", size)
        data = segment[start + 4 : start + 4 + length]
        kind = int.from_bytes(number) if signature == b"8BIM" else 0
        found.append(_Resource(kind, segment[position:start], data))
        position = start + 4 + length + length % 2
    if PHOTOSHOP + b"".join(each.raw for each in found) != segment:
        message = "Photoshop's segment is damaged"
        raise ValueError(message)
    return found


def iim_of(segment: bytes) -> Iim | None:
    """Return the IPTC-IIM in the data of Photoshop's segment; None: there is none to change."""
    try:
        resources = _resources(segment)
        held = [each.data for each in resources if each.kind == _IPTC]
        digests = [each.data for each in resources if each.kind == _DIGEST]
        if len(held) != 1 or len(digests) > 1 or any(len(each) != 16 for each in digests):  # noqa: PLR2004 - MD5
            return None
        if len(held[0]) > _LARGEST:
            return None
        _datasets(held[0])
    except ValueError:
        return None
    return Iim(held[0], digests[0] if digests else None)


def rest_of(segment: bytes) -> bytes:
    """Return the data of Photoshop's segment without what follows XMP."""
    parts: list[bytes] = []
    for each in _resources(segment):
        if each.kind == _IPTC:
            parts += [each.head, Iim(each.data).rest()]
        elif each.kind != _DIGEST:
            parts.append(each.raw)
    return b"".join(parts)


def segment_with(segment: bytes, iim: Iim) -> bytes:
    """Return the data of Photoshop's segment with another *iim*.

    Raises:
        ValueError: it is longer than a segment can be.
    """
    resources = _resources(segment)
    has_digest = any(each.kind == _DIGEST for each in resources)
    made: list[_Resource] = []
    for each in resources:
        if each.kind == _IPTC:
            made.append(each._replace(data=iim.data))
            if iim.digest is not None and not has_digest:
                head = b"8BIM" + _DIGEST.to_bytes(2) + b"\0\0"
                made.append(_Resource(_DIGEST, head, iim.digest))
        elif each.kind != _DIGEST:
            made.append(each)
        elif iim.digest is not None:
            made.append(each._replace(data=iim.digest))
    new = PHOTOSHOP + b"".join(each.raw for each in made)
    if len(new) > _LARGEST_SEGMENT:
        message = "it would become too large"
        raise ValueError(message)
    return new
