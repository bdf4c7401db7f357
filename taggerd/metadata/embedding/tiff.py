"""XMP in TIFF and DNG: tag 700 of the first directory (XMP part 3, clause 1.1.8).

Nothing moves, for a TIFF is full of offsets, some in camera notes that nobody can mend. A packet
that fits is written over the old one; a longer one goes to the end of the file. A directory without
tag 700 has no room for it: a copy with one entry more goes to the end, and the head points there.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from taggerd.metadata.embedding.container import (
    C2PA,
    Container,
    Span,
    check_effort,
    digest_of,
    digest_without,
    exactly,
)
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.splice import Edit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.metadata.embedding.container import Fingerprint, Source

_SMALL = (b"II*\0", b"MM\0*")
_BIG = (b"II+\0", b"MM\0+")
SIGNATURES = _SMALL + _BIG
_XMP = 700
_SUB_DIRECTORIES = 330
_C2PA = 0xCD41
_BYTE, _UNDEFINED = 1, 7
_SIZES = dict(zip(range(1, 14), (1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), strict=True))
"""Bytes of a value, by type."""
_DATA = ((273, 279), (324, 325), (513, 514))
"""Tags that hold where picture data lies and how long it is: strips, tiles, JPEG thumbnail."""
_HEAD, _OFFSET, _COUNT, _ENTRY = 4, 4, 2, 12
"""Offset of the first directory's offset; sizes of an offset, a count of entries, an entry."""
_LARGEST_FILE = (1 << 32) - 1
_MOST_DIRECTORIES = 10_000
_MOST_ENTRIES = 65_535


class _Entry(NamedTuple):
    tag: int
    kind: int
    values: int
    at: int
    """Offset of the entry."""
    raw: bytes


class _Directory(NamedTuple):
    at: int
    end: int
    entries: tuple[_Entry, ...]
    next: int


