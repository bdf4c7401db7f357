"""One folder's full disk stops that folder, and one photo finds out when it is over."""

from __future__ import annotations

from pathlib import Path

from taggerd.retry import DISK
from taggerd.runner.blocked import BlockedFolders

CARD, NAS = Path("/srv/card"), Path("/mnt/nas")
INNER = NAS / "inner"


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_the_other_folders_go_on() -> None:
    """What lies on another disk is not held up; the reason is said; the end is the end."""
    blocked = BlockedFolders([CARD, NAS], Clock())
    assert (bool(blocked), blocked.open, blocked.reasons) == (False, [CARD, NAS], {})
    assert blocked.block(NAS / "a.jpg", "full")
    assert not blocked.block(NAS / "b.jpg", "full")
    assert (list(blocked.open or ()), blocked.all_blocked) == ([CARD], False)
    assert blocked.reasons == {NAS: "full"}
    assert not blocked.release(CARD / "c.jpg")
    assert blocked.release(NAS / "a.jpg")
    assert blocked.open == [CARD, NAS]


def test_one_photo_is_tried_from_time_to_time() -> None:
    """The first one over which it was noticed: its answers are held, so that a try is free."""
    clock = Clock()
    blocked = BlockedFolders([CARD], clock)
    blocked.block(CARD / "a.jpg", "full")
    blocked.block(CARD / "b.jpg", "full")
    assert (list(blocked.due()), blocked.all_blocked) == ([], True)
    clock.now += DISK.first
    assert list(blocked.due()) == [CARD / "a.jpg"]
    assert list(blocked.due()) == []
    assert not blocked.block(CARD / "a.jpg", "read-only now")
    assert blocked.reasons == {CARD: "read-only now"}
    clock.now += DISK.first
    assert list(blocked.due()) == [CARD / "a.jpg"]


def test_a_folder_within_a_folder_stops_both() -> None:
    """Claiming from the outer one would give out the inner one's photos, again and again."""
    blocked = BlockedFolders([NAS, INNER, CARD], Clock())
    blocked.block(INNER / "a.jpg", "full")
    assert blocked.open == [CARD]


def test_a_scan_waits_as_a_whole() -> None:
    """It has no folders of its own: what it asked for lies anywhere."""
    blocked = BlockedFolders(None, Clock())
    assert blocked.open is None
    blocked.block(CARD / "a.jpg", "full")
    assert blocked.all_blocked
    assert not blocked.open
    blocked.release(CARD / "a.jpg")
    assert not blocked.all_blocked
    assert blocked.open is None
