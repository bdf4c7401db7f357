"""A sidecar as XMP understands it: properties, each with its position in the bytes.

The rules of XMP (part 1, clause 7) that decide whether a sidecar can be understood safely are here:
one ``rdf:RDF``, one ``rdf:about``, no property twice. What is not understood is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.encoding import UTF8, Encoding, decode
from taggerd.metadata.xmp.namespaces import RDF, XML, Name, short
from taggerd.metadata.xmp.tree import BLANK, DESCRIPTION, Canonical, Node, Tree, canonical

if TYPE_CHECKING:
    from collections.abc import Iterator

_RDF_RDF = Name(RDF, "RDF")
_ABOUT = frozenset({Name(RDF, "about"), Name("", "about")})
_VALUE = Name(RDF, "value")
_RESOURCE = Name(RDF, "resource")
_LANGUAGE = Name(XML, "lang")
_ARRAYS = frozenset({Name(RDF, "Bag"), Name(RDF, "Seq"), Name(RDF, "Alt")})
_ITEM = re.compile(r"li|_[1-9][0-9]*")
_NODE_NAMES = frozenset({Name(RDF, "ID"), Name(RDF, "nodeID")})


class Form(Enum):
    """How a property is written."""

    ATTRIBUTE = "attribute"
    """``<rdf:Description dc:format="image/jpeg">``."""
    TEXT = "text"
    """``<dc:format>image/jpeg</dc:format>``."""
    ARRAY = "array"
    """A Bag, Seq or Alt of items."""
    OTHER = "other"
    """A structure, a reference, a value with qualifiers."""


class Item(NamedTuple):
    """One item of an array."""

    node: Node
    text: str
    language: str
    """Its ``xml:lang``, lower case; empty for none."""
    plain: bool
    """It is text without qualifiers other than a language."""


@dataclass(slots=True, eq=False)
class Property:
    """One property of the photo, as far as taggerd needs to understand it."""

    name: Name
    description: Node
    node: Node | None
    """None in attribute form."""
    form: Form
    text: str = ""
    """In attribute and text form; the value where a structure has an ``rdf:value``."""
    container: Node | None = None
    """The Bag, Seq or Alt in array form."""
    items: tuple[Item, ...] = ()
    replaceable: bool = True
    """Writing it again would lose no qualifier."""


class Document:
    """A parsed sidecar.

    Args:
        text: the sidecar as UTF-8 without a byte order mark.
        encoding: how it is stored.

    Raises:
        SidecarRefused: it cannot be understood safely; the message says why.
    """

    def __init__(self, text: bytes, encoding: Encoding = UTF8) -> None:
        """Parse *text* and check it."""
        self.text = text
        self.encoding = encoding
        tree = Tree(text)
        self.remarks = tuple(tree.remarks)
        self.rdf = _only_rdf(tree.root)
        self.about = self._subject()
        self.descriptions = [n for n in self.rdf.children if _describes_photo(n)]
        self._positions = dict(self._properties())
        self._read: dict[Name, Property] = {}

    @classmethod
    def load(cls, data: bytes) -> Document:
        """Parse the bytes of a sidecar, in any encoding of :mod:`.xmp.encoding`."""
        return cls(*decode(data))

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self.encoding.encode(self.text)

    def __contains__(self, name: object) -> bool:
        """Say whether the photo has a property of this *name*."""
        return name in self._positions

    @property
    def names(self) -> frozenset[Name]:
        """The names of all properties."""
        return frozenset(self._positions)

    def read(self, name: Name) -> Property | None:
        """Return the property *name*, or None."""
        if name not in self._positions:
            return None
        if name not in self._read:  # a merge asks for each a few times
            description, node = self._positions[name]
            self._read[name] = (
                Property(
                    name, description, None, Form.ATTRIBUTE, description.attributes[name].value
                )
                if node is None
                else _element_property(name, description, node)
            )
        return self._read[name]

    def texts(self, name: Name) -> tuple[str, ...]:
        """Return the texts of the property *name*, none of them blank; empty if it is not there."""
        found = self.read(name)
        if found is None:
            return ()
        texts = (found.text, *(item.text for item in found.items))
        return tuple(text for text in texts if text.strip(BLANK))

    def foreign(self, ours: frozenset[Name]) -> Canonical:
        """Return what everything but the properties *ours* means.

        Descriptions that say nothing else are left out: one may have been made.
        """
        nodes: list[Canonical] = []
        descriptions = frozenset(self.descriptions)
        for node in self.rdf.children:
            whose = ours if node in descriptions else frozenset()
            bare = canonical(node, whose | _ABOUT) == (DESCRIPTION, (), "", ())
            if not bare:
                nodes.append(canonical(node, whose))
        around: list[Canonical] = []
        inner: Node | None = self.rdf
        while inner is not None:
            beside = inner.parent.children if inner.parent else []
            around.append((inner.name, tuple(sorted(inner.attributes.items()))))
            around.append((inner.text.strip(BLANK), *(canonical(n) for n in beside if n != inner)))
            inner = inner.parent
        return (self.remarks, tuple(around), tuple(nodes))

    def _subject(self) -> str:
        """Return the one ``rdf:about`` that all descriptions share."""
        abouts = {
            attribute.value
            for node in self.rdf.children
            for name, attribute in node.attributes.items()
            if name in _ABOUT and attribute.value
        }
        if len(abouts) > 1:
            refuse("describes more than one thing (rdf:about differs)")
        return abouts.pop() if abouts else ""

    def _properties(self) -> Iterator[tuple[Name, tuple[Node, Node | None]]]:
        """Yield every property's name and position; refuse one that is there twice."""
        seen: set[Name] = set()
        for description in self.descriptions:
            positions: list[tuple[Name, Node | None]] = [
                (name, None) for name in description.attributes if name.uri not in {RDF, XML, ""}
            ]
            positions += [(child.name, child) for child in description.children]
            for name, node in positions:
                if name in seen:
                    refuse(f"has the property {short(name)} more than once")
                seen.add(name)
                yield name, (description, node)


