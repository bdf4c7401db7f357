"""A small DNG, as a camera would write it: mosaic of the sensor and a JPEG preview.

After Adobe's "Digital Negative Specification" 1.4 and TIFF 6.0; little-endian, uncompressed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL = 1, 2, 3, 4, 5, 10
_CODES = {BYTE: "B", ASCII: "B", SHORT: "H", LONG: "I", RATIONAL: "II", SRATIONAL: "ii"}

_XYZ_TO_SRGB = (3.2405, -1.5371, -0.4985, -0.9693, 1.8760, 0.0416, 0.0556, -0.2040, 1.0572)
"""The "camera" sees in sRGB."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One field of a TIFF directory."""

    tag: int
    kind: int
    values: Sequence[float]

    @property
    def content(self) -> bytes:
        """The values as bytes."""
        numbers: list[int] = []
        for value in self.values:
            if self.kind in (RATIONAL, SRATIONAL):
                ratio = Fraction(value).limit_denominator(10000)
                numbers += [ratio.numerator, ratio.denominator]
            else:
                numbers.append(int(value))
        code = _CODES[self.kind]
        return struct.pack("<" + code * (len(numbers) // len(code)), *numbers)


def text(tag: int, words: str) -> Entry:
    """Make an ASCII entry."""
    return Entry(tag, ASCII, (*words.encode("ascii", "replace"), 0))


@dataclass(frozen=True, slots=True)
class Preview:
    """What the camera's screen shows."""

    jpeg: bytes
    width: int
    height: int


def dng(
    pixels: NDArray[np.uint8], preview: Preview, camera: Sequence[Entry], exif: Sequence[Entry]
) -> bytes:
    """Return the bytes of a DNG.

    Args:
        pixels: sRGB, shape (height, width, 3), even sides: what the sensor sees.
        preview: shown by programs that do not develop it.
        camera: Make, Model and the like, for the first directory.
        exif: entries of the Exif directory.
    """
    mosaic = _mosaic(pixels)
    jpeg = preview.jpeg + b"\0" * (len(preview.jpeg) % 2)

    def directories(exif_at: int, sensor_at: int, preview_at: int, mosaic_at: int) -> list[bytes]:
        first = _preview_directory(preview, preview_at, sensor_at, exif_at)
        sensor = _sensor_directory(pixels.shape, (mosaic_at, len(mosaic)))
        return [
            _directory([*first, *camera], 8),
            _directory(exif, exif_at),
            _directory(sensor, sensor_at),
        ]

    # Their lengths do not depend on their offsets: lay them out once to learn the offsets.
    lengths = [len(part) for part in (*directories(0, 0, 0, 0), jpeg)]
    offsets = [8 + sum(lengths[: i + 1]) for i in range(4)]
    return b"".join((b"II*\0\x08\0\0\0", *directories(*offsets), jpeg, mosaic))


def _mosaic(pixels: NDArray[np.uint8]) -> bytes:
    """Return what a sensor with red, green / green, blue filters would deliver, 16 bits each."""
    seen = pixels.astype(np.float32) / 255
    linear = np.where(seen <= 0.04045, seen / 12.92, ((seen + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - IEC 61966-2-1
    mosaic = linear[..., 1].copy()
    mosaic[0::2, 0::2] = linear[0::2, 0::2, 0]
    mosaic[1::2, 1::2] = linear[1::2, 1::2, 2]
    return (mosaic * 65535).astype("<u2").tobytes()


def _preview_directory(
    preview: Preview, preview_at: int, sensor_at: int, exif_at: int
) -> list[Entry]:
    return [
        Entry(254, LONG, (1,)),  # a reduced picture
        Entry(256, LONG, (preview.width,)),
        Entry(257, LONG, (preview.height,)),
        Entry(258, SHORT, (8, 8, 8)),
        Entry(259, SHORT, (7,)),  # JPEG
        Entry(262, SHORT, (6,)),  # YCbCr
        Entry(273, LONG, (preview_at,)),
        Entry(274, SHORT, (1,)),
        Entry(277, SHORT, (3,)),
        Entry(278, LONG, (preview.height,)),
        Entry(279, LONG, (len(preview.jpeg),)),
        Entry(330, LONG, (sensor_at,)),
        Entry(34665, LONG, (exif_at,)),
        Entry(50706, BYTE, (1, 4, 0, 0)),  # DNGVersion
        Entry(50707, BYTE, (1, 1, 0, 0)),
        Entry(50721, SRATIONAL, _XYZ_TO_SRGB),  # ColorMatrix1
        Entry(50728, RATIONAL, (1, 1, 1)),  # AsShotNeutral
        Entry(50778, SHORT, (21,)),  # CalibrationIlluminant1: D65
    ]


def _sensor_directory(shape: tuple[int, ...], mosaic: tuple[int, int]) -> list[Entry]:
    height, width = shape[:2]
    return [
        Entry(254, LONG, (0,)),  # the full picture
        Entry(256, LONG, (width,)),
        Entry(257, LONG, (height,)),
        Entry(258, SHORT, (16,)),
        Entry(259, SHORT, (1,)),  # uncompressed
        Entry(262, SHORT, (32803,)),  # colour filter array
        Entry(273, LONG, (mosaic[0],)),
        Entry(277, SHORT, (1,)),
        Entry(278, LONG, (height,)),
        Entry(279, LONG, (mosaic[1],)),
        Entry(33421, SHORT, (2, 2)),
        Entry(33422, BYTE, (0, 1, 1, 2)),  # red, green, green, blue
        Entry(50717, LONG, (65535,)),  # WhiteLevel
    ]


def _directory(entries: Sequence[Entry], at: int) -> bytes:
    """Return a directory that stands *at* this offset, with its longer values behind it."""
    ordered = sorted(entries, key=lambda entry: entry.tag)
    behind = at + 2 + 12 * len(ordered) + 4
    fields, values = [struct.pack("<H", len(ordered))], b""
    for entry in ordered:
        content = entry.content
        count = len(content) // struct.calcsize("<" + _CODES[entry.kind])
        if len(content) > 4:  # noqa: PLR2004 - the field holds four bytes or an offset
            value = struct.pack("<I", behind + len(values))
            values += content + b"\0" * (len(content) % 2)
        else:
            value = content.ljust(4, b"\0")
        fields.append(struct.pack("<HHI", entry.tag, entry.kind, count) + value)
    return b"".join((*fields, bytes(4), values))
