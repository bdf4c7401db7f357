"""What the first directory of a TIFF says, classic or BigTIFF."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, NamedTuple

COMPRESSION, PHOTOMETRIC, EXTRA_SAMPLES = 259, 262, 338
JPEG_COMPRESSION = 7
YCBCR, CIELAB, ICCLAB, ITULAB = 6, 8, 9, 10
"""Values of PhotometricInterpretation (TIFF 6.0 and its technical notes)."""
_NUMBERS = {3: "H", 4: "I"}
"""Type of a field → form of a value: SHORT and LONG."""
MOST_PAGES = 10_000
"""libtiff takes 50 µs a page to count them, a million: 45 s."""
_MOST_FIELDS = 4096
"""Fields looked at; the specification has some two hundred."""


def first_directory(file: BinaryIO) -> dict[int, int]:
    """Return the first value of each field that holds SHORTs or LONGs, by tag; *file* is rewound.

    What is damaged is left out: the decoder will say so.
    """
    try:
        return _first_directory(file)
    except (struct.error, OSError, OverflowError, ValueError):
        return {}
    finally:
        file.seek(0)


def has_many_pages(file: BinaryIO) -> bool:
    """Say whether there are more than :data:`MOST_PAGES` directories; *file* is rewound."""
    try:
        sizes, at = _sizes(file)
        for _ in range(MOST_PAGES):
            file.seek(at)
            (entries,) = sizes.number.unpack(file.read(sizes.number.size))
            file.seek(entries * sizes.field.size, io.SEEK_CUR)
            (at,) = sizes.offset.unpack(file.read(sizes.offset.size))
            if not at:
                return False
    except (struct.error, OSError, OverflowError, ValueError):
        return False
    finally:
        file.seek(0)
    return True


class _Sizes(NamedTuple):
    """How a file writes its numbers: of fields, offsets, and fields."""

    order: str
    number: struct.Struct
    offset: struct.Struct
    field: struct.Struct


def _sizes(file: BinaryIO) -> tuple[_Sizes, int]:
    """Return how *file* writes its numbers, and the offset of its first directory."""
    file.seek(0)
    head = file.read(16)
    order = "<" if head.startswith(b"II") else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    sizes = _Sizes(
        order,
        struct.Struct(order + ("Q" if big else "H")),
        struct.Struct(order + ("Q" if big else "I")),
        struct.Struct(order + ("HHQ8s" if big else "HHI4s")),
    )
    return sizes, sizes.offset.unpack_from(head, sizes.offset.size)[0]


def _first_directory(file: BinaryIO) -> dict[int, int]:
    sizes, at = _sizes(file)
    file.seek(at)
    (entries,) = sizes.number.unpack(file.read(sizes.number.size))
    directory = file.read(min(entries, _MOST_FIELDS) * sizes.field.size)
    found: dict[int, int] = {}
    whole = len(directory) // sizes.field.size * sizes.field.size
    for tag, kind, values, content in sizes.field.iter_unpack(directory[:whole]):
        number = _NUMBERS.get(kind)
        if not number or not values:
            continue
        form = struct.Struct(sizes.order + number)
        if form.size * values > sizes.offset.size:
            file.seek(sizes.offset.unpack(content)[0])
            content = file.read(form.size)  # noqa: PLW2901 - it is where the content is
        found[tag] = form.unpack_from(content)[0]
    return found