def _describes_photo(node: Node) -> bool:
    """Say whether *node* describes the photo itself, not another named thing."""
    return node.name == DESCRIPTION and not _NODE_NAMES & node.attributes.keys()


def _only_rdf(root: Node) -> Node:
    """Return the only ``rdf:RDF`` under *root*."""
    found: list[Node] = []
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.name == _RDF_RDF:
            found.append(node)
        else:
            waiting.extend(node.children)
    if len(found) != 1:
        many = "more than one rdf:RDF" if found else "no rdf:RDF"
        refuse(f"is not an XMP sidecar that can be merged: {many} in it")
    return found[0]


def _element_property(name: Name, description: Node, node: Node) -> Property:
    """Read a property in element form."""
    qualified = bool(node.attributes)
    if node.attributes.keys() - {_LANGUAGE}:
        text = node.attributes[_VALUE].value if _VALUE in node.attributes else ""
        return Property(name, description, node, Form.OTHER, text or _value(node))
    if not node.children:
        return Property(name, description, node, Form.TEXT, node.text, replaceable=not qualified)
    container = node.children[0]
    if len(node.children) > 1 or node.text.strip(BLANK) or not _is_array(container):
        return Property(name, description, node, Form.OTHER, _value(container))
    items = tuple(_item(child) for child in container.children)
    return Property(
        name,
        description,
        node,
        Form.ARRAY,
        container=container,
        items=items,
        replaceable=not (qualified or container.attributes),
    )


def _is_array(node: Node) -> bool:
    """Say whether *node* is a Bag, Seq or Alt with nothing but items in it."""
    return (
        node.name in _ARRAYS
        and not node.text.strip(BLANK)
        and all(c.name.uri == RDF and _ITEM.fullmatch(c.name.local) for c in node.children)
    )


def _item(node: Node) -> Item:
    """Read one item of an array."""
    language = node.attributes.get(_LANGUAGE)
    plain = not node.children and not (node.attributes.keys() - {_LANGUAGE})
    text = node.text if plain else _value(node)
    return Item(node, text, language.value.lower() if language else "", plain)


def _value(node: Node) -> str:
    """Return the ``rdf:value`` of a qualified value, else the target of a reference, else ""."""
    for child in node.children:
        if child.name == _VALUE:
            return child.text
        if child.name == DESCRIPTION:
            return _value(child)
    for name in (_VALUE, _RESOURCE):
        if name in node.attributes:
            return node.attributes[name].value
    return ""
