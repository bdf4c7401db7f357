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

from taggerd.cli.totals import (
    agreed,
    estimate_lines,
    preview_as_json,
    preview_lines,
    so_far,
    summed,
    totals,
)
from taggerd.errors import BackendError
from taggerd.photo import printable
from taggerd.settings import Price

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rich.progress import Task, TaskID

    from taggerd.arrivals import Skip
    from taggerd.runner.outcome import Outcome
    from taggerd.scan import Estimate, Listing, Tally


class RateColumn(TextColumn):
    """Photos a minute."""

    def __init__(self) -> None:
        """Show the speed of the last while."""
        super().__init__("")

    def render(self, task: Task) -> str:  # type: ignore[override]  # rich takes any renderable
        """Return the rate as text."""
        return f"{task.speed * 60:.0f}/min" if task.speed else "-/min"


LINES_BETWEEN = 50
"""Photos after which a scan without a terminal says how far it is."""

_READERS = (
    "note: darktable, digiKam, Immich and PhotoPrism read these sidecars; Lightroom reads them for "
    'raw files only: for JPEG set metadata.target = "both"'
)


_SETTINGS_CHANGED = (
    "note: settings for sidecars have changed since these photos were tagged: taggerd rewrite "
    "applies them"
)


_BAR, _FIGURES, _NAME = 10, 60, 60
"""Columns of the bar, of the bar with all figures beside it, and of the longest name before it."""
_ENDS = ("tagged", "held", "already tagged", "failed")
"""Outcomes after which nothing more is tried."""


def shortened(name: str, columns: int) -> str:
    """Return the end of *name*, which is what differs between a camera's files.

    A long one left no columns for the figures: they were cut off in a terminal of 80.
    """
    columns = max(min(columns, _NAME), 12)
    return name if len(name) <= columns else f"…{name[1 - columns :]}"


