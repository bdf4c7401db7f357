"""The bytes of a sidecar as UTF-8 text, and back in the encoding that it had.

Everything else in this package works on UTF-8. A sidecar in UTF-16 or Latin-1 is decoded, spliced
as UTF-8 and encoded again. That is only done when decoding and encoding give the very same bytes,
so whatever the splice left alone is the same byte for byte. The XML declaration is not touched.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from taggerd.errors import SidecarRefused
from taggerd.metadata.xmp import refuse

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
class Encoding:
    """How the text of a sidecar is stored."""

    codec: str = "utf-8"
    mark: bytes = b""
    """Byte order mark."""

    def encode(self, text: bytes) -> bytes:
        """Return *text* (UTF-8) in this encoding; what it cannot express as ``&#NNN;``."""
        if self.codec != "utf-8":
            text = text.decode("utf-8").encode(self.codec, "xmlcharrefreplace")
        return self.mark + text

    def as_read_back(self, text: bytes) -> bytes:
        """Return *text* (UTF-8) as :func:`decode` gives it after :meth:`encode`."""
        if self.codec == "utf-8":
            return text
        return (
            text.decode("utf-8").encode(self.codec, "xmlcharrefreplace").decode(self.codec).encode()
        )


UTF8 = Encoding()


def decode(data: bytes) -> tuple[bytes, Encoding]:
    """Return *data* as UTF-8 without a byte order mark, and the encoding that it was in.

    Raises:
        SidecarRefused: empty, over 16 MB, or in an encoding that cannot be kept exactly.
    """
    if not data:
        refuse("is empty (0 bytes)")
    if len(data) > LARGEST:
        refuse(f"is larger than {LARGEST // (1024 * 1024)} MB")
    encoding = _encoding(data)
    codec, body = encoding.codec, data[len(encoding.mark) :]
    if codec == "utf-8":
        return body, encoding  # expat checks that it is UTF-8
    try:
        text = body.decode(codec)
        utf8 = text.encode("utf-8")
    except UnicodeError:
        message = f"claims to be {codec}, but its bytes are not"
        raise SidecarRefused(message) from None
    if text.encode(codec) != body:
        refuse(f"cannot be kept exactly in its encoding, {codec}")
    return utf8, encoding


def _encoding(data: bytes) -> Encoding:
    """Find out the encoding of *data* by its byte order mark, its first bytes, its declaration."""
    for mark, codec in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return Encoding(codec, mark)
    for start, codec in _UNMARKED:
        if data.startswith(start):
            return Encoding(codec)
    declared = _DECLARED.match(data[:256])
    if declared is None:
        return UTF8
    name = declared[1].decode("ascii")
    try:
        codec = codecs.lookup(name).name
    except LookupError:
        codec = ""
    if codec != "utf-8" and codec not in _ONE_BYTE:
        refuse(f"is in an encoding that taggerd does not write: {name}")
    return Encoding(codec)
