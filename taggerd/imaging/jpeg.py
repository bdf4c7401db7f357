"""The structure of a JPEG, as far as it says what decoding will cost."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import IO

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""SOF0 to SOF15 (ITU-T T.81, table B.1); the others between are DHT, JPG and DAC."""
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_NOT_DECODED = frozenset({0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
"""Hierarchical, and lossless by arithmetic coding: libjpeg has never read them."""
_BARE = frozenset({0x01, 0xD8})
"""Markers without a segment: TEM, SOI."""
_SOS, _EOI = 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In coded data 0xFF is followed by 0 or a restart marker (T.81, B.1.1.5)."""
_SHORT_BLOCK, _BLOCK = 64, 1 << 20
"""Bytes read at a time: markers mostly follow each other."""
_MOST_SEGMENTS = 10_000
"""Cameras write a dozen, the depth maps of phones some hundreds."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What decoding takes besides the result."""

    scans: int
    """Passes over the whole picture; 1 for most."""
    memory_bytes: int
    """For the coefficients of all scans; 0 if the only scan is decoded row by row."""
    supported: bool = True
    """Whether the decoder knows this way of coding, and the segments can be counted."""


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
    frame, at_once, scans = b"", False, 0
    for _ in range(_MOST_SEGMENTS):
        marker = _next_marker(file)
        if marker in _BARE:
            continue
        if marker == _EOI:
            return Cost(max(1, scans), _coefficients(frame) if scans else 0)
        if marker in _NOT_DECODED:
            return Cost(1, 0, supported=False)
        body = file.read(max(0, int.from_bytes(file.read(2), "big") - 2))
        if marker in _FRAMES:
            frame, at_once = body, marker not in _PROGRESSIVE
        elif marker == _SOS:
            scans += 1
            if at_once and body[0] == frame[5]:  # all components in it: no other scan is read
                return Cost(1, 0)
    return Cost(scans, 0, supported=False)


def _next_marker(file: IO[bytes]) -> int:
    """Skip to the next marker as libjpeg does, over coded data or anything else.

    Returns its second byte; at the end of the file that of the end of a picture. Pictures after
    that (Multi-Picture Format) are not looked at.
    """
    size, last = _SHORT_BLOCK, b""
    while block := file.read(size):
        data = last + block
        if found := _MARKER.search(data):
            file.seek(found.end() - len(data), io.SEEK_CUR)
            return data[found.end() - 1]
        size, last = _BLOCK, data[-1:]
    return _EOI


def _coefficients(frame: bytes) -> int:
    """Return the size in bytes of all coefficients, two bytes each (T.81, B.2.2)."""
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    sampling = [(frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(6, 6 + 3 * frame[5], 3)]
    full = max(h for h, _ in sampling) * max(v for _, v in sampling)
    return 2 * width * height * sum(h * v for h, v in sampling) // full
