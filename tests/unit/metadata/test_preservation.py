"""Nothing foreign changes, in whatever form RDF allows it: byte for byte, and to another reader.

Two readers that are not taggerd's look at every sidecar before and after: ``foreign``, which cuts
our properties out of the bytes, and exiftool.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import HealthCheck, given, seed
from hypothesis import settings as testing
from hypothesis import strategies as st
from support import foreign

from taggerd.errors import SidecarRefused
from taggerd.metadata.options import Options
from taggerd.metadata.undo.content import undo
from taggerd.metadata.xmp.namespaces import PREFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taggerd.metadata.merge import Merged

    Run = Callable[..., Merged]

RULES = r"well-formed|DOCTYPE|more than one thing|more than once|no rdf:RDF|is empty"
"""For what metadata.md says that a sidecar is refused."""

_text = st.text(
    st.characters(
        codec="utf-8",
        exclude_categories=("Cs", "Cc", "Cn", "Co"),
        exclude_characters="\ufffe\uffff",
        include_characters="\n\t",
    ),
    max_size=12,
)
_word = st.sampled_from(["dog", "Dogs", "Anna", "Places|Oslo", "a/b", "é <&>", "雪"])
_gap = st.sampled_from(
    ["", " ", "\n   ", "\r\n\t", "\n<!-- 'a' > b -->\n ", "<?app x='/>'?>", "<!---->"]
)
_human = st.sampled_from(["Mine", "Ma <3 & É", "OLYMPUS DIGITAL CAMERA", " ", ""])


_simple = st.one_of(
    _text.map(lambda text: ">" + escape(text, {"\n": "&#10;"})),
    _text.map(lambda text: f"><![CDATA[{text.replace(']]>', '')}</x:y>]]>"),
    _word.map(lambda word: f" rdf:resource={quoteattr('http://example.org/' + word)}>"),
    _text.map(lambda text: f" xml:lang='de'>{escape(text)}"),
    _text.map(lambda text: f">{escape(text)}<!-- inside -->{escape(text)}"),
    _text.map(lambda text: f" f:a={quoteattr(text)} f:b='x'>"),
    st.just(" rdf:parseType='Literal'><f:b>bold</f:b> text"),
)
"""The rest of a property's start tag and its content, without the end tag."""


