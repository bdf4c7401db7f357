"""Every keyword list holds the whole union, and a human's words are never taken out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taggerd import settings
from taggerd.metadata.merge import Merged, merge
from taggerd.metadata.options import Options
from taggerd.metadata.xmp.document import Document
from taggerd.metadata.xmp.namespaces import named
from taggerd.photo import Keyword, Provenance, Tags

Make = Callable[..., bytes]
Run = Callable[..., Merged]
Read = Callable[[bytes, str], list[str]]


def _list(field: str, kind: str, *words: str) -> str:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in words)
    return f"<{field}><rdf:{kind}>{items}</rdf:{kind}></{field}>"


def test_all_lists_get_the_union(merged: Run, sidecar: Make, texts: Read) -> None:
    """Also the words of lists that are left alone, each with its own sign between levels."""
    data = sidecar(
        _list("digiKam:TagsList", "Seq", "People/Anna")
        + _list("MicrosoftPhoto:LastKeywordXMP", "Bag", "Lake")
        + _list("mediapro:CatalogSets", "Bag", "Places|Oslo")
        + _list("dc:subject", "Bag", "Anna", "Harbour")
    )
    data = merged(data, "dog").data
    assert texts(data, "digiKam:TagsList") == [
        "People/Anna", "Harbour", "Lake", "Places/Oslo", "dog",
    ]  # fmt: skip
    assert texts(data, "lr:hierarchicalSubject") == [
        "Harbour", "People|Anna", "Lake", "Places|Oslo", "dog",
    ]  # fmt: skip
    assert texts(data, "MicrosoftPhoto:LastKeywordXMP") == ["Lake"]
    assert texts(data, "mediapro:CatalogSets") == ["Places|Oslo"]
    assert texts(data, "dc:subject") == ["Anna", "Harbour", "Lake", "Oslo", "dog"]
    assert merged(data, "dog").data == data


def test_a_machine_word_alike_to_a_human_one_is_not_added(
    merged: Run, sidecar: Make, texts: Read
) -> None:
    """A human's "Dogs" is enough; it is spread as it is, never normalised, and not owned."""
    data = merged(sidecar(_list("dc:subject", "Bag", "Dogs", " the  Sea ")), "dog,sea,sky").data
    assert texts(data, "dc:subject") == ["Dogs", " the  Sea ", "sky"]
    assert texts(data, "digiKam:TagsList") == ["Dogs", "the  Sea", "sky"]
    assert texts(data, "taggerd:keywords") == ["sky"]


def test_a_later_pass_replaces_machine_words_only(merged: Run, sidecar: Make, texts: Read) -> None:
    """Old machine words go, human words stay where they are."""
    data = merged(sidecar(_list("dc:subject", "Bag", "Anna")), "dog,beach").data
    data = merged(data, "beach,sand").data
    for field in ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"):
        assert texts(data, field) == ["Anna", "beach", "sand"]
    assert texts(data, "taggerd:keywords") == ["beach", "sand"]


@pytest.mark.parametrize("lists", [("dc:subject",), ("digiKam:TagsList",), ("dc:subject", "all")])
def test_a_rejected_word_never_comes_back(
    merged: Run, sidecar: Make, texts: Read, lists: tuple[str, ...]
) -> None:
    """Taken out in one program (Lightroom knows no TagsList) means taken out: also its plural."""
    data = merged(sidecar(), "dog,beach").data
    item = b"<rdf:li>dog</rdf:li>"
    head, mark, tail = data.partition(b"<taggerd:version")
    if "all" in lists:
        head = head.replace(item, b"")
    else:
        start = head.index(f"<{lists[0]}".encode())
        head = head[:start] + head[start:].replace(item, b"", 1)
    data = merged(head + mark + tail, "dogs,beach,sand").data
    for field in ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"):
        assert texts(data, field) == ["beach", "sand"]
    assert texts(data, "taggerd:rejected") == ["dog"]
    again = merged(data, "dog,sky").data
    assert texts(again, "dc:subject") == ["sky"]
    assert texts(again, "taggerd:rejected") == ["dog"]


