"""The bytes of a sidecar as UTF-8, and back in the encoding that it had.

Everything else in this room works on UTF-8. A sidecar in UTF-16 or Latin-1 is decoded, spliced as
UTF-8 and encoded again; that only happens when decoding and encoding give the very same bytes, so
whatever the splice left alone is the same byte for byte. The XML declaration is not touched.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from taggerd.errors import SidecarRefused

LARGEST = 16 * 1024 * 1024
"""Bytes; a larger sidecar is refused."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark starts with theirs
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARED = re.compile(rb"""\A<\?xml\s[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._:-]+)["']""")
_ONE_BYTE = frozenset({"ascii", "iso8859-1", "iso8859-15", "cp1252"})


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sidecar's text as UTF-8, with what is needed to give it back as it was."""

    text: bytes
    """UTF-8 without a byte order mark."""
    encoding: str
    mark: bytes

    def restore(self, text: bytes) -> bytes:
        """Return *text* (UTF-8) in this encoding; what it cannot express as ``&#NNN;``."""
        if self.encoding != "utf-8":
            text = text.decode("utf-8").encode(self.encoding, "xmlcharrefreplace")
        return self.mark + text

    def settled(self, text: bytes) -> bytes:
        """Return *text* (UTF-8) as it reads after :meth:`restore` and :func:`decode`."""
        if self.encoding == "utf-8":
            return text
        kept = text.decode("utf-8").encode(self.encoding, "xmlcharrefreplace")
        return kept.decode(self.encoding).encode("utf-8")


def decode(data: bytes) -> Encoded:
    """Find out the encoding of *data* and return it as UTF-8.

    Raises:
        SidecarRefused: empty, over 16 MB, or in an encoding that cannot be kept exactly.
    """
    if not data:
        message = "is empty (0 bytes)"
        raise SidecarRefused(message)
    if len(data) > LARGEST:
        message = f"is larger than {LARGEST // (1024 * 1024)} MB"
        raise SidecarRefused(message)
    encoding, mark = _encoding(data)
    body = data[len(mark) :]
    if encoding == "utf-8":
        return Encoded(body, encoding, mark)  # expat checks that it is UTF-8
    try:
        text = body.decode(encoding)
        utf8 = text.encode("utf-8")
    except UnicodeError:
        message = f"says it is {encoding}, but its bytes are not"
        raise SidecarRefused(message) from None
    if text.encode(encoding) != body:
        message = f"cannot be kept exactly in its encoding, {encoding}"
        raise SidecarRefused(message)
    return Encoded(utf8, encoding, mark)


def _encoding(data: bytes) -> tuple[str, bytes]:
    """Return the codec of *data* and its byte order mark."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding, mark
    for start, encoding in _UNMARKED:
        if data.startswith(start):
            return encoding, b""
    declared = _DECLARED.match(data[:256])
    if declared is None:
        return "utf-8", b""
    name = declared[1].decode("ascii")
    try:
        encoding = codecs.lookup(name).name
    except LookupError:
        encoding = ""
    if encoding != "utf-8" and encoding not in _ONE_BYTE:
        message = f"is in an encoding that taggerd does not write: {name}"
        raise SidecarRefused(message)
    return encoding, b""
