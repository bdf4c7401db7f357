"""``taggerd accept``: held words are written, for those who review without a browser."""

from __future__ import annotations

import json
import time
import uuid
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taggerd import files
from taggerd.arrivals import reach, work_below
from taggerd.attempt import RunOptions, text_of
from taggerd.cli import interrupts, options
from taggerd.cli.progress import Progress
from taggerd.errors import ConfigurationError
from taggerd.ledger import Correction
from taggerd.photo import printable
from taggerd.scan import ScanRequest, scan_photos
from taggerd.services import open_ledger, read_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd.ledger import HeldPhoto
    from taggerd.settings import Settings
    from taggerd.settings.configuration import Configuration


@options.configured(options.STATE)
def accept(
    load: options.Load,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos or folders.", metavar="PATH", show_default=False, readable=False
        ),
    ] = None,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="All photos that wait to be accepted.")
    ] = False,
    list_only: Annotated[
        bool, typer.Option("--list", help="Only show what waits, with its words.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Drop the words instead: nothing is written.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Write the words that wait to be accepted (review.hold).

    Exactly the words that --list shows are written, whatever the model and the prompts are by now,
    and nothing is asked again. taggerd web shows the photos, too. A photo whose words were dropped
    is left alone until taggerd retry PATH or scan --retag. Exit code 0: all well; 1: some could not
    be written; 2: wrong usage or settings.
    """
    loaded = load(log_level="error")
    if not (paths or everything or list_only):
        message = "nothing to accept: name photos or folders, or add --all; --list shows what waits"
        raise ConfigurationError(message)
    if paths and everything:
        message = "--all and PATH exclude each other: give one of the two"
        raise ConfigurationError(message)
    within = options.absolute(paths) if paths else None
    held = held_photos(loaded.settings, within, unwritten=not (list_only or drop))
    work_below(within or (), loaded.settings)
    for each in held:
        reach(each.photo.primary.path, loaded.settings)
    if missing := [path for path in within or () if not (files.exists(path) or held)]:
        message = f"{printable(missing[0])}: no such photo or folder, and nothing waits there"
        raise ConfigurationError(message)
    if list_only:
        _show(held, loaded.settings, as_json=as_json)
        return 0
    if drop:
        return _drop(loaded.settings, held, as_json=as_json)
    return _write(loaded, held, as_json=as_json)


def held_photos(
    settings: Settings, within: Sequence[Path] | None, *, unwritten: bool = False
) -> list[HeldPhoto]:
    """Return the photos that wait, all or *within*; nothing is made or changed.

    With *unwritten* also those that were accepted by a program that has died since.
    """
    held = read_ledger(settings, lambda each: each.held(-1, unwritten=unwritten))
    held = held or []
    if within is None:
        return held
    wanted = set(within)
    return [
        each
        for each in held
        if any(f.path in wanted or not wanted.isdisjoint(f.path.parents) for f in each.photo.files)
    ]


def _show(held: Sequence[HeldPhoto], settings: Settings, *, as_json: bool) -> None:
    """Print what waits, the longest first."""
    if as_json:
        typer.echo(json.dumps([_as_json(each, settings) for each in held], indent=2))
        return
    for each in held:
        typer.echo(printable(each.photo.primary.path))
        for answer in each.answers:
            typer.echo(f"  {answer.role}: {printable(text_of(answer))}")
    count = f"{len(held)} photo{' waits' if len(held) == 1 else 's wait'} to be accepted"
    typer.echo(f"{count}{_end(held, settings)}")


def _end(held: Sequence[HeldPhoto], settings: Settings) -> str:
    """Say when the first of them is written or dropped though nobody looks at it."""
    review = settings.review
    if not (held and review.hold_days):
        return ""
    day = time.strftime("%Y-%m-%d", time.localtime(_until(held[0], settings)))
    done = "written" if review.after_hold == "write" else "dropped"
    return f"; what nobody has accepted is {done}, the first on {day}"


def _until(held: HeldPhoto, settings: Settings) -> float:
    return held.since + settings.review.hold_days * 24 * 60 * 60


def _as_json(held: HeldPhoto, settings: Settings) -> dict[str, Any]:
    return {
        "files": [printable(file.path) for file in held.photo.files],
        "since": held.since,
        "until": _until(held, settings) if settings.review.hold_days else None,
        "words": {answer.role: text_of(answer) for answer in held.answers},
        "models": {answer.role: answer.model for answer in held.answers},
    }


def _drop(settings: Settings, held: Sequence[HeldPhoto], *, as_json: bool) -> int:
    """Let the words of *held* photos go."""

    async def dropped() -> int:
        async with open_ledger(settings) as ledger:
            return await ledger.drop_held([each.photo.primary.path for each in held])

    count = interrupts.run(dropped()) if held else 0
    said = f"dropped the words of {count} photo{'' if count == 1 else 's'}"
    typer.echo(json.dumps({"dropped": count}) if as_json else said)
    return 0


def _write(loaded: Configuration, held: Sequence[HeldPhoto], *, as_json: bool) -> int:
    """Write the words of *held* photos."""
    there = [f.path for each in held for f in each.photo.files if files.exists(f.path)]
    if not there and not as_json:
        typer.echo("nothing waits to be accepted")
        return 0
    interrupts.run(_note(loaded.settings, held))
    request = ScanRequest(there, RunOptions(run=f"accept-{uuid.uuid4().hex[:12]}", accept=True))
    with Progress(as_json=as_json, writes=True, accepts=True) as progress:
        tally = interrupts.run(
            scan_photos(loaded, request, progress),
            drain_seconds=loaded.settings.service.drain_seconds,
        )
    progress.conclude(tally, loaded.settings.journal_directory)
    return 0 if tally.all_well else 1


async def _note(settings: Settings, held: Sequence[HeldPhoto]) -> None:
    """Note that somebody found the words of *held* photos good, as the browser's review does."""
    try:
        who = getuser()
    except (KeyError, OSError):  # a container's user may have no name
        who = ""
    async with open_ledger(settings) as ledger:
        await ledger.correct(
            Correction(
                photo=each.photo.primary.path, kind="accepted", who=who, action=uuid.uuid4().hex
            )
            for each in held
        )
