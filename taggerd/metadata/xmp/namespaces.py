"""The XMP namespaces and properties that taggerd knows by name.

URIs are those of XMP part 2, IPTC, Lightroom and digiKam. The prefix in a file may be any other:
only the URI counts.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIXES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xml": "http://www.w3.org/XML/1998/namespace",
    "x": "adobe:ns:meta/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "MicrosoftPhoto": "http://ns.microsoft.com/photo/1.0/",
    "MicrosoftPhoto1": "http://ns.microsoft.com/photo/1.0",
    "mediapro": "http://ns.iview-multimedia.com/mediapro/1.0/",
    "acdsee": "http://ns.acdsee.com/iptc/1.0/",
    "taggerd": "http://taggerd.org/ns/1.0/",
}
"""Usual prefix → URI. taggerd's own ends in ``/`` because Exiv2 adds a slash to others. Microsoft's
has two for that reason: Exiv2's, and (``MicrosoftPhoto1``) Microsoft's and exiftool's."""

RDF = PREFIXES["rdf"]
XML = PREFIXES["xml"]
TAGGERD = PREFIXES["taggerd"]


class Name(NamedTuple):
    """A name in a namespace."""

    uri: str
    local: str


def named(short: str) -> Name:
    """Return the full name of *short*, e.g. ``dc:subject``; KeyError for an unknown prefix."""
    prefix, _, local = short.partition(":")
    return Name(PREFIXES[prefix], local)


def prefix_of(name: Name) -> str:
    """Return the usual prefix of *name*'s namespace; KeyError for one not in :data:`PREFIXES`."""
    return _BY_URI[name.uri]


def short(name: Name) -> str:
    """Return *name* as people write it, e.g. ``dc:subject``; a foreign one by its local part."""
    prefix = _BY_URI.get(name.uri)
    return f"{prefix}:{name.local}" if prefix else name.local


_BY_URI = {uri: prefix for prefix, uri in PREFIXES.items()}
