"""What a photo may ask for: size, pixels, scans, memory and time; all but time before decoding."""

from __future__ import annotations

import mmap
import resource
from typing import TYPE_CHECKING

from taggerd.errors import PhotoUndecodable, WorkerOverMemory

if TYPE_CHECKING:
    from taggerd import settings

MEGA = 1_000_000

MOST_SCANS = 100
"""Scans of one JPEG. Encoders write up to 12, and each costs a pass over the whole picture: a file
of 1.2 MB with 2,000 of them took 32 s. libtiff draws its line at 100 as well, libjpeg-turbo's own
fuzzers at 500."""

_LEAST_SECONDS = 10.0
"""For any file of up to 2 MB, and for loading the decoders (0.5 s). Phones' HEICs take 0.7 s."""
_SECONDS_PER_MEGABYTE = {
    # What 100 megapixels took a megabyte, times eight to ten: two busy cores.
    **dict.fromkeys(("heic", "heif", "hif", "webp"), 4.0),  # 0.41, 0.45
    "jxl": 5.0,  # 0.48
    "avif": 8.0,  # 0.82
}
_OTHER_SECONDS_PER_MEGABYTE = 1.0
"""0.02 to 0.07 were measured for TIFF and PNG, 0.11 for progressive JPEG, 0.1 for raw data that is
developed: what counts is the share that they are read from, a megabyte a second at its slowest."""

_SLACK = 16 << 20
"""Bytes for the picture that is made."""
_MOST = 512 << 20
"""Bytes that a process may take for one picture, all in all: what needs more is rarely a photo. Who
sets ``workers.slow_memory_megabytes`` may have more."""
_BASE = 64 << 20
"""Bytes that it takes for itself, with its libraries: 53 were measured."""
_LIBRARIES = 256 << 20
"""Address space that the libraries take of the limit and leave untouched."""
_MAP_NORESERVE = 0x4000  # of Linux; Python knows it from 3.12 on
_MAPPED = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE


def deadline_seconds(size_bytes: int, extension: str, workers: settings.Workers) -> float:
    """Return how long decoding a file may take, seconds; at most ``workers.deadline_seconds``.

    A small file that takes long is an attack or a rarity: it must not hold up the others.

    Args:
        size_bytes: of the file.
        extension: of its name, lower case; what it really is shows only when it is decoded.
        workers: the settings.
    """
    rate = _SECONDS_PER_MEGABYTE.get(extension, _OTHER_SECONDS_PER_MEGABYTE)
    more = max(0.0, size_bytes / MEGA - 2) * rate
    return min(_LEAST_SECONDS + more, workers.deadline_seconds)


def refuse_large_file(size_bytes: int, options: settings.Image) -> None:
    """Raise `PhotoUndecodable` if a file is larger than ``image.max_file_megabytes``."""
    if size_bytes > options.max_file_megabytes * MEGA:
        message = (
            f"{size_bytes / MEGA:,.0f} MB are more than image.max_file_megabytes "
            f"({options.max_file_megabytes:,}) allows"
        )
        raise PhotoUndecodable(message)


def refuse_huge(size: tuple[int, int], max_megapixels: float) -> None:
    """Raise `PhotoUndecodable` if a picture of *size* has more than *max_megapixels*."""
    width, height = size
    if width * height > max_megapixels * MEGA:
        message = (
            f"{width} × {height} pixels are {width * height / MEGA:.0f} megapixels, more than "  # noqa: RUF001 - a multiplication sign
            f"image.max_megapixels ({max_megapixels:g}) allows"
        )
        raise PhotoUndecodable(message)


def refuse_scans(scans: int) -> None:
    """Raise `PhotoUndecodable` if a JPEG has more than :data:`MOST_SCANS` scans."""
    if scans > MOST_SCANS:
        message = (
            f"a JPEG of {scans:,} scans is not supported (at most {MOST_SCANS}): "
            "save it again in any program"
        )
        raise PhotoUndecodable(message)


def reserve(needed_bytes: float, mapped_bytes: int = 0) -> None:
    """Raise `WorkerOverMemory` if this process may not take *needed_bytes* more.

    Asked before decoding: a picture that does not fit costs nothing, and says what it needs.

    Args:
        needed_bytes: memory.
        mapped_bytes: address space besides, which is hardly touched: stacks of threads.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return
    most, whole = max(_MOST, limit - _LIBRARIES), int(needed_bytes) + _BASE
    if whole > most:
        message = (
            f"needs about {whole / (1 << 20):,.0f} MB of memory, more than the "
            f"{most / (1 << 20):,.0f} MB that a picture may take: set "
            f"workers.slow_memory_megabytes to {(whole + _LIBRARIES) / (1 << 20) + 1:.0f}"
        )
        raise WorkerOverMemory(message)
    needed = int(needed_bytes) + mapped_bytes + _SLACK
    try:
        # /proc, which would say what is in use, is out of sight of a decoder. Nothing is touched.
        mmap.mmap(-1, needed, flags=_MAPPED).close()
    except (OSError, ValueError, OverflowError) as error:
        message = (
            f"needs about {needed / (1 << 20):,.0f} MB of memory, more than is left of the "
            f"{limit / (1 << 20):,.0f} MB of this process: raise workers.memory_megabytes, for a "
            "photo that was slow before workers.slow_memory_megabytes"
        )
        raise WorkerOverMemory(message) from error
