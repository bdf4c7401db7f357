"""Stoppages: one folder's full disk stops that folder, and one photo finds out when it is over."""

from __future__ import annotations

from pathlib import Path

from taggerd.runner.blocked import LOOK_SECONDS, Stoppages

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
    stoppages = Stoppages([CARD, NAS], Clock())
    assert (bool(stoppages), stoppages.open, stoppages.reason) == (False, [CARD, NAS], "")
    assert stoppages.begin(NAS / "a.jpg", "full")
    assert not stoppages.begin(NAS / "b.jpg", "full")
    assert (list(stoppages.open or ()), stoppages.all_stopped) == ([CARD], False)
    assert stoppages.reason == "full"
    assert not stoppages.end(CARD / "c.jpg")
    assert stoppages.end(NAS / "a.jpg")
    assert stoppages.open == [CARD, NAS]


def test_one_photo_is_tried_from_time_to_time() -> None:
    """The first one over which it was noticed: its answers are held, so that a try is free."""
    clock = Clock()
    stoppages = Stoppages([CARD], clock)
    stoppages.begin(CARD / "a.jpg", "full")
    stoppages.begin(CARD / "b.jpg", "full")
    assert (list(stoppages.tries()), stoppages.all_stopped) == ([], True)
    clock.now += LOOK_SECONDS
    assert list(stoppages.tries()) == [CARD / "a.jpg"]
    assert list(stoppages.tries()) == []
    assert not stoppages.begin(CARD / "a.jpg", "read-only now")
    assert stoppages.reason == "read-only now"
    clock.now += LOOK_SECONDS
    assert list(stoppages.tries()) == [CARD / "a.jpg"]


def test_a_folder_within_a_folder_stops_both() -> None:
    """Claiming from the outer one would give out the inner one's photos, again and again."""
    stoppages = Stoppages([NAS, INNER, CARD], Clock())
    stoppages.begin(INNER / "a.jpg", "full")
    assert stoppages.open == [CARD]


def test_a_scan_waits_as_a_whole() -> None:
    """It has no folders of its own: what it asked for lies anywhere."""
    stoppages = Stoppages(None, Clock())
    assert stoppages.open is None
    stoppages.begin(CARD / "a.jpg", "full")
    assert (stoppages.open, stoppages.all_stopped) == ((), True)
    stoppages.end(CARD / "a.jpg")
    assert (stoppages.open, stoppages.all_stopped) == (None, False)