def test_the_last_word_can_be_rejected(merged: Run, sidecar: Make, texts: Read) -> None:
    """Where all machine words are gone from all lists, all were taken out."""
    data = merged(sidecar("<dc:subject>Anna</dc:subject>"), "dog").data
    head, mark, tail = data.partition(b"<taggerd:version")
    data = merged(head.replace(b"<rdf:li>dog</rdf:li>", b"") + mark + tail, "dog").data
    assert texts(data, "dc:subject") == ["Anna"]
    assert texts(data, "taggerd:rejected") == ["dog"]


def test_a_list_that_was_replaced_rejects_nothing(merged: Run, sidecar: Make, texts: Read) -> None:
    """A program that never read our words and writes its own list has rejected none of them."""
    data = merged(sidecar(), "dog,beach").data
    start, end = data.index(b"<dc:subject"), data.index(b"</dc:subject>") + len(b"</dc:subject>")
    data = data[:start] + _list("dc:subject", "Bag", "Anna").encode() + data[end:]
    data = merged(data, "dog,beach").data
    assert texts(data, "dc:subject") == ["Anna", "dog", "beach"]
    assert texts(data, "digiKam:TagsList") == ["dog", "beach", "Anna"]


def test_a_human_word_is_never_lost_with_its_list(merged: Run, sidecar: Make, texts: Read) -> None:
    """If a program drops the list a human word came from, its copies are human words."""
    data = merged(sidecar(_list("digiKam:TagsList", "Seq", "Places/Oslo")), "dog").data
    start = data.index(b"<digiKam:TagsList")
    end = data.index(b"</digiKam:TagsList>") + len(b"</digiKam:TagsList>")
    data = merged(data[:start] + data[end:], "dog").data
    assert texts(data, "digiKam:TagsList") == ["Places/Oslo", "dog"]


def test_a_copy_of_a_word_taken_out_is_not_spread_again(
    merged: Run, sidecar: Make, texts: Read
) -> None:
    """Anna was taken out of dc:subject: the copies we made neither come back there nor vanish."""
    data = merged(sidecar(_list("dc:subject", "Bag", "Anna", "Oslo")), "dog").data
    data = data.replace(b"<rdf:li>Anna</rdf:li>", b"", 1)
    data = merged(data, "dog,sky").data
    assert texts(data, "dc:subject") == ["Oslo", "dog", "sky"]
    assert "Anna" in texts(data, "digiKam:TagsList")


@pytest.mark.parametrize(
    ("written", "attributes", "expected"),
    [
        ("", 'dc:subject="a, b"', ["a, b", "dog"]),
        ("<dc:subject>a, b</dc:subject>", "", ["a, b", "dog"]),
        (_list("dc:subject", "Seq", "a"), "", ["a", "dog"]),
        (_list("dc:subject", "Alt", "a"), "", ["a", "dog"]),
        (_list("dc:subject", "Bag"), "", ["dog"]),
        ("<dc:subject><rdf:Bag/></dc:subject>", "", ["dog"]),
        ("<dc:subject/>", "", ["dog"]),
        ("<dc:subject> \n </dc:subject>", "", ["dog"]),
        ("<dc:subject><rdf:Bag><rdf:_1>a</rdf:_1></rdf:Bag></dc:subject>", "", ["a", "dog"]),
        ("<dc:subject><rdf:Bag><rdf:li rdf:resource='urn:a'/></rdf:Bag></dc:subject>", "",
         ["urn:a", "dog"]),
    ],
)  # fmt: skip
def test_odd_forms_are_understood(
    merged: Run, sidecar: Make, texts: Read, written: str, attributes: str, expected: list[str]
) -> None:
    """However other programs wrote dc:subject, its words stay and ours join them."""
    data = merged(sidecar(written, attributes), "dog").data
    assert texts(data, "dc:subject") == expected
    assert texts(data, "digiKam:TagsList") == expected


def test_qualified_items_stay_as_they_are(merged: Run, sidecar: Make, texts: Read) -> None:
    """An item with a confidence beside it is not rewritten."""
    item = (
        '<rdf:li rdf:parseType="Resource"><rdf:value>a</rdf:value>'
        '<q:conf xmlns:q="http://example.org/">0.9</q:conf></rdf:li>'
    )
    written = f"<dc:subject><rdf:Bag>{item}</rdf:Bag></dc:subject>"
    data = merged(sidecar(written), "dog").data
    assert item.encode() in data
    assert texts(data, "dc:subject") == ["a", "dog"]


