"""Raw formats: the preview that the camera embedded, else the raw data developed at half size.

The camera's preview is what the photographer saw, and a thousand times cheaper than developing.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import rawpy
from PIL import Image

from taggerd.errors import PhotoUndecodable, WorkerOverMemory
from taggerd.imaging import decode, formats, limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taggerd import settings

_ORIENTATIONS = {3: 3, 5: 8, 6: 6}
"""LibRaw's `flip` to EXIF orientation."""
_SIDEWAYS = frozenset({5, 6, 7, 8})

_START_OF_JPEG = re.compile(rb"\xff\xd8\xff[\xc0-\xc2\xc4\xdb\xdd\xe0-\xef\xfe]")
_CANDIDATES = 256
"""Embedded JPEGs looked at."""
_COPIES = 2
"""Of the file in memory: ours and LibRaw's."""
_DEVELOPED = 4
"""Bytes a pixel of the sensor that developing at half size takes besides; 3.7 were measured."""
_TILES = 4
"""This many embedded JPEGs of one size are tiles of the raw picture (lossy DNG), not previews."""


@dataclass(frozen=True, slots=True)
class _Sensor:
    """What LibRaw knows about the raw picture before decoding."""

    width: int
    height: int
    """Pixels, before rotation."""
    orientation: int
    """EXIF orientation that makes it upright."""


def picture(file: BinaryIO, options: settings.Image) -> tuple[Image.Image, list[str]]:
    """Return the picture of a raw *file* upright, in sRGB, at most ``max_edge`` long, and notes.

    Tried in this order: previews of at least half ``max_edge``, development at half size, and
    smaller previews with a note.

    Raises:
        PhotoUndecodable: there is none of them; the message says why.
    """
    held = _COPIES * file.seek(0, io.SEEK_END)
    limits.reserve(held)
    file.seek(0)
    data = file.read()
    enough = options.edge / 2
    small: list[Image.Image] = []
    with rawpy.RawPy() as raw:
        sensor, problem = _sensor(raw, data)
        if sensor:
            limits.refuse_huge((sensor.width, sensor.height), options.max_megapixels)
        for preview in _previews(raw, sensor, data):
            if max(preview.size) < enough:
                small.append(preview)
            elif shown := _shown(preview, sensor, options):
                return shown
        if sensor:
            limits.reserve(held + _DEVELOPED * sensor.width * sensor.height)
            developed, problem = _developed(raw)
            if developed:
                return decode.finish(developed, 1, options.edge)
    for preview in small:
        if shown := _shown(preview, sensor, options):
            image, notes = shown
            size = f"{preview.width} × {preview.height}"  # noqa: RUF001 - a multiplication sign
            return image, [*notes, f"only a small preview ({size}) could be read: {problem}"]
    message = f"no preview in this raw file, and it cannot be developed: {problem}"
    raise PhotoUndecodable(message)


def _sensor(raw: rawpy.RawPy, data: bytes) -> tuple[_Sensor | None, str]:
    """Open *data* with LibRaw. None, and why, if it cannot."""
    try:
        raw.open_buffer(io.BytesIO(data))
        sizes = raw.sizes
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        return None, _reason(error)
    return _Sensor(sizes.width, sizes.height, _ORIENTATIONS.get(sizes.flip, 1)), ""


def _previews(raw: rawpy.RawPy, sensor: _Sensor | None, data: bytes) -> Iterator[Image.Image]:
    """Yield previews, opened but not decoded: LibRaw's choice, then all, the largest first."""
    own = _preview_by_libraw(raw) if sensor else None
    if own:
        yield own
    found = list(_embedded_jpegs(data))
    times = Counter(image.size for image in found)
    found = [image for image in found if times[image.size] < _TILES]
    if data.startswith(formats.TIFF_MAGIC) and (first := _opened(io.BytesIO(data), formats.TIFF)):
        found.append(first)
    yield from sorted(found, key=lambda image: max(image.size), reverse=True)


def _preview_by_libraw(raw: rawpy.RawPy) -> Image.Image | None:
    """Return the preview that LibRaw considers the largest."""
    try:
        preview = raw.extract_thumb()
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        _reason(error)
        return None
    if isinstance(preview.data, bytes):
        return _opened(io.BytesIO(preview.data), formats.JPEG)
    return Image.fromarray(preview.data)


def _embedded_jpegs(data: bytes) -> Iterator[Image.Image]:
    """Find JPEGs anywhere in *data*: LibRaw misses previews in truncated files and new formats."""
    for number, start in enumerate(_START_OF_JPEG.finditer(data)):
        if number >= _CANDIDATES:
            return
        if image := _opened(cast("BinaryIO", _Tail(data, start.start())), formats.JPEG):
            yield image


def _opened(file: BinaryIO, kind: formats.Format) -> Image.Image | None:
    try:
        return Image.open(file, formats=[kind.pillow])
    except (MemoryError, WorkerOverMemory):
        raise
    except Exception:  # noqa: BLE001 - these bytes may be anything; there are other candidates
        return None


def _shown(
    preview: Image.Image, sensor: _Sensor | None, options: settings.Image
) -> tuple[Image.Image, list[str]] | None:
    """Decode *preview*; None if it is damaged."""
    try:
        limits.refuse_huge(preview.size, options.max_megapixels)
        preview = decode.load(preview, options.edge)
        return decode.finish(preview, _orientation(preview, sensor), options.edge)
    except (MemoryError, WorkerOverMemory):
        raise
    except Exception:  # noqa: BLE001 - a damaged preview may raise anything; there are others
        return None


def _orientation(preview: Image.Image, sensor: _Sensor | None) -> int:
    """Return the orientation of *preview*: its own EXIF, unless the raw picture contradicts it.

    Cameras store previews unrotated (Canon, Nikon), upright, or with EXIF of their own (Fujifilm,
    Panasonic). LibRaw adds its own orientation if there is none.
    """
    exif = decode.orientation_of(preview)
    if sensor is None:
        return exif
    candidates = [exif] if exif else []
    candidates += [sensor.orientation, 1]
    upright = _is_portrait((sensor.width, sensor.height), sensor.orientation)
    for orientation in candidates:
        if _is_portrait(preview.size, orientation) == upright:
            return orientation
    return exif


def _is_portrait(size: tuple[int, int], orientation: int) -> bool:
    width, height = size
    return (width < height) != (orientation in _SIDEWAYS)


def _developed(raw: rawpy.RawPy) -> tuple[Image.Image | None, str]:
    """Develop at half size: upright and sRGB. None, and why, if that fails."""
    try:
        raw.unpack()
        pixels = raw.postprocess(half_size=True, use_camera_wb=True, output_bps=8)
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        return None, _reason(error)
    if pixels.min() == pixels.max():  # LibRaw fills missing data
        return None, "its raw data is missing"
    return Image.fromarray(pixels), ""


def _reason(error: Exception) -> str:
    """Return LibRaw's message.

    Raises:
        MemoryError: it was one.
    """
    if isinstance(error, rawpy.LibRawUnsufficientMemoryError):
        raise MemoryError from error  # noqa: TRY004 - not about a type
    words = error.args[0] if error.args else type(error).__name__
    said = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    # LibRaw says this of a read past the end; nothing is wrong with the disk.
    return "the file is truncated" if said == "Input/output error" else said


class _Tail(io.RawIOBase):
    """The bytes from *start* on as a file, without copying them."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = memoryview(data)[start:]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        self._at = max(0, base + offset)
        return self._at
