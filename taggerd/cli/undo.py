"""``taggerd undo``: remove what taggerd wrote."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd import metadata
from taggerd.cli import interrupts, options
from taggerd.errors import ConfigurationError
from taggerd.photo import printable
from taggerd.services import local_now
from taggerd.undo import UndoRequest, undo_photos

if TYPE_CHECKING:
    from collections import Counter

    from taggerd.metadata import UndoOutcome
    from taggerd.settings.configuration import Configuration
    from taggerd.undo import Tally


class Field(StrEnum):
    """What can be undone by itself."""

    caption = "caption"
    description = "description"
    keywords = "keywords"


@options.configured(options.RECURSIVE, options.STATE)
def undo(
    load: options.Load,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos, sidecars or folders.", metavar="PATH", show_default=False, readable=False
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Everything below arrivals.roots, instead of a PATH.")
    ] = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            help="Only what was tagged on or after this day.",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
        ),
    ] = None,
    field: Annotated[
        list[Field] | None,
        typer.Option(help="Only this part; may be repeated.", metavar="|".join(Field)),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing; say what would happen to each file.")
    ] = False,
) -> int:
    """Remove taggerd's words; yours stay.

    A sidecar that taggerd created and nobody edited is deleted. A sidecar that existed before, or a
    photo with embedded tags, is restored byte for byte. If it was edited since, or its format does
    not allow that (HEIC, AVIF, most TIFF), only taggerd's words are removed. The photos stay
    untagged until taggerd retry PATH or taggerd scan --retag. Exit code 0: all well; 1: some files
    were refused; 2: wrong usage.
    """
    loaded = load(log_level="error")
    wanted = metadata.UndoOptions(
        parts=frozenset(each.value for each in field or Field),
        since=since.date() if since else None,
        dry_run=dry_run,
        now=local_now(),
    )
    request = UndoRequest(_paths(paths or [], loaded, everything=everything), wanted)
    report = _Report(dry_run=dry_run, verbose=load.verbose)
    tally = interrupts.run(undo_photos(loaded, request, report.outcome))
    report.conclude(tally)
    return 0 if tally.all_well else 1


def _paths(named: list[Path], loaded: Configuration, *, everything: bool) -> list[Path]:
    """Return the paths to undo.

    Raises:
        ConfigurationError: none is named; the whole archive is undone only when asked for.

    """
    roots = [root.path for root in loaded.settings.arrivals.roots]
    if named and everything:
        message = "--all and PATH exclude each other: give one of the two"
        raise ConfigurationError(message)
    if named:
        return named
    if everything and roots:
        return roots
    nothing = "--all needs arrivals.roots, which is empty" if everything else "nothing to undo"
    message = f"{nothing}: name photos, sidecars or folders (taggerd undo PATH)"
    if not everything and roots:
        message += ", or add --all for everything below arrivals.roots"
    raise ConfigurationError(message)


class _Report:
    """What a person sees: a line per file, and the totals."""

    def __init__(self, *, dry_run: bool, verbose: bool) -> None:
        self._would = "would be " if dry_run else ""
        self._verbose = dry_run or verbose

    def outcome(self, done: UndoOutcome, named: bool) -> None:  # noqa: FBT001 - the form that is called
        """Print what happened to one sidecar; one without taggerd's words is left out."""
        if done.end == "nothing" and not (named or self._verbose):
            return
        words = {"nothing": "left", "refused": "refused"}
        word = words.get(done.end) or self._would + _ENDS[done.end]
        parts = ", ".join(done.parts)
        if done.end == "cleaned" and not done.reason:
            parts = f"edited since; removed: {parts or 'only the record'}"
        backup = f"backup: {printable(done.backup.name)}" if done.backup else ""
        text = "; ".join(part for part in (done.reason, parts, backup) if part)
        typer.echo(f"{word}: {printable(done.path)}" + (f": {text}" if text else ""))

    def conclude(self, tally: Tally) -> None:
        """Print the totals."""
        for skip in tally.unreadable:
            typer.echo(f"failed: {printable(skip.path)}: {skip.reason}")
        if tally.ends or not tally.photos:
            typer.echo(self._counted(tally.ends, "sidecar"))
        if tally.photos:
            typer.echo(self._counted(tally.photos, "photo"))
        if tally.waiting:
            typer.echo(f"{tally.waiting} files there are still in the queue and will be tagged")
        if tally.held:
            held = f"{tally.held} file{' waits' if tally.held == 1 else 's wait'}"
            typer.echo(
                f"{held} there to be accepted (to drop the words: taggerd accept --drop PATH)"
            )

    def _counted(self, ends: Counter[str], noun: str) -> str:
        counts = [f"{ends[end]} {self._would}{word}" for end, word in _ENDS.items() if ends[end]]
        counts += [f"{ends['refused']} refused"] if ends["refused"] else []
        counts += [f"{ends['nothing']} left unchanged"] if ends["nothing"] else []
        total = sum(ends.values())
        files = f"{total} {noun}{'' if total == 1 else 's'}"
        return f"{files}: {', '.join(counts)}" if total else f"no {noun}s found"


_ENDS = {
    "removed": "removed",
    "restored": "restored byte for byte",
    "cleaned": "cleaned",
    "partly": "cleaned in part",
}
