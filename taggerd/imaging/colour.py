"""Colours of any kind to 8-bit sRGB on white."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image, ImageCms

if TYPE_CHECKING:
    import numpy as np

_SRGB = ImageCms.createProfile("sRGB")
_SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour space of an ICC profile → mode that its picture must have."""


def eight_bit(image: Image.Image) -> Image.Image:
    """Return *image* with 8 bits per channel and no palette: a mode that can be scaled.

    Modes that come out are L, LA, RGB, RGBA, CMYK, YCbCr, LAB and HSV. Call this before scaling:
    Pillow scales palettes and bilevel pictures by picking pixels.
    """
    if image.mode in ("F", "I") or image.mode.startswith("I;"):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        mode = "LA" if image.mode in ("L", "LA", "La", "1") else "RGBA"
        return image if image.mode == mode else image.convert(mode)  # `convert` copies, too
    if image.mode in ("P", "RGBX"):
        return image.convert("RGB")
    return image.convert("L") if image.mode == "1" else image


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating grey values to 0..255; `convert` would only clip them."""
    import numpy as np  # noqa: PLC0415 - 30 ms that few photos need

    white = 65535.0 if image.mode.startswith("I;16") else None
    grey = Image.fromarray(eight_bit_values(np.asarray(image), white))
    grey.info = {"icc_profile": image.info.get("icc_profile")}
    return grey


def eight_bit_values(values: np.ndarray, white: float | None) -> np.ndarray:
    """Scale *values* of any type to 0..255; *white* is guessed from the largest if it is None."""
    import numpy as np  # noqa: PLC0415 - as above

    numbers = np.nan_to_num(np.asarray(values, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    white = white or _white(float(numbers.max(initial=0)))
    scaled: np.ndarray = np.clip(numbers * (255.0 / white) + 0.5, 0, 255).astype(np.uint8)
    return scaled


def _white(largest: float) -> float:
    """Guess which value means white from the *largest* one there is."""
    return next((white for white in (1.0, 255.0, 65535.0) if largest <= white), largest)


def to_srgb(image: Image.Image) -> tuple[Image.Image, str]:
    """Return *image* in sRGB on a white background, and a note if its profile was unusable.

    Args:
        image: what :func:`eight_bit` returns, already scaled if possible (8 ms instead of 1.2 s).
    """
    profile = image.info.get("icc_profile")
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    flat = image.convert(image.mode[:-1]) if alpha else image
    note = ""
    if image.mode == "LAB":
        flat = _transformed(flat, ImageCms.createProfile("LAB"))
    elif profile:
        try:
            flat = _managed(flat, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            note = f"unusable colour profile ({error}): colours taken as sRGB"
    flat = flat.convert("RGB")
    if alpha is None:
        return flat, note
    background = Image.new("RGB", flat.size, "white")
    background.paste(flat, mask=alpha)
    return background, note


def _managed(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Apply *profile*, if it is one for this kind of picture."""
    space = profile.profile.xcolor_space.strip()
    if space == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if _SPACES.get(space) != image.mode:
        message = f"it is for {space or 'nothing'}, the picture is {image.mode}"
        raise ValueError(message)
    return _transformed(image, profile)


def _transformed(image: Image.Image, profile: object) -> Image.Image:
    transformed = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")  # type: ignore[arg-type]
    return image if transformed is None else transformed
