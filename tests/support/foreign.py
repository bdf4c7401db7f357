"""A reader of sidecars that is not taggerd's: what in their bytes is not ours.

Written from the XMP specification (part 1, clause 7) on top of expat's byte offsets, on its own: it
shares no line with the package, so a mistake there is not repeated here.
"""

from __future__ import annotations

import codecs
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

import pytest

if TYPE_CHECKING:
    from pathlib import Path

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TAGGERD = "http://taggerd.org/ns/1.0/"
LISTS = (
    "http://purl.org/dc/elements/1.1/ subject",
    "http://ns.adobe.com/lightroom/1.0/ hierarchicalSubject",
    "http://www.digikam.org/ns/1.0/ TagsList",
)
TEXTS = (
    "http://purl.org/dc/elements/1.1/ description",
    "http://purl.org/dc/elements/1.1/ title",
    "http://ns.adobe.com/photoshop/1.0/ Headline",
    "http://ns.adobe.com/tiff/1.0/ ImageDescription",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/ AltTextAccessibility",
)
_MARKS = {
    codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be",
}  # fmt: skip
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_CUT = b"\0"
_HOLDER = rb"(?:\w+:)?(?:Description|RDF)"
_INSIDE = rb"""(?:[^<>"']|"[^"]*"|'[^']*')*?"""
_COMMENT = re.compile(rb"<!\[CDATA\[.*?\]\]>|(<!--.*?-->|<\?.*?\?>)", re.DOTALL)
_EMPTY = re.compile(rb"<(" + _HOLDER + rb")\b(" + _INSIDE + rb")\s*/>")


@dataclass
class Element:
    """One element with its position in the bytes."""

    name: str
    """URI, a space, local name."""
    attributes: dict[str, str]
    start: int
    end: int = 0
    children: list[Element] = field(default_factory=list)


@dataclass
class Sidecar:
    """A sidecar's bytes, as UTF-8, and the elements in them."""

    text: bytes
    root: Element

    @property
    def rdf(self) -> Element:
        """The one ``rdf:RDF``."""
        waiting = [self.root]
        while waiting:
            element = waiting.pop()
            if element.name == f"{RDF} RDF":
                return element
            waiting += element.children
        message = "no rdf:RDF"
        raise ValueError(message)

    @property
    def descriptions(self) -> list[Element]:
        """The descriptions of the photo."""
        return [each for each in self.rdf.children if each.name == f"{RDF} Description"]

    def properties(self, name: str) -> list[Element]:
        """Return the elements of a property."""
        return [p for d in self.descriptions for p in d.children if p.name == name]

    def items(self, name: str) -> list[bytes]:
        """Return the items of a property's array, as they are written."""
        arrays = [array for each in self.properties(name) for array in each.children]
        return [self.text[i.start : i.end] for array in arrays for i in array.children]


def read(data: bytes) -> Sidecar:
    """Parse a sidecar."""
    text = data
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding).encode()
    if data.startswith((b"<\0", b"\0<")):
        text = data.decode("utf-16-le" if data[1] == 0 else "utf-16-be").encode()
    if re.match(rb"<\?xml[^>]*encoding=.iso-8859-1", data, re.IGNORECASE):
        text = data.decode("latin-1").encode()
    open_: list[Element] = []
    roots: list[Element] = []
    parser = expat.ParserCreate("UTF-8", " ")

    def start(name: str, attributes: dict[str, str]) -> None:
        element = Element(name, attributes, parser.CurrentByteIndex)
        (open_[-1].children if open_ else roots).append(element)
        open_.append(element)

    def end(_name: str) -> None:
        element = open_.pop()
        tag_end = _tag_end(text, element.start)
        empty = text[tag_end - 2 : tag_end] == b"/>"
        element.end = tag_end if empty else text.index(b">", parser.CurrentByteIndex) + 1

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(text, True)  # noqa: FBT003 - expat takes isfinal by position only
    return Sidecar(text, roots[0])


def same_outside(before: bytes, after: bytes) -> bool:
    """Say whether two sidecars have the same bytes outside the properties taggerd may write.

    What is put in or taken out has the white space around it with it; an element without content
    may be written as ``<a></a>``. Comments inside those properties stay too, in or behind them.
    """
    pieces = _without_ours(after).split(_CUT)
    pattern = rb"\s*".join(re.escape(piece.strip()) for piece in pieces if piece.strip())
    left = re.sub(rb"\s*\0", b"", _without_ours(before))
    return re.fullmatch(rb"\s*" + pattern + rb"\s*", left) is not None


def _without_ours(data: bytes) -> bytes:
    """Return the bytes of a sidecar with a mark for each property that taggerd may write."""
    sidecar = read(data)
    text = sidecar.text
    cuts: list[tuple[int, int]] = []
    for description in sidecar.descriptions:
        inner = [(p.start, p.end) for p in description.children if ours(p.name)]
        attributes = [span for name, span in _attributes(sidecar, description) if ours(name)]
        names = {name for name in description.attributes if name not in {"about", f"{RDF} about"}}
        rest = text[_tag_end(text, description.start) : description.end]
        alone = len(inner) == len(description.children) and all(map(ours, names))
        if alone and b"<!--" not in rest and b"<?" not in rest:
            cuts.append((description.start, description.end))
        else:
            cuts += inner + attributes
    for start, end in sorted(cuts, reverse=True):
        comments = [found[1] or b"" for found in _COMMENT.finditer(text, start, end)]
        text = text[:start] + _CUT + b"".join(comments) + text[end:]
    return re.sub(_EMPTY, rb"<\1\2></\1>", text)


def ours(name: str) -> bool:
    """Say whether taggerd may write the property *name*."""
    return name in LISTS or name in TEXTS or name.startswith(f"{TAGGERD} ")


def _tag_end(text: bytes, start: int) -> int:
    """Return where the start tag at *start* ends."""
    quote, position = b"", start
    while True:
        sign = text[position : position + 1]
        position += 1
        if quote:
            quote = b"" if sign == quote else quote
        elif sign in {b'"', b"'"}:
            quote = sign
        elif sign == b">":
            return position


def _attributes(sidecar: Sidecar, element: Element) -> list[tuple[str, tuple[int, int]]]:
    """Return the names and places of the attributes of *element*; by its own declarations."""
    start, end = element.start, _tag_end(sidecar.text, element.start)
    tag = sidecar.text[start:end]
    found = [(m[1].decode(), m[2][1:-1].decode(), m.span()) for m in _ATTRIBUTE.finditer(tag)]
    names = list(element.attributes)
    written = [(name, span) for name, _, span in found if not name.startswith("xmlns")]
    # expat gives attributes in the order in which they are written.
    return [
        (name, (start + span[0], start + span[1]))
        for name, (_, span) in zip(names, written, strict=True)
    ]


def exiftool(path: Path) -> dict[str, object]:
    """Return what the independent reader sees in a sidecar."""
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    shown = subprocess.run(
        ["exiftool", "-j", "-struct", path], capture_output=True, text=True, check=True
    )
    fields: dict[str, object] = json.loads(shown.stdout)[0]
    return fields
