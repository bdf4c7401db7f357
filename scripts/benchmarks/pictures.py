"""Photos to measure with: as large as from a camera, each different, the same every time."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
import pillow_heif
import pyvips
from PIL import Image
from samples import dng

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SIZE_24 = (6000, 4000)
SIZE_45 = (8256, 5504)
SIZE_100 = (12240, 8160)
"""Pixels of cameras of 24, 45 and 100 megapixels."""
QUALITY = 88
_STRIP = 500
"""Rows that are drawn at a time, with the same noise: no decoder looks back so far."""
_FASTEST = 1
"""Level of deflate: the usual one takes five times as long to write, and as long to read."""


def scene(size: tuple[int, int], noise: int = 6) -> Image.Image:
    """Draw a picture with edges and the noise of a sensor: its JPEG has some megabytes."""
    random = np.random.default_rng(6)
    small = random.integers(0, 256, (250, 375, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    grain = random.integers(-noise, noise + 1, (_STRIP, size[0], 3), dtype=np.int16)
    for top in range(0, size[1], _STRIP):  # in strips: 100 megapixels are large
        strip = pixels[top : top + _STRIP].astype(np.int16)
        strip += grain[: len(strip)]
        image.paste(Image.fromarray(np.clip(strip, 0, 255).astype(np.uint8)), (0, top))
    return image


def jpeg(image: Image.Image, *, progressive: bool = False) -> bytes:
    """Save as cameras do."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY, progressive=progressive)
    return out.getvalue()


def one_pixel() -> bytes:
    """Return the smallest JPEG."""
    return jpeg(Image.new("RGB", (1, 1), "red"))


def copies(data: bytes, folder: Path, numbers: Iterable[int], suffix: str = ".JPG") -> None:
    """Write photos that differ in a comment, or in what stands behind the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (folder / f"IMG_{number:06}{suffix}").write_bytes(_marked(data, number))


def _marked(data: bytes, number: int) -> bytes:
    mark = f"{number:08}".encode()
    is_jpeg = data.startswith(b"\xff\xd8")
    return data[:2] + b"\xff\xfe\x00\x0a" + mark + data[2:] if is_jpeg else data + mark


def tiff_16(image: Image.Image) -> bytes:
    """Save as a raw converter exports: 16 bits a channel, deflated."""
    # `taggerd.imaging`, which a part may have imported, forbids what it does not use itself.
    pyvips.operation_block_set("VipsForeignSaveTiff", False)  # noqa: FBT003 - its own signature
    deep = pyvips.Image.new_from_array(np.asarray(image)).cast("ushort") * 257
    deep = deep.cast("ushort").copy(interpretation="rgb16")
    return bytes(deep.tiffsave_buffer(compression="deflate", level=_FASTEST))


def png(image: Image.Image) -> bytes:
    """Save as a PNG."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=_FASTEST)
    return out.getvalue()


def heic(image: Image.Image) -> bytes:
    """Save as a phone does."""
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, "HEIF", quality=60, enc_params={"preset": "ultrafast"})  # a minute else
    return out.getvalue()


def raw_dng(image: Image.Image, preview: bytes) -> bytes:
    """Return a DNG with a small sensor and a preview of the full size."""
    camera = [dng.text(271, "Canon"), dng.text(272, "Canon EOS R6")]
    sensor = np.asarray(image.resize((600, 400)))
    return dng.dng(sensor, dng.Preview(preview, *image.size), camera, [])


def raw_cr3(preview: bytes) -> bytes:
    """Return a CR3 that holds nothing but a preview: what is read of one."""
    return (
        struct.pack(">I4s4sI4s", 20, b"ftyp", b"crx ", 1, b"isom")
        + struct.pack(">I4s", 8 + len(preview), b"mdat")
        + preview
    )
