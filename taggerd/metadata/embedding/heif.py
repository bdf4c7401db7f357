"""XMP in HEIC and AVIF: found here, written by exiftool, proved here.

A packet is an item of the file's ``meta`` box (ISO 23008-12, annex A.3). ``iloc`` holds its offset
among those of all other items, which move. exiftool can do that; its result is compared item by
item. It reads the photo from standard input and writes to standard output, so no file name is ever
on its command line.
"""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import SidecarRefused, SidecarUnwritable
from taggerd.metadata.embedding.container import (
    C2PA,
    Container,
    Span,
    check_effort,
    digest_of,
    exactly,
)
from taggerd.metadata.versions import exiftool, exiftool_environment
from taggerd.metadata.xmp import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd.metadata.embedding.container import Fingerprint, Source
    from taggerd.metadata.xmp.splice import Edit

_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_CONTENT_TYPE = b"application/rdf+xml"
_BOXES_KNOWN = frozenset({b"ftyp", b"meta", b"mdat", b"free", b"skip"})
_MOST_BOXES = 100_000
_LARGEST_META = 64 << 20
_LONGEST_SECONDS = 100.0
EXIFTOOL_MISSING = "needs exiftool for that (Debian: apt install libimage-exiftool-perl)"


class Box(NamedTuple):
    """A box of ISO 14496-12, by offsets in the file."""

    kind: bytes
    start: int
    body: int
    end: int


@dataclass(slots=True)
class _Item:
    kind: bytes = b""
    said: bytes = b""
    """Its name, content type and encoding, as in ``infe``."""
    protected: int = 0
    spans: tuple[Span, ...] = ()
    """Where its data lies."""
    references: list[tuple[bytes, tuple[int, ...]]] = field(default_factory=list)

    @property
    def is_xmp(self) -> bool:
        return self.kind == b"mime" and self.said.split(b"\0")[1:2] == [_CONTENT_TYPE]


