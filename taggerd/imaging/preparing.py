"""The whole of it: one open file in, one clean JPEG out; the border for decoders' errors."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from taggerd.errors import PhotoUndecodable, TaggerdError
from taggerd.imaging import decode, formats, source
from taggerd.photo import Picture, is_raw

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd import settings
    from taggerd.photo import Stamp

_THUMBNAIL_EDGE = 320
"""Pixels."""
_THUMBNAIL_QUALITY = 80


def prepared(path: Path, stamp: Stamp, options: settings.Image) -> Picture:
    """See :func:`taggerd.imaging.prepare`."""
    with source.opened(path) as file:
        source.confirmed(file, stamp)
        digest = source.digest(file)
        try:
            image, notes = _picture(file, path, options)
            picture = _encoded(image, options.quality)
            thumbnail = image.copy()
            thumbnail.thumbnail((_THUMBNAIL_EDGE, _THUMBNAIL_EDGE))
        except Exception as error:
            source.confirmed(file, stamp)  # half-written when it was read: that explains it
            raise _mapped(error) from error
        return Picture(
            jpeg=picture,
            width=image.width,
            height=image.height,
            thumbnail=_encoded(thumbnail, _THUMBNAIL_QUALITY),
            digest=digest,
            stamp=source.confirmed(file, stamp),
            notes=tuple(notes),
        )


def _picture(file: BinaryIO, path: Path, options: settings.Image) -> tuple[Image.Image, list[str]]:
    kind = formats.format_of(file, named_raw=is_raw(path))
    if kind is formats.RAW:
        from taggerd.imaging import raw  # noqa: PLC0415 - LibRaw and numpy, for raw files only

        return raw.picture(file, options)
    try:
        return decode.picture(file, kind, options)
    except (TaggerdError, MemoryError):
        raise
    except Exception as error:
        if source.is_fault(error):
            raise
        trouble = "truncated" if decode.is_cut_off(error) else "damaged"
        message = f"{trouble} {kind.name}: {_words(error)}; copy it again"
        raise PhotoUndecodable(message) from error


def _mapped(error: Exception) -> Exception:
    """Map whatever a decoder raised to our own errors.

    Foreign decoders raise anything: OSError, SyntaxError, ValueError, struct.error, IndexError,
    ZeroDivisionError, LibRawError ... A MemoryError stays one: the limit on the process is what
    it speaks of, and only `taggerd.workers.pool` knows that.
    """
    if isinstance(error, TaggerdError | MemoryError):
        return error
    if isinstance(error, OSError) and source.is_fault(error):
        return source.fault(error)
    return PhotoUndecodable(f"cannot be decoded: {_words(error)}")


def _words(error: Exception) -> str:
    """Put a foreign error on one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(said.split()).partition(". Please")[0]  # libjxl's advice to builders
    return text[:200] or f"the decoder gave up ({type(error).__name__})"


def _encoded(image: Image.Image, quality: int) -> bytes:
    """Return *image* as JPEG with nothing but its pixels."""
    bare = Image.new("RGB", image.size)  # Pillow would carry a comment over from the old one
    bare.paste(image)
    jpeg = io.BytesIO()
    bare.save(jpeg, "JPEG", quality=quality)
    return jpeg.getvalue()
