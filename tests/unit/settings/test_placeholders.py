"""Texts with places that words are put into."""

from __future__ import annotations

import re

import pytest

from taggerd.errors import ConfigurationError
from taggerd.settings.placeholders import check, filled, places


def test_words_come_into_their_places_once() -> None:
    """What is put in is not looked at again, doubled braces are braces, a lost word is nothing."""
    words = {"caption": "a {date} of }{", "date": "June"}
    assert (
        filled("{caption} | {{date}} | {date}{gone}.", words) == "a {date} of }{ | {date} | June."
    )
    assert filled("no places", {}) == "no places"
    assert places("{a}{{b}}{a} {c}") == ("a", "c")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (
            "{capton}",
            "roles.x.prompt: nothing is known as {capton}; did you mean {caption}? known:",
        ),
        ("{caption.text}", "nothing is known as {caption.text}"),
        ("{caption!r:>5}", "nothing is known as {caption!r:>5}"),
        ("{caption[0]}", "nothing is known as {caption[0]}"),
        ("{}", "nothing is known as {}"),
        ('Answer: {"alt": ""}', 'nothing is known as {"alt": ""}'),
        ("{caption", "its braces do not match; write {{ and }}"),
        ("caption}", "its braces do not match; write {{ and }}"),
    ],
)
def test_what_cannot_be_filled_is_one_line(template: str, complaint: str) -> None:
    """Unknown names, expressions and lost braces are named with what to write instead."""
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as caught:
        check(template, ("caption", "date"), "roles.x.prompt")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    check("{caption} {{x}} {date}", ("caption", "date"), "roles.x.prompt")
