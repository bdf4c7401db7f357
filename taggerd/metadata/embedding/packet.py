"""The XMP packet of a photo file: merged like a sidecar, by a splice on its own bytes.

XMP part 1, clause 7.3: a packet stands between two ``xpacket`` instructions, with white space
before the second so that it can grow without moving what follows.

``taggerd:body`` says what an undo and a later pass must know about the file around the packet::

    BODY SIZE TAIL ORIGINAL IPTC

BODY is the BLAKE2b-256 of all that the file holds but its packet, SIZE the bytes of the packet that
it had before taggerd (0: none), TAIL what filled that packet up (base64 of zlib), and ORIGINAL the
BLAKE2b-256 of the whole file as it was: an undo that gives it back can prove it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from taggerd.metadata.embedded import names_of
from taggerd.metadata.merge import Merged, merge, new_sidecar
from taggerd.metadata.ownership import BODY, DIGEST
from taggerd.metadata.undo.seal import packed, unpacked
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import LARGEST
from taggerd.metadata.xmp.splice import Draft
from taggerd.metadata.xmp.tree import BLANK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from taggerd.metadata.camera import Camera
    from taggerd.metadata.embedded import Embedded, Fields
    from taggerd.metadata.embedding.iim import Iim
    from taggerd.metadata.options import Options
    from taggerd.metadata.undo.content import Undone
    from taggerd.metadata.xmp.namespaces import Name
    from taggerd.metadata.xmp.splice import Value
    from taggerd.photo import Provenance, Tags

_WORDS = ("dc:title", "dc:description", "dc:subject", "dc:creator", "dc:rights",
          "photoshop:Headline")  # fmt: skip
"""What readers look for in XMP first, and in IPTC and EXIF only where there is no XMP."""
_BEGIN = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'.encode()
_END = b'<?xpacket end="w"?>'
_PADDING = (b" " * 99 + b"\n") * 20
_CLOSING = re.compile(rb"[ \t\r\n]*<\?xpacket\s+end=[^>]*\?>[ \t\r\n]*\Z")
_DECLARATION = re.compile(rb"\A<\?xml\s[^>]*\?>\s*")


class Parts(NamedTuple):
    """A packet in two parts: what is merged, and what only fills it up."""

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
        """Return a packet with another *core*, padded or trimmed to *size* bytes.

        Where the white space does not allow that, it stays as it was.
        """
        surplus = len(core) + len(self.tail) - size
        blank = len(self.tail) - len(self.tail.lstrip(BLANK.encode()))
        if not blank or surplus >= blank:
            return core + self.tail
        if surplus >= 0:
            return core + self.tail[surplus:]
        return core + b" " * -surplus + self.tail


class Recorded(NamedTuple):
    """What a packet says about the file it is in."""

    digest: str = ""
    """Of the file before anything was embedded; empty where nothing was."""
    body: str = ""
    """Of all that it held but its packet when something was."""
    size: int = 0
    """Bytes of the packet it had before; 0: none."""
    tail: bytes = b""
    """The padding and the end of that packet."""
    original: str = ""
    """Digest of this very file before anything was embedded (of a pair, ``digest`` is of one)."""

    iptc: str = ""
    """The file's IPTC-IIM before anything was embedded, as :attr:`.iim.Iim.packed`."""

    @property
    def around(self) -> str:
        """All but ``body``, in the form of ``taggerd:body``."""
        return f"{self.size} {packed(self.tail)} {self.original} {self.iptc}".strip()


_LONGEST_SIZE = len(str(LARGEST))


def recorded(core: bytes) -> Recorded:
    """Return what *core* says.

    Raises:
        SidecarRefused: it cannot be understood.
    """
    document = Document.load(core)
    digest = "".join(document.texts(DIGEST)[:1])
    said = "".join(document.texts(BODY)[:1]) + "     "
    body, size, tail, original, iptc, *_ = said.split(" ")
    known = size.isascii() and size.isdecimal() and len(size) <= _LONGEST_SIZE
    return Recorded(digest, body, int(size) if known else 0, unpacked(tail) or b"", original, iptc)


