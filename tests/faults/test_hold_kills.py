"""Killed at every step from the answers to a held photo, and from there to its sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.dying import ACCEPTING, HOLDING
from support.program import CountingBackend, Program, photo

if TYPE_CHECKING:
    from pathlib import Path

PHOTOS = 3


@pytest.fixture
def holding(taggerd: Program, backend: CountingBackend, inbox: Path) -> Program:
    """Return the program, set to hold, with photos to ask about."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__REVIEW__HOLD"] = "true"
    # Else all may have come to their end when the first is killed there: nothing would go on.
    taggerd.environment["TAGGERD__QUEUE__PHOTOS_IN_FLIGHT"] = "1"
    for number in range(PHOTOS):
        photo(inbox / f"{number}.jpg", number)
    return taggerd


@pytest.mark.long
@pytest.mark.parametrize("where", HOLDING)
def test_a_kill_at_every_step_to_a_held_photo(
    holding: Program, inbox: Path, backend: CountingBackend, where: str
) -> None:
    """What was paid for is held, once, and nothing is written."""
    assert holding.die_at(where, "scan", inbox) == -9
    assert holding("scan", inbox).returncode == 0
    assert list(inbox.glob("*.xmp")) == []
    assert holding.status()["counts"]["held"] == PHOTOS
    assert backend.photo_requests == 3 * PHOTOS
    assert [r["held"] for r in holding.records()] == [True] * PHOTOS


@pytest.mark.long
@pytest.mark.parametrize("where", ACCEPTING)
def test_a_kill_at_every_step_to_an_accepted_photo(
    holding: Program, inbox: Path, backend: CountingBackend, where: str
) -> None:
    """The next command goes on: each photo is written, and recorded as written, once."""
    holding("scan", inbox)
    said = {r["image"]: r["caption"] for r in holding.records()}
    backend.die()
    assert holding.die_at(where, "accept", "--all") == -9
    again = holding("accept", "--all")
    assert again.returncode == 0, again.stdout + again.stderr
    assert holding.status()["counts"]["recorded"] == PHOTOS
    assert len(list(inbox.glob("*.xmp"))) == PHOTOS
    written = holding.records()[PHOTOS:]
    assert {r["image"]: r["caption"] for r in written} == said
    assert [(r["metadata_written"], r["held"]) for r in written] == [(True, False)] * PHOTOS
    assert backend.photo_requests == 3 * PHOTOS
