"""Which photos a scan takes of those that have something to do."""

from __future__ import annotations

from pathlib import Path

from taggerd.arrivals import chosen
from taggerd.photo import Photo, PhotoFile, Stamp

PHOTOS = [
    Photo((PhotoFile(Path(f"/in/{n // 100}/{n:04}.jpg"), Stamp(1, 2, n, 4)),)) for n in range(1000)
]


def test_without_a_limit_all_are_taken() -> None:
    """In their order."""
    assert chosen(PHOTOS, limit=None, sample=None) == PHOTOS


def test_a_limit_takes_the_first() -> None:
    """And no more than there are."""
    assert chosen(PHOTOS, limit=3, sample=None) == PHOTOS[:3]
    assert chosen(PHOTOS[:2], limit=3, sample=None) == PHOTOS[:2]


def test_a_sample_is_spread_and_the_same_each_time() -> None:
    """So that what was paid for is recalled, and a larger sample holds the smaller one."""
    small, large = (chosen(PHOTOS, limit=None, sample=number) for number in (40, 80))
    assert len(small) == 40
    assert small == chosen(list(reversed(PHOTOS)), limit=None, sample=40)[::-1]
    assert {photo.primary.path for photo in small} < {photo.primary.path for photo in large}
    assert len({photo.folder for photo in small}) == 10
    assert small == sorted(small, key=lambda photo: photo.primary.path)


def test_a_limit_holds_for_a_sample_as_well() -> None:
    """Both given, both hold."""
    sample = chosen(PHOTOS, limit=None, sample=9)
    assert chosen(PHOTOS, limit=4, sample=9) == sample[:4]
