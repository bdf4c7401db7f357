"""Turns a photo of any format into the one JPEG that is sent: pixels only.

Both functions run in a worker process (:mod:`taggerd.workers`). Importing this package is cheap:
the decoders are imported where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd import settings
    from taggerd.photo import Picture, Stamp

__all__ = ["digest_of", "prepare"]


def prepare(path: Path, stamp: Stamp, options: settings.Image) -> Picture:
    """Read the photo at *path* once and return it ready to be sent.

    The result is upright, sRGB, at most ``options.max_edge`` pixels long, never enlarged, and
    carries no metadata. What the bytes are decides how they are decoded, not the file's name.

    Raises:
        PhotoGone: nothing is there any more.
        PhotoChanged: `fstat` differs from *stamp*, before or after reading.
        PhotoUnreadable: its bytes cannot be read (permission, I/O error).
        PhotoUndecodable: it is no picture, damaged, truncated, or larger than
            ``options.max_megapixels``.
        MemoryError: the process may not take as much memory as the picture needs.
    """
    from taggerd.imaging.preparing import prepared  # noqa: PLC0415 - imports the decoders

    return prepared(path, stamp, options)


def digest_of(path: Path) -> str:
    """Return the BLAKE2b-256 of the file's bytes, 64 hex digits.

    Raises:
        PhotoGone: nothing is there.
        PhotoUnreadable: its bytes cannot be read.
        PhotoUndecodable: it is not a regular file.
    """
    from taggerd.imaging.source import digest, opened  # noqa: PLC0415 - see prepare

    with opened(path) as file:
        return digest(file)
