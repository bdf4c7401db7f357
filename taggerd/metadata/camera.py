"""Texts that cameras, scanners and converters write by themselves: they are no human's words.

Such a text stays in the photo. In a sidecar it gives way to a description, and an undo puts it
back. Words that a human may well have written alone ("default", "Scanner", "burst", "mon") are left
out, although some of the programs below ignore them too.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Camera(NamedTuple):
    """What EXIF says took the picture."""

    make: str = ""
    model: str = ""
    serial: str = ""
    """Of its body; few cameras say it, and no phone."""


_TEXTS: dict[str, tuple[str, ...]] = {
    "PhotoPrism, internal/meta/sanitize.go, UnwantedDescriptions": (
        "<Digimax i5, Samsung #1>", "binary comment", "btf", "btfhdr", "btfmdn", "btr", "cof",
        "Created by Imlib", "dav", "DVC 10.1 HDMI", "edf", "Exif_JPEG_PICTURE", "fbt", "fbthdr",
        "frem", "frontbhdp", "fshbty", "hdrpl", "iClarified", "mde", "mde_soft", "oznor",
        "oznorWO", "ptr", "qrf", "rbt", "rhdr", "rpt", "SAMSUNG", "SAMSUNG CAMERA PICTURES",
        "sdr_HDRB", "SONY DSC",
    ),
    "PhotoPrism, pull request 5078: captions counted in one collection": (
        "_cuva", "bsh", "HELLOMOTO", "My beautiful picture",
    ),
    "iNaturalist, app/models/local_photo.rb, BRANDED_DESCRIPTIONS": (
        "<KENOX S1050 / Samsung S1050>", "KODAK Digital Still Camera",
        "MOULTRIE DIGITAL GAME CAMERA",
    ),
    "the name of the standard (Design rule for Camera File system)": ("DCF 1.0",),
    "programs that write a missing text as a word": ("(null)", "NULL", "null"),
    "variants of the above": (
        "ASCII", "DCIM", "Digital Camera", "Digital Still Camera", "Exif JPEG", "JPEG",
    ),
}  # fmt: skip
"""Who ignores them → texts."""
_PLAIN = frozenset(text for texts in _TEXTS.values() for text in texts)
_FORM = re.compile(
    r"charset=\w+"  # EXIF's UserComment with nothing in it
    r"|DCIM\\\S*"  # a drone's path; PhotoPrism, SanitizeDescription
    r"|(?:[A-Z0-9]+ ){0,3}DIGITAL CAMERA"  # OLYMPUS, KONICA MINOLTA, MEDION …
    r"|(?:SONY|EPSON|Minolta|MINOLTA) DSC(?: [Pp]icture)?"  # EPSON: its raw files (PRONOM fmt/641)
)
_FILLERS = frozenset(
    # What stands around make and model. No word with content: it would be a human's.
    {
        "a", "ag", "an", "by", "camera", "captured", "co", "company", "corp",
        "corporation", "digital", "dsc", "electronics", "exif", "film", "from", "gmbh",
        "image", "images", "imaging", "inc", "jpeg", "jpg", "kk", "limited", "ltd",
        "made", "of", "on", "optical", "photo", "photograph", "picture", "pictures",
        "scan", "scanned", "scanner", "shot", "still", "taken", "the", "using", "with",
    }
)  # fmt: skip
_WORD = re.compile(r"\w+")
_SHORTEST_NAME = 2


def is_camera_text(text: str, camera: Camera | None = None) -> bool:
    """Say whether *text* is blank or what a camera writes by itself.

    That is a text of the list, or one that holds make or model of the *camera* and besides them
    nothing but words such as "digital", "picture" or "taken with".
    """
    plain = " ".join(text.replace("\0", " ").split())
    if not plain or plain in _PLAIN or _FORM.fullmatch(plain):
        return True
    return camera is not None and _names_only(plain, camera)


def _names_only(text: str, camera: Camera) -> bool:
    """Say whether *text* says which camera it was, and no more."""
    said, make, model = _words(text), _words(camera.make), _words(camera.model)
    names = [name for name in (model, make, make[:1]) if len("".join(name)) >= _SHORTEST_NAME]
    return {*said} <= {*make, *model, *_FILLERS} and any(_holds(said, name) for name in names)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _holds(said: list[str], name: list[str]) -> bool:
    """Say whether *name* is in *said*, word after word."""
    return any(said[at : at + len(name)] == name for at in range(len(said) - len(name) + 1))
