"""PNG, TIFF and WebP through libvips, scaled while they stream: their size costs time, not memory.

A hundred megapixels take 40 to 90 MB; Pillow takes 450 to 1,750. libvips also reads BigTIFF and the
layouts that Pillow does not: planes, floating colours, odd depths. What it does not read of TIFF is
left to Pillow (:data:`NotForVips`).
"""

from __future__ import annotations

import io
import logging
import re
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import pyvips
from PIL import ExifTags, Image

from taggerd.imaging import colour, formats, limits, scaling, tiff, webp

if TYPE_CHECKING:
    from taggerd import settings
    from taggerd.imaging.formats import Format

_LOADERS = {formats.PNG: "png", formats.TIFF: "tiff", formats.WEBP: "webp"}
_TYPES = {
    "uchar": "u1", "char": "i1", "ushort": "u2", "short": "i2",
    "uint": "u4", "int": "i4", "float": "f4", "double": "f8",
}  # fmt: skip
"""libvips's types of values → NumPy's; complex numbers are no picture."""
_LARGEST = 3.4028234e38
"""Of the numbers that have 32 bits; what is beyond, or no number at all, is black."""
_WHITE = {"uchar": 255.0, "ushort": 65535.0}
"""Type → the value that means white; of others it is guessed."""
_MODES = {"b-w": "L", "grey16": "L", "srgb": "RGB", "rgb16": "RGB", "scrgb": "RGB", "cmyk": "CMYK"}
"""What libvips calls the colours → Pillow's mode."""
_ALPHA = (1, 2, 999)
"""Values of ExtraSamples that mean transparency (TIFF 6.0; 999 is Corel's)."""
_WHOLE_WEBP = 4
"""Bytes a pixel, where libwebp holds all of them."""
_TAIL = 1 << 18
"""Bytes at the end of a PNG that are searched for EXIF: it may follow the picture."""
_EXIF_CHUNK = b"eXIf"

_NOT_SUPPORTED = re.compile(
    r"not configured|unsupported|not supported|not implemented|out of range|not a whole number"
    r"|pseudo-tag|can ?not handle",
    re.IGNORECASE,
)
_NO_REASON = re.compile(r"unable to |Defined set_get_field_type|source: bad seek|^\s*$")
_TRUNCATED = re.compile(r"got \d+ bytes, expected|bad seek|unable to parse image")
_LIMITED = re.compile(r"memory allocation of .* is beyond")
"""libtiff's own limit, 50 MB."""
_NO_MEMORY = re.compile(r"out of memory|memory allocation failed|unable to allocate", re.IGNORECASE)


def _set_up() -> None:
    """Let libvips load what is loaded here and nothing else. One thread, and no cache.

    The processes are the parallelism, and no file is loaded twice.
    """
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)  # libtiff's warnings, thousands a file
    pyvips.concurrency_set(1)
    pyvips.cache_set_max(0)
    for others in ("VipsForeignLoad", "VipsForeignSave"):
        pyvips.operation_block_set(others, True)  # noqa: FBT003 - the library's own signature
    for name in _LOADERS.values():
        pyvips.operation_block_set(f"VipsForeignLoad{name.title()}Source", False)  # noqa: FBT003


_set_up()


class NotForVips(Exception):
    """This file is one for another decoder; the message says what is not read."""


class _Layout(NamedTuple):
    """Which channels of a picture are used, and for what."""

    mode: str
    """Pillow's."""
    white: float | None
    """None: to be guessed."""

    @property
    def has_alpha(self) -> bool:
        return self.mode.endswith("A")