def merged_packet(  # noqa: PLR0913 - what a merge depends on, each with its own name
    packet: bytes | None,
    native: Embedded,
    tags: Tags,
    provenance: Provenance,
    options: Options,
    *,
    original: Callable[[], str],
    iim: Iim | None = None,
) -> Merged:
    """Merge *tags* into the *packet* of a photo file, or into a new one where it has none.

    Args:
        packet: as it stands in the file.
        native: what the file's EXIF and IPTC-IIM say.
        tags: what to write.
        provenance: recorded in taggerd's namespace, with the file's ``body``.
        options: as for a sidecar.
        original: gives the digest of the whole file; asked only where nothing is embedded yet.
        iim: the file's IPTC-IIM, kept for an undo.

    Returns:
        The packet, the very same one where there was nothing to say.

    Raises:
        SidecarRefused: it cannot be merged safely; the message says why.
    """
    iptc = iim.packed if iim else ""

    def camera() -> Camera | None:
        return native.camera

    held = {field: value for field, value in native.beside.items() if field in _WORDS}
    if packet is None or not packet.strip(BLANK.encode() + b"\0"):
        bare = _DECLARATION.sub(b"", new_sidecar(names_of(held), provenance.version))
        before = Recorded(original=original(), iptc=iptc)
        core = (_BEGIN + bare).rstrip()
        new = merge(core, tags, _of(provenance, before), options, made=True, camera=camera)
        return replace(new, data=new.data + b"\n" + _PADDING + _END)
    parts = Parts.of(packet)
    before = recorded(parts.core)
    seeds: Mapping[Name, Value] = {}
    if not before.body:
        tail = parts.tail
        before = Recorded(size=len(packet), tail=tail, original=original(), iptc=iptc)
        seeds = _seeds(parts.core, held)
    new = merge(
        parts.core,
        tags,
        _of(provenance, before),
        options,
        seeds=seeds,
        camera=camera,
    )
    if new.data == parts.core:
        return replace(new, data=packet)
    return replace(new, data=parts.fitted(new.data, len(packet)))


def edited_packet(  # noqa: PLR0913 - as merged_packet
    packet: bytes | None,
    native: Embedded,
    change: Callable[[Document], bytes],
    version: str,
    *,
    body: Callable[[], str],
    original: Callable[[], str],
    iim: Iim | None = None,
) -> bytes:
    """Have a person's edit *change* the *packet* of a photo file, or a new one where it has none.

    The record of what the file was before is kept as at an embedding, but without the digest that
    says that the photo is tagged.

    Raises:
        SidecarRefused: it cannot be changed safely; the message says why.
    """
    held = {field: value for field, value in native.beside.items() if field in _WORDS}
    iptc = iim.packed if iim else ""
    if packet is None or not packet.strip(BLANK.encode() + b"\0"):
        bare = _DECLARATION.sub(b"", new_sidecar(names_of(held), version))
        before = Recorded(original=original(), iptc=iptc)
        core = change(Document.load((_BEGIN + bare).rstrip()))
        return _with_body(core, body(), before) + b"\n" + _PADDING + _END
    parts = Parts.of(packet)
    document = Document.load(parts.core)
    before = recorded(parts.core)
    if before.body:
        return parts.fitted(change(document), len(packet))
    draft = Draft(document)
    for name, value in _seeds(parts.core, held).items():
        draft.put(name, value)
    core = change(Document(draft.apply(), document.encoding) if draft.changed else document)
    if core == parts.core:
        return packet
    before = Recorded(size=len(packet), tail=parts.tail, original=original(), iptc=iptc)
    return parts.fitted(_with_body(core, body(), before), len(packet))


def _with_body(core: bytes, body: str, before: Recorded) -> bytes:
    """Record in *core* what was there *before* taggerd."""
    document = Document.load(core)
    draft = Draft(document)
    draft.put(BODY, f"{body} {before.around}")
    return document.encoding.encode(draft.apply())


def changed_packet(packet: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return *packet* after *change*, which gets and returns what a sidecar would hold.

    Where nothing of taggerd's is left, the packet has the length that it had before.
    """
    parts = Parts.of(packet)
    before = recorded(parts.core)
    core = change(parts.core)
    after = recorded(core)
    size = before.size if before.body and not after.body else len(packet)
    return parts.fitted(core, size)


def undone_packet(packet: bytes, undone: Undone) -> bytes | None:
    """Return *packet* after an undo of its core; None: it goes.

    Where the undo restored the core, it is the very packet that was there before taggerd.
    """
    before, core = recorded(Parts.of(packet).core), undone.data
    if core is None:
        return None
    if undone.end == "restored" and len(core) + len(before.tail) == before.size:
        return core + before.tail
    return changed_packet(packet, lambda _core: core)


def _of(provenance: Provenance, before: Recorded) -> Provenance:
    """Add to the body what was there *before* taggerd."""
    return replace(provenance, body=f"{provenance.body} {before.around}")


def _seeds(core: bytes, held: Fields) -> dict[Name, Value]:
    """Return the words *held* elsewhere that the packet lacks; only before the first embedding."""
    document = Document.load(core)
    if DIGEST in document:
        return {}
    return {name: value for name, value in names_of(held).items() if name not in document}
