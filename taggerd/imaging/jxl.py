"""The size of a JPEG XL picture from its header: the decoder tells it only after decoding all."""

from __future__ import annotations

from typing import BinaryIO

_CODESTREAM = b"\xff\x0a"
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
"""ISO/IEC 18181-1, SizeHeader: width to height for ratio 1 to 7."""
_LENGTH_BITS = (9, 13, 18, 30)
_SHORTEST = 12
"""Bytes: no picture is shorter, the largest SizeHeader fits."""
_BOXES = 100
"""Boxes skipped before the codestream."""


def size_of(file: BinaryIO) -> tuple[int, int]:
    """Return width and height in pixels as coded (before orientation); *file* is rewound.

    Raises:
        ValueError: there is no codestream.
    """
    file.seek(0)
    head = file.read(16)
    if not head.startswith(_CODESTREAM):
        head = _codestream_in_boxes(file)
    file.seek(0)
    if not head.startswith(_CODESTREAM) or len(head) < _SHORTEST:
        message = "no JPEG XL codestream in it"
        raise ValueError(message)
    return _size_header(int.from_bytes(head[2:16], "little"))


def _codestream_in_boxes(file: BinaryIO) -> bytes:
    """Return the first bytes of the codestream in a container."""
    at = 0
    for _ in range(_BOXES):
        file.seek(at)
        head = file.read(16)
        kind, length, body = head[4:8], int.from_bytes(head[:4], "big"), at + 8
        if length == 1:  # 64-bit length follows
            length, body = int.from_bytes(head[8:16], "big"), at + 16
        if kind in (b"jxlc", b"jxlp"):
            file.seek(body + (4 if kind == b"jxlp" else 0))
            return file.read(16)
        if length < body - at:  # 0: reaches to the end
            break
        at += length
    return b""


def _size_header(bits: int) -> tuple[int, int]:
    """Read a SizeHeader from *bits*, least significant first."""

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    small = take(1)

    def length() -> int:
        return (take(5) + 1) * 8 if small else take(_LENGTH_BITS[take(2)]) + 1

    height = length()
    ratio = take(3)
    if ratio == 0:
        return length(), height
    wide, high = _RATIOS[ratio - 1]
    return height * wide // high, height
