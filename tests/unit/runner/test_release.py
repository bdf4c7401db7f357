"""Releases: which photos are looked at again, and which noted moves are carried out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from taggerd.runner.outcome import Outcome
from taggerd.runner.release import Releases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from support.site import Site

    from taggerd.ledger import Json


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


def _releasing(site: Site, folder: Path) -> None:
    """Let *site* release its photos to *folder*."""
    arrivals = site.settings.arrivals.model_copy(update={"release_to": folder})
    site.settings = site.settings.model_copy(update={"arrivals": arrivals})


def _move(source: Path, target: Path, *, is_photo: bool = True) -> Json:
    return [os.fsencode(source).hex(), os.fsencode(target).hex(), is_photo]


NOT_OURS: dict[str, Callable[[Path, Path], Json]] = {
    "a photo to itself": lambda photo, _: [_move(photo, photo)],
    "a sidecar to itself": lambda photo, _: [_move(photo, photo, is_photo=False)],
    "over a folder above": lambda photo, to: [
        _move(photo.parent / ".." / photo.parent.name / photo.name, to / photo.name)
    ],
    "another name": lambda photo, to: [_move(photo, to / "b.jpg")],
    "another folder": lambda photo, to: [_move(photo, to / "x" / photo.name)],
    "no photo": lambda photo, to: [_move(photo, to / photo.name, is_photo=False)],
    "from elsewhere": lambda _, to: [_move(to / "kept.jpg", to / "x" / "kept.jpg")],
    "beside the photo": lambda photo, to: [
        _move(photo, to / photo.name),
        _move(to / "kept.xmp", to / "kept.xmp", is_photo=False),
    ],
    "no moves": lambda _photo, _to: [[1, 2, 3], {}],
    "no path": lambda _photo, _to: [["zz", "zz", True]],
    "no list": lambda _photo, _to: {"a": [[[]]]},
}


@pytest.mark.parametrize("kind", NOT_OURS)
async def test_moves_that_this_host_would_not_make_are_not_carried_out(
    site: Site, tmp_path: Path, kind: str
) -> None:
    """They stand in the ledger, which others may write where hosts share it: no file is touched."""
    album = tmp_path / "album"
    album.mkdir()
    _releasing(site, album)
    (path,) = await site.arrive("a.jpg")
    for name in ("kept.jpg", "kept.xmp"):
        (album / name).write_bytes(b"kept")

    def disk() -> dict[Path, bytes]:
        return {each: each.read_bytes() for each in tmp_path.rglob("*.*") if each.is_file()}

    async with site.services() as services:
        before = disk()
        await services.ledger.note("arrivals.release", NOT_OURS[kind](path, album), here=True)
        await Releases(services).begin()
        assert {each: data for each, data in disk().items() if each in before} == before
        assert await services.ledger.recall("arrivals.release", here=True) is None


async def test_moves_that_were_interrupted_are_carried_out(site: Site, tmp_path: Path) -> None:
    """As they were noted: sidecars and photo are where they were to be."""
    album = tmp_path / "album"
    album.mkdir()
    _releasing(site, album)
    (path,) = await site.arrive("a.jpg")
    sidecar = path.with_name("a.jpg.xmp")
    sidecar.write_bytes(b"<x/>")
    async with site.services() as services:
        noted: Json = [
            _move(sidecar, album / sidecar.name, is_photo=False),
            _move(path, album / path.name),
        ]
        await services.ledger.note("arrivals.release", noted, here=True)
        await Releases(services).begin()
    assert sorted(each.name for each in album.iterdir()) == ["a.jpg", "a.jpg.xmp"]
    assert not path.exists()
    assert not sidecar.exists()
