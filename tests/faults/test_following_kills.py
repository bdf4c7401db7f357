"""Killed at every step between the journal, the hooks and the released photo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.dying import FOLLOWING
from support.hearing import Listener
from support.program import Program, photo, until

if TYPE_CHECKING:
    from pathlib import Path


def by_id(listener: Listener, kind: str) -> dict[str, Any]:
    """Return the notices of one type by their ids, as a careful receiver keeps them."""
    return {each["id"]: each for each in listener.notices(kind)}


def counted(listener: Listener) -> int:
    """Return how many photos all batches have tagged."""
    return sum(each["data"]["tagged"] for each in by_id(listener, "batch.ended").values())


@pytest.mark.long
@pytest.mark.parametrize("where", FOLLOWING)
def test_a_kill_at_every_step_of_what_follows(
    taggerd: Program, inbox: Path, tmp_path: Path, where: str
) -> None:
    """Each photo is released once, whole, and every hook hears of it at least once."""
    listener = Listener()
    album = tmp_path / "album"
    album.mkdir()
    taggerd.environment |= {
        "TAGGERD__ARRIVALS__RELEASE_TO": str(inbox / "done" if "relocate" in where else album),
        "TAGGERD__HOOKS__AFTER_PHOTO__COMMAND": '["/bin/true"]',
        "TAGGERD__HOOKS__AFTER_BATCH__URL": listener.url,
        "TAGGERD__HOOKS__ON_PROBLEM__URL": listener.url,
        "TAGGERD__HOOKS__IDLE_SECONDS": "1",
    }
    if "relocate" in where:
        album = inbox / "done"
        album.mkdir()
    elif where != "defer_notice:before":
        del taggerd.environment["TAGGERD__HOOKS__AFTER_PHOTO__COMMAND"]
        taggerd.environment["TAGGERD__HOOKS__AFTER_PHOTO__URL"] = listener.url
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
    assert taggerd.die_at(where, "run", "--input-dir", inbox) == -9
    try:
        taggerd.start("--input-dir", inbox)
        names = {f"{n}.jpg{end}" for n in range(3) for end in ("", ".xmp")}
        until(lambda: {path.name for path in album.iterdir()} == names)
        until(lambda: {p.name for p in inbox.iterdir()} <= {"done"})
        until(lambda: counted(listener) == 3)
        if "TAGGERD__HOOKS__AFTER_PHOTO__URL" in taggerd.environment:
            until(lambda: len(by_id(listener, "photo.tagged")) == 3)
            told = by_id(listener, "photo.tagged").values()
            assert {each["data"]["photo"] for each in told} == {
                str(album / f"{n}.jpg") for n in range(3)
            }
        assert sorted(each["image"] for each in taggerd.records()) == [
            str(inbox / f"{n}.jpg") for n in range(3)
        ]
    finally:
        listener.close()
