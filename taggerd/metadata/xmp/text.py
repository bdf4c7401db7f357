"""Texts in the form that a sidecar can hold."""

from __future__ import annotations

import re
import unicodedata

_NOT_XML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


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
