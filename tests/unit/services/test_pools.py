"""What the pools let a photo take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd import imaging, metadata
from taggerd.photo import Stamp
from taggerd.services.pools import seconds_for
from taggerd.settings import Settings, Workers

if TYPE_CHECKING:
    from pathlib import Path


def test_decoding_has_the_time_that_the_file_deserves(tmp_path: Path) -> None:
    """Ten seconds for a small one, more for more; other calls have what the setting says."""
    seconds = seconds_for(Settings(workers=Workers(deadline_seconds=100)))
    (tmp_path / "a.jpg").write_bytes(b"")
    with imaging.open_photo(tmp_path / "a.jpg") as file:
        found = [
            seconds(imaging.prepare, (file, Stamp(size, 0, 0, 0), None))
            for size in (1_700_000, 40_000_000, 1_000_000_000)
        ]
        assert found == [10, 48, 100]
        assert seconds(metadata.normalise, (file,)) is None
