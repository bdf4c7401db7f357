"""What is compared of two photos, and when both show the same.

A difference hash says for each pixel of a tiny picture whether the next one is brighter
(N. Krawetz, "Kind of Like That", The Hacker Factor, 2013). Along rows alone it does not see the
camera tilt, so rows and columns count, 128 bits, as in https://github.com/benhoyt/dhash. It does
not see the exposure either, which is compared by itself.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from taggerd.photo import FINGERPRINT_EDGE

if TYPE_CHECKING:
    from collections.abc import Hashable

    from taggerd.photo import Fingerprint
    from taggerd.settings import Burst

_BRIGHTER = 1.15
"""Half a stop in sRGB's curve. Frames of a burst differ by a third, brackets by two or more."""
_UNCLIPPED = range(16, 240)
_FEWEST_UNCLIPPED = 8
_FLAT = 4.0
"""Standard deviation of the tiny picture's greys: below it a hash is one of noise."""


@dataclass(frozen=True)
class Shot:
    """A photo as it is compared."""

    camera: Hashable
    """Which one it was taken with."""
    setting: Hashable
    """What else is equal in all photos of a burst: the folder, the size, what a prompt says …"""
    taken: float
    """Seconds, by the camera's clock."""
    fingerprint: Fingerprint

    @cached_property
    def bits(self) -> int:
        """The difference hash."""
        grey, edge = self.fingerprint.grey, FINGERPRINT_EDGE
        at = [(row, column) for row in range(edge - 1) for column in range(edge - 1)]
        pairs = [(row * edge + column, row * edge + column + 1) for row, column in at]
        pairs += [(row * edge + column, (row + 1) * edge + column) for row, column in at]
        return sum((grey[one] < grey[other]) << n for n, (one, other) in enumerate(pairs))

    @cached_property
    def is_flat(self) -> bool:
        """Whether there is too little in it to tell it from another: fog, a wall, a lens cap."""
        grey = self.fingerprint.grey
        mean = sum(grey) / len(grey)
        return sum((each - mean) ** 2 for each in grey) < _FLAT**2 * len(grey)

    def shows_the_same(self, other: Shot, distance: int) -> bool:
        """Say whether the hashes differ in at most *distance* bits, and the exposure hardly."""
        if (self.camera, self.setting) != (other.camera, other.setting):
            return False
        if (self.bits ^ other.bits).bit_count() > distance:
            return False
        return 1 / _BRIGHTER <= self._brightness_of(other) <= _BRIGHTER

    def _brightness_of(self, other: Shot) -> float:
        """Return how many times brighter *other* is, by what is clipped in neither."""
        pairs = list(zip(self.fingerprint.grey, other.fingerprint.grey, strict=True))
        ratios = sorted(b / a for a, b in pairs if a in _UNCLIPPED and b in _UNCLIPPED)
        if len(ratios) < _FEWEST_UNCLIPPED:
            return (1 + sum(b for _, b in pairs)) / (1 + sum(a for a, _ in pairs))
        return ratios[len(ratios) // 2]


def belongs(shot: Shot, others: list[Shot], settings: Burst) -> bool:
    """Say whether *shot* is of the burst of *others*.

    It shows the same as each of them: by the one before alone, a slow pan would be one burst from
    its first subject to its last.
    """
    return min(abs(shot.taken - each.taken) for each in others) <= settings.seconds and all(
        shot.shows_the_same(each, settings.distance) for each in others
    )


def taken_at(text: str) -> float | None:
    """Read a time of capture, ISO 8601, as seconds by the camera's clock; None if it is none."""
    with suppress(ValueError, OverflowError):
        # A phone's clock has a zone, a camera's has none; only differences count.
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return None
