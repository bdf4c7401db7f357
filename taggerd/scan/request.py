"""What a scan is asked for, who watches it, and how it went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from taggerd.arrivals import Skip
    from taggerd.attempt import RunOptions
    from taggerd.photo import Photo, Preview, Usage
    from taggerd.runner.outcome import Outcome
    from taggerd.scan.estimate import Estimate


@dataclass(slots=True)
class Tally:
    """How a scan went."""

    found: int = 0
    """Photos below the paths."""
    todo: int = 0
    """Those of them that had something to do."""
    skipped: list[Skip] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[Skip] = field(default_factory=list)
    done_before: int = 0
    """Photos that had nothing to do."""
    unwritten_before: int = 0
    """Photos that were answered before and have no sidecar yet, which this scan does not write."""
    held: int = 0
    """Photos that were answered before, and wait until somebody accepts that."""
    dropped: int = 0
    """Photos whose words somebody did not accept."""
    outdated: int = 0
    """Those of them that were written before the settings for sidecars changed."""
    untagged: int = 0
    """Photos that a rewrite leaves alone: they are not tagged."""
    undone: int = 0
    """Photos whose tags were undone, and that nobody has asked for since."""
    quarantined: list[Skip] = field(default_factory=list)
    """Photos that taggerd gave up on before."""
    gone: list[Skip] = field(default_factory=list)
    """Photos that disappeared meanwhile."""
    elsewhere: list[Skip] = field(default_factory=list)
    """Photos that are still in the queue, most of them in flight in another taggerd."""
    trouble: str = ""
    """Why records are not in the journal yet."""
    growing: int = 0
    """Files that were still being written when the scan stopped waiting."""
    left_out: int = 0
    """Photos that had something to do, and that ``--limit`` or ``--sample`` left out."""
    declined: bool = False
    """Whether somebody who saw the estimate did not want it."""
    spent: Mapping[str, Usage] = field(default_factory=dict)
    """What the backend was asked so far, by model: all requests, also those of probes."""
    seconds: float = 0.0
    """How long the photos took together."""
    previews: list[tuple[Path, Preview]] = field(default_factory=list)
    """What a dry run would have changed, by photo."""

    @property
    def all_well(self) -> bool:
        """Whether every photo that was found, and still exists, is tagged."""
        trouble = self.failed or self.quarantined or self.elsewhere or self.growing or self.trouble
        return not (trouble or self.declined)


class ScanRequest(NamedTuple):
    """What ``taggerd scan`` was asked for."""

    paths: Sequence[Path]
    """Folders or single files."""
    options: RunOptions
    output_jsonl: Path | None = None
    summary: Path | None = None
    limit: int | None = None
    """Most photos to take; None: all."""
    sample: int | None = None
    """Photos to draw from all of them; None: all."""


class Listing(NamedTuple):
    """What a scan would do."""

    taken: list[Photo]
    left: list[Skip]
    """Photos that need nothing."""
    skipped: list[Skip]
    """Files that are no photos, except sidecars that nobody named."""
    left_out: int = 0
    """Photos that a limit or a sample leaves out."""

    @property
    def all_well(self) -> bool:
        """Whether every path that was named can be read."""
        return not any(skip.named and skip.kind == "unreadable" for skip in self.skipped)


class Observer(Protocol):
    """Whoever shows the progress of a scan."""

    async def proceeds(self, estimate: Estimate) -> bool:
        """Hear what a scan of many photos will take; return whether to begin."""

    def probing(self, base_url: str) -> None:
        """The backend is being probed."""

    def paused(self, reason: str) -> None:
        """The daemon is paused; a scan that somebody starts by hand runs now all the same."""

    def read_only(self, reason: str) -> None:
        """Photos lie where no sidecar can be written: those that need one will fail."""

    def first_jpegs(self) -> None:
        """The first sidecars of JPEGs were written, and nothing into the photos themselves."""

    def settings_changed(self) -> None:
        """Photos that need nothing were written with other settings for sidecars."""

    def warned(self, warning: str) -> None:
        """The backend is no vision model, or a hook failed."""

    def begun(self, todo: int, tally: Tally) -> None:
        """Work begins on *todo* photos."""

    def outcome(self, outcome: Outcome, tally: Tally) -> None:
        """An attempt at a photo ended."""
