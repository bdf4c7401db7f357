"""Whatever form RDF allows for foreign properties, a merge leaves what they mean alone."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taggerd.metadata.merge import merge
from taggerd.metadata.options import Options
from taggerd.metadata.xmp.namespaces import PREFIXES, TAGGERD
from taggerd.photo import Keyword, Provenance, Tags

_RDF = PREFIXES["rdf"]
_OURS = {
    f"{{{PREFIXES[p]}}}{local}"
    for p, local in (
        ("dc", "description"), ("dc", "title"), ("dc", "subject"), ("photoshop", "Headline"),
        ("tiff", "ImageDescription"), ("Iptc4xmpCore", "AltTextAccessibility"),
        ("lr", "hierarchicalSubject"), ("digiKam", "TagsList"),
    )
}  # fmt: skip

_PROVENANCE = Provenance(
    version="1", date=datetime(2025, 1, 2, tzinfo=UTC), profile="p", models={}, digest="ab"
)

_text = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cn"), include_characters="\n\t"),
    max_size=12,
)
_space = st.sampled_from(["", " ", "\n", "\r\n\t", "<!-- c -->", "<?app x?>"])
_prefix = st.sampled_from(["dc", "lr", "my", "tiff", "x"])


@st.composite
def _value(draw: st.DrawFn, depth: int = 0) -> str:
    """Return the inside of a property element, or an attribute-only form."""
    kind = draw(st.sampled_from(["text", "cdata", "array", "struct", "nested", "lang"]))
    if kind == "text" or depth > 1:
        return ">" + escape(draw(_text))
    if kind == "cdata":
        return "><![CDATA[" + draw(_text).replace("]]>", "") + "]]>"
    if kind == "array":
        name = draw(st.sampled_from(["Bag", "Seq", "Alt"]))
        items = draw(st.lists(_value(depth + 1), max_size=3))
        inner = "".join(f"<rdf:li{item}</rdf:li>{draw(_space)}" for item in items)
        return f">{draw(_space)}<rdf:{name}>{inner}</rdf:{name}>"
    if kind == "struct":
        return f' rdf:parseType="Resource"><f:a{draw(_value(depth + 1))}</f:a>{draw(_space)}'
    if kind == "nested":
        return f"><rdf:Description f:b={quoteattr(draw(_text))}/>"
    return ' xml:lang="de">' + escape(draw(_text))


@st.composite
def _subject(draw: st.DrawFn) -> str:
    """Return dc:subject in one of its forms, or nothing."""
    words = draw(st.lists(st.sampled_from(["dog", "Dogs", "Anna", "a|b", "x/y"]), max_size=3))
    kind = draw(st.sampled_from(["Bag", "Seq", "text", "none"]))
    if kind == "none":
        return ""
    if kind == "text":
        return f"<k:subject>{', '.join(words)}</k:subject>"
    items = draw(_space).join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return f"<k:subject><rdf:{kind}>{items}</rdf:{kind}></k:subject>"


@st.composite
def _sidecars(draw: st.DrawFn) -> bytes:
    """Return a sidecar of one to three descriptions with foreign properties and dc:subject."""
    prefix = draw(_prefix)
    descriptions = []
    count = draw(st.integers(1, 3))
    for index in range(count):
        body = draw(_subject()) if index == count - 1 else ""
        names = draw(st.lists(st.integers(0, 5), unique=True, max_size=3))
        for number in names:
            tag = f"{prefix}:p{index}{number}"
            body += draw(_space) + f"<{tag}{draw(_value())}</{tag}>"
        declared = f' xmlns:{prefix}="http://example.org/{prefix}" xmlns:f="urn:f"'
        declared += f' xmlns:k="{PREFIXES["dc"]}"'
        if draw(st.booleans()):
            declared += f" {prefix}:q{index}={quoteattr(draw(_text))}"
        about = draw(st.sampled_from(["", ' rdf:about=""']))
        start = f"<rdf:Description{about}{declared}"
        descriptions.append(
            f"{start}>{body}{draw(_space)}</rdf:Description>" if body else f"{start}/>"
        )
    inner = draw(_space).join(descriptions)
    rdf = f'<rdf:RDF xmlns:rdf="{_RDF}">{inner}</rdf:RDF>'
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'
    if draw(st.booleans()):
        packet = f'<?xpacket begin="" id="W5M0"?>\n{packet}\n   \n<?xpacket end="w"?>'
    return packet.encode()


def _parsed(data: bytes) -> ET.Element:
    builder = ET.TreeBuilder(insert_comments=True, insert_pis=True)
    return ET.fromstring(data, ET.XMLParser(target=builder))  # noqa: S314 - ours


def _meaning(element: ET.Element) -> list[object]:
    """Return an element with all that is in it, without the names of prefixes."""
    inside = [[_meaning(child), child.tail] for child in element]
    return [str(element.tag), sorted(element.attrib.items()), element.text, inside]


def _foreign(data: bytes) -> list[object]:
    """Return everything in *data* that is not ours, piece by piece."""
    rdf = _parsed(data).find(f"{{{_RDF}}}RDF")
    assert rdf is not None
    found: list[object] = []
    for description in rdf:
        found.append(sorted((k, v) for k, v in description.attrib.items() if k not in _OURS))
        found += [
            _meaning(child)
            for child in description
            if child.tag not in _OURS and TAGGERD not in str(child.tag)
        ]
        if not isinstance(description.tag, str):
            found.append(description.text)  # a comment or an instruction
    return found


def _words(data: bytes) -> list[str]:
    subject = _parsed(data).find(f".//{{{PREFIXES['dc']}}}subject")
    return [] if subject is None else [text for text in subject.itertext() if text.strip()]


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=_sidecars())
def test_foreign_properties_survive(data: bytes) -> None:
    """Unchanged, in their order; every keyword is still there; a second time changes nothing."""
    tags = Tags(caption="C", description="D", keywords=(Keyword("dog"), Keyword("sea")))
    result = merge(data, tags, _PROVENANCE, Options()).data
    assert _foreign(result) == _foreign(data)
    assert [w for w in _words(data) if w not in _words(result)] == []
    assert "sea" in _words(result)
    assert merge(result, tags, _PROVENANCE, Options()).data == result
