"""Some of many photos: a limit, or a sample that is the same each time."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.photo import Photo


def chosen(photos: Sequence[Photo], *, limit: int | None, sample: int | None) -> list[Photo]:
    """Return the photos that are taken of those that have something to do, in their order.

    A sample is spread over all of them, and the same one each time: what was paid for is recalled,
    and models are compared by the same photos. Of a sample or of all, *limit* takes the first.
    """
    taken = list(photos)
    if sample is not None:
        drawn = set(sorted(taken, key=_drawn)[:sample])
        taken = [photo for photo in taken if photo in drawn]
    return taken if limit is None else taken[:limit]


def _drawn(photo: Photo) -> bytes:
    return blake2b(os.fsencode(photo.primary.path), digest_size=8).digest()
