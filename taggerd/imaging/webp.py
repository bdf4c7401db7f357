"""What the header of a WebP says: its decoder allocates the whole picture to tell its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

_MOST_CHUNKS = 100


@dataclass(frozen=True, slots=True)
class Header:
    """Size and coding of the first frame (RFC 9649)."""

    width: int
    height: int
    """Pixels, of the canvas."""
    whole: bool
    """Whether the decoder holds all pixels at once: lossless coding, transparency, animation."""


def header(file: BinaryIO) -> Header:
    """Return what *file* says; it is rewound.

    Raises:
        ValueError: there is no picture in it.
    """
    try:
        return _header(file)
    finally:
        file.seek(0)


def _header(file: BinaryIO) -> Header:
    at = 12
    canvas: tuple[int, int] | None = None
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(8 + 10)
        kind, length, body = head[:4], _number(head[4:8]), head[8:]
        if kind == b"VP8X":
            canvas = _number(body[4:7]) + 1, _number(body[7:10]) + 1
        elif kind == b"VP8 ":
            size = canvas or (_number(body[6:8]) & 0x3FFF, _number(body[8:10]) & 0x3FFF)
            return Header(*size, whole=False)
        elif kind == b"VP8L":
            bits = _number(body[1:5])
            size = canvas or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
            return Header(*size, whole=True)
        elif kind in (b"ALPH", b"ANMF") and canvas:
            return Header(*canvas, whole=True)
        elif not kind:
            break
        at += 8 + length + length % 2
    message = "no picture in it"
    raise ValueError(message)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