def picture(file: BinaryIO, kind: Format, options: settings.Image) -> Image.Image:
    """Return the first picture of *file*, 8 bits a channel, no larger than needed.

    ``info`` of the result may hold ``icc_profile``, ``exif`` and ``xmp``.

    Raises:
        NotForVips: a kind of TIFF that another decoder may know.
        PhotoUndecodable: larger than ``image.max_megapixels``.
        WorkerOverMemory: it needs more memory than this process may take.
        ValueError: damaged or truncated; the message says how.
    """
    tags = tiff.first_directory(file) if kind is formats.TIFF else {}
    colours, packed = tags.get(tiff.PHOTOMETRIC), tags.get(tiff.COMPRESSION)
    if colours == tiff.YCBCR and packed != tiff.JPEG_COMPRESSION:
        raise NotForVips(_YCBCR)  # libvips takes it for RGB
    if colours in (tiff.CIELAB, tiff.ICCLAB, tiff.ITULAB):
        raise NotForVips(_LAB)
    if kind is formats.TIFF and tiff.has_many_pages(file):
        raise NotForVips(_MANY_PAGES)
    is_transparent = kind is not formats.TIFF or tags.get(tiff.EXTRA_SAMPLES) in _ALPHA
    try:
        try:
            return _picture(file, kind, options, is_transparent=is_transparent)
        except pyvips.Error as error:
            if not _LIMITED.search(str(error)):
                raise
        # One strip for the whole picture: it is read at once, and is smaller than the file.
        limits.reserve(file.seek(0, io.SEEK_END))
        return _picture(file, kind, options, is_transparent=is_transparent, unlimited=True)
    except pyvips.Error as error:
        raise _mapped(error, file, kind) from error


_YCBCR, _LAB = "YCbCr without JPEG", "L*a*b* colours"
_MANY_PAGES = f"more than {tiff.MOST_PAGES:,} pages"


def _picture(
    file: BinaryIO,
    kind: Format,
    options: settings.Image,
    *,
    is_transparent: bool,
    **loading: float,
) -> Image.Image:
    if kind is formats.WEBP:
        size = _webp_size(file, options)
        loading["scale"] = min(1.0, 2 * options.edge / max(size))
        image = _opened(file, kind, **loading)
    else:
        image = _opened(file, kind, **loading)
        size = image.width, image.height
        limits.refuse_huge(size, options.max_megapixels)
    info = _info(image, file, kind)
    if image.get_typeof("interlaced"):  # a PNG in seven passes over the whole
        limits.reserve(size[0] * size[1] * image.bands * (2 if image.format == "ushort" else 1))
    layout = _layout(image, is_transparent=is_transparent)
    channels = Image.getmodebands(layout.mode)
    image = image if image.bands == channels else image.extract_band(0, n=channels)
    by = size[0] / image.width, size[1] / image.height
    if kind is not formats.WEBP:
        image, by = _reduced(image, layout, options.edge)
    small = _to_pillow(image, layout)
    small.info = info
    return scaling.fitted(small, size, by, options.edge)


def _opened(file: BinaryIO, kind: Format, **options: float) -> pyvips.Image:
    """Open *file* for reading once from top to bottom; no pixel is decoded yet."""
    file.seek(0)
    source = pyvips.Source.new_from_descriptor(file.fileno())
    load = getattr(pyvips.Image, f"{_LOADERS[kind]}load_source")
    return load(source, access="sequential", fail_on="error", **options)


def _layout(image: pyvips.Image, *, is_transparent: bool) -> _Layout:
    """Say what the channels of *image* are; those that it does not name are left out.

    A fourth channel of an RGB TIFF is transparency only if the file says so.
    """
    if image.format not in _TYPES:
        message = f"values of the type {image.format}"
        raise NotForVips(message)
    mode = _MODES.get(image.interpretation, "RGB" if image.bands > 2 else "L")  # noqa: PLR2004 - grey, alpha
    if image.bands < Image.getmodebands(mode):
        mode = "L"
    white = _WHITE.get(image.format)
    has_alpha = image.bands > Image.getmodebands(mode) and is_transparent
    return _Layout(f"{mode}A" if has_alpha and white and mode != "CMYK" else mode, white)


def _webp_size(file: BinaryIO, options: settings.Image) -> tuple[int, int]:
    """Return the size of a WebP, once it is clear that it may be decoded.

    Its decoder reads all of it first, into a buffer that doubles.
    """
    header = webp.header(file)
    size = header.width, header.height
    limits.refuse_huge(size, options.max_megapixels)
    pixels = _WHOLE_WEBP * header.width * header.height if header.whole else 0
    limits.reserve(2 * file.seek(0, io.SEEK_END) + pixels)
    return size


