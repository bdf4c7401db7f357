"""Where the XMP packet lies in a photo file, format by format: what they have in common.

A format finds the packet, says which edits put another one in its place, and gives a fingerprint
of everything else. Two files of one fingerprint hold the same picture, byte for byte, and the same
metadata but for XMP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from taggerd.metadata.embedding.source import Edit, Span

Fingerprint = tuple[object, ...]
"""Everything in a file but its XMP packet, comparable."""


class Container(Protocol):
    """A parsed photo file."""

    packet: bytes | None
    """The XMP packet, with its padding; None if there is none."""
    place: Span | None
    """The bytes that change with the packet and nothing else (a checksum over it included)."""

    def edits(self, packet: bytes | None) -> list[Edit]:
        """Return the edits that make *packet* the file's only packet; None: that it has none.

        Raises:
            SidecarRefused: it cannot be done without a doubt about something else in the file.
        """

    def fingerprint(self) -> Fingerprint:
        """Return all else that is in the file."""


C2PA = "has Content Credentials (C2PA), which a change would invalidate"
TWO_PACKETS = "has more than one XMP packet"