class Progress:
    """Shows a scan while it runs and says how it ended."""

    def __init__(
        self,
        *,
        as_json: bool,
        writes: bool,
        rewrites: bool = False,
        accepts: bool = False,
        asks: bool = False,
        price: Price | None = None,
    ) -> None:
        """Choose the form: *as_json*, else a bar if stderr is a terminal, else lines.

        Args:
            as_json: print one JSON object at the end and nothing else.
            writes: whether sidecars are written, or answers only recorded.
            rewrites: whether tagged photos are written again.
            accepts: whether what was held is written.
            asks: whether somebody is asked before many photos are begun.
            price: what requests cost.

        """
        self._as_json = as_json
        self._writes = writes
        self._rewrites = rewrites
        self._accepts = accepts
        self._asks = asks
        self._price = price or Price()
        self._tally: Tally | None = None
        self._shown: set[Path] = set()
        self._said: set[str] = set()
        """Reasons that were given once for many photos."""
        self._console = Console(stderr=True, highlight=False)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        # What a dry run would change is its result, for whoever reads standard output.
        shows_bar = self._console.is_terminal and (writes or sys.stdout.isatty())
        if not as_json and shows_bar:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=_BAR),
                MofNCompleteColumn(),
                TaskProgressColumn(),
                RateColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[so_far]}"),
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

    async def proceeds(self, estimate: Estimate) -> bool:
        """Say what many photos will take; where somebody sits there, ask whether to begin."""
        for line in estimate_lines(estimate):
            self._console.print(escape(line), soft_wrap=True)
        if not self._asks:
            return True
        if self._bar:
            self._bar.stop()  # it would draw over the question
        self._console.print("Begin? [Y/n] ", end="", markup=False)
        begins = await agreed()
        if self._bar:
            self._bar.start()
        return begins

    def probing(self, base_url: str) -> None:
        """Say that the backend is probed."""
        if self._bar:
            self._task = self._bar.add_task(f"probing {escape(base_url)}", total=None, so_far="")

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
        ended = sum(tally.outcomes[kind] for kind in _ENDS)
        if self._bar and self._task is not None:
            shown = f"waiting: {outcome.reason}"[:_NAME]
            if outcome.kind != "waiting":
                shown = shortened(outcome.photo.name, self._console.width - _FIGURES)
            self._bar.update(
                self._task,
                completed=ended,
                description=escape(shown),
                so_far=escape(so_far(tally, self._price)),
            )
            if outcome.kind == "failed" and not said:
                self._bar.console.print(escape(f"failed: {photo}: {outcome.reason}"))
        elif not self._as_json and not said:
            caption = outcome.record.caption if outcome.record else ""
            kind = self._words.get(outcome.kind, outcome.kind)
            _print(": ".join(part for part in (kind, photo, outcome.reason or caption) if part))
            if ended and ended % LINES_BETWEEN == 0:
                told = so_far(tally, self._price)
                _print("; ".join(filter(None, [f"{ended} of {_photos(tally.todo)}", told])))
        if outcome.preview and not self._as_json:
            lines = [photo] if self._bar else []
            for line in (*lines, *preview_lines(outcome.preview)):
                _print(line)

    def stopped(self) -> None:
        """Say how far the scan got before it was stopped."""
        if self._tally and not self._as_json:
            done = sum(self._tally.outcomes[kind] for kind in _ENDS if kind != "failed")
            left = self._tally.todo - done - len(self._tally.failed)
            _print(f"stopped: {self._done} {done} of {_photos(self._tally.todo)}; {left} to go")
            if took := totals(self._tally, self._price):
                _print(took)

    def conclude(self, tally: Tally, outputs: Path) -> None:
        """Print the result on stdout."""
        if self._as_json:
            _print(json.dumps(_as_json(tally, outputs, self._price), indent=2))
            return
        if tally.declined:
            _print("nothing was asked and nothing written")
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
        if took := totals(tally, self._price):
            _print(took)
        if tally.todo:
            _print(f"records and summary: {printable(outputs)}")

    @property
    def _do(self) -> str:
        """What is done with a photo."""
        return "rewrite" if self._rewrites else "accept" if self._accepts else "tag"

    @property
    def _words(self) -> dict[str, str]:
        """The words for outcomes that are not called by their own names."""
        if self._rewrites:
            return {"tagged": "rewritten", "already tagged": "no answers held"}
        if self._accepts:
            return {"tagged": "accepted", "already tagged": "written by another taggerd"}
        return {} if self._writes else {"tagged": "answered"}

    @property
    def _done(self) -> str:
        """What the scan did with a photo that went well."""
        if self._rewrites:
            return "applied the settings to"
        if self._accepts:
            return "accepted"
        return "tagged" if self._writes else "got answers for"

    def _counts(self, tally: Tally) -> list[str]:
        """Return the counts in words, without those that are zero."""
        held = tally.outcomes["held"]
        counts = [
            (held, "to be accepted (taggerd accept, taggerd web)"),
            (tally.outcomes["already tagged"], self._words.get("already tagged", "already tagged")),
            (len(tally.failed), "failed"),
            (len(tally.gone), "disappeared meanwhile"),
            (len(tally.elsewhere), "still in the queue"),
            (tally.growing, "still being copied (scan again later)"),
            (tally.done_before, "tagged before"),
            (tally.unwritten_before, "answered before, not written yet"),
            (tally.held, "answered before, to be accepted (taggerd accept, taggerd web)"),
            (tally.dropped, "not accepted before (to tag again: taggerd retry PATH)"),
            (tally.untagged, "not tagged yet (taggerd scan)"),
            (tally.left_out, "left out (--limit, --sample)"),
            (tally.undone, "undone before (to tag again: taggerd retry PATH or scan --retag)"),
            (len(tally.quarantined), "failed before"),
            (
                len(tally.skipped),
                f"other file{_s(len(tally.skipped))} skipped (--list says why)",
            ),
        ]
        done = tally.outcomes["tagged"]
        first = f"{self._done} {done} of {_photos(tally.todo)}"
        if held and not done:  # all that came is held
            (_, words), *counts = counts
            first = f"got answers for {held} of {_photos(tally.todo)}, {words}"
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
    if listing.left_out:
        parts.append(f"{listing.left_out} left out (--limit, --sample)")
    if skipped := len(listing.skipped):
        parts.append(f"{skipped} other file{_s(skipped)} skipped")
    _print("; ".join(parts))


def _as_json(tally: Tally, outputs: Path, price: Price) -> dict[str, object]:
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
        "held": tally.outcomes["held"],
        "unwritten_before": tally.unwritten_before,
        "held_before": tally.held,
        "dropped": tally.dropped,
        "outdated": tally.outdated,
        "untagged": tally.untagged,
        "undone": tally.undone,
        "growing": tally.growing,
        "left_out": tally.left_out,
        "declined": tally.declined,
        **lists,
        "usage": summed(tally.spent)._asdict(),
        "price": price.text(price.total(tally.spent)) if price.known else "",
        "seconds": round(tally.seconds, 1),
        "previews": [
            {"path": printable(path), **preview_as_json(preview)}
            for path, preview in tally.previews
        ],
        "outputs": printable(outputs),
    }


def _print(text: str) -> None:
    """Write a line to stdout, at once: somebody may be reading along."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
