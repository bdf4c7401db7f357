"""What an import folder on duty is given from outside, and what it tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from taggerd.arrivals.missing import Absences, Known
    from taggerd.arrivals.walk import Row
    from taggerd.arrivals.watch import Pace
    from taggerd.photo import PhotoFile

    Stamps = Callable[[Sequence[Path]], Awaitable[Sequence[AbstractSet[Row]]]]
    """What is known of many folders at once, as rows."""
    Unknown = Callable[[Sequence[PhotoFile]], Awaitable[Sequence[PhotoFile]]]
    """Returns those of some files that are not on record as they are."""
    Admit = Callable[[Sequence[PhotoFile]], Awaitable[None]]
    """Takes settled files into the queue; they are safe there once it returns."""


@dataclass(frozen=True, slots=True)
class RootHealth:
    """How one import folder is doing."""

    path: Path
    mode: Literal["inotify", "poll"]
    """In use."""
    state: Literal["watching", "polling", "degraded", "offline"]
    detail: str
    """One line, or nothing."""
    directories: int
    """At the last whole walk."""
    watches: int
    last_reconcile: float | None
    """When the last whole walk ended, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a root is given from outside."""

    known: Known
    stamps: Stamps | None
    unknown: Unknown | None
    admit: Admit
    clock: Callable[[], float]
    """Monotonic, seconds."""
    wall: Callable[[], float]
    """Seconds since the epoch."""
    jitter: Callable[[], float]
    """Random, 0 to 1."""
    pace: Pace
    own: Sequence[Path]
    """Folders that taggerd writes into: the pictures in them are its own."""
    speak: Callable[[RootHealth], None]
    """Told of a root's health after each look at it."""
    absences: Absences | None = None
