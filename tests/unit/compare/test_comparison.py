"""Comparisons: votes, totals, what the winner changes in the settings, and where they are kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from taggerd.compare import Candidate, Comparison, Comparisons, Reply, Shown
from taggerd.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

ID = "20250602-120000-ab12"


def comparison(photos: int = 3) -> Comparison:
    """Return two models by some photos; the second failed over the last one."""

    def reply(number: int, photo: int) -> Reply:
        if number and photo == photos - 1:
            return Reply(error="the model refused")
        return Reply(
            caption=f"caption {number}",
            keywords=("sea", "boat"),
            seconds=2.0 + number,
            prompt_tokens=900,
            completion_tokens=100,
            price=0.001,
        )

    return Comparison(
        id=ID,
        at=1.0,
        candidates=(Candidate("a", "default"), Candidate("b", "default")),
        photos=[Shown(f"{n}.jpg", "/in", [reply(0, n), reply(1, n)]) for n in range(photos)],
        currency="EUR",
    )


def test_votes_and_means_are_each_candidates_own() -> None:
    """A photo over which a candidate failed counts for nothing but that."""
    found = comparison()
    assert found.vote(0, 1)
    assert found.vote(1, 0)
    assert found.vote(1, 1)  # another opinion replaces the first
    first, second = found.totals
    assert (first.votes, second.votes) == (0, 2)
    assert (first.answered, second.answered) == (3, 2)
    assert (first.seconds, second.seconds) == (2.0, 3.0)
    assert first.tokens == 1000
    assert second.per_thousand == "1.00 EUR"
    assert found.vote(0, None)
    assert found.totals[1].votes == 1


@pytest.mark.parametrize(("photo", "candidate"), [(3, 0), (-1, 0), (0, 2), (0, -1), (2, 1)])
def test_a_vote_for_nothing_is_refused(photo: int, candidate: int) -> None:
    """For what is not there, and for an answer that never came."""
    found = comparison()
    assert not found.vote(photo, candidate)
    assert all(each.vote is None for each in found.photos)


def test_the_winner_is_asked_in_every_role() -> None:
    """A role with a model of its own would go on with it otherwise."""
    found = comparison()
    plain = Settings.model_validate({})
    wanted = {"prompts.profile": "default", "backend.model": "b"}
    assert found.settings_for(1, plain) == wanted
    own = Settings.model_validate({"roles": {"keywords": {"model": "c"}}})
    assert found.settings_for(1, own) == {**wanted, "roles.keywords.model": "b"}
    assert Comparison(ID, 0, (Candidate("", "stock"),), []).settings_for(0, own) == {
        "prompts.profile": "stock"
    }


def test_what_is_kept_is_found_again_and_votes_at_once_all_count(tmp_path: Path) -> None:
    """Two browsers on one comparison lose no vote."""
    kept = Comparisons(tmp_path)
    assert kept.ids() == []
    kept.put(comparison(40))
    kept.put_picture(ID, 0, b"jpeg")

    def vote(photo: int) -> None:
        with Comparisons(tmp_path).changing(ID) as found:
            assert found
            assert found.vote(photo, 0)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(vote, range(40)))
    found = kept.get(ID)
    assert found
    assert found.totals[0].votes == 40
    assert found.photos[0].replies[0] == comparison().photos[0].replies[0]
    assert kept.ids() == [ID]
    assert kept.picture(ID, 0) == b"jpeg"
    assert kept.picture(ID, 1) is None
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*")} == {0}


@pytest.mark.parametrize("number", ["..", "../..", "20250602-120000-ab12/..", "", "x"])
def test_a_number_leads_nowhere_else(tmp_path: Path, number: str) -> None:
    """Whatever an address says."""
    kept = Comparisons(tmp_path)
    kept.put(comparison())
    (tmp_path / "comparison.json").write_text("{}")
    assert kept.get(number) is None
    assert kept.picture(number, 0) is None
    with kept.changing(number) as found:
        assert found is None


def test_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    """The others are shown."""
    kept = Comparisons(tmp_path)
    kept.put(comparison())
    (tmp_path / "comparisons" / ID / "comparison.json").write_text('{"id": 3}')
    assert kept.get(ID) is None
    with kept.changing(ID) as found:
        assert found is None
