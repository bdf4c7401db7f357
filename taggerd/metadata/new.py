"""A new sidecar, before tags are merged into it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import PREFIXES
from taggerd.metadata.xmp.splice import Draft

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taggerd.metadata.xmp.namespaces import Name
    from taggerd.metadata.xmp.splice import Value

_DECLARED = ("dc", "digiKam", "exif", "Iptc4xmpCore", "lr", "photoshop", "taggerd", "tiff", "xmp")


def new_sidecar(properties: Mapping[Name, Value], version: str) -> bytes:
    """Return a sidecar that holds *properties*, pretty-printed, one description, UTF-8.

    Pretty-printed because darktable's reader for Lightroom's sidecars steps over white space nodes
    and takes compact XML for empty.
    """
    toolkit = quoteattr(f"taggerd {version}".strip())
    declared = "".join(f'\n    xmlns:{p}="{PREFIXES[p]}"' for p in _DECLARED)
    frame = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<x:xmpmeta xmlns:x="{PREFIXES["x"]}" x:xmptk={toolkit}>\n'
        f' <rdf:RDF xmlns:rdf="{PREFIXES["rdf"]}">\n'
        f'  <rdf:Description rdf:about=""{declared}>\n'
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
    )
    draft = Draft(Document(frame.encode()))
    for name, value in properties.items():
        draft.put(name, value)
    return draft.apply()
