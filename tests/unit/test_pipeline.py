"""The pipeline's own decisions: what is paid for already, and when nothing is to be done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taggerd.attempt import Attempt, RunOptions, record_of
from taggerd.inference import Question
from taggerd.ledger import Claim, FileState, Held
from taggerd.photo import Answer, Photo, PhotoFile, Sidecar, Stamp
from taggerd.pipeline import _is_done, recall
from taggerd.scan import needless

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PHOTO = Photo((PhotoFile(Path("/card/a.jpg"), Stamp(1, 2, 3, 4)),))
CAPTION = Question(role="caption", model="m", system="", prompt="p", max_tokens=50, wants="text")


def claim(*, asked_again_since: float | None = None, recorded: bool = False) -> Claim:
    """Make a claim of the photo."""
    return Claim(
        id=1,
        photo=PHOTO,
        attempt=1,
        run="r",
        token="t",
        asked_again_since=asked_again_since,
        recorded=recorded,
    )


def held(text: str, at: float, question: str = CAPTION.identity, backend: str = "") -> Held:
    """Make an answer that is held."""
    return Held(Answer(role="caption", question=question, text=text, backend=backend), at)


def test_only_an_answer_to_the_same_question_is_taken() -> None:
    """The words of one model or prompt never stand for those of another."""
    options = RunOptions(run="r")
    assert recall([held("other", 2.0, "another question")], [CAPTION], claim(), options) == {}
    answers = [held("old", 1.0), held("same", 2.0), held("other", 3.0, "another question")]
    assert recall(answers, [CAPTION], claim(), options)["caption"].text == "same"


def test_any_answer_is_taken_where_somebody_says_so() -> None:
    """The same question's first, else the newest; never where answers are asked for again."""
    answers = [held("old", 1.0, "q1"), held("newer", 2.0, "q2")]
    reuse = RunOptions(run="r", reuse_answers=True)
    assert recall(answers, [CAPTION], claim(), reuse)["caption"].text == "newer"
    assert (
        recall([held("same", 0.5), *answers], [CAPTION], claim(), reuse)["caption"].text == "same"
    )
    again = RunOptions(run="r", reuse_answers=True, ask_again=True)
    assert recall(answers, [CAPTION], claim(), again) == {}


def test_a_backend_that_somebody_names_is_asked_itself() -> None:
    """An answer of another backend's model of the same name is not its answer."""
    named = RunOptions(run="r", backend_named=True)
    here = held("here", 1.0, backend="http://here/v1")
    assert recall([here], [CAPTION], claim(), named, {"http://there/v1"}) == {}
    assert recall([here], [CAPTION], claim(), named, {"http://here/v1"})["caption"].text == "here"


def test_asked_again_takes_only_what_was_answered_since() -> None:
    """A kill in the middle of an overwrite does not pay twice, and earlier answers do not count."""
    options = RunOptions(run="r", ask_again=True)
    since = claim(asked_again_since=5.0)
    assert recall([held("before", 4.0)], [CAPTION], since, options) == {}
    assert recall([held("since", 6.0)], [CAPTION], since, options)["caption"].text == "since"


@pytest.mark.parametrize(
    ("of", "answers", "options", "may"),
    [
        (claim(), [], RunOptions(run="r"), True),  # a lost ledger: the sidecar decides
        (claim(recorded=True), [held("a", 1.0)], RunOptions(run="r"), True),  # touched
        (claim(), [held("a", 1.0)], RunOptions(run="r"), False),  # killed before its record
        (claim(recorded=True, asked_again_since=1.0), [], RunOptions(run="r"), False),
        (claim(), [], RunOptions(run="r", dry_run=True), False),
    ],
)
def test_when_a_sidecar_of_ours_ends_the_way(
    of: Claim, answers: list[Held], options: RunOptions, may: bool
) -> None:
    """Never where a record is still owed, a dry run wants to see, or it is asked for again."""
    assert _is_done(of, answers, options) is may


@pytest.mark.parametrize(
    ("state", "options", "taken"),
    [
        ("new", RunOptions(run="r"), True),
        ("changed", RunOptions(run="r"), True),
        ("queued", RunOptions(run="r"), True),
        ("recorded", RunOptions(run="r"), False),
        ("recorded", RunOptions(run="r", ask_again=True), True),
        ("recorded", RunOptions(run="r", dry_run=True), False),
        ("unwritten", RunOptions(run="r"), True),
        ("undone", RunOptions(run="r"), False),
        ("undone", RunOptions(run="r", ask_again=True), True),
        ("unwritten", RunOptions(run="r", sidecars=False), False),
        ("unwritten", RunOptions(run="r", dry_run=True), False),
        ("quarantined", RunOptions(run="r", ask_again=True), False),
        ("claimed", RunOptions(run="r"), False),
    ],
)
def test_what_a_scan_takes(state: str, options: RunOptions, taken: bool) -> None:
    """What needs nothing is left, with a reason."""
    states = {PHOTO.primary.path: FileState(state, "why", 1.0)}  # type: ignore[arg-type]  # a State
    assert (needless(PHOTO, states, options) == "") is taken


def test_a_record_names_only_the_files_that_hold_the_tags() -> None:
    """Neither a sidecar that was refused nor a photo file that was emptied counts as written."""
    services: Any = SimpleNamespace(
        now=lambda: NOW,
        inference=SimpleNamespace(
            base_url="builtin:", profile=SimpleNamespace(name="default", digest="d")
        ),
    )
    refused = Sidecar(path=Path("/card/a.xmp"), written=False, error="read-only")
    emptied = Sidecar(path=Path("/card/a.jpg"), written=True, embedded=True, emptied=True)
    attempt = Attempt(claim(), NOW, sidecars=(refused, emptied))
    none = record_of(attempt, services, RunOptions(run="r"))
    assert (none.metadata_written, none.sidecars, none.embedded) == (False, (), ())
    assert (none.error, none.error_kind) == ("read-only", "SidecarError")

    attempt.sidecars = (
        Sidecar(path=Path("/card/a.xmp"), written=True),
        Sidecar(path=Path("/card/a.jpg"), written=False, embedded=True),
    )
    both = record_of(attempt, services, RunOptions(run="r"))
    assert both.metadata_written
    assert (both.sidecars, both.embedded) == (("/card/a.xmp",), ("/card/a.jpg",))
