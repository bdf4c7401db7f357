"""What a form changes, and which photos an address means."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from taggerd.catalogue import Query
from taggerd.web.actions import edit_of
from taggerd.web.addresses import address, photo_address, query_of, title_of
from taggerd.web.recent import Done, Recent
from taggerd.web.site import Form

NOW = {"caption": "A boat", "description": "One.\nTwo."}


def test_a_text_that_was_not_changed_is_not_the_persons() -> None:
    """Opening a field and saving it as it was leaves the words the machine's."""
    edit = edit_of(Form([("caption", "A boat"), ("seen_caption", "A boat")]), NOW)
    assert edit.caption is None
    assert not edit.seen


def test_line_ends_of_a_browser_change_nothing() -> None:
    """A browser sends CR LF for each line: that is no edit, and no conflict."""
    sent = [("description", "One.\r\nTwo."), ("seen_description", "One.\r\nTwo.")]
    assert edit_of(Form(sent), NOW).description is None
    edit = edit_of(Form([("description", "One.\r\nThree."), sent[1]]), NOW)
    assert edit.description == "One.\nThree."
    assert edit.seen == {"description": "One.\nTwo."}


def test_a_text_that_somebody_else_changed_is_seen_as_it_was() -> None:
    """What the person saw goes along, so that the edit is refused rather than theirs lost."""
    edit = edit_of(Form([("caption", "A ship"), ("seen_caption", "A raft")]), NOW)
    assert edit.seen == {"caption": "A raft"}


def test_a_text_can_be_emptied() -> None:
    """An empty caption is an edit; a field that the form lacks is none."""
    edit = edit_of(Form([("caption", ""), ("seen_caption", "A boat")]), NOW)
    assert edit.caption == ""
    assert edit.description is None


def test_keywords_are_added_without_blanks_around_and_dropped_as_they_are() -> None:
    """A word to drop is named exactly; one to add was typed."""
    edit = edit_of(Form([("add", "  old   harbour "), ("add", " "), ("drop", " odd ")]), NOW)
    assert edit.add == ("old harbour",)
    assert edit.drop == (" odd ",)


def test_a_keyword_is_renamed_to_another_word() -> None:
    """Not to nothing, and not to itself."""
    assert edit_of(Form([("rename", "boats"), ("to", " ships ")]), NOW).rename == {"boats": "ships"}
    assert not edit_of(Form([("rename", "boats"), ("to", "boats")]), NOW).rename
    assert not edit_of(Form([("rename", "boats"), ("to", " ")]), NOW).rename


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(text='"a b" & c', state="held"),
        Query(day="2026-11-20", folder="/photos/Anna & Tom #1", keyword="50 %", model="m:7b"),
    ],
)
def test_an_address_means_the_query_that_it_was_made_of(query: Query) -> None:
    """Whatever characters a folder or a keyword has."""
    sent = dict(parse_qsl(address(query).partition("?")[2]))
    assert query_of(sent) == query
    assert photo_address("0" * 24, query).startswith("/photos/" + "0" * 24)


def test_an_unknown_state_asks_for_all() -> None:
    """An address may say anything."""
    assert query_of({"state": "nonsense", "other": "x"}) == Query()


def test_a_page_is_called_by_what_it_shows() -> None:
    """A day as people say it; a state alone by its name."""
    assert title_of(Query()) == "All photos"
    assert title_of(Query(state="tagged")) == "To review"
    assert title_of(Query(day="2025-11-20", keyword="sea")) == "Thursday, 20 November 2025 · “sea”"


def test_what_was_done_is_undone_once_and_forgotten_in_time() -> None:
    """A second click on Undo does not undo another thing, and memory does not grow."""
    recent = Recent()
    first = recent.keep(Done("Accepted."))
    done = recent.take(first)
    assert done
    assert done.message == "Accepted."
    assert recent.take(first) is None
    tokens = [recent.keep(Done(str(number))) for number in range(300)]
    assert recent.get(tokens[0]) is None
    assert recent.get(tokens[-1])
