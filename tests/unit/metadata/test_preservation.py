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
from hypothesis import HealthCheck, example, given, seed
from hypothesis import settings as testing
from hypothesis import strategies as st
from support import foreign

from taggerd.errors import SidecarRefused
from taggerd.metadata.editing.content import PARTS, edit, shown_text
from taggerd.metadata.editing.values import Edit
from taggerd.metadata.keywords.edits import path_of
from taggerd.metadata.keywords.fields import levels
from taggerd.metadata.options import Options
from taggerd.metadata.ownership import Ownership
from taggerd.metadata.texts import field_texts
from taggerd.metadata.undo.content import undo
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import PREFIXES, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from taggerd.metadata.editing.values import TextPart
    from taggerd.metadata.merge import Merged

    Run = Callable[..., Merged]

OPTIONS = Options()
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


_given = st.sampled_from(["Mine", "Ma <3 & É", "", "שלום \u202e <&>", "Two\nlines", "w" * 300])
_words = st.lists(_word, max_size=2, unique=True).map(tuple)
_edits = st.builds(
    Edit,
    caption=st.none() | _given,
    description=st.none() | _given,
    add=_words,
    drop=_words,
    rename=st.dictionaries(_word, st.sampled_from(["Hund", "Places|Sopot"]), max_size=1),
    reject=st.booleans(),
)


_ONE_TEXT_TWICE = b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" p:Headline="OLYMPUS DIGITAL CAMERA"
 xmlns:p="http://ns.adobe.com/photoshop/1.0/"><dc:title><rdf:Alt>
 <rdf:li xml:lang="x-default">OLYMPUS DIGITAL CAMERA</rdf:li><rdf:li xml:lang="de-DE">Hund</rdf:li>
 </rdf:Alt></dc:title></rdf:Description></rdf:RDF>"""
"""What the machine replaces in one field and a person then empties in another."""


def edited(data: bytes, wanted: Edit, options: Options = OPTIONS) -> bytes | None:
    """Return *data* after an edit; None where it is refused."""
    document = Document.load(data)
    shown = {part: seen(data, part)[0] for part in PARTS}
    changed = edit(document, wanted, options, shown, {})
    return None if changed.refused else changed.data


def seen(data: bytes, part: TextPart) -> tuple[str, bool]:
    """Return the text that people see, and whether it is the machine's."""
    document = Document.load(data)
    texts = field_texts(document, Ownership.read(document))
    return shown_text(texts, part, OPTIONS) or ("", False)


def listed(data: bytes) -> set[str]:
    """Return the last level of every keyword, without case."""
    document = Document.load(data)
    names = ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList")
    items = ((name, text) for name in names for text in document.texts(named(name)))
    return {levels(name, text)[-1].strip().casefold() for name, text in items}


def check_edit(data: bytes, wanted: Edit, merged: Run) -> None:
    """Nothing but what the person named changes, and every later pass honours it."""
    after = edited(data, wanted)
    if after is None:
        return
    assert foreign.same_outside(data, after)
    gone = {*wanted.drop, *wanted.rename}
    new = {path_of(word)[-1].casefold() for word in (*wanted.add, *wanted.rename.values())}
    was, now = foreign.read(data), foreign.read(after)
    if not gone and not wanted.reject:
        # "Dogs" of a person's takes the stead of the machine's "dog".
        ours = Ownership.read(Document.load(data)).keywords if wanted.add else ()
        for name in foreign.LISTS:
            left = now.items(name)
            lost = [item for item in was.items(name) if item not in left]
            assert [item for item in lost if not any(w.encode() in item for w in ours)] == []
    assert {path_of(word)[-1].casefold() for word in wanted.add} <= listed(after)
    dropped = {path_of(word)[-1].casefold() for word in wanted.drop} & listed(data) - new
    overwritten = merged(after, "dog,cat", overwrite=True).data
    passes = [after, merged(after, "dog,cat").data, overwritten]
    put_back = Ownership.read(Document.load(data)).replaced.values() if wanted.reject else ()
    assert all(foreign.same_outside(data, each) for each in passes)
    for each in (*passes, undo(passes[1], OPTIONS).data or after):
        for part, text in wanted.texts.items():
            before, says = seen(data, part)[0], seen(each, part)
            if text and text != before:
                assert (" ".join(says[0].split()), says[1]) == (" ".join(text.split()), False)
            elif text != before:
                # Others' words in another field, which nobody saw, stay; told to, a pass
                # overwrites those. They may say the same.
                assert says[0] != before or before in put_back
                assert not says[1] or each is overwritten
        assert not dropped & listed(each)
        assert {path_of(word)[-1].casefold() for word in wanted.add} <= listed(each)


