"""What the header of a WebP says about the memory that it takes."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from taggerd.imaging import webp


def coded(mode: str = "RGB", **saving: object) -> io.BytesIO:
    """Return a WebP of 300 by 201 pixels."""
    file = io.BytesIO()
    Image.new(mode, (300, 201), 90 if mode == "RGB" else (1, 2, 3, 90)).save(file, "WEBP", **saving)
    return file


@pytest.mark.parametrize(
    ("file", "whole"),
    [
        (coded(), False),
        (coded(lossless=True), True),
        (coded("RGBA"), True),
        (coded("RGBA", lossless=True), True),
        (coded(exif=b"Exif\0\0" + bytes(20)), False),
        (coded(lossless=True, icc_profile=bytes(9000)), True),
        (coded(save_all=True, append_images=[Image.new("RGB", (300, 201))]), True),
    ],
)
def test_size_and_coding(file: io.BytesIO, *, whole: bool) -> None:
    """Whatever comes first: the picture, its profile, its metadata or its frames."""
    assert webp.header(file) == webp.Header(300, 201, whole=whole)
    assert file.tell() == 0


@pytest.mark.parametrize(
    "data", [b"", b"RIFF\0\0\0\0WEBP", b"RIFF\0\0\0\0WEBP" + b"ABCD\0\0\0\0" * 999]
)
def test_no_picture(data: bytes) -> None:
    """A file without one says so, and is not searched for ever."""
    with pytest.raises(ValueError, match="no picture"):
        webp.header(io.BytesIO(data))
