"""What a person sees of a scan: a progress bar on a terminal, else a line per photo, or JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from taggerd.errors import BackendError
from taggerd.photo import printable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rich.progress import Task, TaskID

    from taggerd.arrivals import Skip
    from taggerd.runner.outcome import Outcome
    from taggerd.scan import Listing, Tally


class RateColumn(TextColumn):
    """Photos a minute."""

    def __init__(self) -> None:
        """Show the speed of the last while."""
        super().__init__("")

    def render(self, task: Task) -> str:  # type: ignore[override]  # rich takes any renderable
        """Return the rate as text."""
        return f"{task.speed * 60:.0f}/min" if task.speed else "-/min"


_READERS = (
    "note: darktable, digiKam, Immich and PhotoPrism read these sidecars; Lightroom reads them for "
    'raw files only: for JPEG set metadata.target = "both"'
)


_SETTINGS_CHANGED = (
    "note: settings for sidecars have changed since these photos were tagged: taggerd rewrite "
    "applies them"
)


class Progress:
    """Shows a scan while it runs and says how it ended."""

    def __init__(self, *, as_json: bool, writes: bool, rewrites: bool = False) -> None:
        """Choose the form: *as_json*, else a bar if stderr is a terminal, else lines.

        Args:
            as_json: print one JSON object at the end and nothing else.
            writes: whether sidecars are written, or answers only recorded.
            rewrites: whether tagged photos are written again.

        """
        self._as_json = as_json
        self._writes = writes
        self._rewrites = rewrites
        self._tally: Tally | None = None
        self._shown: set[Path] = set()
        self._said: set[str] = set()
        """Reasons that were given once for many photos."""
        self._console = Console(stderr=True, highlight=False)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        if not as_json and self._console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                RateColumn(),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )

    def __enter__(self) -> Self:
        """Start the bar."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
        if isinstance(error, KeyboardInterrupt | BackendError):
            self.stopped()

    def probing(self, base_url: str) -> None:
        """Say that the backend is probed."""
        if self._bar:
            self._task = self._bar.add_task(f"probing {escape(base_url)}", total=None)

    def paused(self, reason: str) -> None:
        """Say that the scan sends requests although the daemon is paused."""
        self._console.print(escape(f"note: {reason}; this scan continues anyway"), soft_wrap=True)

    def read_only(self, reason: str) -> None:
        """Say that photos lie where no sidecar can be written, once for all of them."""
        self._said.add(reason)
        line = f"{reason} (--no-meta asks and records without sidecars)"
        self._console.print(escape(line), soft_wrap=True)

    def first_jpegs(self) -> None:
        """Say which programs see the words: Lightroom does not show those of a JPEG."""
        self._console.print(escape(_READERS), soft_wrap=True)

    def settings_changed(self) -> None:
        """Say that tagged photos were written with other settings."""
        self._console.print(escape(_SETTINGS_CHANGED), soft_wrap=True)

    def warned(self, warning: str) -> None:
        """Say what the answers will be worth."""
        self._console.print(escape(f"note: {warning}"), soft_wrap=True)

    def begun(self, todo: int, tally: Tally) -> None:
        """Show how much there is to do."""
        self._tally = tally
        if self._bar and self._task is not None:
            self._bar.reset(self._task, total=todo, description="tagging")
        elif not self._as_json:
            _print(f"found {_photos(tally.found)}, {todo} to {self._do}")

    def outcome(self, outcome: Outcome, tally: Tally) -> None:
        """Show one outcome."""
        self._tally = tally
        path, photo = outcome.photo.primary.path, printable(outcome.photo.primary.path)
        if outcome.kind == "failed":
            self._shown.add(path)
        said = outcome.reason in self._said
        if self._bar and self._task is not None:
            ended = sum(tally.outcomes[kind] for kind in ("tagged", "already tagged", "failed"))
            shown = (
                f"waiting: {outcome.reason}" if outcome.kind == "waiting" else outcome.photo.name
            )
            self._bar.update(self._task, completed=ended, description=escape(shown[:60]))
            if outcome.kind == "failed" and not said:
                self._bar.console.print(escape(f"failed: {photo}: {outcome.reason}"))
        elif not self._as_json and not said:
            caption = outcome.record.caption if outcome.record else ""
            kind = self._words.get(outcome.kind, outcome.kind)
            _print(": ".join(part for part in (kind, photo, outcome.reason or caption) if part))

    def stopped(self) -> None:
        """Say how far the scan got before it was stopped."""
        if self._tally and not self._as_json:
            done = self._tally.outcomes["tagged"] + self._tally.outcomes["already tagged"]
            left = self._tally.todo - done - len(self._tally.failed)
            _print(f"stopped: {self._done} {done} of {_photos(self._tally.todo)}; {left} to go")

    def conclude(self, tally: Tally, outputs: Path) -> None:
        """Print the result on stdout."""
        if self._as_json:
            _print(json.dumps(_as_json(tally, outputs), indent=2))
            return
        for word, skips in (
            ("failed", [skip for skip in tally.failed if skip.path not in self._shown]),
            ("skipped", tally.quarantined),
            ("still in the queue", tally.elsewhere),
        ):
            for skip in skips:
                _print(f"{word}: {printable(skip.path)}: {skip.reason}")
        if tally.trouble:
            _print(tally.trouble)
        _print("; ".join(self._counts(tally)) if tally.found else "no photos found")
        if tally.todo:
            _print(f"records and summary: {printable(outputs)}")

    @property
    def _do(self) -> str:
        """What is done with a photo."""
        return "rewrite" if self._rewrites else "tag"

    @property
    def _words(self) -> dict[str, str]:
        """The words for outcomes that are not called by their own names."""
        if self._rewrites:
            return {"tagged": "rewritten", "already tagged": "no answers held"}
        return {} if self._writes else {"tagged": "answered"}

    @property
    def _done(self) -> str:
        """What the scan did with a photo that went well."""
        if self._rewrites:
            return "applied the settings to"
        return "tagged" if self._writes else "got answers for"

    def _counts(self, tally: Tally) -> list[str]:
        """Return the counts in words, without those that are zero."""
        counts = [
            (tally.outcomes["already tagged"], self._words.get("already tagged", "already tagged")),
            (len(tally.failed), "failed"),
            (len(tally.gone), "disappeared meanwhile"),
            (len(tally.elsewhere), "still in the queue"),
            (tally.growing, "still being copied (scan again later)"),
            (tally.done_before, "tagged before"),
            (tally.unwritten_before, "answered before, not written yet"),
            (tally.untagged, "not tagged yet (taggerd scan)"),
            (tally.undone, "undone before (to tag again: taggerd retry PATH or scan --retag)"),
            (len(tally.quarantined), "failed before"),
            (
                len(tally.skipped),
                f"other file{_s(len(tally.skipped))} skipped (--list says why)",
            ),
        ]
        first = f"{self._done} {tally.outcomes['tagged']} of {_photos(tally.todo)}"
        first = first if tally.todo else f"nothing to {self._do}"
        return [first, *(f"{count} {words}" for count, words in counts if count)]


