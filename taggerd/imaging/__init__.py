"""Turns a photo of any format into the one JPEG that is sent: pixels only.

:func:`prepare` is called in a worker process (:mod:`taggerd.workers`). Importing this package is
cheap, because the main process does it too: the decoders are imported inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.imaging.limits import deadline_seconds
from taggerd.imaging.source import open_photo

if TYPE_CHECKING:
    from taggerd import settings
    from taggerd.files import OpenFile
    from taggerd.photo import Picture, Stamp

__all__ = ["deadline_seconds", "open_photo", "prepare"]


def prepare(
    file: OpenFile, stamp: Stamp, options: settings.Image, *, with_fingerprint: bool = False
) -> Picture:
    """Read the open photo once and return the picture to be sent.

    The result is upright, in sRGB, at most ``options.edge`` pixels long, never enlarged, and
    carries no metadata. The bytes decide how they are decoded, not the file's name.
    *with_fingerprint*: it also says what is compared with the next photo.

    Raises:
        PhotoGone: a share that it lies on has lost it.
        PhotoChanged: `fstat` differs from *stamp*, before or after reading.
        PhotoUnreadable: its bytes cannot be read (I/O error).
        PhotoUndecodable: it is not a picture, damaged, truncated, not supported, or larger than
            ``options.max_file_megabytes`` or ``options.max_megapixels``.
        WorkerOverMemory: the picture needs more memory than the process may use, and how much.
        MemoryError: the same, found out too late.
    """
    from taggerd.imaging.preparing import prepared  # noqa: PLC0415 - imports the decoders

    return prepared(file, stamp, options, with_fingerprint=with_fingerprint)
