"""What a person sees of a scan: a bar on a terminal, a line a photo elsewhere, or JSON."""

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

from taggerd.photo import printable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from rich.progress import Task, TaskID

    from taggerd.catchup import Listing, Tally
    from taggerd.shift import Outcome


class RateColumn(TextColumn):
    """Photos a minute."""

    def __init__(self) -> None:
        """Show the speed of the last while."""
        super().__init__("")

    def render(self, task: Task) -> str:  # type: ignore[override]  # rich takes any renderable
        """Return the rate as text."""
        return f"{task.speed * 60:.0f}/min" if task.speed else "-/min"


class Progress:
    """Shows a scan while it runs and says how it ended."""

    def __init__(self, *, as_json: bool) -> None:
        """Choose the form: *as_json*, else a bar if stderr is a terminal, else lines."""
        self._as_json = as_json
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
        """Take the bar away."""
        if self._bar:
            self._bar.stop()

    def probing(self, base_url: str) -> None:
        """Say that the backend is probed."""
        if self._bar:
            self._task = self._bar.add_task(f"probing {escape(base_url)}", total=None)

    def begun(self, todo: int, tally: Tally) -> None:
        """Show how much there is to do."""
        if self._bar and self._task is not None:
            self._bar.reset(self._task, total=todo, description="tagging")
        elif not self._as_json:
            _print(f"found {tally.found} photos, {todo} to tag")

    def outcome(self, outcome: Outcome, tally: Tally) -> None:
        """Show one outcome."""
        ended = sum(tally.fates[fate] for fate in ("tagged", "known", "failed"))
        path = printable(outcome.photo.primary.path)
        caption = outcome.record.tags.caption if outcome.record else ""
        if self._bar and self._task is not None:
            shown = f"waiting: {outcome.reason}" if outcome.fate == "waits" else outcome.photo.name
            self._bar.update(self._task, completed=ended, description=escape(shown[-60:]))
            if outcome.fate == "failed":
                self._bar.console.print(f"{outcome.fate}: {escape(path)}: {escape(outcome.reason)}")
        elif not self._as_json:
            _print(
                ": ".join(part for part in (outcome.fate, path, outcome.reason or caption) if part)
            )

    def conclude(self, tally: Tally, outputs: Path) -> None:
        """Say how the scan went, on stdout."""
        if self._as_json:
            _print(json.dumps(_as_json(tally, outputs), indent=2))
            return
        for skip in tally.quarantined:
            _print(f"left alone: {printable(skip.path)}: {skip.reason}")
        for skip in tally.elsewhere:
            _print(f"still in the queue: {printable(skip.path)}: {skip.reason}")
        if not tally.found:
            _print("no photos found there")
        if tally.growing:
            _print(f"{tally.growing} files are still being written: scan again later")
        done = tally.fates["tagged"] + tally.fates["known"]
        parts = [f"tagged {done} of {tally.todo} photos"]
        parts += [f"{len(tally.failed)} failed"] if tally.failed else []
        parts += [f"{len(tally.gone)} went away meanwhile"] if tally.gone else []
        parts += [f"{len(tally.elsewhere)} still in the queue"] if tally.elsewhere else []
        parts += [f"{tally.done_before} were tagged before"] if tally.done_before else []
        parts += [f"{len(tally.quarantined)} left alone"] if tally.quarantined else []
        parts += [f"{len(tally.skipped)} files skipped (--list says why)"] if tally.skipped else []
        _print("; ".join(parts))
        if tally.todo:
            _print(f"records and summary: {printable(outputs)}")


def print_listing(listing: Listing, *, as_json: bool) -> None:
    """Print what would be taken and what would be left, with the reason."""
    if as_json:
        table = {
            "taken": [[printable(f.path) for f in photo.files] for photo in listing.taken],
            "left": [{"path": printable(s.path), "reason": s.reason} for s in listing.left],
        }
        _print(json.dumps(table, indent=2))
        return
    for photo in listing.taken:
        _print("take  " + "  + ".join(printable(file.path) for file in photo.files))
    for skip in listing.left:
        _print(f"leave {printable(skip.path)}: {skip.reason}")
    _print(f"{len(listing.taken)} photos would be taken, {len(listing.left)} files left")


def _as_json(tally: Tally, outputs: Path) -> dict[str, object]:
    """Return *tally* as a JSON object."""
    lists = {
        name: [{"path": printable(s.path), "reason": s.reason} for s in getattr(tally, name)]
        for name in ("failed", "gone", "elsewhere", "quarantined", "skipped")
    }
    return {
        "found": tally.found,
        "todo": tally.todo,
        "tagged": tally.fates["tagged"] + tally.fates["known"],
        "done_before": tally.done_before,
        "growing": tally.growing,
        **lists,
        "outputs": printable(outputs),
    }


def _print(text: str) -> None:
    """Write a line to stdout, at once: somebody may be reading along."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
