"""TIFFs of any layout: also those that no library here writes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_SAMPLE_FORMATS = {"u": 1, "i": 2, "f": 3, "c": 6}
_SHORT, _LONG, _LONG8 = 3, 4, 16


def write(
    path: Path,
    pixels: np.ndarray,
    *,
    photometric: int = 2,
    compression: int = 1,
    bits: int = 0,
    planar: bool = False,
    extra: tuple[int, ...] = (),
    big: bool = False,
    order: Literal["<", ">"] = "<",
) -> Path:
    """Write *pixels*, an array of rows, columns and channels, as one strip a plane.

    *bits* says that they are packed another way than their type says; *photometric*, *compression*
    and *extra* are the fields of these names (TIFF 6.0).
    """
    height, width, channels = pixels.shape
    values = pixels.astype(pixels.dtype.newbyteorder(order))
    planes = [values[:, :, n] for n in range(channels)] if planar else [values]
    strips = [np.ascontiguousarray(plane).tobytes() for plane in planes]
    form = "Q" if big else "I"
    start = 16 if big else 8
    offsets = [start + sum(map(len, strips[:number])) for number in range(len(strips))]
    fields = [
        (256, _LONG, [width]), (257, _LONG, [height]),
        (258, _SHORT, [bits or 8 * pixels.dtype.itemsize] * channels), (259, _SHORT, [compression]),
        (262, _SHORT, [photometric]), (273, _LONG8 if big else _LONG, offsets),
        (277, _SHORT, [channels]), (278, _LONG, [height]), (279, _LONG, [len(s) for s in strips]),
        (284, _SHORT, [2 if planar else 1]),
        *([(338, _SHORT, list(extra))] if extra else []),
        (339, _SHORT, [_SAMPLE_FORMATS[pixels.dtype.kind]] * channels),
    ]  # fmt: skip
    values_at = start + sum(map(len, strips))
    entries, values_after = b"", b""
    for tag, kind, numbers in fields:
        letter = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}[kind]
        packed = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        inline = 8 if big else 4
        if len(packed) > inline:
            where = values_at + len(values_after)
            values_after += packed
            packed = struct.pack(order + form, where)
        entries += struct.pack(f"{order}HH{form}", tag, kind, len(numbers)) + packed.ljust(
            inline, b"\0"
        )
    directory_at = values_at + len(values_after)
    directory = struct.pack(order + ("Q" if big else "H"), len(fields)) + entries + bytes(8)
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, directory_at)
    else:
        head = mark + struct.pack(f"{order}HI", 42, directory_at)
    path.write_bytes(head + b"".join(strips) + values_after + directory)
    return path
