"""What a scan says when it ends before its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.arrivals import Skip
from taggerd.attempt import RunOptions
from taggerd.cli.progress import Progress, shortened
from taggerd.errors import BackendError
from taggerd.ledger import FileState
from taggerd.photo import Photo, PhotoFile, Stamp
from taggerd.runner.outcome import Outcome
from taggerd.scan import Tally, needless

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_photo_that_failed_before_is_said_so_once(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its line holds path, reason and what to do, and nothing of that twice."""
    photo = PhotoFile(tmp_path / "a.jpg", Stamp(1, 2, 3, 4))
    states = {photo.path: FileState("quarantined", "empty file")}
    reason = needless(Photo((photo,)), states, RunOptions(run="r"))
    tally = Tally(found=1, quarantined=[Skip(photo.path, reason)])
    Progress(as_json=False, writes=True).conclude(tally, tmp_path)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "a.jpg" in line]
    assert line.count("failed before") == 1
    assert "empty file" in line
    assert "taggerd retry" in line


def test_a_read_only_disk_is_said_once_for_all_its_photos(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A card of 500 photos gives one line and a count; other failures are still named."""
    show, tally = Progress(as_json=False, writes=True), Tally(found=3, todo=3)
    show.begun(3, tally)
    show.read_only("/mnt/card is read-only")
    for name, reason in (
        ("a", "/mnt/card is read-only"),
        ("b", "/mnt/card is read-only"),
        ("c", "x"),
    ):
        photo = Photo((PhotoFile(tmp_path / f"{name}.jpg", Stamp(1, 2, 3, 4)),))
        tally.failed.append(Skip(photo.primary.path, reason))
        tally.outcomes["failed"] += 1
        show.outcome(Outcome(photo, "failed", reason), tally)
    show.conclude(tally, tmp_path)
    out, err = capsys.readouterr()
    assert err.startswith("/mnt/card is read-only")
    assert "read-only" not in out
    assert f"failed: {tmp_path}/c.jpg: x" in out
    assert "tagged 0 of 3 photos; 3 failed" in out


def test_a_long_name_leaves_the_figures_their_columns() -> None:
    """At 80 columns the count, the time and the tokens are whole; the name's end is shown."""
    name = "test-assets_albums_nature_wood_anemones_0427.jpg"
    shown = shortened(name, 20)
    assert (len(shown), shown[0], shown[-8:]) == (20, "…", "0427.jpg")
    assert shortened("IMG_0427.JPG", 20) == "IMG_0427.JPG"
    assert shortened(name, -40) == "…es_0427.jpg"