def _photos(count: int) -> str:
    return f"{count} photo{_s(count)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def print_listing(listing: Listing, *, as_json: bool) -> None:
    """Print which photos would be tagged and which files skipped, and why."""
    if as_json:
        table: dict[str, object] = {
            "taken": [[printable(f.path) for f in photo.files] for photo in listing.taken],
        }
        for name in ("left", "skipped"):
            skips: list[Skip] = getattr(listing, name)
            table[name] = [{"path": printable(s.path), "reason": s.reason} for s in skips]
        _print(json.dumps(table, indent=2))
        return
    for photo in listing.taken:
        _print("tag   " + "  + ".join(printable(file.path) for file in photo.files))
    for skip in sorted([*listing.left, *listing.skipped]):
        _print(f"skip  {printable(skip.path)}: {skip.reason}")
    parts = [f"{_photos(len(listing.taken))} would be tagged"]
    if left := len(listing.left):
        parts.append(f"{_photos(left)} left as {'it is' if left == 1 else 'they are'}")
    if skipped := len(listing.skipped):
        parts.append(f"{skipped} other file{_s(skipped)} skipped")
    _print("; ".join(parts))


def _as_json(tally: Tally, outputs: Path) -> dict[str, object]:
    """Return *tally* as a JSON object."""
    lists = {
        name: [{"path": printable(s.path), "reason": s.reason} for s in getattr(tally, name)]
        for name in ("failed", "gone", "elsewhere", "quarantined", "skipped")
    }
    return {
        "found": tally.found,
        "todo": tally.todo,
        "tagged": tally.outcomes["tagged"] + tally.outcomes["already tagged"],
        "done_before": tally.done_before,
        "unwritten_before": tally.unwritten_before,
        "outdated": tally.outdated,
        "untagged": tally.untagged,
        "undone": tally.undone,
        "growing": tally.growing,
        **lists,
        "outputs": printable(outputs),
    }


def _print(text: str) -> None:
    """Write a line to stdout, at once: somebody may be reading along."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
