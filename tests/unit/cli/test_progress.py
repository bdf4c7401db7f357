"""What a scan says when it ends before its time."""

from __future__ import annotations

import pytest

from taggerd.cli.progress import Progress
from taggerd.errors import BackendError
from taggerd.scan import Tally


def test_a_scan_that_the_backend_left_says_how_far_it_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whoever waited learns what is done and what is left, as after Ctrl-C."""
    tally = Tally(todo=3)
    tally.outcomes["tagged"] = 1
    show = Progress(as_json=False, writes=True)
    show.begun(3, tally)
    with pytest.raises(BackendError), show:
        raise BackendError
    assert capsys.readouterr().out.endswith("stopped: tagged 1 of 3 photos; 2 to go\n")


def test_a_scan_that_never_began_says_nothing_of_photos(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A backend that is not there at the start is said in one line, elsewhere."""
    with pytest.raises(BackendError), Progress(as_json=False, writes=True):
        raise BackendError
    assert capsys.readouterr().out == ""
