"""Which formats can be embedded into."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from taggerd.metadata.embedding import jpeg, png, tiff
from taggerd.metadata.embedding.container import C2PA
from taggerd.metadata.embedding.heif import Heif, is_heif
from taggerd.metadata.embedding.jpeg import Jpeg
from taggerd.metadata.embedding.png import Png
from taggerd.metadata.embedding.tiff import Tiff
from taggerd.metadata.embedding.webp import Webp
from taggerd.metadata.xmp import refuse
from taggerd.photo import extension, is_raw

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.metadata.embedding.container import Container, Source

_TIFF_EXTENSIONS = frozenset({"tif", "tiff", "dng"})
"""Proprietary raw files are TIFFs inside: the name must say that this is none."""
_EXTENSIONS = frozenset(
    {"jpg", "jpeg", "png", "webp", "heic", "heif", "hif", "avif"} | _TIFF_EXTENSIONS
)


def embeddable(path: Path) -> bool:
    """Say whether the name of *path* is that of a format that tags can be embedded into."""
    return extension(path) in _EXTENSIONS


def container_of(path: Path, source: Source) -> Container:
    """Parse the photo *source*; refuse one whose packet points to Content Credentials."""
    container = _parsed(path, source)
    packet = container.packet or b""
    if b"http://purl.org/dc/terms/" in packet and b":provenance" in packet:
        refuse(C2PA)
    return container


def _parsed(path: Path, source: Source) -> Container:
    """Parse the photo *source*. Its first bytes decide, and the name in *path*."""
    head = source.read(0, 12)
    if is_raw(path) and extension(path) not in _TIFF_EXTENSIONS:
        refuse("is a proprietary raw file, which taggerd never writes to")
    if head.startswith(jpeg.SIGNATURE):
        return Jpeg(source)
    if head.startswith(png.SIGNATURE):
        return Png(source)
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return Webp(source)
    if head.startswith(tiff.SIGNATURES) and extension(path) in _TIFF_EXTENSIONS:
        return Tiff(source)
    if not is_heif(head) or extension(path) not in _EXTENSIONS:
        refuse("has a format that taggerd does not write to")
    return Heif(source)


def body_of(container: Container) -> str:
    """Return the digest of everything in a photo file but its packet."""
    told = repr(container.fingerprint()).encode()
    return hashlib.blake2b(told, digest_size=32).hexdigest()
