"""Rendered formats: from a file to a picture no larger than needed, upright and in sRGB.

The order makes it fast: scale while decoding (`Image.draft`), resample, convert colours, rotate.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, BinaryIO

import pillow_heif
from PIL import AvifImagePlugin, ExifTags, Image, UnidentifiedImageError

from taggerd.errors import PhotoUndecodable
from taggerd.imaging import colour, formats, jxl

if TYPE_CHECKING:
    from taggerd import settings
    from taggerd.imaging.formats import Format

MEGA = 1_000_000
_ENOUGH_FOR_ANY_LIMIT = 10 * MEGA
"""Pixels that fit into the smallest memory limit of a worker process, whatever decodes them."""
_END = 65536
"""Bytes at the end of a JPEG that are searched for zeros."""
_PADDING = 512

_TRANSPOSITIONS = {
    # EXIF 2.32, tag 0x0112: what makes the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _set_up() -> None:
    """Register the decoders. One thread each: the processes are the parallelism."""
    Image.MAX_IMAGE_PIXELS = None  # our own limit, a setting, is checked first
    pillow_heif.register_heif_opener(decode_threads=1, depth_images=False, aux_images=False)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


_set_up()


def picture(file: BinaryIO, kind: Format, options: settings.Image) -> tuple[Image.Image, list[str]]:
    """Return the first picture of *file* upright, in sRGB, at most ``max_edge`` long, and notes.

    Raises:
        PhotoUndecodable: too large, or truncated.
        Exception: whatever the decoder raises for a damaged file.
    """
    image = open_image(file, kind, options.max_megapixels)
    width, height = image.size
    try:
        image = load(image, options.max_edge)
    except MemoryError as error:
        if width * height > _ENOUGH_FOR_ANY_LIMIT:
            raise
        message = f"damaged {kind.name}: needs more memory than its size explains; copy it again"
        raise PhotoUndecodable(message) from error
    image, notes = finish(image, orientation_of(image), options.max_edge)
    if kind is formats.JPEG and _is_hollow(file):
        notes.append("the file ends in zero bytes: it may not have been copied completely")
    return image, notes


def _is_hollow(file: BinaryIO) -> bool:
    """Say whether the end of a JPEG was never written: copying stopped after reserving the space.

    Decoders show the missing part in grey without an error. Zero bytes after the end of the picture
    are padding, which some cameras write.
    """
    file.seek(-min(_END, file.seek(0, io.SEEK_END)), io.SEEK_END)
    end = file.read(_END)
    written = end.rstrip(b"\0")
    return len(end) - len(written) > _PADDING and not written.endswith(b"\xff\xd9")


def open_image(file: BinaryIO, kind: Format, max_megapixels: float) -> Image.Image:
    """Open *file* as *kind* and no other format; no pixel is decoded yet.

    Raises:
        PhotoUndecodable: it has more than *max_megapixels*.
    """
    if kind is formats.JXL:
        refuse_huge(jxl.size_of(file), max_megapixels)
        from pillow_jxl import JpegXLImagePlugin  # noqa: PLC0415 - 20 ms that few photos need

        JpegXLImagePlugin.DECODE_THREADS = 0
    try:
        image: Image.Image = Image.open(file, formats=[kind.pillow])
    except UnidentifiedImageError:
        file.seek(0)
        factory, _ = Image.OPEN[kind.pillow]
        image = factory(file, "")  # raises the reason, which Image.open hides
    refuse_huge(image.size, max_megapixels)
    return image


def refuse_huge(size: tuple[int, int], max_megapixels: float) -> None:
    """Raise `PhotoUndecodable` if a picture of *size* has more than *max_megapixels*."""
    width, height = size
    if width * height > max_megapixels * MEGA:
        message = (
            f"{width} × {height} pixels are {width * height / MEGA:.0f} megapixels, more than "  # noqa: RUF001 - a multiplication sign
            f"image.max_megapixels ({max_megapixels:g}) allows"
        )
        raise PhotoUndecodable(message)


def load(image: Image.Image, max_edge: int) -> Image.Image:
    """Decode *image*, at a reduced scale of at least *max_edge* where the format can.

    Raises:
        PhotoUndecodable: it is truncated; the message says how much of it there is.
    """
    factor = max_edge / max(image.size)
    if factor < 1:
        # With the picture's own proportions; for a square box, draft stops at twice the scale.
        width, height = (max(1, int(side * factor)) for side in image.size)
        image.draft(None, (width, height))
    try:
        image.load()
    except OSError as error:
        if not is_truncated(error):
            raise
        message = f"truncated: {_share(image)} of the picture is there; copy it again"
        raise PhotoUndecodable(message) from error
    return image


def is_truncated(error: Exception) -> bool:
    """Say whether *error*, a decoder's, means that the file ends too early."""
    words = str(error).lower()
    return any(sign in words for sign in ("truncated", "end of file", "unexpected eof"))


def _share(image: Image.Image) -> str:
    """Say how much of *image* was decoded: the rows below are still empty."""
    with contextlib.suppress(Exception):  # for the message only; there may be nothing at all
        _, _, _, rows = image.im.getbbox() or (0, 0, 0, 0)
        if rows:
            return f"about {min(99, 100 * rows // image.height)} %"
    return "too little"


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation still to be applied to the loaded *image*: 1 to 8, 0 for none.

    HEIF and JPEG XL decoders have rotated the picture already (by `irot` and the like, not EXIF),
    and so has Pillow for TIFF. For AVIF, Pillow reports `irot` as if it were EXIF.
    """
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 0  # its EXIF repeats what was already applied
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 0)
    except Exception:  # noqa: BLE001 - damaged EXIF may raise anything; the picture is still good
        return 0
    is_valid = isinstance(orientation, int) and 1 <= orientation <= max(_TRANSPOSITIONS)
    return int(orientation) if is_valid else 0


def finish(image: Image.Image, orientation: int, max_edge: int) -> tuple[Image.Image, list[str]]:
    """Scale *image* to *max_edge*, convert it to sRGB and make it upright."""
    image = colour.eight_bit(image)
    if max(image.size) > max_edge:
        image.thumbnail((max_edge, max_edge), Image.Resampling.LANCZOS, reducing_gap=2.0)
    image, note = colour.to_srgb(image)
    if orientation in _TRANSPOSITIONS:
        image = image.transpose(_TRANSPOSITIONS[orientation])
    return image, [note] if note else []