@pytest.mark.slow
@testing(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=sidecars("dc", "lr", "taggerd"), tagged=st.booleans(), wanted=_edits)
@example(data=_ONE_TEXT_TWICE, tagged=True, wanted=Edit(caption="", reject=True))
def test_nothing_but_what_a_person_named_changes_by_an_edit(
    data: bytes, tagged: bool, wanted: Edit, merged: Run
) -> None:
    """No byte outside our properties; and it holds against later passes and an undo."""
    check_edit(merged(data).data if tagged else data, wanted, merged)


@pytest.mark.long
@seed(3)
@testing(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=sidecars("dc", "lr", "taggerd"), tagged=st.booleans(), wanted=_edits)
def test_nothing_but_what_a_person_named_changes_by_an_edit_for_long(
    data: bytes, tagged: bool, wanted: Edit, merged: Run
) -> None:
    """The same over many more."""
    check_edit(merged(data).data if tagged else data, wanted, merged)


@pytest.fixture
def corpus_pairs(real_sidecars: Path, merged: Run) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Every real sidecar that is merged, before and after."""
    before, after, refused = {}, {}, []
    for path in sorted(real_sidecars.iterdir()):
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


@pytest.mark.slow
def test_an_edit_of_a_real_sidecar_changes_nothing_foreign(real_sidecars: Path) -> None:
    """Outside our properties; the new words are what people see then."""
    mine = Edit(caption="Mine & <só>", description="Other\nline", add=("Sopot",))
    count, refused = 0, []
    for path in sorted(real_sidecars.iterdir()):
        data = path.read_bytes()
        try:
            after = edited(data, mine)
        except SidecarRefused as reason:
            refused.append(str(reason))
            continue
        assert after is not None, path.name
        check_bytes(data, after)
        assert {part: seen(after, part) for part in PARTS} == {
            "caption": (mine.caption, False),
            "description": (mine.description, False),
        }
        assert "sopot" in listed(after)
        count += 1
    assert [reason for reason in refused if not re.search(RULES, reason)] == []
    assert count > 140


def test_a_persons_words_are_not_cut(merged: Run) -> None:
    """Where the title is another's, and nothing else takes so many characters, nothing is done."""
    title = '<rdf:li xml:lang="x-default"> </rdf:li><rdf:li xml:lang="de-DE">Hund</rdf:li>'
    data = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title><rdf:Alt>{title}</rdf:Alt></dc:title></rdf:Description></rdf:RDF>"
    )
    tagged = merged(data.encode()).data
    assert edited(tagged, Edit(caption="w" * 257)) is None
    assert edited(tagged, Edit(caption="w" * 256))


def test_a_comment_in_a_list_that_goes_stays() -> None:
    """Also where every keyword of it is dropped, and what looks like one in a text goes."""
    bag = "<rdf:li>a/b</rdf:li><!-- b > c --> <rdf:li><![CDATA[<!-- -->]]></rdf:li><?app 'x'?>"
    data = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:subject><rdf:Bag>{bag}</rdf:Bag></dc:subject></rdf:Description></rdf:RDF>"
    ).encode()
    after = edited(data, Edit(drop=("a/b", "<!-- -->"))) or b""
    assert listed(after) == set()
    assert after.count(b"<!-- b > c -->") == after.count(b"<?app 'x'?>") == 1
    assert b"CDATA" not in after