def _reduced(
    image: pyvips.Image, layout: _Layout, max_edge: int
) -> tuple[pyvips.Image, tuple[float, float]]:
    """Reduce *image* by blocks of pixels; return it and the size of a block."""
    if image.format in ("float", "double"):  # what is no number would spoil its whole block
        image = (image.abs() <= _LARGEST).ifthenelse(image, 0)
    edge = scaling.block((image.width, image.height), max_edge)
    by = min(edge, image.width), min(edge, image.height)
    if edge > 1:
        image = image.premultiply() if layout.has_alpha else image
        image = image.shrink(*by, ceil=True)
        image = image.unpremultiply() if layout.has_alpha else image
    return image, by


def _to_pillow(image: pyvips.Image, layout: _Layout) -> Image.Image:
    """Decode *image*, which is small by now, to 8 bits a channel."""
    if image.interpretation == "scrgb":  # linear light, and any type of value
        image = image.colourspace("srgb")
    elif layout.white and image.format != "uchar":
        image = (image * (255.0 / layout.white)).rint().cast("uchar")
    size, decoded = (image.width, image.height), image.write_to_memory()
    if image.format != "uchar":
        decoded = _eight_bit(decoded, _TYPES[image.format])
    return Image.frombuffer(layout.mode, size, decoded, "raw", layout.mode, 0, 1)


def _eight_bit(decoded: Any, kind: str) -> bytes:  # noqa: ANN401 - a buffer
    """Scale values whose white is to be guessed."""
    import numpy as np  # noqa: PLC0415 - 64 MB of address space that few pictures need

    return colour.eight_bit_values(np.frombuffer(decoded, kind), None).tobytes()


def _info(image: pyvips.Image, file: BinaryIO, kind: Format) -> dict[str | tuple[int, int], Any]:
    """Return what the file says about its colours and its orientation."""
    names = {"icc-profile-data": "icc_profile", "exif-data": "exif", "xmp-data": "xmp"}
    info: dict[str | tuple[int, int], Any] = {
        ours: image.get(name) for name, ours in names.items() if image.get_typeof(name)
    }
    if kind is formats.TIFF:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = image.get("orientation")
        info["exif"] = exif.tobytes()
    elif kind is formats.PNG and "exif" not in info and (late := _late_exif(file)):
        info["exif"] = late
    return info


def _late_exif(file: BinaryIO) -> bytes:
    """Return the EXIF that follows the picture in a PNG, where libvips has not come yet."""
    file.seek(-min(_TAIL, file.seek(0, io.SEEK_END)), io.SEEK_END)
    tail = file.read(_TAIL)
    at = tail.rfind(_EXIF_CHUNK)
    end = at + 4 + int.from_bytes(tail[max(0, at - 4) : at], "big")
    is_chunk = at >= 4 and zlib.crc32(tail[at:end]).to_bytes(4, "big") == tail[end : end + 4]  # noqa: PLR2004 - a length
    return tail[at + 4 : end] if is_chunk else b""


def _mapped(error: pyvips.Error, file: BinaryIO, kind: Format) -> Exception:
    """Return what an error of libvips means."""
    text = f"{error.message}\n{error.detail}"
    if _NO_MEMORY.search(text):
        return MemoryError()
    lines = [line.partition(": ")[2] or line for line in text.split("\n")]
    reason = next((line for line in lines if not _NO_REASON.search(line)), "it cannot be decoded")
    if kind is formats.TIFF and _NOT_SUPPORTED.search(text):
        return NotForVips(reason)
    if _TRUNCATED.search(text) or _ends_early(file, kind):
        return ValueError("unexpected end of file")
    return ValueError(reason)


def _ends_early(file: BinaryIO, kind: Format) -> bool:
    """Say whether *file* lacks its end."""
    size = file.seek(0, io.SEEK_END)
    if kind is formats.PNG:
        file.seek(-min(_TAIL, size), io.SEEK_END)
        return b"IEND" not in file.read(_TAIL)
    file.seek(4)
    return kind is formats.WEBP and int.from_bytes(file.read(4), "little") + 8 > size
