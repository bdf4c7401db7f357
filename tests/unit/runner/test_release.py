"""Releases: which photos are looked at again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taggerd.runner.outcome import Outcome
from taggerd.runner.release import Releases

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest
    from support.site import Site


async def test_what_is_heard_of_a_photo_while_it_is_looked_at_is_not_forgotten(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been tagged just behind the look: the next sweep comes an hour later."""
    arrivals = site.settings.arrivals.model_copy(update={"release_to": tmp_path})
    site.settings = site.settings.model_copy(update={"arrivals": arrivals})
    (path,) = await site.arrive("a.jpg")
    (claim,) = await site.ledger.claim(1, within=(site.folder,), run="r", now=0.0)
    looked_at = []
    async with site.services() as services:
        releases = Releases(services)
        tagged = Outcome(claim.photo, "already tagged")

        async def not_yet(path: Path) -> Mapping[str, str]:
            looked_at.append(path)
            if len(looked_at) == 1:
                releases.hear(tagged)
            return {}

        monkeypatch.setattr(releases, "_release", not_yet)
        releases.hear(tagged)
        await releases.release_pending()
    assert looked_at == [path, path]
