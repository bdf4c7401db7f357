"""Rendered formats: from a file to a picture no larger than needed, upright and in sRGB.

The order makes it fast: scale while decoding, resample, convert colours, rotate.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, BinaryIO

from PIL import ExifTags, Image, ImageChops, ImageFile, UnidentifiedImageError

from taggerd.errors import PhotoUndecodable, TaggerdError
from taggerd.imaging import colour, formats, frames, jpeg, limits, scaling, vips

if TYPE_CHECKING:
    from taggerd import settings
    from taggerd.imaging.formats import Format

_ENOUGH_FOR_ANY_LIMIT = 10 * limits.MEGA
"""Pixels that fit into the smallest memory limit of a worker process, whatever decodes them."""
_PILLOW = 5
"""Bytes a pixel that Pillow takes for a whole picture, with what the decoder reads at a time."""
_END = 65536
"""Bytes at the end of a JPEG that are searched for zeros."""
_PADDING = 512
_BLANK = {"L": (1,), "RGB": (1, 254, 3), "CMYK": (1, 254, 3, 252)}
"""Mode → a colour of which no photo has a whole row at its end. In grey there is none; a row of it
at the end is taken for missing, which is on the safe side."""
_LEAST = {"auto": 95, True: 90, False: None}
"""``image.accept_truncated`` → the least percentage of rows."""

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


Image.MAX_IMAGE_PIXELS = None  # our own limit, a setting, is checked first


def picture(file: BinaryIO, kind: Format, options: settings.Image) -> tuple[Image.Image, list[str]]:
    """Return the first picture of *file* upright, in sRGB, at most ``max_edge`` long, and notes.

    Raises:
        PhotoUndecodable: too large, truncated, or sound but not supported.
        WorkerOverMemory: it needs more memory than this process may take.
        Exception: whatever the decoder raises for a damaged file.
    """
    if kind is formats.JXL:
        decoded = frames.jpeg_xl(file, options)
        if isinstance(decoded, bytes):  # a repacked JPEG
            return _jpeg(io.BytesIO(decoded), options)
        return finish(decoded, 0, options.edge)  # its EXIF repeats what was already applied
    if kind is formats.JPEG:
        return _jpeg(file, options)
    if kind in (formats.HEIF, formats.AVIF):
        opened = open_image(file, kind, options.max_megapixels)
        image = frames.picture(opened, kind, options)
    else:
        image = _streamed(file, kind, options)
    return finish(image, orientation_of(image), options.edge)


def _streamed(file: BinaryIO, kind: Format, options: settings.Image) -> Image.Image:
    """Return a PNG, TIFF or WebP; what libvips does not read of TIFF, Pillow may.

    Raises:
        PhotoUndecodable: neither supports it.
    """
    try:
        return vips.picture(file, kind, options)
    except vips.NotForVips as reason:
        try:
            image = open_image(_rewound(file), kind, options.max_megapixels)
            return load(image, options.edge)
        except (TaggerdError, MemoryError):
            raise
        except Exception as error:
            message = f"this kind of {kind.name} is not supported: {reason}; save it as another"
            raise PhotoUndecodable(message) from error


def _jpeg(file: BinaryIO, options: settings.Image) -> tuple[Image.Image, list[str]]:
    image = open_image(file, formats.JPEG, options.max_megapixels)
    width, height = image.size
    cut = ""
    try:
        image = load(image, options.edge)
    except OSError as error:
        if not is_truncated(error):
            raise
        image, cut = _rows_there(image, file, options)
    except MemoryError as error:
        if width * height > _ENOUGH_FOR_ANY_LIMIT:
            raise
        message = "damaged JPEG: needs more memory than its size explains; copy it again"
        raise PhotoUndecodable(message) from error
    image, notes = finish(image, orientation_of(image), options.edge)
    if _is_hollow(file):
        notes.append("the file ends in zero bytes: it may not have been copied completely")
    return image, [*([cut] if cut else []), *notes]


def _rows_there(
    image: Image.Image, file: BinaryIO, options: settings.Image
) -> tuple[Image.Image, str]:
    """Return the upper rows of a truncated JPEG, and a note that says how many they are.

    The picture is decoded once more, over a colour that photos do not have: the rows that libjpeg
    wrote are those that it did not leave in that colour. A progressive JPEG has none: each of its
    scans is of the whole picture.

    Raises:
        PhotoUndecodable: too few, by ``image.accept_truncated``.
    """
    share = _share(image)
    if image.mode in _BLANK:
        again = open_image(_rewound(file), formats.JPEG, options.max_megapixels)
        blank = _BLANK[again.mode]
        _draft(again, options.edge)
        again.im = Image.new(again.mode, again.size, blank if len(blank) > 1 else blank[0]).im
        with contextlib.suppress(OSError):  # the same one
            again.load()
        if isinstance(again, ImageFile.ImageFile):
            again.tile = []  # else each use of the picture would decode the file again, and raise
        rows, height = _rows_besides(again, blank), again.height
        share = f"{100 * rows // height} %" if rows else share
        least = _LEAST[options.accept_truncated]
        if least is not None and rows * 100 >= least * height:
            left = again.crop((0, 0, again.width, rows))
            left.format = again.format
            return left, f"the file is cut off: tagged by the {share} of its rows that are there"
    message = f"truncated: {share} of the picture is there; copy it again"
    raise PhotoUndecodable(message)


def _rows_besides(image: Image.Image, blank: tuple[int, ...]) -> int:
    """Return how many rows there are above those that are *blank* to the end."""
    last = Image.new(image.mode, image.size, blank if len(blank) > 1 else blank[0])
    differing = ImageChops.difference(image, last)
    bands = [band.getbbox() for band in differing.split()]
    return max((box[3] for box in bands if box), default=0)


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


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
    try:
        image: Image.Image = Image.open(file, formats=[kind.pillow])
    except UnidentifiedImageError:
        file.seek(0)
        factory, _ = Image.OPEN[kind.pillow]
        image = factory(file, "")  # raises the reason, which Image.open hides
    limits.refuse_huge(image.size, max_megapixels)
    return image


def load(image: Image.Image, max_edge: int) -> Image.Image:
    """Decode *image*, at a reduced scale of at least *max_edge* where the format can.

    Raises:
        PhotoUndecodable: a JPEG of too many scans.
        WorkerOverMemory: it needs more memory than this process may take.
        Exception: whatever the decoder raises.
    """
    width, height = image.size
    if not isinstance(image, ImageFile.ImageFile):
        return image
    if image.format in ("JPEG", "MPO") and image.fp is not None:
        cost = jpeg.cost(image.fp)
        if not cost.supported:
            message = "this kind of JPEG is not supported: save it again in any program"
            raise PhotoUndecodable(message)
        limits.refuse_scans(cost.scans)
        limits.reserve(cost.memory_bytes)
    else:
        limits.reserve(_PILLOW * width * height)
    _draft(image, max_edge)
    image.load()
    return image


def _draft(image: Image.Image, max_edge: int) -> None:
    """Have *image* decoded at a reduced scale, where its format can."""
    factor = max_edge / max(image.size)
    if factor < 1:
        # With the picture's own proportions; for a square box, draft stops at twice the scale.
        width, height = (max(1, int(side * factor)) for side in image.size)
        image.draft(None, (width, height))


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

    The HEIF decoder has rotated the picture already (by `irot` and the like, not EXIF), and so has
    Pillow for TIFF. For AVIF, Pillow reports `irot` as if it were EXIF.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 0)
    except Exception:  # noqa: BLE001 - damaged EXIF may raise anything; the picture is still good
        return 0
    is_valid = isinstance(orientation, int) and 1 <= orientation <= max(_TRANSPOSITIONS)
    return int(orientation) if is_valid else 0


def finish(image: Image.Image, orientation: int, max_edge: int) -> tuple[Image.Image, list[str]]:
    """Scale *image* to *max_edge*, convert it to sRGB and make it upright."""
    image = colour.eight_bit(image)
    image = scaling.to_edge(image, max_edge)
    image, note = colour.to_srgb(image)
    if orientation in _TRANSPOSITIONS:
        image = image.transpose(_TRANSPOSITIONS[orientation])
    return image, [note] if note else []
