"""XML as a tree with the byte span of every element.

expat parses (namespaces, well-formedness, UTF-8); this module adds the spans.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from xml.parsers import expat

from taggerd.errors import SidecarRefused
from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.namespaces import RDF, Name

if TYPE_CHECKING:
    from collections.abc import Mapping

DEEPEST = 100
"""Levels of elements; deeper ones are refused (the walks over the tree are recursive)."""

MOST_PARTS = 100_000
"""Elements, attributes, comments and instructions. A tree of so many takes 100 MB, and a merge
holds two; 16 MB of XML could hold two million. Real sidecars have hundreds, with brush masks
thousands."""
LONGEST_URI = 4096
"""Characters: expat repeats a namespace in every name that is in it."""

BLANK = " \t\r\n"
"""What XML takes as white space."""

DESCRIPTION = Name(RDF, "Description")

_NONE: Mapping[Any, Any] = MappingProxyType({})
_SEPARATOR = "\x1f"  # cannot occur in XML, so neither in a namespace URI
_SLASH = ord("/")
_TAG = re.compile(rb"""<[^\s/>]+(?:[^>"']+|"[^"]*"|'[^']*')*>""")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


class Attribute(NamedTuple):
    """An attribute as it is written and what it means."""

    value: str
    written: str
    """Its name in the file, with the prefix used there."""


@dataclass(slots=True, eq=False)
class Node:
    """An element."""

    name: Name
    written: str
    """Its name in the file, with the prefix used there."""
    attributes: Mapping[Name, Attribute]
    parent: Node | None
    bindings: Mapping[str, str]
    """Prefix → URI, as declared on this element."""
    start: int
    """Offset of its ``<``."""
    tag_end: int
    """Offset after the ``>`` of its start tag."""
    empty_tag: bool
    """It is written ``<a/>``."""
    close: int = -1
    """Offset of the ``</`` of its end tag; of its end where it has none."""
    end: int = -1
    """Offset after the element."""
    children: list[Node] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """Its own character data."""
        return "".join(self.texts)

    @property
    def prefix(self) -> str:
        """The prefix it is written with, e.g. ``"rdf:"`` with the colon; empty for none."""
        head, colon, _ = self.written.rpartition(":")
        return head + colon

    def bound(self, prefix: str) -> str | None:
        """Return the URI that *prefix* stands for inside this element."""
        node: Node | None = self
        while node is not None:
            if prefix in node.bindings:
                return node.bindings[prefix]
            node = node.parent
        return None


Canonical = tuple[object, ...]
"""What an element means, comparable: name, attributes, text, children; no prefixes, no layout."""


def canonical(node: Node, without: frozenset[Name] = frozenset()) -> Canonical:
    """Return what *node* means, leaving out its own attributes and children named in *without*."""
    text = node.text
    if (node.children or node.name == DESCRIPTION) and not text.strip(BLANK):
        text = ""  # layout
    return (
        node.name,
        _attributes(node, without) if node.attributes else (),
        text,
        tuple([canonical(child) for child in node.children if child.name not in without]),
    )


def _attributes(node: Node, without: frozenset[Name]) -> Canonical:
    """Return the attributes of *node* but those named in *without*, in their order by name."""
    return tuple(sorted((k, a.value) for k, a in node.attributes.items() if k not in without))


def attribute_span(data: bytes, node: Node, name: Name) -> tuple[int, int]:
    """Return the byte span of the attribute *name* in *node*'s start tag, white space before it."""
    written = node.attributes[name].written.encode()
    first = node.start + 1 + len(node.written.encode())
    found = _ATTRIBUTE.finditer(data, first, node.tag_end)
    span = next((match.span() for match in found if match[1] == written), None)
    if span is None:
        refuse(f"has an attribute {written.decode()} that cannot be found again")
    return span


class Tree:
    """A parsed XML document.

    Args:
        data: UTF-8 without a byte order mark.

    Raises:
        SidecarRefused: it is not well-formed, has a DOCTYPE or too many parts, or nests too deep.
    """

    def __init__(self, data: bytes) -> None:
        """Parse *data*."""
        self._data = data
        self._open: list[Node] = []
        self._bindings: dict[str, str] = {}
        self._root: Node | None = None
        self._parts = 0
        self._names: dict[str, tuple[Name, str]] = {}
        self.remarks: list[tuple[str, ...]] = []
        """Comments and processing instructions in their order."""
        parser = expat.ParserCreate("UTF-8", _SEPARATOR)
        parser.namespace_prefixes = True
        parser.ordered_attributes = True
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._binding
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.CommentHandler = self._comment
        parser.ProcessingInstructionHandler = self._instruction
        self._parser = parser
        try:
            parser.Parse(data, True)  # noqa: FBT003 - expat takes isfinal by position only
        except expat.ExpatError as error:
            message = f"is not well-formed XML: {error}"
            raise SidecarRefused(message) from None

    @property
    def root(self) -> Node:
        """The root element."""
        if self._root is None:
            refuse("has no element in it")
        return self._root

    def _doctype(self, *_: object) -> NoReturn:
        refuse("has a DOCTYPE, which no sidecar needs")

    def _binding(self, prefix: str | None, uri: str | None) -> None:
        self._count(1)
        if len(uri or "") > LONGEST_URI:
            refuse(f"has a namespace of more than {LONGEST_URI} characters")
        self._bindings[prefix or ""] = uri or ""

    def _start(self, name: str, pairs: list[str]) -> None:
        opened = self._open
        if len(opened) >= DEEPEST:
            refuse(f"nests deeper than {DEEPEST} levels")
        self._count(1 + len(pairs) // 2)
        start = self._parser.CurrentByteIndex
        tag = _TAG.match(self._data, start)
        if tag is None:
            refuse("has a tag that cannot be found again")
        end = tag.end()
        names = self._names
        full, written = names.get(name) or self._split(name)
        attributes: dict[Name, Attribute] | None = None
        if pairs:
            attributes = {}
            for key, value in zip(pairs[::2], pairs[1::2], strict=True):
                attribute, attribute_written = names.get(key) or self._split(key)
                attributes[attribute] = Attribute(value, attribute_written)
        bindings: Mapping[str, str] = _NONE
        if self._bindings:
            bindings, self._bindings = self._bindings, {}
        parent = opened[-1] if opened else None
        node = Node(
            full,
            written,
            attributes or _NONE,
            parent,
            bindings,
            start,
            end,
            self._data[end - 2] == _SLASH,
        )
        if parent is None:
            self._root = node
        else:
            parent.children.append(node)
        opened.append(node)

    def _end(self, _name: str) -> None:
        node = self._open.pop()
        node.close = node.tag_end if node.empty_tag else self._parser.CurrentByteIndex
        node.end = node.close if node.empty_tag else self._data.index(b">", node.close) + 1

    def _text(self, text: str) -> None:
        self._open[-1].texts.append(text)

    def _comment(self, text: str) -> None:
        self._count(1)
        self.remarks.append(("comment", text))

    def _instruction(self, target: str, text: str) -> None:
        self._count(1)
        self.remarks.append(("instruction", target, text))

    def _count(self, parts: int) -> None:
        self._parts += parts
        if self._parts > MOST_PARTS:
            refuse(f"has more than {MOST_PARTS:,} parts")

    def _split(self, name: str) -> tuple[Name, str]:
        """Return what expat calls *name*; the same objects each time, for a tree has many."""
        self._names[name] = _split(name)
        return self._names[name]


def _split(name: str) -> tuple[Name, str]:
    """Take expat's ``uri, local, prefix`` apart: the name, and the name as it is written."""
    parts = name.split(_SEPARATOR)
    if len(parts) == 1:
        return Name("", parts[0]), parts[0]
    uri, local = parts[0], parts[1]
    return Name(uri, local), f"{parts[2]}:{local}" if len(parts) > 2 else local  # noqa: PLR2004 - the prefix is the third part
