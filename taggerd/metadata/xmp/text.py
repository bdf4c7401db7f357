"""Texts in the form that a sidecar can hold, and texts that no human wrote."""

from __future__ import annotations

import re
import unicodedata

_NOT_XML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_CAMERA = frozenset(
    {
        # Written into ImageDescription by camera firmware and converters, never by a person. The
        # same idea as PhotoPrism's UnwantedDescriptions; words that could be human are left out.
        "<Digimax i5, Samsung #1>", "ASCII", "Created by Imlib", "DCIM", "DVC 10.1 HDMI",
        "Digital Camera", "Digital Still Camera", "Exif_JPEG_PICTURE", "Exif JPEG", "JPEG",
        "SAMSUNG", "SAMSUNG CAMERA PICTURES", "binary comment",
        "btf", "btfhdr", "btfmdn", "btr", "cof", "dav", "edf", "fbt", "fbthdr", "frem",
        "frontbhdp", "fshbty", "hdrpl", "iClarified", "mde", "mde_soft", "oznor", "oznorWO",
        "ptr", "qrf", "rbt", "rhdr", "rpt", "sdr_HDRB",
    }
)  # fmt: skip
_CAMERA_FORM = re.compile(
    r"charset=\w+"  # EXIF's UserComment with nothing in it
    r"|(?:[A-Z0-9]+ ){0,3}DIGITAL CAMERA"  # OLYMPUS DIGITAL CAMERA, KONICA MINOLTA DIGITAL CAMERA
    r"|(?:SONY|EPSON|Minolta|MINOLTA) DSC(?: Picture)?"
)


def xml_text(text: str) -> str:
    """Return *text* trimmed, NFC, with Unix line ends and no character that XML forbids."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    return _NOT_XML.sub("", text).strip()


def one_line(text: str) -> str:
    """Return *text* for a field that holds one line."""
    return " ".join(xml_text(text).split())


def shortened(text: str, longest: int) -> str:
    """Return *text* in at most *longest* characters, cut between words."""
    if len(text) <= longest:
        return text
    cut = text[: longest - 1]
    head, space, _ = cut.rpartition(" ")
    return (head if space and len(head) > longest // 2 else cut).rstrip(" ,;:-–—") + "…"  # noqa: RUF001 - dashes are meant


def is_camera_text(text: str) -> bool:
    """Say whether *text* is blank or what a camera writes of itself ("OLYMPUS DIGITAL CAMERA")."""
    plain = " ".join(text.replace("\0", " ").split())
    return not plain or plain in _CAMERA or _CAMERA_FORM.fullmatch(plain) is not None
