"""What all formats of photo files have in common: bytes, edits, and the XMP packet among them.

A format finds the packet, says which edits replace it, and gives a fingerprint of everything else.
Two files with the same fingerprint hold the same picture, byte for byte, and the same metadata
except XMP and what follows it in IPTC-IIM.

An edit replaces a span of bytes; everything outside is the same by construction. A
:class:`Edited` source reads like the file it would make, so that the outcome can be parsed and
compared before a byte is written. No file is ever held in memory as a whole.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol

from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.encoding import LARGEST

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from taggerd.metadata.embedding.iim import Iim
    from taggerd.metadata.xmp.splice import Edit

_BLOCK = 1 << 20
"""Bytes read at once."""


C2PA = "has Content Credentials (C2PA), which a change would invalidate"


class Span(NamedTuple):
    """Bytes *start* to *end* of a file."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Source(Protocol):
    """Bytes that can be read at any offset."""

    size: int
    """Bytes."""

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer at the end.

        Raises:
            OSError: the disk fails.
        """


class FileSource:
    """An open file, read by offset: its position is not used."""

    def __init__(self, descriptor: int) -> None:
        """Read the open *descriptor*, which stays the caller's."""
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer at the end."""
        parts: list[bytes] = []
        length = min(length, self.size - offset)  # pread refuses offsets beyond 63 bits
        while length > 0:
            part = os.pread(self._descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)


class Part:
    """A span of *source*, as if it were a file."""

    def __init__(self, source: Source, span: Span) -> None:
        """Prepare; what lies beyond the end of *source* is missing."""
        self._source, self._start = source, span.start
        self.size = max(0, min(span.end, source.size) - span.start)

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer at the end."""
        length = min(length, self.size - offset)
        return self._source.read(self._start + offset, length) if length > 0 else b""


class Edited:
    """What *source* would be with *edits* made."""

    def __init__(self, source: Source, edits: Collection[Edit]) -> None:
        """Prepare; raises ValueError where two edits overlap or lie outside."""
        self._source = source
        self._pieces: list[tuple[int, bytes | Span]] = []
        """(offset in the outcome, new bytes or a span of the source)."""
        self.size = 0
        position = 0
        for edit in sorted(edits, key=lambda edit: edit[:2]):
            if not position <= edit.start <= edit.end <= source.size:
                message = f"edits overlap or lie outside at byte {edit.start}"
                raise ValueError(message)
            self._add(Span(position, edit.start))
            self._add(edit.new)
            position = edit.end
        self._add(Span(position, source.size))

    def _add(self, piece: bytes | Span) -> None:
        length = piece.size if isinstance(piece, Span) else len(piece)
        if length:
            self._pieces.append((self.size, piece))
            self.size += length

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes at *offset*, fewer at the end."""
        end = min(offset + length, self.size)
        parts: list[bytes] = []
        for at, piece in self._pieces:
            size = piece.size if isinstance(piece, Span) else len(piece)
            first, last = max(offset, at) - at, min(end, at + size) - at
            if first < last:
                parts.append(
                    self._source.read(piece.start + first, last - first)
                    if isinstance(piece, Span)
                    else piece[first:last]
                )
        return b"".join(parts)


def exactly(source: Source, offset: int, length: int) -> bytes:
    """Return just *length* bytes at *offset*.

    Raises:
        SidecarRefused: the file is shorter.
    """
    inside = 0 <= offset <= offset + length <= source.size
    data = source.read(offset, length) if inside else b""
    if not inside or len(data) != length:
        refuse("is cut off or damaged")
    return data


def check_effort(source: Source, spans: Iterable[Span]) -> None:
    """Refuse to read *spans* if together they are many times the file.

    Only a malicious file names the same bytes over and over.
    """
    if sum(span.size for span in spans) > 4 * source.size + _BLOCK:
        refuse("names the same bytes too often")


def blocks(source: Source, span: Span) -> Iterator[bytes]:
    """Yield the bytes of *span*, a block at a time."""
    position = span.start
    while position < span.end:
        data = source.read(position, min(_BLOCK, span.end - position))
        if not data:
            refuse("is cut off or damaged")
        yield data
        position += len(data)


def digest_of(source: Source, *spans: Span) -> str:
    """Return the BLAKE2b-256 of *spans*, one after the other, 64 hex digits."""
    digest = hashlib.blake2b(digest_size=32)
    for span in spans:
        for block in blocks(source, span):
            digest.update(block)
    return digest.hexdigest()


def digest_without(source: Source, without: Collection[Span]) -> str:
    """Return the BLAKE2b-256 of all bytes but those in the spans *without*."""
    kept: list[Span] = []
    position = 0
    for span in sorted(without):
        kept.append(Span(position, max(position, span.start)))
        position = max(position, span.end)
    return digest_of(source, *kept, Span(position, source.size))


Fingerprint = tuple[object, ...]
"""Everything in a file but its XMP packet, comparable."""


class Container(ABC):
    """A parsed photo file; making one raises SidecarRefused where it is damaged."""

    def __init__(self, source: Source) -> None:
        """Start without a packet."""
        self._source = source
        self.packet: bytes | None = None
        """The XMP packet, with its padding; None if there is none."""
        self.span: Span | None = None
        """The bytes that change with the packet and nothing else (a checksum over it included)."""
        self.iim: Iim | None = None
        """The IPTC-IIM, where it can be kept in step with the packet."""

    @abstractmethod
    def edits(self, packet: bytes | None) -> list[Edit]:
        """Return the edits that make *packet* the file's only packet; None: that it has none.

        Raises:
            SidecarRefused: it cannot be done without risk to something else in the file.
        """

    def iim_edits(self, iim: Iim | None) -> list[Edit]:
        """Return the edits that put *iim* in the place of the file's own; None: it stays.

        Raises:
            SidecarRefused: it cannot be done without risk to something else in the file.
        """
        if iim is not None and iim != self.iim:
            refuse("holds no IPTC-IIM that could be changed")
        return []

    def fingerprint(self) -> Fingerprint:
        """Return everything else that is in the file."""
        return (digest_without(self._source, [self.span] if self.span else []),)

    def _take_packet(self, packet: Span, span: Span) -> None:
        """Read the *packet*, which changes together with the bytes of *span*."""
        if self.packet is not None:
            refuse("has more than one XMP packet")
        if packet.size > LARGEST:
            refuse("has an XMP packet that is too large")
        self.packet = exactly(self._source, packet.start, packet.size)
        self.span = span