def test_a_separator_in_a_word_makes_no_level(merged: Run, sidecar: Make, texts: Read) -> None:
    """The word "AC/DC" is one, also where "/" stands between levels."""
    data = merged(sidecar(_list("dc:subject", "Bag", "AC/DC")), "on/off").data
    assert texts(data, "digiKam:TagsList") == ["AC-DC", "on-off"]
    assert texts(data, "lr:hierarchicalSubject") == ["AC/DC", "on/off"]
    assert merged(data, "on/off").data == data


def test_no_list_at_all_rejects_nothing(merged: Run, sidecar: Make, texts: Read) -> None:
    """Who switches keyword lists off and on again has not rejected every word."""
    data = merged(sidecar(), "dog", fields=settings.Fields(keywords=[])).data
    assert texts(data, "dc:subject") == []
    assert texts(merged(data, "dog").data, "dc:subject") == ["dog"]


DOG = Keyword("Dog", None, ("WHAT", "Animals"), ("Animals",))
SEA = Keyword("sea")
PROVENANCE = Provenance(
    version="0.1.0",
    date=datetime(2025, 1, 2, tzinfo=UTC),
    profile="default",
    models={"keywords": "eye"},
    digest="ab" * 32,
)


def _placed(data: bytes, *keywords: Keyword, root: str = "", language: str = "") -> bytes:
    tags = Tags(keywords=keywords)
    return merge(data, tags, PROVENANCE, Options(language=language, root=root)).data


def test_a_place_in_the_hierarchy_is_written_as_each_list_has_it(
    sidecar: Make, texts: Read
) -> None:
    """Levels by | and by /; flat lists get the exported parents too; the record has all of it."""
    data = _placed(sidecar(), DOG, SEA)
    assert texts(data, "dc:subject") == ["Dog", "sea", "Animals"]
    assert texts(data, "lr:hierarchicalSubject") == ["WHAT|Animals|Dog", "sea"]
    assert texts(data, "digiKam:TagsList") == ["WHAT/Animals/Dog", "sea"]
    assert texts(data, "taggerd:keywords") == ["Dog", "sea", "Animals"]
    assert texts(data, "taggerd:paths") == ["WHAT|Animals|Dog"]
    assert _placed(data, DOG, SEA) == data
    assert _placed(data) == data


def test_a_later_pass_takes_places_away_again(sidecar: Make, texts: Read) -> None:
    """Every word and level that was ours goes with its keyword; a human's stay."""
    before = sidecar("<dc:subject><rdf:Bag><rdf:li>Fido</rdf:li></rdf:Bag></dc:subject>")
    data = _placed(_placed(before, DOG, SEA, root="AI"), SEA)
    assert texts(data, "dc:subject") == ["Fido", "sea"]
    assert texts(data, "lr:hierarchicalSubject") == ["Fido", "sea"]
    assert texts(data, "digiKam:TagsList") == ["Fido", "sea"]
    assert texts(data, "taggerd:paths") == []
    assert texts(data, "taggerd:root") == []


def test_a_root_for_machine_words(sidecar: Make, texts: Read) -> None:
    """Beside their own place, where there are levels; flat lists and human words do not get it."""
    before = sidecar("<dc:subject><rdf:Bag><rdf:li>Fido</rdf:li></rdf:Bag></dc:subject>")
    data = _placed(before, DOG, SEA, root="AI")
    assert texts(data, "dc:subject") == ["Fido", "Dog", "sea", "Animals"]
    assert texts(data, "digiKam:TagsList") == [
        "Fido", "WHAT/Animals/Dog", "sea", "AI/WHAT/Animals/Dog", "AI/sea",
    ]  # fmt: skip
    assert texts(data, "taggerd:root") == ["AI"]
    assert _placed(data, DOG, SEA, root="AI") == data


