"""The XMP packet of a photo file: merged like a sidecar, by a splice on its own bytes.

XMP part 1, clause 7.3: a packet stands between two ``xpacket`` instructions, with white space
before the second so that it can grow without moving what follows.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from taggerd.metadata.carried import from_exif, from_iptc, names_of
from taggerd.metadata.merging import Merged, merge
from taggerd.metadata.new import new_sidecar
from taggerd.metadata.ownership import BODY, DIGEST
from taggerd.metadata.splice import Draft
from taggerd.metadata.transcode import decode
from taggerd.metadata.xmp import Document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.metadata.carried import Fields
    from taggerd.photo import Provenance, Tags
    from taggerd.settings import Fields as FieldSettings

_WORDS = ("dc:title", "dc:description", "dc:subject", "dc:creator", "dc:rights",
          "photoshop:Headline")  # fmt: skip
"""What readers look for in XMP first, and in IPTC and EXIF only where there is no XMP."""
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
_END = b'<?xpacket end="w"?>'
_PADDING = (b" " * 99 + b"\n") * 20
_CLOSING = re.compile(rb"([ \t\r\n]*)<\?xpacket\s+end=[^>]*\?>[ \t\r\n]*\Z")
_DECLARATION = re.compile(rb"\A<\?xml\s[^>]*\?>\s*")


def record_in(packet: bytes) -> tuple[str, str]:
    """Return the digest and the body recorded in *packet*, empty where there is none.

    Raises:
        SidecarRefused: it cannot be understood.
    """
    document = Document(decode(packet.rstrip(b"\0")).text)
    digests, bodies = document.texts(DIGEST), document.texts(BODY)
    return (digests[0] if digests else ""), (bodies[0] if bodies else "")


def merged_packet(  # noqa: PLR0913 - as merge, and what else the file holds
    packet: bytes | None,
    native: tuple[Mapping[str, object], Mapping[str, object]],
    tags: Tags,
    provenance: Provenance,
    fields: FieldSettings,
    *,
    overwrite: bool,
) -> Merged:
    """Merge *tags* into the *packet* of a photo file, or into a new one where it has none.

    Args:
        packet: as it stands in the file.
        native: the file's EXIF and IPTC, as Exiv2 names them.
        tags: what to write.
        provenance: recorded in taggerd's namespace, with the file's ``body``.
        fields: which answer goes where.
        overwrite: replace texts that a human wrote.

    Returns:
        The packet, the very same one where there was nothing to say.

    Raises:
        SidecarRefused: it cannot be merged without a doubt; the message says why.
    """
    held = _held(*native)
    if packet is None or not packet.strip(b" \t\r\n\0"):
        bare = _DECLARATION.sub(b"", new_sidecar(names_of(held), provenance.version))
        new = merge(bare, tags, provenance, fields, overwrite=overwrite)
        made = _BEGIN + new.data + _PADDING + _END
        return Merged(made, new.notes)
    core = packet.rstrip(b"\0")
    seeded = _seeded(core, held)
    new = merge(seeded, tags, provenance, fields, overwrite=overwrite)
    if new.data == core:
        return Merged(packet, new.notes)
    return Merged(fitted(new.data, len(packet)), new.notes)


def fitted(packet: bytes, size: int) -> bytes:
    """Return *packet* with its padding changed so that it has *size* bytes, where that can be."""
    closing = _CLOSING.search(packet)
    if closing is None:
        return packet
    surplus = len(packet) - size
    start, end = closing.span(1)
    if surplus > end - start - 1:
        return packet
    if surplus >= 0:
        return packet[: end - surplus] + packet[end:]
    return packet[:end] + b" " * -surplus + packet[end:]


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
