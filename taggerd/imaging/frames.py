"""HEIF, AVIF and JPEG XL: their decoders hand over the whole picture, and it is scaled from there.

Pillow would copy it first, to four bytes a pixel, and once more if it has an alpha channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import pillow_heif
from PIL import AvifImagePlugin, Image

from taggerd.imaging import colour, formats, jxl, limits, scaling

if TYPE_CHECKING:
    from taggerd import settings
    from taggerd.imaging.formats import Format

_BAND = 1 << 22
"""Pixels that are scaled at a time."""
_NEEDED = {formats.HEIF: 4.8, formats.AVIF: 8.0, formats.JXL: 6.4}
"""Bytes a pixel that decoding takes, measured: the result, and the decoder's own planes."""
_THREADS = 48 << 20
"""Bytes of address space for the stacks and heaps of their threads."""


class _Pixels(NamedTuple):
    """A picture as its decoder hands it over."""

    mode: str
    size: tuple[int, int]
    rows: bytes
    stride: int
    """Bytes from one row to the next."""
    info: dict[str | tuple[int, int], Any]


def _set_up() -> None:
    """Register the decoders. One thread each: the processes are the parallelism."""
    pillow_heif.register_heif_opener(decode_threads=1, depth_images=False, aux_images=False)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1


_set_up()


def picture(image: Image.Image, kind: Format, options: settings.Image) -> Image.Image:
    """Return *image*, a HEIF or AVIF that is open and not decoded, no larger than needed.

    Raises:
        WorkerOverMemory: it needs more memory than this process may take.
        Exception: whatever the decoder raises.
    """
    if _drafted(image, options.edge):
        image.load()
        return image
    width, height = image.size
    limits.reserve(_NEEDED[kind] * width * height, _THREADS)
    if kind is formats.HEIF:
        frame = image._heif_file[image.tell()]  # type: ignore[attr-defined]  # noqa: SLF001
        rows, size, stride = frame.data, frame.size, frame.stride
        pixels = _Pixels(frame.mode, size, rows, stride, image.info)
    else:
        rows = image._decoder.get_frame(0)[0]  # type: ignore[attr-defined]  # noqa: SLF001
        stride = width * len(image.getbands())
        pixels = _Pixels(image.mode, image.size, rows, stride, image.info)
    return _scaled(pixels, options.edge)


def _drafted(image: Image.Image, max_edge: int) -> bool:
    """Have a preview inside a HEIF decoded instead, where one is large enough."""
    factor = max_edge / max(image.size)
    if factor >= 1:
        return False
    width, height = (max(1, int(side * factor)) for side in image.size)
    return image.draft(None, (width, height)) is not None


def jpeg_xl(file: BinaryIO, options: settings.Image) -> Image.Image | bytes:
    """Return a JPEG XL no larger than needed; of a repacked JPEG its very bytes.

    Raises:
        PhotoUndecodable: it is larger than ``image.max_megapixels``.
        WorkerOverMemory: it needs more memory than this process may take.
        Exception: whatever the decoder raises.
    """
    width, height = size = jxl.size_of(file)
    limits.refuse_huge(size, options.max_megapixels)
    limits.reserve(_NEEDED[formats.JXL] * width * height, _THREADS)
    from pillow_jxl import Decoder  # noqa: PLC0415 - 20 ms that few photos need

    is_jpeg, header, data, profile, _boxes = Decoder(num_threads=0)(file.read())
    if is_jpeg:
        return bytes(data)
    mode = "F" if header.mode == "F;16" else header.mode
    size = header.width, header.height
    pixels = _Pixels(mode, size, data, len(data) // header.height, {"icc_profile": profile})
    return _scaled(pixels, options.edge)


def _scaled(pixels: _Pixels, max_edge: int) -> Image.Image:
    """Scale *pixels* band by band, so that no second copy of the whole is made."""
    width, height = pixels.size
    by = scaling.block(pixels.size, max_edge)
    # White is guessed from all values of a floating picture, so that is one band.
    rows = height if pixels.mode == "F" else max(1, _BAND // (width * by)) * by
    bands = [
        _band(pixels, top, min(rows, height - top)).reduce(by) for top in range(0, height, rows)
    ]
    small = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        small.paste(band, (0, number * rows // by))
    small.info = pixels.info
    return scaling.fitted(small, pixels.size, (by, by), max_edge)


def _band(pixels: _Pixels, top: int, rows: int) -> Image.Image:
    """Return some *rows* of *pixels*, 8 bits a channel."""
    part: Any = memoryview(pixels.rows)[top * pixels.stride :]
    mode, size = pixels.mode, (pixels.size[0], rows)
    return colour.eight_bit(Image.frombuffer(mode, size, part, "raw", mode, pixels.stride, 1))
