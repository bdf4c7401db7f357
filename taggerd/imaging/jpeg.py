"""The structure of a JPEG, as far as it says what decoding will cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15 (ITU-T T.81, table B.1); the others between are DHT, JPG and DAC."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_NOT_DECODED = frozenset({0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
"""Hierarchical, and lossless by arithmetic coding: libjpeg has never read them."""
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a segment: TEM, RST0 to RST7, SOI."""
_SOS, _EOI = 0xDA, 0xD9
_SCAN = b"\xff\xda"
_BLOCK = 1 << 20
_MOST_SEGMENTS = 10_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What decoding takes besides the result."""

    scans: int
    """Passes over the whole picture; 1 for most."""
    memory_bytes: int
    """For the coefficients of all scans; 0 if the only scan is decoded row by row."""
    supported: bool = True
    """Whether the decoder knows this way of coding."""


def cost(file: IO[bytes]) -> Cost:
    """Return what decoding *file* takes; it is rewound.

    A file whose structure is damaged costs nothing here: the decoder will say so.
    """
    try:
        return _cost(file)
    except (IndexError, ZeroDivisionError):
        return Cost(1, 0)
    finally:
        file.seek(0)


def _cost(file: IO[bytes]) -> Cost:
    file.seek(0)
    frame, at_once = b"", False
    for _ in range(_MOST_SEGMENTS):
        marker = _next_marker(file)
        if marker in _BARE:
            continue
        if marker == _EOI:
            break
        body = file.read(max(0, int.from_bytes(file.read(2), "big") - 2))
        if marker in _NOT_DECODED:
            return Cost(1, 0, supported=False)
        if marker in _FRAMES:
            frame, at_once = body, marker not in _PROGRESSIVE
        elif marker == _SOS:
            if at_once and body[0] == frame[5]:  # all components in it: no other scan is read
                return Cost(1, 0)
            return Cost(1 + _scans_left(file), _coefficients(frame))
    return Cost(1, 0)


def _next_marker(file: IO[bytes]) -> int:
    """Skip to the next marker as libjpeg does, over anything, and return its second byte."""
    byte = file.read(1)
    while True:
        while byte and byte != b"\xff":
            byte = file.read(1)
        while byte == b"\xff":
            byte = file.read(1)
        if byte != b"\0":
            return byte[0]  # IndexError at the end of the file
        byte = file.read(1)


def _scans_left(file: IO[bytes]) -> int:
    """Count the scans from here to the end of the file.

    In coded data 0xFF is always followed by 0 or a restart marker, so the marker is found by its
    bytes alone. Pictures after the end of this one (Multi-Picture Format) are not counted.
    """
    found, last = 0, b""
    while block := file.read(_BLOCK):
        block = last + block  # a marker may straddle two blocks
        end = block.find(b"\xff\xd9")
        found += block.count(_SCAN, 0, end if end >= 0 else len(block))
        if end >= 0:
            break
        last = block[-1:] if block.endswith(b"\xff") else b""
    return found


def _coefficients(frame: bytes) -> int:
    """Return the size in bytes of all coefficients, two bytes each (T.81, B.2.2)."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    sampling = [(frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(6, 6 + 3 * frame[5], 3)]
    full = max(h for h, _ in sampling) * max(v for _, v in sampling)
    return 2 * width * height * sum(h * v for h, v in sampling) // full
