"""Whatever a human does between two passes: an undo leaves the human's version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st

from taggerd.metadata.merge import merge
from taggerd.metadata.options import Options
from taggerd.metadata.undo.content import undo
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import PREFIXES, named
from taggerd.photo import Keyword, Provenance, Tags

if TYPE_CHECKING:
    from collections.abc import Iterable

WRITTEN = {"dc:subject": "", "lr:hierarchicalSubject": "|", "digiKam:TagsList": "/"}
TEXTS = ("dc:description", "dc:title", "photoshop:Headline", "tiff:ImageDescription")
MACHINE = ("dog", "beach", "car park", "pier", "snow")
HUMAN = ("Anna", "Oslo", "holiday 2020", "my boat")
PROVENANCE = Provenance(
    version="1", date=datetime(2025, 1, 2, tzinfo=UTC), profile="p", models={}, digest="ab" * 32
)

Edit = tuple[Literal["text", "drop", "add"], str, str]
edits = st.lists(
    st.one_of(
        st.tuples(st.just("text"), st.sampled_from(TEXTS), st.sampled_from(["Mine", "Ma <3 & É"])),
        st.tuples(st.just("drop"), st.sampled_from([*MACHINE, *HUMAN]), st.just("")),
        st.tuples(st.just("add"), st.sampled_from(list(WRITTEN)), st.sampled_from(HUMAN)),
    ),
    max_size=4,
)
tags = st.builds(
    Tags,
    caption=st.sampled_from(["", "A dog on a beach", "A pier & snow"]),
    description=st.sampled_from(["", "A dog runs.\nIt is wet.", "Snow lies on a pier."]),
    keywords=st.tuples(st.lists(st.sampled_from(MACHINE), unique=True), st.booleans()).map(
        lambda drawn: tuple(
            Keyword(word, None, ("Things", "Seen"), ("Seen",)) if drawn[1] else Keyword(word)
            for word in drawn[0]
        )
    ),
)
seeds = st.tuples(
    st.dictionaries(st.sampled_from(TEXTS), st.just("Before")),
    st.dictionaries(st.sampled_from(list(WRITTEN)), st.sets(st.sampled_from(HUMAN), min_size=1)),
)


def _qualified(short: str) -> str:
    name = named(short)
    return f"{{{name.uri}}}{name.local}"


class Human:
    """Edits a sidecar with a program that is not ours, and knows what is the human's in it."""

    def __init__(self, texts: dict[str, str], lists: dict[str, set[str]]) -> None:
        """Write the first version."""
        self.texts: dict[str, str] = dict(texts)
        self.words: set[str] = set().union(*lists.values())
        root = ET.fromstring(  # noqa: S314 - made right here
            f'<x:xmpmeta xmlns:x="{PREFIXES["x"]}"><rdf:RDF xmlns:rdf="{PREFIXES["rdf"]}">'
            '<rdf:Description rdf:about=""/></rdf:RDF></x:xmpmeta>'
        )
        for field, text in texts.items():
            self._set(root, field, text)
        for name, words in lists.items():
            for word in sorted(words):
                self._add(root, name, word)
        self.first = ET.tostring(root)

    def edit(self, data: bytes, wanted: Iterable[Edit]) -> bytes:
        """Make the edits; the whole file is written, as other programs do."""
        root = ET.fromstring(data)  # noqa: S314 - made by these tests
        for kind, where, word in wanted:
            if kind == "text":
                self._set(root, where, word)
                self.texts[where] = word
            elif kind == "add":
                self._add(root, where, word)
                self.words.add(word)
            else:
                self._drop(root, where)
                self.words.discard(where)
        return ET.tostring(root)

    def _set(self, root: ET.Element, field: str, text: str) -> None:
        node = self._node(root, field)
        if field == "photoshop:Headline":
            node.text = text
            return
        for child in list(node):
            node.remove(child)
        alt = ET.SubElement(node, _qualified("rdf:Alt"))
        item = ET.SubElement(alt, _qualified("rdf:li"), {_qualified("xml:lang"): "x-default"})
        item.text = text

    def _add(self, root: ET.Element, name: str, word: str) -> None:
        node = self._node(root, name)
        kind = "rdf:Seq" if name == "digiKam:TagsList" else "rdf:Bag"
        array = node[0] if len(node) else ET.SubElement(node, _qualified(kind))
        if word not in {item.text for item in array}:
            ET.SubElement(array, _qualified("rdf:li")).text = word

    def _drop(self, root: ET.Element, word: str) -> None:
        for name in WRITTEN:
            for array in root.findall(f".//{_qualified(name)}/*"):
                for item in [item for item in array if _leaf(item.text or "") == word]:
                    array.remove(item)

    def _node(self, root: ET.Element, name: str) -> ET.Element:
        description = root.find(f".//{_qualified('rdf:Description')}")
        assert description is not None
        found = description.find(_qualified(name))
        return found if found is not None else ET.SubElement(description, _qualified(name))


def _leaf(text: str) -> str:
    return text.replace("|", "/").rpartition("/")[2]


def _words(document: Document) -> set[str]:
    return {word for name in WRITTEN for word in document.texts(named(name))}


@pytest.mark.slow
@testing(deadline=None)  # the rules of English plurals take seconds to load, once
@given(
    seed=seeds,
    passes=st.lists(st.tuples(tags, edits, st.booleans()), min_size=1, max_size=3),
    language=st.sampled_from(["", "de"]),
    root=st.sampled_from(["", "AI"]),
)
def test_the_humans_version_remains(
    seed: tuple[dict[str, str], dict[str, set[str]]],
    passes: list[tuple[Tags, list[Edit], bool]],
    language: str,
    root: str,
) -> None:
    """Tag, edit, tag again, undo: the human's texts and keywords are there, and nothing of ours."""
    human = Human(*seed)
    data, edited = human.first, False
    rejected: set[str] = set()
    for given_tags, wanted, overwrite in passes:
        options = Options(overwrite=overwrite, language=language, root=root)
        data = merge(data, given_tags, PROVENANCE, options).data
        document = Document.load(data)
        leaves = set(map(_leaf, _words(document)))
        assert not rejected & leaves, "a rejected word came back"
        assert human.words <= _words(document)
        rejected |= {w for kind, w, _ in wanted if kind == "drop" and w in leaves}
        if wanted:
            data, edited = human.edit(data, wanted), True
        rejected -= human.words
    done = undo(data, Options())
    if not edited:
        assert done.data == human.first
    assert done.data is not None
    document = Document.load(done.data)
    assert _words(document) == human.words
    for field in TEXTS:
        said = [human.texts[field]] if field in human.texts else []
        assert list(document.texts(named(field))) == said, field
    assert PREFIXES["taggerd"] not in {name.uri for name in document.names}
