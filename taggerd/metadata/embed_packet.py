"""The XMP packet of a photo file: merged like a sidecar, by a splice on its own bytes.

XMP part 1, clause 7.3: a packet stands between two ``xpacket`` instructions, with white space
before the second so that it can grow without moving what follows.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from taggerd.metadata.carried import from_exif, from_iptc, names_of
from taggerd.metadata.merging import Merged
from taggerd.metadata.new import new_sidecar
from taggerd.metadata.ownership import BODY, DIGEST
from taggerd.metadata.splice import Draft
from taggerd.metadata.transcode import decode
from taggerd.metadata.tree import BLANK
from taggerd.metadata.xmp import Document

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taggerd.metadata.carried import Fields
    from taggerd.photo import Provenance, Tags

_WORDS = ("dc:title", "dc:description", "dc:subject", "dc:creator", "dc:rights",
          "photoshop:Headline")  # fmt: skip
"""What readers look for in XMP first, and in IPTC and EXIF only where there is no XMP."""
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
_END = b'<?xpacket end="w"?>'
_PADDING = (b" " * 99 + b"\n") * 20
_CLOSING = re.compile(rb"[ \t\r\n]*<\?xpacket\s+end=[^>]*\?>[ \t\r\n]*\Z")
_DECLARATION = re.compile(rb"\A<\?xml\s[^>]*\?>\s*")


Merge: TypeAlias = "Callable[[bytes, Tags, Provenance], Merged]"
"""Merges tags into what would be the bytes of a sidecar."""


class Parts(NamedTuple):
    """A packet in two: what is merged, and what only fills it up."""

    core: bytes
    tail: bytes
    """White space, the closing instruction, and what cameras leave behind it."""

    @classmethod
    def of(cls, packet: bytes) -> Parts:
        """Take *packet* apart."""
        filled = packet.rstrip(b"\0")
        closing = _CLOSING.search(filled)
        end = closing.start() if closing else len(filled)
        return cls(packet[:end], packet[end:])

    def fitted(self, core: bytes, size: int) -> bytes:
        """Return a packet with another *core* and so much white space that it has *size* bytes.

        Where that cannot be, the white space is what it was.
        """
        surplus = len(core) + len(self.tail) - size
        blank = len(self.tail) - len(self.tail.lstrip(BLANK.encode()))
        if not blank or surplus >= blank:
            return core + self.tail
        if surplus >= 0:
            return core + self.tail[surplus:]
        return core + b" " * -surplus + self.tail


class Recorded(NamedTuple):
    """What a packet says of the file it stands in."""

    digest: str = ""
    """Of the file before anything was embedded; empty where nothing was."""
    body: str = ""
    """Of all that it held but its packet when something was."""
    size: int = 0
    """Bytes of the packet it had before; 0: none."""


def recorded(core: bytes) -> Recorded:
    """Return what *core* says.

    Raises:
        SidecarRefused: it cannot be understood.
    """
    document = Document(decode(core).text)
    digest, body, size = ("", "", "")
    for text in document.texts(DIGEST)[:1]:
        digest = text
    for text in document.texts(BODY)[:1]:
        body, _, size = text.partition(" ")
    return Recorded(digest, body, int(size) if size.isascii() and size.isdecimal() else 0)


def merged_packet(
    packet: bytes | None,
    native: tuple[Mapping[str, object], Mapping[str, object]],
    tags: Tags,
    provenance: Provenance,
    merge: Merge,
) -> Merged:
    """Merge *tags* into the *packet* of a photo file, or into a new one where it has none.

    Args:
        packet: as it stands in the file.
        native: the file's EXIF and IPTC, as Exiv2 names them.
        tags: what to write.
        provenance: recorded in taggerd's namespace, with the file's ``body``.
        merge: merges them into what would be a sidecar's bytes.

    Returns:
        The packet, the very same one where there was nothing to say.

    Raises:
        SidecarRefused: it cannot be merged without a doubt; the message says why.
    """
    held = _held(*native)
    if packet is None or not packet.strip(BLANK.encode() + b"\0"):
        bare = _DECLARATION.sub(b"", new_sidecar(names_of(held), provenance.version))
        new = merge(_BEGIN + bare, tags, _of(provenance, 0))
        return Merged(new.data + _PADDING + _END, new.notes)
    parts = Parts.of(packet)
    before = recorded(parts.core)
    size = before.size if before.body else len(packet)
    seeded = _seeded(parts.core, held)
    new = merge(seeded, tags, _of(provenance, size))
    if new.data == parts.core:
        return Merged(packet, new.notes)
    return Merged(parts.fitted(new.data, len(packet)), new.notes)


def changed_packet(packet: bytes, change: Callable[[bytes], bytes | None]) -> bytes | None:
    """Return *packet* after *change*, given the text that a sidecar would be; None: it goes.

    Where nothing of taggerd's is left, the packet has the length that it had before.
    """
    parts = Parts.of(packet)
    before = recorded(parts.core)
    core = change(parts.core)
    if core is None:
        return None
    after = recorded(core)
    size = before.size if before.body and not after.body else len(packet)
    return parts.fitted(core, size)


def _of(provenance: Provenance, size: int) -> Provenance:
    """Add to the body the *size* of the packet that was there before taggerd."""
    return replace(provenance, body=f"{provenance.body} {size}")


def _held(exif: Mapping[str, object], iptc: Mapping[str, object]) -> Fields:
    """Return the words in IPTC and EXIF that an XMP packet without them would hide."""
    found = from_exif(exif) | from_iptc(iptc)
    return {field: value for field, value in found.items() if field in _WORDS}


def _seeded(core: bytes, held: Fields) -> bytes:
    """Put the words *held* elsewhere into a packet that lacks them, once."""
    encoded = decode(core)
    document = Document(encoded.text)
    missing = {name: value for name, value in names_of(held).items() if name not in document}
    if not missing or DIGEST in document:
        return core
    draft = Draft(document)
    for name, value in missing.items():
        draft.put(name, value)
    return encoded.restore(draft.apply())
