"""Which decoders of pictures are installed. They are loaded for that: ask in a worker process."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Found = tuple[str, str, str]
"""Package, decoder in it, and the decoder's version, or why it cannot be had."""


def _pillow() -> list[tuple[str, str]]:
    from PIL import features  # noqa: PLC0415 - for worker processes alone

    names = {
        "libjpeg_turbo": "libjpeg-turbo",
        "zlib": "zlib",
        "libtiff": "libtiff",
        "webp": "libwebp",
        "avif": "libavif",
        "littlecms2": "Little CMS",
    }
    return [(name, features.version(feature) or "missing") for feature, name in names.items()]


def _pillow_heif() -> list[tuple[str, str]]:
    import pillow_heif  # noqa: PLC0415 - likewise

    info = pillow_heif.libheif_info()
    decoders = " ".join(info["decoders"].values())  # "libde265 HEVC decoder, version 1.1.3"
    hevc = re.search(r"libde265.*?([\d.]+)", decoders)
    return [("libheif", info["libheif"]), ("libde265", hevc[1] if hevc else "missing")]


def _pillow_jxl() -> list[tuple[str, str]]:
    """It says its own version only; which libjxl it was built with is in the path of a source."""
    module = import_module("pillow_jxl.pillow_jxl")
    found = re.search(rb"\+libjxl-([\d.]+\d)", Path(str(module.__file__)).read_bytes())
    return [("libjxl", found[1].decode() if found else "unknown")]


def _pyvips() -> list[tuple[str, str]]:
    import pyvips  # noqa: PLC0415 - likewise

    return [("libvips", ".".join(str(pyvips.version(part)) for part in range(3)))]


def _rawpy() -> list[tuple[str, str]]:
    import rawpy  # noqa: PLC0415 - likewise

    return [("LibRaw", ".".join(map(str, rawpy.libraw_version)))]


_PACKAGES: dict[str, Callable[[], list[tuple[str, str]]]] = {
    "pillow": _pillow,
    "pillow-heif": _pillow_heif,
    "pillow-jxl-plugin": _pillow_jxl,
    "pyvips-binary": _pyvips,
    "rawpy": _rawpy,
}


def versions() -> list[Found]:
    """Return the decoders of every package, also of one that cannot be loaded."""
    found: list[Found] = []
    for package, ask in _PACKAGES.items():
        try:
            found += [(package, decoder, version) for decoder, version in ask()]
        except Exception as error:  # noqa: BLE001 - whatever loading a foreign library raises
            found.append((package, "", f"cannot be loaded: {' '.join(str(error).split())[:200]}"))
    return found
