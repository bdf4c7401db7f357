"""Templates with placeholders."""

from __future__ import annotations

import re

import pytest

from taggerd.errors import ConfigurationError
from taggerd.settings.placeholders import check, fill, names


def test_words_replace_their_placeholders_once() -> None:
    """Braces in words stay, doubled braces are braces, a missing word is empty."""
    words = {"caption": "a {date} of }{", "date": "June"}
    assert fill("{caption} | {{date}} | {date}{gone}.", words) == "a {date} of }{ | {date} | June."
    assert fill("no braces", {}) == "no braces"
    assert names("{a}{{b}}{a} {c}") == ("a", "c")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        (
            "{capton}",
            "roles.x.prompt: unknown placeholder {capton}; did you mean {caption}? known:",
        ),
        ("{caption.text}", "unknown placeholder {caption.text}"),
        ("{caption!r:>5}", "unknown placeholder {caption!r:>5}"),
        ("{caption[0]}", "unknown placeholder {caption[0]}"),
        ("{}", "unknown placeholder {}"),
        ('Answer: {"alt": ""}', 'unknown placeholder {"alt": ""}'),
        ("{caption", "unbalanced braces; write {{ and }}"),
        ("caption}", "unbalanced braces; write {{ and }}"),
    ],
)
def test_a_bad_template_is_one_line(template: str, complaint: str) -> None:
    """Unknown names, expressions and unbalanced braces are named with what to write instead."""
    with pytest.raises(ConfigurationError, match=re.escape(complaint)) as caught:
        check(template, ("caption", "date"), "roles.x.prompt")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    check("{caption} {{x}} {date}", ("caption", "date"), "roles.x.prompt")