class Heif(Container):
    """A parsed HEIF file."""

    def __init__(self, source: Source, *, to_write: bool = True) -> None:
        """Read the ``meta`` box.

        Raises:
            SidecarRefused: the file is damaged or, if it is *to_write* to, strange.
        """
        super().__init__(source)
        self._boxes = list(boxes(source, 0, source.size))
        if to_write:
            self._check_kind()
        metas = [box for box in self._boxes if box.kind == b"meta"]
        if len(metas) != 1 or metas[0].end - metas[0].start > _LARGEST_META:
            refuse("is damaged or of an unknown kind")
        inner = list(boxes(source, metas[0].body + 4, metas[0].end))
        self._inner = {box.kind: box for box in inner}
        if len(self._inner) != len(inner):
            refuse("has a part twice that may occur only once")
        try:
            self._items = self._read_items()
        except (struct.error, IndexError):
            message = "has damaged lists of its parts"
            raise SidecarRefused(message) from None
        self._read_packet()

    @property
    def exif(self) -> Span | None:
        """Where EXIF is: the head of a TIFF, behind an offset to it (ISO 23008-12, A.2.1)."""
        for item in self._items.values():
            if item.kind == b"Exif" and len(item.spans) == 1:
                span = item.spans[0]
                return Span(span.start + 4 + _unsigned(self._source, span.start), span.end)
        return None

    def _check_kind(self) -> None:
        for box in self._boxes:
            if box.kind == b"uuid" and self._source.read(box.body, 16) == _C2PA:
                refuse(C2PA)
        if any(box.kind in {b"moov", b"moof"} for box in self._boxes):
            refuse("is a sequence of pictures, which taggerd does not write to")

    def edits(self, packet: bytes | None) -> list[Edit]:  # noqa: ARG002 - only exiftool can
        """See :class:`.embedding.container.Container`; offsets move, so a splice cannot do it."""
        refuse("is not written by a splice")

    def fingerprint(self) -> Fingerprint:
        """See :class:`Container`."""
        spans = [span for item in self._items.values() for span in item.spans]
        check_effort(self._source, spans)
        items = {
            number: (
                item.kind,
                item.said,
                item.protected,
                digest_of(self._source, *item.spans),
                tuple(sorted(item.references)),
            )
            for number, item in sorted(self._items.items())
            if not item.is_xmp
        }
        lists = {b"iinf", b"iloc", b"iref", b"idat", b"free", b"skip"}
        meta = tuple(
            (kind, self._digest(box)) for kind, box in sorted(self._inner.items())
            if kind not in lists
        )  # fmt: skip
        around = tuple(
            (box.kind, self._digest(box))
            for box in self._boxes
            if box.kind not in _BOXES_KNOWN or box.kind == b"ftyp"
        )
        return (tuple(items.items()), meta, around, self._unowned())

    def _unowned(self) -> int:
        """Return how many bytes of media data belong to no item: they cannot be compared."""
        size = sum(b.end - b.body for b in self._boxes if b.kind == b"mdat")
        inside = set[Span]()
        for item in self._items.values():
            inside.update(s for s in item.spans if self._in_media(s))
        return size - sum(s.size for s in inside)

    def _in_media(self, span: Span) -> bool:
        return any(
            b.kind == b"mdat" and b.body <= span.start and span.end <= b.end for b in self._boxes
        )

    def _digest(self, box: Box) -> str:
        return digest_of(self._source, Span(box.start, box.end))

    def _read_packet(self) -> None:
        found = [item for item in self._items.values() if item.is_xmp]
        if len(found) == 1 and not any(span.size for span in found[0].spans):
            return  # exiftool leaves an empty item of a packet that it removes
        for item in found:
            if len(item.spans) != 1 or any(item.said.split(b"\0")[2:]) or item.protected:
                refuse("has an XMP packet in a form that taggerd does not write")
            self._take_packet(item.spans[0], item.spans[0])

    def _read_items(self) -> dict[int, _Item]:
        items = dict(self._infos())
        for number, spans in self._locations():
            items.setdefault(number, _Item()).spans = spans
        for kind, number, others in self._references():
            items.setdefault(number, _Item()).references.append((kind, others))
        return items

    def _full(self, kind: bytes) -> tuple[int, bytes]:
        """Return the version and the content of a full box inside ``meta``; empty if none."""
        box = self._inner.get(kind)
        if box is None:
            return 0, b""
        data = exactly(self._source, box.body, box.end - box.body)
        return data[0], data[4:]

    def _infos(self) -> Iterator[tuple[int, _Item]]:
        box = self._inner.get(b"iinf")
        if box is None:
            return
        version, _ = self._full(b"iinf")
        for info in boxes(self._source, box.body + (8 if version else 6), box.end):
            data = exactly(self._source, info.body, info.end - info.body)
            if info.kind != b"infe" or data[0] not in {2, 3}:
                refuse("has items of an old kind")
            layout = ">HH4s" if data[0] == 2 else ">IH4s"  # noqa: PLR2004 - version 2
            number, protected, kind = struct.unpack_from(layout, data, 4)
            said = data[4 + struct.calcsize(layout) :]
            yield number, _Item(kind, said, protected)

    def _locations(self) -> Iterator[tuple[int, tuple[Span, ...]]]:
        version, data = self._full(b"iloc")
        if not data:
            return
        reader = _Numbers(data)
        sizes = reader.next(1), reader.next(1)
        offset_size, length_size = sizes[0] >> 4, sizes[0] & 15
        base_size, index_size = sizes[1] >> 4, sizes[1] & 15 if version else 0
        wide = 4 if version == 2 else 2  # noqa: PLR2004 - version 2
        for _ in range(reader.next(wide)):
            number = reader.next(wide)
            method = reader.next(2) & 15 if version else 0
            elsewhere = reader.next(2)
            base = reader.next(base_size)
            spans: list[Span] = []
            for _ in range(reader.next(2)):
                reader.next(index_size)
                at = base + reader.next(offset_size)
                spans.append(self._span(method, at, reader.next(length_size)))
            if elsewhere or method > 1:
                refuse("keeps parts of it in other files")
            yield number, tuple(spans)

    def _span(self, method: int, at: int, length: int) -> Span:
        if method == 1 and b"idat" in self._inner:
            at += self._inner[b"idat"].body
        if at + length > self._source.size:
            refuse("is cut off or damaged")
        return Span(at, at + length)

    def _references(self) -> Iterator[tuple[bytes, int, tuple[int, ...]]]:
        box = self._inner.get(b"iref")
        if box is None:
            return
        version, _ = self._full(b"iref")
        wide = 4 if version else 2
        for inner in boxes(self._source, box.body + 4, box.end):
            reader = _Numbers(exactly(self._source, inner.body, inner.end - inner.body))
            number = reader.next(wide)
            count = reader.next(2)
            yield inner.kind, number, tuple(reader.next(wide) for _ in range(count))


