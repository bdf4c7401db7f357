"""Why photos failed, as ``taggerd status`` shows it: each cause once."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.daemon.health import described

if TYPE_CHECKING:
    from collections.abc import Iterable


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPhoto:
    """A photo that taggerd gave up on."""

    path: str
    reason: str


@described
@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why photos failed."""

    reason: str
    """As it was said of the example."""
    count: int
    """How many photos failed for this reason."""
    example: str
    """Path of the latest one."""


_VARYING = re.compile(r"""\d+(?:\.\d+)?|'[^']*'|"[^"]*\"""")
"""What differs between two photos that failed for one reason: numbers, and what a model said."""


def causes_of(failed: Iterable[FailedPhoto]) -> tuple[Cause, ...]:
    """Group *failed*, latest first, by why they failed; the most frequent cause comes first."""
    alike: defaultdict[str, list[FailedPhoto]] = defaultdict(list)
    for photo in failed:
        path = Path(photo.path)
        reason = photo.reason.replace(photo.path, "…").replace(path.name, "…")
        reason = re.sub(rf"\b{re.escape(path.stem)}\b", "…", reason)  # the sidecar of a raw file
        alike[_VARYING.sub("#", reason)].append(photo)
    groups = sorted(alike.values(), key=len, reverse=True)
    return tuple(
        Cause(reason=photos[0].reason, count=len(photos), example=photos[0].path)
        for photos in groups
    )
