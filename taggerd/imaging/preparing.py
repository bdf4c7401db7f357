"""One open file in, one clean JPEG out; here the decoders' errors become our own."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from taggerd.errors import PhotoUndecodable, TaggerdError
from taggerd.imaging import decode, formats, limits, scaling, source
from taggerd.imaging.fingerprints import fingerprint_of
from taggerd.photo import Picture, is_raw

if TYPE_CHECKING:
    from taggerd import settings
    from taggerd.files import OpenFile
    from taggerd.imaging.formats import Format
    from taggerd.photo import Stamp

_THUMBNAIL_EDGE = 320
"""Pixels."""
_THUMBNAIL_QUALITIES = (80, 70, 60, 50, 40, 30, 20, 10)
_THUMBNAIL_BYTES = 20_000
"""A page shows a thousand of them. One of foliage takes twice as much at the first quality."""

_NOT_SUPPORTED = re.compile(
    r"unsupported|not supported|not implemented|cannot handle|security limit", re.IGNORECASE
)
"""How decoders say that nothing is wrong with a file."""


def prepared(
    photo: OpenFile, stamp: Stamp, options: settings.Image, *, with_fingerprint: bool = False
) -> Picture:
    """See :func:`taggerd.imaging.prepare`."""
    kind: Format | None = None
    with photo.reader() as file:
        source.check_unchanged(file, stamp)
        limits.refuse_large_file(stamp.size, options)
        try:
            kind = formats.format_of(file, named_raw=is_raw(photo.path))
            image, notes = _decoded(file, kind, options)
            picture = Picture(
                jpeg=_encoded(image, options.quality),
                width=image.width,
                height=image.height,
                thumbnail=_thumbnail(image),
                digest=source.digest(file),
                stamp=stamp,
                notes=tuple(notes),
                fingerprint=fingerprint_of(image) if with_fingerprint else None,
            )
        except Exception as error:
            source.check_unchanged(file, stamp)  # a file that is half written explains the error
            raise _mapped(error, kind) from error
        source.check_unchanged(file, stamp)
        return picture


def _decoded(
    file: BinaryIO, kind: Format, options: settings.Image
) -> tuple[Image.Image, list[str]]:
    if kind is not formats.RAW:
        return decode.picture(file, kind, options)
    from taggerd.imaging import raw  # noqa: PLC0415 - LibRaw and numpy, for raw files only

    return raw.picture(file, options)


def _mapped(error: Exception, kind: Format | None) -> Exception:
    """Return our own error for whatever a decoder raised.

    Decoders raise anything: OSError, SyntaxError, ValueError, struct.error, IndexError,
    ZeroDivisionError, LibRawError ... A MemoryError stays one: it is about the limit of the
    process, which only :mod:`taggerd.workers.pool` knows.
    """
    if isinstance(error, TaggerdError | MemoryError):
        return error
    if isinstance(error, OSError) and source.is_read_error(error):
        return source.mapped(error)
    what = kind.name if kind else "file"
    if _NOT_SUPPORTED.search(str(error)):
        return PhotoUndecodable(f"this kind of {what} is not supported: {_words(error)}")
    problem = "truncated" if decode.is_truncated(error) else "damaged"
    return PhotoUndecodable(f"{problem} {what}: {_words(error)}; copy it again")


def _words(error: Exception) -> str:
    """Return a decoder's message as one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    text = " ".join(said.split()).partition(". Please")[0]  # libjxl's advice to builders
    return text[:200] or f"the decoder failed ({type(error).__name__})"


def _thumbnail(image: Image.Image) -> bytes:
    """Return *image* small, in the best quality that keeps it in :data:`_THUMBNAIL_BYTES`."""
    small = scaling.to_edge(image, _THUMBNAIL_EDGE)
    encoded = (_encoded(small, quality) for quality in _THUMBNAIL_QUALITIES)
    jpeg = b""
    for jpeg in encoded:
        if len(jpeg) <= _THUMBNAIL_BYTES:
            break
    return jpeg


def _encoded(image: Image.Image, quality: int) -> bytes:
    """Return *image* as JPEG that holds only its pixels."""
    bare = Image.new("RGB", image.size)  # Pillow would copy a comment from the old one
    bare.paste(image)
    jpeg = io.BytesIO()
    bare.save(jpeg, "JPEG", quality=quality)
    return jpeg.getvalue()
