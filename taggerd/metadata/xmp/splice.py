"""Change some properties of a sidecar as edits on its bytes, and prove that nothing else changed.

A :class:`Draft` collects edits on a parsed :class:`~.xmp.Document`. :meth:`Draft.apply` makes the
new bytes, parses them again and compares: what was asked for is there, and everything else means
what it meant before. If not, the sidecar is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple
from xml.sax.saxutils import quoteattr

from taggerd.metadata.xmp import refuse
from taggerd.metadata.xmp.document import Document, Form, Item, Property
from taggerd.metadata.xmp.namespaces import PREFIXES, RDF, XML, Name, prefix_of, short
from taggerd.metadata.xmp.tree import BLANK, Canonical, Node, attribute_span, canonical

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

_LI = Name(RDF, "li")
_LANGUAGE = Name(XML, "lang")
_BLANK_BYTES = BLANK.encode()
_REMARK = re.compile(rb"<!\[CDATA\[.*?\]\]>|(<!--.*?-->|<\?.*?\?>)", re.DOTALL)
"""A comment or processing instruction (group 1) inside an element, or text that looks like one."""


class Entry(NamedTuple):
    """One item to be written."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Array:
    """A Bag, Seq or Alt to be written."""

    kind: Literal["Bag", "Seq", "Alt"]
    entries: tuple[Entry, ...]


Value = str | Array
"""The value of a property to be written: plain text or an array."""


class Edit(NamedTuple):
    """Bytes *start* to *end* become *new*."""

    start: int
    end: int
    new: bytes


def splice(data: bytes, edits: Collection[Edit]) -> bytes:
    """Return *data* with *edits* made; every byte outside them is the same.

    Raises:
        ValueError: two edits overlap.
    """
    parts: list[bytes] = []
    position = 0
    for edit in sorted(edits, key=lambda edit: edit[:2]):
        if edit.start < position:
            message = f"edits overlap at byte {edit.start}"
            raise ValueError(message)
        parts += [data[position : edit.start], edit.new]
        position = edit.end
    parts.append(data[position:])
    return b"".join(parts)


def escaped(text: str) -> str:
    """Return *text* as XML character data that every parser reads as *text*."""
    return (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    )