class _Numbers:
    """Reads big-endian numbers one after another."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def next(self, size: int) -> int:
        if self._at + size > len(self._data):
            raise IndexError
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")


def boxes(source: Source, start: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets."""
    for _ in range(_MOST_BOXES):
        if start >= end:
            return
        size, kind = struct.unpack(">I4s", exactly(source, start, 8))
        body = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", exactly(source, body, 8))
            body += 8
        stop = end if size == 0 else start + size
        if stop > end or stop < body:
            refuse("is cut off or damaged")
        yield Box(kind, start, body, stop)
        start = stop
    refuse("has too many parts")


def _unsigned(source: Source, at: int) -> int:
    return int.from_bytes(exactly(source, at, 4))


def is_heif(head: bytes) -> bool:
    """Say whether a file that begins with *head* is of this kind."""
    return head[4:8] == b"ftyp"


def rewrite(original: int, made: int, packet: bytes | None) -> None:
    """Have exiftool write the photo *original* with *packet* to *made*, both open descriptors.

    Raises:
        SidecarUnwritable: exiftool is not installed.
        SidecarRefused: it cannot write this file; its reason is in the message.
        OSError: there is no room for it.
    """
    program = exiftool()
    if program is None:
        raise SidecarUnwritable(EXIFTOOL_MISSING)
    os.lseek(original, 0, os.SEEK_SET)
    number = os.memfd_create("xmp")
    with open(number, "r+b", buffering=0) as handed:  # noqa: PTH123 - a descriptor
        handed.write(packet or b"")
        handed.seek(0)
        change = "-XMP=" if packet is None else f"-XMP<=/proc/self/fd/{number}"
        try:
            done = subprocess.run(  # noqa: S603 - no word on this line comes from outside
                # -config "": the user's own configuration may redefine tags.
                [program, "-config", "", "-q", "-q", change, "-o", "-", "-"],
                stdin=original,
                stdout=made,
                stderr=subprocess.PIPE,
                pass_fds=(number,),
                env=exiftool_environment(),
                cwd="/",
                timeout=_LONGEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            message = "kept exiftool busy for too long"
            raise SidecarRefused(message) from None
        except OSError as error:
            message = f"cannot be written: exiftool does not start: {error.strerror}"
            raise SidecarUnwritable(message) from error
    if done.returncode != 0 or os.fstat(made).st_size == 0:
        _check_disk(made, os.fstat(original).st_size + len(packet or b""))
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
        refuse(f"cannot be written by exiftool ({said or done.returncode})")


def _check_disk(made: int, size: int) -> None:
    """Raise OSError if *made*, which is thrown away, cannot have *size* bytes: the disk is full.

    exiftool reports that in words only; with a full disk the photo waits, it is not refused.
    """
    try:
        os.posix_fallocate(made, 0, size)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise
