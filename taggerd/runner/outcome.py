"""How one attempt at a photo ended, as counters, logs and progress bars hear of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from taggerd.logs import get_logger
from taggerd.photo import printable

if TYPE_CHECKING:
    from taggerd.journal import Record
    from taggerd.photo import Photo, Preview

log = get_logger(__name__)

Kind = Literal["tagged", "held", "already tagged", "failed", "will retry", "waiting", "moved"]
"""``held``: it is answered, and nothing is written until somebody accepts that; ``will retry``: it
failed and has attempts left; ``waiting``: the backend or this machine is at fault; ``moved``: its
files changed or are gone."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt at a photo ended."""

    photo: Photo
    kind: Kind
    reason: str = ""
    record: Record | None = None
    """What is journalled; None where nothing is."""
    preview: Preview | None = None
    """What a dry run would have changed."""
    shared: bool = False
    """Whether the reason holds for all photos alike and is logged as such: the backend is away."""


def log_outcome(outcome: Outcome) -> None:
    """Write *outcome* to the log, as one line.

    At ``info`` that is one line a photo: an attempt after which others come has none, and an outage
    is logged when it begins and when it ends, not for each photo in flight.
    """
    reason = {"reason": outcome.reason} if outcome.reason else {}
    if outcome.shared or outcome.kind in {"moved", "will retry"}:
        write = log.debug
    else:
        write = log.warning if outcome.kind in {"failed", "waiting"} else log.info
    write(outcome.kind, photo=printable(outcome.photo.primary.path), **reason)
