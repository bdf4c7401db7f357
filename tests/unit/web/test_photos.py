"""What the pages of photos show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.catalogue import Catalogue, Entry
from taggerd.web.photos import overview_of

if TYPE_CHECKING:
    from pathlib import Path

    from taggerd.catalogue import State


@pytest.mark.parametrize(
    ("states", "waiting", "first"),
    [
        (["held", "held", "reviewed"], 2, "held"),
        (["held", "tagged"], 2, "tagged"),
        (["reviewed", "queued"], 0, None),
    ],
)
def test_what_is_held_waits_for_a_review_too(
    tmp_path: Path, states: list[State], waiting: int, first: str | None
) -> None:
    """The review starts with it where nothing else waits: "All is reviewed" was a dead end."""
    catalogue = Catalogue.open(tmp_path)
    catalogue.put(
        Entry(path=tmp_path / f"{number}.jpg", state=state) for number, state in enumerate(states)
    )
    shown = overview_of(catalogue)
    assert shown["waiting"] == waiting
    assert (shown["first"].state if shown["first"] else None) == first
    catalogue.close()
