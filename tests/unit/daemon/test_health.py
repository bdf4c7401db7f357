"""The word for the service's health, and the problems that it follows from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from taggerd.daemon.health import (
    EXIT_CODES,
    KINDS,
    Kind,
    Problem,
    Word,
    dated,
    health_of,
    state_problem,
)
from taggerd.errors import LedgerAway, LedgerDamaged, StorageError

AWAY = Problem(kind="backend", subject="http://gpu/v1", text="cannot connect")
LOST = Problem(kind="root", subject="/srv/in", text="not mounted")
FULL = Problem(kind="state disk", subject="/var/lib/taggerd", text="disk full")
REFUSED = Problem(kind="settings", subject="settings", text="no such key")
NOTE = Problem(kind="confinement", subject="Landlock", text="not confined by Landlock")


@pytest.mark.parametrize(
    ("problems", "away", "word", "code"),
    [
        ([], False, "healthy", 0),
        ([NOTE], False, "healthy", 0),
        ([AWAY], True, "waiting for backend", 1),
        ([AWAY, NOTE], True, "waiting for backend", 1),
        ([AWAY], False, "degraded", 1),
        ([AWAY, LOST], True, "degraded", 1),
        ([REFUSED], False, "degraded", 1),
        ([LOST], False, "degraded", 1),
    ],
)
def test_the_word_says_whether_somebody_has_to_look(
    problems: list[Problem], away: bool, word: str, code: int
) -> None:
    """Only a backend that nothing else is wrong with is waited for; a kernel's lack is a note."""
    health = health_of(problems, backend_away=away)
    assert (health.word, health.exit_code) == (word, code)


def test_what_does_not_run_is_down_whatever_it_said_last() -> None:
    """The problems of a service that ended may be why it ended: they stay."""
    health = health_of([FULL], running=False)
    assert (health.word, health.exit_code, health.problems) == ("down", 3, (FULL,))


def test_the_gravest_comes_first_and_a_thing_once() -> None:
    """A full disk is met by the queue's reader and its writer: it is one problem."""
    again = replace(FULL, text="disk full, said otherwise")
    health = health_of([NOTE, AWAY, LOST, FULL, again])
    assert health.problems == (FULL, LOST, AWAY, NOTE)
    assert health.grave == (FULL, LOST, AWAY)


def test_a_problem_began_when_it_was_first_met() -> None:
    """It keeps its time while it lasts, whatever its text; once it was over, it begins again."""
    (first,) = dated([AWAY], [], 100.0)
    assert first.since == 100.0
    other, second = dated([replace(AWAY, text="timed out"), LOST], [first], 200.0)
    assert (second.since, second.text, other.since) == (100.0, "timed out", 200.0)
    assert dated([AWAY], [other], 300.0)[0].since == 300.0
    assert len(dated([FULL, replace(FULL, text="said otherwise")], [], 100.0)) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LedgerDamaged("malformed"), "ledger"),
        (LedgerAway("connection refused"), "ledger"),
        (StorageError("disk full"), "state disk"),
        (KeyError("row"), "ledger"),
    ],
)
def test_a_damaged_ledger_is_told_from_a_full_disk(error: Exception, kind: str) -> None:
    """One of them needs room, the other a backup."""
    problem = state_problem(error, Path("/var/lib/taggerd"))
    assert (problem.kind, problem.subject) == (kind, "/var/lib/taggerd")


def test_every_kind_has_its_place_and_every_word_its_exit_code() -> None:
    """Whoever adds one says how grave it is."""
    assert set(KINDS) == set(get_args(Kind))
    assert set(EXIT_CODES) == set(get_args(Word))