def test_a_human_parent_stays_human(sidecar: Make, texts: Read) -> None:
    """It is not written twice, and it does not go when our keyword goes."""
    before = sidecar("<dc:subject><rdf:Bag><rdf:li>animals</rdf:li></rdf:Bag></dc:subject>")
    data = _placed(before, DOG)
    assert texts(data, "dc:subject") == ["animals", "Dog"]
    assert texts(data, "taggerd:keywords") == ["Dog"]
    assert texts(_placed(data, SEA), "dc:subject") == ["animals", "sea"]


def test_a_placed_word_that_was_taken_out_never_comes_back(sidecar: Make, texts: Read) -> None:
    """Not in its place, not flat, not by another list's path."""
    data = _placed(sidecar(), DOG, SEA)
    edited = data.replace(b"<rdf:li>Dog</rdf:li>", b"", 1)
    again = _placed(edited, DOG, SEA)
    assert texts(again, "dc:subject") == ["sea"]
    assert texts(again, "lr:hierarchicalSubject") == ["sea"]
    assert texts(again, "taggerd:rejected") == ["Dog"]
    assert texts(_placed(again, DOG._replace(path=(), parents=())), "dc:subject") == []


def test_a_program_that_lists_no_parents_rejects_none(sidecar: Make, texts: Read) -> None:
    """DigiKam writes only the leaves into dc:subject: the hierarchy stays, the parent stays out."""
    data = _placed(sidecar(), DOG)
    rewritten = data.replace(b"<rdf:li>Animals</rdf:li>", b"", 1)
    cat = Keyword("Cat", None, ("WHAT", "Animals"), ("Animals",))
    again = _placed(rewritten, DOG, cat)
    assert texts(again, "digiKam:TagsList") == ["WHAT/Animals/Dog", "WHAT/Animals/Cat"]
    assert texts(again, "taggerd:rejected") == []
    third = _placed(again, DOG, cat)
    assert texts(third, "dc:subject") == ["Dog", "Cat"]


def test_words_are_compared_by_their_language(sidecar: Make, texts: Read) -> None:
    """In French "fils" is no plural of "fil"."""
    before = sidecar("<dc:subject><rdf:Bag><rdf:li>fils</rdf:li></rdf:Bag></dc:subject>")
    french = _placed(before, Keyword("fil"), language="fr")
    assert texts(french, "dc:subject") == ["fils", "fil"]
    assert texts(_placed(before, Keyword("fil")), "dc:subject") == ["fils"]


_WORD = st.sampled_from(["Dog", "dogs", "Cat", "Animals", "Sea", "a/b", "Fils", "AI", "WHAT"])
_KEYWORD = st.builds(
    lambda word, path: Keyword(word, None, tuple(path), tuple(p for p in path if p != "WHAT")),
    _WORD,
    st.lists(_WORD, max_size=2, unique=True),
)
_HUMAN = st.lists(st.lists(_WORD, min_size=1, max_size=2), max_size=3)
_ROOT = st.sampled_from(["", "AI", "made"])


@hypothesis.settings(deadline=None, max_examples=40)
@given(_HUMAN, _HUMAN, st.lists(st.tuples(st.lists(_KEYWORD, max_size=4), _ROOT), max_size=3))
def test_passes_leave_no_trace_of_earlier_ones(
    flat: list[list[str]],
    levels: list[list[str]],
    passes: list[tuple[list[Keyword], str]],
) -> None:
    """Whatever was said before, what stands in the end is the human's and the last pass's."""
    before = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:lr="http://ns.adobe.com/lightroom/1.0/">'
        + _list("dc:subject", "Bag", *(path[-1] for path in flat))
        + _list("lr:hierarchicalSubject", "Bag", *("|".join(path) for path in levels))
        + "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    data = before
    for keywords, root in passes:
        data = _placed(data, *keywords, root=root)
        assert _placed(data, *keywords, root=root) == data
    final = (Keyword("Whale", None, ("Animals",), ("Animals",)),)
    for name in ("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList"):
        held = Document(before).texts(named(name))
        after = Document(_placed(data, *final)).texts(named(name))
        once = Document(_placed(before, *final)).texts(named(name))
        assert sorted(after) == sorted(once)
        assert not Counter(held) - Counter(after)
