"""An answer of 64 KB that a backend makes as costly as it can: read in time that grows with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.inference import keyword_forms

if TYPE_CHECKING:
    from taggerd.photo import Keyword

LONG = 65536


@pytest.mark.parametrize(
    "unit", ["\n", " \n", "\r\n", "- a\n", "a\n", "a,", ",", ";\n", "1. a, b\n", "<p>", "**a**\n"]
)
def test_an_answer_of_many_lines_costs_no_more_than_some_hundred(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """64 KB of line ends took the main process 3.4 s: each empty line was searched for labels."""
    work = []
    split, scored = keyword_forms._split, keyword_forms._scored

    def counting_lines(line: str) -> list[str]:
        work.append(line)
        return split(line)

    def counting_parts(part: str) -> Keyword:
        work.append(part)
        return scored(part)

    monkeypatch.setattr(keyword_forms, "_split", counting_lines)
    monkeypatch.setattr(keyword_forms, "_scored", counting_parts)
    keyword_forms.keywords_in_prose(unit * (LONG // len(unit)))
    assert len(work) <= 1500


def test_an_answer_of_ordinary_length_is_read_whole() -> None:
    """Blank lines between keywords cost none of them."""
    words = [f"word {'x' * n}" for n in range(1, 61)]
    for between in ("\n", "\n\n\n \n", ", "):
        found = keyword_forms.keywords_in_prose(between.join(words))
        assert found is not None
        assert [keyword.word for keyword in found] == words