class Tiff(Container):
    """A parsed TIFF or DNG."""

    def __init__(self, source: Source) -> None:
        """Read the first directory; raises SidecarRefused for one that is damaged."""
        super().__init__(source)
        self._order = _order(source)
        self._first = self._directory(self._number(_HEAD))
        tags = [entry.tag for entry in self._first.entries]
        if _C2PA in tags:
            refuse(C2PA)
        if tags.count(_XMP) > 1:
            refuse("has XMP twice in its first directory")
        self._entry = next((e for e in self._first.entries if e.tag == _XMP), None)
        if self._entry is not None:
            self._read_packet(self._entry)

    def edits(self, packet: bytes | None) -> list[Edit]:
        """See :class:`Container`."""
        self._check_alone()
        if packet is None:
            return self._removed()
        start, end = self.span or (0, 0)
        if self._entry is None:
            return self._new_directory(packet)
        if len(packet) <= _OFFSET:
            refuse("cannot hold so short an XMP packet")
        if end - start == len(packet):
            return [Edit(start, end, packet)]
        if end == self._source.size:
            return [Edit(start, end, packet), self._count(len(packet))]
        at = self._next_free()
        self._refuse_beyond(at + len(packet))
        entry = struct.pack(f"{self._order}HHII", _XMP, _BYTE, len(packet), at)
        entry_span = Span(self._entry.at, self._entry.at + _ENTRY)
        tail = b"\0" * (at - self._source.size) + packet
        return [Edit(*entry_span, entry), Edit(self._source.size, self._source.size, tail)]

    def fingerprint(self) -> Fingerprint:
        """See :class:`Container`."""
        found = [(d, [e for e in d.entries if e is not self._entry]) for d in self._directories()]
        values = [[self._inside(self._span(e)) for e in entries] for _, entries in found]
        data = [self._data(entries) for _, entries in found]
        check_effort(self._source, [span for spans in (*values, *data) for span in spans])
        return tuple(
            (
                directory.next,
                tuple(entry.raw for entry in entries),
                tuple(digest_of(self._source, span) for span in spans),
                digest_of(self._source, *pictures),
            )
            for (directory, entries), spans, pictures in zip(found, values, data, strict=True)
        )

    def keeps(self, old: Tiff) -> bool:
        """Say whether every byte of *old* is where it was, but for its packet and directory."""
        without = [Span(_HEAD, _HEAD + _OFFSET)]
        if self._first.at == old._first.at:
            without.append(Span(old._first.at, old._first.end))
        if old.span is not None:
            without.append(old.span)
        common = min(self._source.size, old._source.size)
        if old._source.size > common and (old.span is None or old.span.start > common):
            return False
        return self._digest_before(common, without) == old._digest_before(common, without)

    def _digest_before(self, size: int, without: list[Span]) -> str:
        spans = [Span(span.start, min(span.end, size)) for span in without if span.start < size]
        return digest_without(self._source, [*spans, Span(size, self._source.size)])

    def _number(self, at: int) -> int:
        raw = exactly(self._source, at, _OFFSET)
        number: int = struct.unpack(self._order + "I", raw)[0]
        return number

    def _directory(self, at: int) -> _Directory:
        head = exactly(self._source, at, _COUNT)
        (count,) = struct.unpack(self._order + "H", head)
        if not count:
            refuse("has a damaged directory")
        begin = at + _COUNT
        table = exactly(self._source, begin, count * _ENTRY)
        entries: list[_Entry] = []
        for i in range(count):
            raw = table[i * _ENTRY : (i + 1) * _ENTRY]
            tag, kind, values = struct.unpack_from(f"{self._order}HHI", raw)
            entries.append(_Entry(tag, kind, values, begin + i * _ENTRY, raw))
        end = begin + len(table)
        # Some writers leave the last directory's pointer out at the end of the file.
        tail = self._source.read(end, _OFFSET)
        further = struct.unpack(self._order + "I", tail.ljust(_OFFSET, b"\0"))
        return _Directory(at, end + len(tail), tuple(entries), further[0])

    def _span(self, entry: _Entry) -> Span:
        """Return where the values of *entry* lie."""
        size = _SIZES.get(entry.kind, 1) * entry.values
        inline = entry.at + 4 + _OFFSET
        at = inline if size <= _OFFSET else self._number(inline)
        return Span(at, at + size)

    def _read_packet(self, entry: _Entry) -> None:
        span = self._span(entry)
        if entry.kind not in {_BYTE, _UNDEFINED} or not 8 < span.size <= LARGEST:  # noqa: PLR2004 - what fits into an entry is no packet
            refuse("has an XMP packet of an unusual kind or size")
        self._take_packet(span, span)
        if span.start < _HEAD or (span.start < self._first.end and self._first.at < span.end):
            refuse("has an XMP packet that overlaps its directory")

    def _numbers(self, entry: _Entry) -> list[int]:
        """Return the values of *entry* as whole numbers; none where it holds something else."""
        letters = {3: "H", 4: "I", 13: "I"}
        letter = letters.get(entry.kind)
        span = self._span(entry)
        if letter is None or span.size > LARGEST:
            return []
        raw = exactly(self._source, span.start, span.size)
        count = len(raw) // _SIZES[entry.kind]
        return list(struct.unpack_from(f"{self._order}{count}{letter}", raw))

    def _below(self, directory: _Directory) -> list[int]:
        subs = [e for e in directory.entries if e.tag == _SUB_DIRECTORIES]
        if len(subs) > 1 or any(entry.values > _MOST_DIRECTORIES for entry in subs):
            refuse("has a damaged directory")
        below = [number for entry in subs for number in self._numbers(entry)]
        return [at for at in (*below, directory.next) if at]

    def _inside(self, span: Span) -> Span:
        """Refuse what lies beyond the end: data appended there would become part of it."""
        if span.end > self._source.size:
            refuse("is cut off: parts of it would lie beyond its end")
        return span

    def _data(self, entries: list[_Entry]) -> list[Span]:
        """Return the picture data that a directory points to."""
        by_tag = {entry.tag: entry for entry in entries}
        found: list[Span] = []
        for where, how_long in _DATA:
            if where in by_tag and how_long in by_tag:
                starts, sizes = self._numbers(by_tag[where]), self._numbers(by_tag[how_long])
                pairs = zip(starts, sizes, strict=False)
                found += [self._inside(Span(at, at + size)) for at, size in pairs]
        return found

    def _directories(self) -> Iterator[_Directory]:
        """Yield all pages and what lies below them, each once."""
        waiting, seen = [self._first], set[int]()
        while waiting:
            directory = waiting.pop()
            if directory.at in seen:
                continue
            seen.add(directory.at)
            if len(seen) > _MOST_DIRECTORIES:
                refuse("has too many pages to be compared")
            yield directory
            waiting += [self._directory(at) for at in self._below(directory)]

    def _check_alone(self) -> None:
        """Refuse where other data shares bytes with the old packet."""
        if self.span is None:
            return
        for directory in self._directories():
            entries = [e for e in directory.entries if e is not self._entry]
            spans = [Span(directory.at, directory.end), *map(self._span, entries)]
            for span in (*spans, *self._data(entries)):
                if span.start < self.span.end and self.span.start < span.end:
                    refuse("has an XMP packet that overlaps other data")

    def _count(self, count: int) -> Edit:
        """Return the edit that gives tag 700 another count."""
        if self._entry is None:
            refuse("has no XMP")
        at = self._entry.at + 4
        self._refuse_beyond(self._source.size + count)
        packed = struct.pack(self._order + "I", count)
        return Edit(at, at + _OFFSET, packed)

    def _next_free(self) -> int:
        """Return the first aligned offset behind the file's end."""
        return -(-self._source.size // 8) * 8

    def _refuse_beyond(self, end: int) -> None:
        if end > _LARGEST_FILE:
            refuse("is too large to grow (4 GB)")

    def _new_directory(self, packet: bytes) -> list[Edit]:
        """Return the edits that add a directory with tag 700, and the packet behind it."""
        size = self._source.size
        at = self._next_free()
        count = len(self._first.entries) + 1
        if count > _MOST_ENTRIES:
            refuse("has a directory that is full")
        table = _COUNT + count * _ENTRY + _OFFSET
        begin = -(-(at + table) // 8) * 8
        self._refuse_beyond(begin + len(packet))
        entry = struct.pack(f"{self._order}HHII", _XMP, _BYTE, len(packet), begin)
        raws = [e.raw for e in self._first.entries]
        index = next((i for i, e in enumerate(self._first.entries) if e.tag > _XMP), len(raws))
        raws.insert(index, entry)
        made = struct.pack(self._order + "H", count) + b"".join(raws)
        made += struct.pack(self._order + "I", self._first.next)
        tail = b"\0" * (at - size) + made
        tail += b"\0" * (begin - size - len(tail)) + packet
        head = struct.pack(self._order + "I", at)
        return [
            Edit(_HEAD, _HEAD + _OFFSET, head),
            Edit(size, size, tail),
        ]

    def _removed(self) -> list[Edit]:
        """Return the edits that remove tag 700 from the first directory where it is."""
        if self._entry is None or self.span is None:
            return []
        first = self._first
        raws = [e.raw for e in first.entries if e is not self._entry]
        if not raws:
            refuse("has nothing but XMP in its first directory")
        made = struct.pack(self._order + "H", len(raws)) + b"".join(raws)
        made += struct.pack(self._order + "I", first.next)
        made = made.ljust(first.end - first.at, b"\0")
        gone = b"" if self.span.end == self._source.size else bytes(
            self.span.size
        )  # fmt: skip
        return [Edit(first.at, first.end, made), Edit(*self.span, gone)]


def _order(source: Source) -> str:
    """Return the byte order as `struct` writes it."""
    head = exactly(source, 0, 8)
    if head[:4] in _BIG:
        refuse("is a BigTIFF, which taggerd does not write to")
    if head[:4] not in _SMALL:
        refuse("contains no TIFF")
    return "<" if head[:2] == b"II" else ">"
