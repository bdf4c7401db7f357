"""Paid answers are kept short, exactly, and readable for ever."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taggerd.ledger.packing import Packed, pack, unpack
from taggerd.photo import Keyword

TIDY = Packed(
    question=2,
    at=1_751_234_567.25,
    text="",
    raw='{"keywords": [{"keyword": "pier", "score": 0.9}, {"keyword": "sea", "score": 0.5}]}',
    keywords=(Keyword("pier", 0.9), Keyword("sea", 0.5)),
    prompt_tokens=1200,
    completion_tokens=40,
    seconds=1.25,
)
CAPTION = replace(TIDY, question=1, at=1_751_234_560.0, text="A pier", raw="A pier", keywords=())
OF_VERSION_3 = (
    "01636c68d876fb7b2ae303a18023c26c8ee0c600d3924216309f21184f01035249a074011573282a4c81391f00"
)


def test_what_the_first_release_packed_is_read_for_ever() -> None:
    """The bytes are those of form 1, and so is its dictionary: neither may ever change."""
    assert unpack(bytes.fromhex(OF_VERSION_3)) == [CAPTION, TIDY]
    assert pack([CAPTION, TIDY]) == bytes.fromhex(OF_VERSION_3)
    dictionary = (files("taggerd.ledger") / "dictionaries" / "1.txt").read_bytes()
    assert (
        hashlib.sha256(dictionary).hexdigest()
        == "11424340d46957e393869c8d4469c638cea091118f46ce79c3712d3ca9420ab6"
    )


texts = st.text(st.characters(), max_size=40)
packed = st.builds(
    Packed,
    question=st.integers(1, 1000),
    at=st.integers(-(10**12), 10**14).map(lambda ms: ms / 1000),
    text=texts,
    raw=texts,
    keywords=st.lists(
        st.tuples(texts, st.none() | st.floats(allow_nan=False)).map(lambda said: Keyword(*said)),
        max_size=5,
    ).map(tuple),
    prompt_tokens=st.integers(-5, 2**40),
    completion_tokens=st.integers(0, 5000),
    seconds=st.integers(0, 10**6).map(lambda ms: ms / 1000),
)


@given(answers=st.lists(packed, max_size=4), same=st.booleans())
def test_whatever_was_said_comes_back(answers: list[Packed], *, same: bool) -> None:
    """Every text, also lone surrogates and NULs; every score; raw apart from the text or not."""
    if same:
        answers = [replace(answer, raw=answer.text) for answer in answers]
    assert unpack(pack(answers)) == answers


@pytest.mark.parametrize(
    "raw",
    [
        TIDY.raw,
        TIDY.raw.replace("keywords", "tags"),
        '["pier", "sea"]',
        '{"keywords": {"pier": 0.9, "sea": 0.5}}',
        '{"pier": 0.9, "sea": 0.5}',
        "[" * 100_000,
        '{"keywords": 5}',
        "[[1, 2, 3]]",
        '{"keywords": [{"keyword": 7, "score": "x"}]}',
        "Pier, sea",
    ],
)
def test_keywords_are_exact_whether_they_follow_from_the_raw_answer_or_not(raw: str) -> None:
    """What the raw answer says already is not kept twice; anything else is kept as it was."""
    for keywords in (TIDY.keywords, (Keyword("pier"), Keyword("sea")), (Keyword("Pier", 0.9),)):
        answer = replace(TIDY, raw=raw, keywords=keywords)
        assert unpack(pack([answer])) == [answer]


def test_typical_answers_are_short() -> None:
    """Caption, twelve scored keywords as JSON, a description: 650 characters in half of that."""
    words = "fishermen nets trawler harbour quay gulls rope overcast repair work coast orange"
    scores = {word: round(0.95 - 0.03 * n, 2) for n, word in enumerate(words.split())}
    keywords = tuple(Keyword(*pair) for pair in scores.items())
    text = (
        "Two fishermen in oilskin overalls sit on upturned crates and mend a tangle of orange nets "
        "beside a rusted trawler moored at a stone quay. Gulls circle above the wheelhouse and "
        "coils of rope lie on wet cobbles. The light is flat and grey, with low cloud hiding the "
        "hills across the inlet, and a single lamp glows in the doorway of the ice services."
    )
    caption = "Two fishermen mend nets beside a rusted trawler in a harbour"
    answers = [
        replace(CAPTION, text=caption, raw=caption),
        replace(TIDY, keywords=keywords, raw=json.dumps({"keywords": scores})),
        replace(CAPTION, question=3, text=text, raw=text),
    ]
    assert len(pack(answers)) < 360


@given(noise=st.binary(max_size=200), cut=st.integers(0, 200))
def test_damage_is_a_value_error(noise: bytes, cut: int) -> None:
    """Cut, noise, and a form that is not known: one kind of error, or an answer of some sort."""
    whole = pack([CAPTION, TIDY])
    for damaged in (noise, b"\x01" + noise, whole[: cut % len(whole)], b"\x02" + whole[1:]):
        try:
            unpack(damaged)
        except ValueError:
            continue
