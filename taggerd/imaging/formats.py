"""What a file is, by its first bytes; its name only decides between TIFF and raw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from taggerd.errors import PhotoUndecodable

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEAD = 4096
"""Bytes read to recognise a format."""


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file that can be decoded."""

    name: str
    """For people."""
    pillow: str
    """Pillow's name for it: the only format it may be opened as. Empty: raw."""


JPEG = Format("JPEG", "JPEG")
PNG = Format("PNG", "PNG")
TIFF = Format("TIFF", "TIFF")
WEBP = Format("WebP", "WEBP")
HEIF = Format("HEIF", "HEIF")
AVIF = Format("AVIF", "AVIF")
JXL = Format("JPEG XL", "JXL")
RAW = Format("raw file", "")

_MAGIC = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\x0a", JXL),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", JXL),
    (b"FUJIFILMCCD-RAW", RAW),
    (b"IIU\x00", RAW),  # Panasonic RW2
    (b"IIRO", RAW),  # Olympus ORF
    (b"IIRS", RAW),
    (b"MMOR", RAW),
    (b"II*\x00\x10\x00\x00\x00CR", RAW),  # Canon CR2
)
TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

_BRANDS = (
    # ISO base media files, by any of their brands. AVIF first: it may also call itself mif1.
    (frozenset({b"crx "}), RAW),  # Canon CR3
    (frozenset({b"avif", b"avis"}), AVIF),
    (
        frozenset(
            {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
            | {b"mif1", b"msf1"},
        ),
        HEIF,
    ),
)

_NOT_READ = (
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"<?xml", "an XML text"),
    (b"<!DOCTYPE", "an HTML text"),
    (b"<html", "an HTML text"),
)

_DNG_VERSION = 50706
_NEW_SUBFILE_TYPE = 254
_REDUCED = 1


def format_of(file: BinaryIO, *, named_raw: bool) -> Format:
    """Say what *file* is; it is rewound afterwards.

    Args:
        file: open, at any position.
        named_raw: its name has the extension of a raw format.

    Raises:
        PhotoUndecodable: it is in another format; the message says which.
    """
    file.seek(0)
    head = file.read(_HEAD)
    file.seek(0)
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    brands = _brands(head)
    for names, kind in _BRANDS:
        if not brands.isdisjoint(names):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head.startswith(TIFF_MAGIC):
        return RAW if named_raw or _is_raw_tiff(head) else TIFF
    if named_raw and head and not _words(head):
        return RAW  # LibRaw knows more raw formats than this module
    message = f"{_words(head) or 'not a known picture format'}: nothing to decode"
    raise PhotoUndecodable(message)


def _brands(head: bytes) -> frozenset[bytes]:
    """Return the major and compatible brands of an ISO base media file."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = (head[at : at + 4] for at in range(16, end - 3, 4))
    return frozenset((head[8:12], *compatible))


def _is_raw_tiff(head: bytes) -> bool:
    """Say whether a TIFF is a raw file under another name: a DNG, or first a small preview."""
    tags = dict(_first_directory(head))
    return _DNG_VERSION in tags or tags.get(_NEW_SUBFILE_TYPE) == _REDUCED


def _first_directory(head: bytes) -> Iterable[tuple[int, int]]:
    """Yield tag and value of a classic TIFF's first directory, as far as *head* reaches."""
    little = head.startswith(b"II")

    def number(at: int, size: int) -> int:
        return int.from_bytes(head[at : at + size], "little" if little else "big")

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if entry + 12 > len(head):
            return
        yield number(entry, 2), number(entry + 8, 4)


def _words(head: bytes) -> str:
    """Say what a file in another format is; empty if that is not known."""
    if not head:
        return "an empty file (0 bytes)"
    for magic, words in _NOT_READ:
        if head[:16].lower().startswith(magic.lower()):
            return words
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide"):
        return "a video or sound file"
    if not head.strip(b"\0"):
        return "nothing but zero bytes"
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)  # noqa: PLR2004 - ASCII's control characters
    return "" if control else "a text file"
