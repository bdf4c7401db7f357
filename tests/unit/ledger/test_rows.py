"""What was said comes back out of the database exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taggerd.ledger import Held
from taggerd.ledger.database import storable
from taggerd.ledger.rows import answer_json, held_of
from taggerd.photo import Answer, Keyword

texts = st.text(st.characters(), max_size=40).map(
    # JSON joins two surrogates that follow each other; a parsed answer has none such.
    lambda text: text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
)
scores = st.none() | st.floats(allow_nan=False)
keywords = st.tuples(texts, scores).map(lambda said: Keyword(*said))
answers = st.builds(
    Answer,
    role=st.just("caption"),
    question=st.just("q"),
    text=texts,
    keywords=st.lists(keywords, max_size=3).map(tuple),
    raw=texts,
    model=texts,
    prompt_tokens=st.integers(-1, 2**40),
    completion_tokens=st.integers(-1, 2**40),
    seconds=st.floats(0, 1e6),
)


def row(answer: str) -> dict[str, object]:
    """Return a row as the database gives it."""
    return {"role": "caption", "question": "q", "at": 1.5, "answer": answer}


@given(answer=answers)
def test_whatever_was_said_comes_back(answer: Answer) -> None:
    """Every text, also lone surrogates and NULs; every score; raw equal to the text or not."""
    kept = storable(answer_json(answer))  # as the database will
    kept.encode()
    assert held_of(row(kept)) == Held(answer, 1.5)


def test_what_is_empty_or_said_twice_is_not_kept() -> None:
    """Most answers are their raw text: it is kept once."""
    answer = Answer(role="caption", question="q", text="A pier", raw="A pier")
    assert answer_json(answer) == '{"text":"A pier"}'


@pytest.mark.parametrize(
    "damaged", ["", "{", "[]", "7", '{"text":"x","surprise":1}', '{"keywords":[["pier"]]}']
)
def test_damage_is_a_value_error(damaged: str) -> None:
    """Whatever is no answer: one kind of error."""
    with pytest.raises(ValueError, match="not an answer"):
        held_of(row(damaged))