class Draft:
    """Edits on one document. Each property may be changed once."""

    def __init__(self, document: Document) -> None:
        """Start with no edit on *document*."""
        self.document = document
        self._edits: list[Edit] = []
        self._new: list[tuple[Name, Value]] = []
        self._expected: dict[Name, Canonical | None] = {}
        crlf = b"\r\n" in document.text[:4096]
        self._eol = "\r\n" if crlf else "\n"

    @property
    def changed(self) -> frozenset[Name]:
        """The names of the properties that change."""
        return frozenset(self._expected)

    def put(self, name: Name, value: Value) -> None:
        """Write *name* as *value*: replace the property, or add it."""
        self._expect(name, _meaning(value))
        old = self.document.read(name)
        if old is None or old.node is None:
            if old is not None:
                self._cut_attribute(old)
            self._new.append((name, value))
            return
        element = self._element(name, value, old.description, self._indent(old.node))
        self._edits.append(Edit(old.node.start, old.node.end, element.encode()))

    def remove(self, name: Name) -> None:
        """Remove the property *name*."""
        self._expect(name, None)
        old = self.document.read(name)
        if old is None:
            return
        if old.node is None:
            self._cut_attribute(old)
        else:
            self._cut(old.node)

    def change_items(
        self, old: Property, texts: Iterable[tuple[Item, str | None]], new: Iterable[Entry] = ()
    ) -> None:
        """Give items of the array *old* other texts, and add *new* ones.

        Args:
            old: an array with items.
            texts: items with their new texts; None removes one.
            new: ``x-default`` goes first, all others last.
        """
        container = _container(old)
        given = {id(item.node): text for item, text in texts}
        kept = [item for item in old.items if given.get(id(item.node), "") is not None]
        meanings: list[Canonical] = []
        for item in old.items:
            text = given.get(id(item.node), item.text)
            meaning = canonical(item.node)
            if text is None:
                self._cut(item.node)
                continue
            if text != item.text:
                self._fill(item.node, escaped(text))
                meaning = (*meaning[:2], text, ())
            meanings.append(meaning)
        first, last = (kept or old.items)[0].node, (kept or old.items)[-1].node
        head = tail = ""
        for entry in new:
            li = f"{container.prefix}li"
            language = f" xml:lang={quoteattr(entry.language)}" if entry.language else ""
            element = f"<{li}{language}>{escaped(entry.text)}</{li}>"
            if entry.language == "x-default":
                meanings.insert(0, _li_meaning(entry))
                head = element + self._gap(first)
            else:
                meanings.append(_li_meaning(entry))
                tail += self._gap(last) + element
        self._edits += [Edit(first.start, first.start, head.encode())] if head else []
        self._edits += [Edit(last.end, last.end, tail.encode())] if tail else []
        self._expect(old.name, (container.name.local, *meanings))

    def edits(self) -> list[Edit]:
        """Return the edits, with new text as it will be read back from the sidecar's encoding."""
        read_back = self.document.encoding.as_read_back
        edits = [*self._edits, *self._insertion()]
        return [edit._replace(new=read_back(edit.new)) for edit in edits]

    def apply(self) -> bytes:
        """Return the new text (UTF-8).

        Raises:
            SidecarRefused: the result does not say what it should, or anything else changed.
        """
        data = splice(self.document.text, self.edits())
        self.check(data)
        return data

    def check(self, text: bytes, also: Mapping[Name, str] = MappingProxyType({})) -> None:
        """Prove that *text* is the document with the edits made, and with the values in *also*.

        Raises:
            SidecarRefused: it does not say what it should, or anything else changed.
        """
        after = Document(text)
        expected = {**self._expected, **{name: _meaning(text) for name, text in also.items()}}
        for name, meaning in expected.items():
            if _summary(after.read(name)) != meaning:
                refuse(f"cannot be merged: {short(name)} did not come out as written")
        changed = frozenset(expected)
        if after.foreign(changed) != self.document.foreign(changed):
            refuse("cannot be merged without altering something else in it")

    def _expect(self, name: Name, meaning: Canonical | None) -> None:
        if name in self._expected:
            message = f"{short(name)} is changed twice"
            raise ValueError(message)
        self._expected[name] = meaning

    def _insertion(self) -> list[Edit]:
        """Make the edits that put all new properties into the first description."""
        if not self._new:
            return []
        if self.document.descriptions:
            target = self.document.descriptions[0]
            indent = self._child_indent(target)
            lines = [self._element(name, value, target, indent) for name, value in self._new]
            return self._append(target, [indent + line for line in lines])
        return self._append(self.document.rdf, [self._new_description()])

    def _new_description(self) -> str:
        """Return a description with all new properties, for a document that has none."""
        rdf = self.document.rdf
        indent = self._child_indent(rdf)
        tag = f"{rdf.prefix}Description"
        about = "" if rdf.prefix else f' xmlns:rdf="{RDF}"'  # an attribute needs a prefix
        about += f" {rdf.prefix or 'rdf:'}about={quoteattr(self.document.about)}"
        lines = [
            f"{indent} {self._element(name, value, rdf, indent + ' ')}" for name, value in self._new
        ]
        return self._eol.join([f"{indent}<{tag}{about}>", *lines, f"{indent}</{tag}>"])

    def _append(self, node: Node, lines: Sequence[str]) -> list[Edit]:
        """Put *lines* behind the last child of *node*."""
        data, eol = self.document.text, self._eol
        new = "".join(eol + line for line in lines)
        tail = eol + self._indent(node)
        if node.empty_tag:
            opened = f">{new}{tail}</{node.written}>"
            return [Edit(node.tag_end - 2, node.tag_end, opened.encode())]
        position = node.children[-1].end if node.children else node.tag_end
        rest = data[position : node.close]
        if not rest.strip() and b"\n" in rest:
            tail = ""
        return [Edit(position, position, (new + tail).encode())]

    def _element(self, name: Name, value: Value, scope: Node, indent: str) -> str:
        """Write one property, pretty-printed, declaring the prefixes that *scope* lacks."""
        prefix = prefix_of(name)
        used = [prefix] if isinstance(value, str) else [prefix, "rdf"]
        declared = "".join(
            f' xmlns:{p}="{PREFIXES[p]}"' for p in used if scope.bound(p) != PREFIXES[p]
        )
        tag = f"{prefix}:{name.local}"
        if isinstance(value, str):
            return f"<{tag}{declared}>{escaped(value)}</{tag}>"
        lines = [f"<{tag}{declared}>", f"{indent} <rdf:{value.kind}>"]
        for text, language in value.entries:
            lang = f" xml:lang={quoteattr(language)}" if language else ""
            lines.append(f"{indent}  <rdf:li{lang}>{escaped(text)}</rdf:li>")
        lines += [f"{indent} </rdf:{value.kind}>", f"{indent}</{tag}>"]
        return self._eol.join(lines)

    def _fill(self, node: Node, content: str) -> None:
        """Make *content* the whole content of *node*."""
        if node.empty_tag:
            opened = f">{content}</{node.written}>"
            self._edits.append(Edit(node.tag_end - 2, node.tag_end, opened.encode()))
        else:
            self._edits.append(Edit(node.tag_end, node.close, content.encode()))

    def _cut(self, node: Node) -> None:
        """Remove *node* and the white space before it, but none of the comments in it."""
        start = node.start - len(self._gap(node).encode())
        remarks = _REMARK.finditer(self.document.text, node.start, node.end)
        self._edits.append(Edit(start, node.end, b"".join(each[1] or b"" for each in remarks)))

    def _cut_attribute(self, old: Property) -> None:
        start, end = attribute_span(self.document.text, old.description, old.name)
        self._edits.append(Edit(start, end, b""))

    def _gap(self, node: Node) -> str:
        """Return the white space right before *node*."""
        data, first = self.document.text, node.start
        while first and data[first - 1] in _BLANK_BYTES:
            first -= 1
        return data[first : node.start].decode("ascii")

    def _indent(self, node: Node) -> str:
        """Return the white space between the start of the line and *node*, if that is all."""
        gap = self._gap(node)
        return gap.rpartition("\n")[2] if "\n" in gap else ""

    def _child_indent(self, node: Node) -> str:
        """Return the indent of *node*'s children."""
        for child in node.children:
            if "\n" in self._gap(child):
                return self._indent(child)
        return self._indent(node) + " "


def _container(old: Property) -> Node:
    """Return the array node of *old*, which must have items."""
    if old.container is None or not old.items:
        message = f"{short(old.name)} is not a list with items"
        raise ValueError(message)
    return old.container


def _li_meaning(entry: Entry) -> Canonical:
    attributes = ((_LANGUAGE, entry.language),) if entry.language else ()
    return (_LI, attributes, entry.text, ())


def _meaning(value: Value) -> Canonical:
    if isinstance(value, str):
        return ("", value)
    return (value.kind, *(_li_meaning(entry) for entry in value.entries))


def _summary(found: Property | None) -> Canonical | None:
    """Return what a property says, in the shape of :func:`_meaning`."""
    if found is None:
        return None
    if found.form is Form.ARRAY and found.container is not None:
        return (found.container.name.local, *(canonical(item.node) for item in found.items))
    return ("", found.text) if found.form is not Form.OTHER else ("?",)