@st.composite
def _structured(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """Return an array, a structure or a value with a qualifier."""
    gap = draw(_gap)
    kind = draw(st.sampled_from(["Bag", "Seq", "Alt", "resource", "nested", "qualified"]))
    if kind == "resource":
        return f" rdf:parseType='Resource'>{gap}<f:a{draw(inner)}</f:a>{gap}"
    if kind == "nested":
        held = f"<f:b{draw(inner)}</f:b>"
        return f">{gap}<rdf:Description f:a={quoteattr(draw(_text))}>{held}</rdf:Description>"
    if kind == "qualified":
        value = f"<rdf:value>{escape(draw(_text))}</rdf:value>{gap}<f:q{draw(inner)}</f:q>"
        return f">{gap}<rdf:Description>{value}</rdf:Description>"
    items = draw(_gap).join(f"<rdf:li{item}</rdf:li>" for item in draw(st.lists(inner, max_size=3)))
    return f">{gap}<rdf:{kind}>{gap}{items}</rdf:{kind}>"


_value = st.one_of(_simple, _structured(st.one_of(_simple, _structured(_simple))))


@st.composite
def _own(draw: st.DrawFn, dc: str) -> tuple[str, str]:
    """Return properties that taggerd writes too, as elements and as attributes."""
    body, attributes = "", ""
    words = draw(st.lists(_word, max_size=3, unique=True))
    kind = draw(st.sampled_from(["none", "none", "Bag", "Seq", "text"]))
    if kind == "text":
        body += f"<{dc}:subject>{escape(', '.join(words))}</{dc}:subject>"
    elif kind != "none":
        items = draw(_gap).join(f"<rdf:li>{escape(word)}</rdf:li>" for word in words)
        body += f"<{dc}:subject><rdf:{kind}>{items}</rdf:{kind}></{dc}:subject>"
    if draw(st.booleans()):
        words = draw(st.lists(_word, min_size=1, max_size=2, unique=True))
        items = "".join(f"<rdf:li>{escape(word)}</rdf:li>" for word in words)
        name = draw(st.sampled_from(["lr:hierarchicalSubject", "digiKam:TagsList"]))
        prefix = name.partition(":")[0]
        body += f"<{name} xmlns:{prefix}='{PREFIXES[prefix]}'><rdf:Bag>{items}</rdf:Bag></{name}>"
    text = draw(_human)
    match draw(st.sampled_from(["none", "attribute", "text", "alt"])):
        case "attribute":
            attributes += f" {dc}:title={quoteattr(text)}"
        case "text":
            body += f"<{dc}:description>{escape(text)}</{dc}:description>"
        case "alt":
            items = f"<rdf:li xml:lang='x-default'>{escape(text)}</rdf:li>{draw(_gap)}"
            items += "<rdf:li xml:lang='de-DE'>Hund</rdf:li>"
            body += f"<{dc}:title>{draw(_gap)}<rdf:Alt>{items}</rdf:Alt></{dc}:title>"
    if draw(st.booleans()):
        attributes += f" p:Headline={quoteattr(draw(_human))} xmlns:p='{PREFIXES['photoshop']}'"
    return body, attributes


@st.composite
def sidecars(draw: st.DrawFn, *prefixes: str) -> bytes:
    """Return a sidecar in any of the forms of RDF/XML, in any of the encodings."""
    prefix = draw(st.sampled_from(["my", "x", "_a-b.c", *prefixes]))
    dc = "k" if prefix == "dc" else draw(st.sampled_from(["dc", "k", "xmp"]))
    count = draw(st.integers(0, 3))
    about = draw(st.sampled_from(["", "", "uuid:1"]))
    parts = []
    for index in range(count):
        body, attributes = draw(_own(dc)) if index == count - 1 else ("", "")
        for number in draw(st.lists(st.integers(0, 5), unique=True, max_size=3)):
            tag = f"{prefix}:p{index}{number}"
            body += draw(_gap) + f"<{tag}{draw(_value)}</{tag}>"
        if draw(st.booleans()):
            attributes += f"{draw(st.sampled_from(['', chr(10)]))} {prefix}:q{index}="
            attributes += quoteattr(draw(_text))
        spaces = f' xmlns:{prefix}="http://example.org/{index}/" xmlns:f="urn:f:"'
        spaces += f" xmlns:{dc}='{PREFIXES['dc']}'"
        said = draw(st.sampled_from([f' rdf:about="{about}"', f" about='{about}'"]))
        start = f"<rdf:Description{said}{spaces}{attributes}"
        end = f">{body}{draw(_gap)}</rdf:Description>"
        parts.append(start + (end if body or draw(st.booleans()) else "/>"))
    inner = draw(_gap) + draw(_gap).join(parts) + draw(_gap)
    rdf = f'<rdf:RDF xmlns:rdf="{PREFIXES["rdf"]}"' + (f">{inner}</rdf:RDF>" if inner else "/>")
    packet = rdf
    if draw(st.booleans()):
        packet = f'{draw(_gap)}<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'
    if draw(st.booleans()):
        packet = f'<?xpacket begin="" id="W5M0"?>\n{packet}\n   \n<?xpacket end="w"?>'
    if draw(st.booleans()):
        packet = packet.replace("\r\n", "\n").replace("\n", "\r\n")
    return draw(_encoded(packet.lstrip()))


@st.composite
def _encoded(draw: st.DrawFn, packet: str) -> bytes:
    match draw(st.sampled_from(["plain", "plain", "declared", "mark", "utf-16-le", "utf-16-be"])):
        case "declared":
            return f'<?xml version="1.0" encoding="UTF-8"?>\n{packet}'.encode()
        case "mark":
            return b"\xef\xbb\xbf" + packet.encode()
        case "utf-16-le" | "utf-16-be" as encoding:
            return ("\ufeff" + packet).encode(encoding)
    return packet.encode()


def check_bytes(before: bytes, after: bytes) -> None:
    """All bytes outside our properties are the same, and every human item is there as it was."""
    assert foreign.same_outside(before, after)
    assert before[:2] == after[:2]
    was, now = foreign.read(before), foreign.read(after)
    for name in foreign.LISTS:
        left = now.items(name)
        assert [item for item in was.items(name) if item not in left] == []


@pytest.mark.slow
@testing(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=sidecars("dc", "lr", "taggerd"))
def test_no_byte_outside_our_properties_changes(data: bytes, merged: Run) -> None:
    """By a merge, a second one with other words, and one that overwrites; and an undo."""
    first = merged(data).data
    check_bytes(data, first)
    assert merged(first).data == first
    second = merged(first, "cat,pier", caption="Another").data
    check_bytes(data, second)
    assert undo(second, Options()).data == data
    over = merged(data, overwrite=True).data
    check_bytes(data, over)
    assert undo(over, Options()).data == data


@pytest.mark.long
@seed(5)
@testing(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=sidecars("dc", "lr", "taggerd"))
def test_no_byte_outside_our_properties_changes_for_long(data: bytes, merged: Run) -> None:
    """The same over many more."""
    check_bytes(data, merged(data).data)


@pytest.fixture
def corpus_pairs(corpus: Path, merged: Run) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Every real sidecar that is merged, before and after."""
    before, after, refused = {}, {}, []
    for path in sorted((corpus / "sidecars").iterdir()):
        data = path.read_bytes()
        try:
            after[path.name] = merged(data).data
            before[path.name] = data
        except SidecarRefused as reason:
            refused.append(str(reason))
    assert [reason for reason in refused if not re.search(RULES, reason)] == []
    assert len(before) > 140
    return before, after


@pytest.mark.slow
def test_no_byte_of_a_real_sidecar_changes(
    corpus_pairs: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    """Outside our properties; refused is only what is damaged or says two things at once."""
    before, after = corpus_pairs
    for name, data in before.items():
        check_bytes(data, after[name])


def exiftool(folder: Path) -> dict[str, dict[str, object]]:
    """Return what exiftool reads in every file of *folder*, by name."""
    program = shutil.which("exiftool")
    if program is None:
        pytest.skip("exiftool is not installed: apt-get install libimage-exiftool-perl")
    command = [program, "-struct", "-j", "-G1", "-a", "-u", "-q", "-q", "-ext", "xmp", str(folder)]
    output = subprocess.run(command, capture_output=True, check=False).stdout
    return {Path(read["SourceFile"]).name: read for read in json.loads(output)}


def _said(read: dict[str, object]) -> dict[str, object]:
    """Return what is foreign of what exiftool read."""
    around = ("System:", "File:", "ExifTool:", "SourceFile", "XMP-taggerd:")
    tags = {k: v for k, v in read.items() if not k.startswith(around)}
    ours = ("XMP-dc:Subject", "XMP-lr:HierarchicalSubject", "XMP-digiKam:TagsList",
            "XMP-dc:Title", "XMP-dc:Description", "XMP-photoshop:Headline",
            "XMP-tiff:ImageDescription", "XMP-iptcCore:AltTextAccessibility")  # fmt: skip
    return {k: v for k, v in tags.items() if k.partition("-de")[0] not in ours}


def check_with_exiftool(folder: Path, pairs: Iterable[tuple[str, bytes, bytes]]) -> int:
    """All that exiftool reads is the same before and after; return how many tags that were."""
    for side in ("before", "after"):
        (folder / side).mkdir()
    for name, before, after in pairs:
        (folder / "before" / name).write_bytes(before)
        (folder / "after" / name).write_bytes(after)
    was, now = exiftool(folder / "before"), exiftool(folder / "after")
    assert was.keys() == now.keys()
    for name, read in was.items():
        assert _said(read) == _said(now[name]), name
    return sum(len(_said(read)) for read in was.values())


@pytest.mark.long
def test_exiftool_reads_the_same(merged: Run, tmp_path: Path) -> None:
    """Of some hundred sidecars in odd forms, in one run of exiftool before and one after.

    None of them uses the prefix ``dc`` for something else: exiftool gives a prefix one meaning in
    the whole of a file.
    """
    pairs: list[tuple[str, bytes, bytes]] = []

    @seed(7)
    @testing(max_examples=600, deadline=None, database=None,
             suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(data=sidecars())
    def collect(data: bytes) -> None:
        pairs.append((f"{len(pairs)}.xmp", data, merged(data).data))

    collect()
    assert check_with_exiftool(tmp_path, pairs) > 1000
