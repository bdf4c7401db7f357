"""Whatever a sidecar's bytes are: it is merged without a loss, or refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from hypothesis import strategies as st
from support.fuzzing import explore, nearly, runs
from support.program import REPOSITORY

from taggerd.errors import SidecarRefused
from taggerd.metadata.keywords.fields import WRITTEN
from taggerd.metadata.merge import digest_in, merge, new_sidecar
from taggerd.metadata.options import Options
from taggerd.metadata.texts import TEXT_FIELDS
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.encoding import LARGEST, decode
from taggerd.metadata.xmp.namespaces import PREFIXES, named
from taggerd.photo import Keyword, Provenance, Tags

if TYPE_CHECKING:
    from collections.abc import Iterator

TAGS = Tags(
    caption="Two dogs on a beach & <surf>",
    description="Two dogs run over wet sand.",
    keywords=(Keyword("dog"), Keyword("beach"), Keyword("car park")),
)
OTHER_TAGS = Tags(caption="A cat", description="A cat sleeps.", keywords=(Keyword("cat"),))
PROVENANCE = Provenance(
    version="0.1.0",
    date=datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC),
    profile="default",
    models={"caption": "eye"},
    digest="ab" * 32,
)
RDF = f"{{{PREFIXES['rdf']}}}"
OURS = {f"{{{name.uri}}}{name.local}" for name in map(named, (*WRITTEN, *TEXT_FIELDS))}
LIST_NAMES = {f"{{{name.uri}}}{name.local}" for name in map(named, WRITTEN)}
OUR_NAMESPACE = f"{{{PREFIXES['taggerd']}}}"

_DECLARED = " ".join(f'xmlns:{p}="{uri}"' for p, uri in PREFIXES.items() if p not in {"x", "xml"})
_BODY = f"""<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- by hand -->
 <rdf:RDF {_DECLARED} xmlns:q="http://example.org/q/">
  <rdf:Description rdf:about="" q:attribute="a &gt; b" dc:format='image/jpeg'>
   <dc:subject><rdf:Bag><rdf:li>Oma</rdf:li><rdf:li>pier</rdf:li></rdf:Bag></dc:subject>
   <lr:hierarchicalSubject><rdf:Bag><rdf:li>family|Oma</rdf:li></rdf:Bag></lr:hierarchicalSubject>
   <digiKam:TagsList><rdf:Seq><rdf:li>family/Oma</rdf:li></rdf:Seq></digiKam:TagsList>
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Mine</rdf:li></rdf:Alt></dc:title>
   <dc:description><rdf:Alt><rdf:li xml:lang="de">Meins</rdf:li></rdf:Alt></dc:description>
   <q:structure rdf:parseType="Resource"><q:a>1</q:a><q:b rdf:resource="urn:x"/></q:structure>
   <q:text><![CDATA[1 < 2]]></q:text>
  </rdf:Description>
  <rdf:Description rdf:about=""><photoshop:Headline>News</photoshop:Headline></rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>"""
_NEW = new_sidecar({}, "0.1.0")
_OWN = merge(_BODY.encode(), OTHER_TAGS, PROVENANCE, Options()).data
SEEDS = [
    _BODY.encode(), _OWN, _NEW, _BODY.encode("utf-16"), _BODY.replace("\n", "\r\n").encode(),
    b'<?xml version="1.0" encoding="iso-8859-1"?>' + _BODY.replace("\ufeff", "").encode("latin-1"),
]  # fmt: skip
TOKENS = [
    b"<rdf:li>", b"</rdf:li>", b"<rdf:li/>", b"<rdf:Bag>", b"</rdf:Bag>", b"<rdf:Bag/>", b"\xff",
    b"<dc:subject/>", b"<dc:subject>", b"</dc:subject>", b"<rdf:Description/>", b"</", b"/>", b">",
    b'<rdf:Description rdf:about="">', b"</rdf:Description>", b"<!--", b"-->", b"<![CDATA[", b"]]>",
    b"<!DOCTYPE x>", b"&#13;", b"&amp;", b"&#x1f;", b"&x;", b"<?x y?>", b'rdf:parseType="Literal"',
    b'xml:lang="x-default"', b'rdf:nodeID="a"', b'rdf:about="b"', b'xmlns:dc="urn:other"', b"'",
    b'xmlns="http://purl.org/dc/elements/1.1/"', b'"', b"\0", b"\r", b"dog", b" dc:subject='dog'",
    b'xmlns:rdf="urn:z"', b"xmlns:taggerd='u'", b"taggerd:", b"\xf0\x9f\x90\x95", b"<", b"=", b"|",
]  # fmt: skip
_FOLDER = REPOSITORY.parent / "shared" / "corpus" / "sidecars"
REAL = [path.read_bytes() for path in sorted(_FOLDER.glob("*"))] if _FOLDER.is_dir() else []


def _parsed(data: bytes) -> ET.Element:
    """Parse with another parser than ours."""
    builder = ET.TreeBuilder(insert_comments=True, insert_pis=True)
    parser = ET.XMLParser(target=builder, encoding="utf-8")  # noqa: S314 - no DOCTYPE gets here
    parser.feed(decode(data)[0])
    return parser.close()


def _foreign(data: bytes) -> object:
    """Return everything in a sidecar that is not of the properties that taggerd writes."""
    return _meaning(_parsed(data))


def _meaning(node: ET.Element) -> object:
    names = [name for name in node.attrib if not _is_ours(name, node)]
    children = [_meaning(c) for c in node if not _is_ours(c.tag, node)]
    made = (f"{RDF}Description", (), (), "")
    texts = [node.text or "", *(c.tail or "" for c in node)]
    if len(node) or node.tag in {made[0], f"{RDF}RDF"}:
        texts = [text.strip(" \t\r\n") for text in texts]  # layout
    text = "".join(texts)
    attributes = tuple(sorted((n, node.attrib[n]) for n in names))
    about = {f"{RDF}about", "about"}
    if node.tag == made[0] and not children and not text and set(names) <= about:
        return made
    return (node.tag, attributes, tuple(c for c in children if c != made), text)


def _is_ours(name: object, parent: ET.Element) -> bool:
    """Say whether an attribute or child of a description is one that taggerd may write."""
    if parent.tag != f"{RDF}Description" or not isinstance(name, str):
        return False
    return name in OURS or name.startswith(OUR_NAMESPACE)


def _words(data: bytes) -> Iterator[tuple[str, str]]:
    """Give every item of every keyword list."""
    for each in _parsed(data).iter():
        if isinstance(each.tag, str) and each.tag in LIST_NAMES:
            for item in each.iter(f"{RDF}li"):
                yield each.tag, "".join(item.itertext())


def _noted(data: bytes) -> set[str]:
    """Return what the sidecar says that a machine wrote."""
    noted: set[str] = set()
    for each in _parsed(data).iter():
        if isinstance(each.tag, str) and each.tag.startswith(OUR_NAMESPACE):
            noted.update(t for t in each.itertext())
    return noted


def check(data: bytes) -> None:
    """Merge: it is refused in one line, or nothing foreign and no word is lost."""
    reason = ""
    merged = data
    try:
        merged = merge(data, TAGS, PROVENANCE, Options()).data
    except SidecarRefused as refused:
        reason = str(refused)
    assert "\n" not in reason
    if reason:
        return
    assert _foreign(merged) == _foreign(data)
    lost = {word for word in _words(data) if word[1].strip()} - set(_words(merged))
    assert {word for _, word in lost} <= _noted(data), "a word that nobody noted as a machine's"
    assert digest_in(Document.load(merged)) == PROVENANCE.digest
    assert merge(merged, TAGS, PROVENANCE, Options()).data == merged


@runs(200, 5_000)
def test_any_sidecar(examples: int) -> None:
    """Sidecars made by hand and real ones, damaged in every way."""
    explore(check, nearly([*SEEDS, *REAL], TOKENS), examples, always=SEEDS)


@runs(30, 500)
def test_pieces_put_together(examples: int) -> None:
    """Documents built of the pieces of RDF in any order."""
    end = b"</rdf:RDF>"
    inner = st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join)
    explore(check, inner.map(lambda pieces: _NEW.replace(end, pieces + end)), examples)


def test_no_sidecar_becomes_larger_than_the_next_pass_reads() -> None:
    """One that is nearly too large is refused at once, not written and refused for ever after."""
    body = b"<q:long>" + b"x" * (LARGEST - len(_BODY) - 100) + b"</q:long>"
    large = SEEDS[0].replace(b"</rdf:Description>", body + b"</rdf:Description>", 1)
    assert len(large) < LARGEST
    with pytest.raises(SidecarRefused, match="would become larger than 16 MB"):
        merge(large, TAGS, PROVENANCE, Options())
