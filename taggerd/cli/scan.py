"""``taggerd scan``: a one-shot catch-up."""

from __future__ import annotations

import json
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.attempt import RunOptions
from taggerd.cli import interrupts, options
from taggerd.cli.progress import Progress, print_listing
from taggerd.cli.totals import estimate_as_json, estimate_lines
from taggerd.errors import ConfigurationError
from taggerd.scan import ScanRequest, estimate_photos, list_photos, scan_photos

if TYPE_CHECKING:
    from taggerd.settings import Backend
    from taggerd.settings.configuration import Configuration


_PER_ROLE = [
    options.Switch(f"--{word}-{flag}", f"roles.{role}.{key}", f"{what} for {word}s.", metavar)
    for word, role in {
        "caption": "caption",
        "keyword": "keywords",
        "description": "description",
    }.items()
    for flag, key, what, metavar in (
        ("model", "model", "Model", "NAME"),
        ("role", "registry_role", "Registry role to look up", "ROLE"),
        ("registry-model", "registry_model", "Registry model to prefer", "NAME"),
    )
]

SWITCHES = [
    options.RECURSIVE,
    options.Switch(
        "--image-exts",
        "arrivals.image_extensions",
        'File name extensions to take, e.g. "jpg,cr3".',
        "LIST",
    ),
    options.Switch(
        "--overwrite-metadata",
        "metadata.overwrite",
        "Ask again about tagged photos; replace texts that a human wrote, too (not titles).",
        kind=bool,
    ),
    options.Switch(
        "--backup-originals/--no-backup-originals",
        "metadata.backup_originals",
        "Keep a copy of a sidecar before it changes.",
        kind=bool,
    ),
    options.BASE_URL,
    options.API_KEY,
    options.MODEL,
    *_PER_ROLE,
    options.Switch(
        "--use-registry", "backend.use_registry", "Take models from the registry.", kind=bool
    ),
    options.Switch(
        "--use-loader",
        "backend.use_loader",
        "Send the served name instead of the registry name.",
        kind=bool,
    ),
    options.REGISTRY,
    options.Switch(
        "--hold/--no-hold",
        "review.hold",
        "Write nothing until somebody accepts the words: taggerd accept, taggerd web.",
        kind=bool,
    ),
    options.Switch("--prompt-profile", "prompts.profile", "Prompt profile.", "NAME"),
    options.Switch(
        "--temperature",
        "backend.temperature",
        "How freely a model chooses its words, 0 to 2.",
        "NUMBER",
        float,
    ),
    options.Switch(
        "--top-p",
        "backend.top_p",
        "Share of the likeliest words to choose from, up to 1.",
        "NUMBER",
        float,
    ),
    options.Switch("--max-tokens", "backend.max_tokens", "Longest answer, tokens.", "N", int),
    options.Switch("--max-keywords", "keywords.max", "Most keywords per photo.", "N", int),
    options.Switch("--batch-size", "queue.photos_in_flight", "Photos in flight at once.", "N", int),
    options.Switch("--max-workers", "workers.processes", "Decoding processes.", "N", int),
    options.Switch(
        "--timeout", "backend.timeout_seconds", "Longest wait for one answer.", "SECONDS", float
    ),
    options.Switch(
        "--preflight/--no-preflight",
        "backend.preflight",
        "Probe the backend before work starts.",
        kind=bool,
    ),
    options.STATE,
]
"""The switches of a scan that give settings."""


@options.configured(*SWITCHES)
def scan(
    load: options.Load,
    paths: options.Paths = None,
    *,
    input_dir: Annotated[
        list[Path] | None,
        typer.Option(help="Same as PATH; may be repeated.", metavar="DIR", readable=False),
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Only list what would be taken and what not.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask and show what would change; write no sidecars.")
    ] = False,
    no_meta: Annotated[
        bool,
        typer.Option("--no-meta", help="Ask and record; a later scan writes the sidecars."),
    ] = False,
    retag: Annotated[
        bool,
        typer.Option(
            "--retag",
            help="Ask again about tagged photos; replace only what taggerd wrote.",
        ),
    ] = False,
    reuse_answers: Annotated[
        bool,
        typer.Option(
            "--reuse-answers",
            help="Take answers that are held, whatever model or prompt they came from.",
        ),
    ] = False,
    output_jsonl: Annotated[
        Path | None, typer.Option(help="Also append this scan's records to FILE.", metavar="FILE")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help="Also write this scan's summary to FILE (.md or .html).", metavar="FILE"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Tag at most N photos.", metavar="N")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Tag N photos drawn from all, the same ones each time.",
            metavar="N",
        ),
    ] = None,
    estimate: Annotated[
        bool,
        typer.Option("--estimate", help="Only say what it will take: tokens, time, price."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before many photos are begun.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Tag the photos below PATH that have no tags yet.

    A scan that is stopped continues where it was when started again. If the backend goes down, the
    scan waits up to five minutes for it. Exit code 0: all tagged; 1: some photos failed; 2: wrong
    usage or settings; 3: the backend cannot be used.
    """
    loaded = load(log_level="error")
    _check_registry_switches(load, loaded.settings.backend)
    run_options = RunOptions(
        run=f"scan-{uuid.uuid4().hex[:12]}",
        dry_run=dry_run,
        sidecars=not no_meta,
        ask_again=retag or "metadata.overwrite" in load.given,
        backend_named="backend.base_url" in load.given,
        reuse_answers=reuse_answers,
        hold=loaded.settings.review.hold,
    )
    request = ScanRequest(
        _paths([*(paths or []), *(input_dir or [])], loaded),
        run_options,
        output_jsonl,
        summary,
        limit,
        sample,
    )
    if estimate:
        return _estimate(loaded, request, as_json=as_json)
    if list_only:
        listing = interrupts.run(list_photos(loaded, request))
        print_listing(listing, as_json=as_json)
        return 0 if listing.all_well else 1
    asks = not (yes or as_json) and sys.stdin.isatty() and sys.stderr.isatty()
    price = loaded.settings.backend.price
    with Progress(as_json=as_json, writes=run_options.writes, asks=asks, price=price) as progress:
        tally = interrupts.run(
            scan_photos(loaded, request, progress),
            drain_seconds=loaded.settings.service.drain_seconds,
        )
    progress.conclude(tally, loaded.settings.journal_directory)
    return 0 if tally.all_well else 1


def _estimate(loaded: Configuration, request: ScanRequest, *, as_json: bool) -> int:
    """Say what the scan will take; no photo is read."""
    listing = interrupts.run(list_photos(loaded, request))
    found = interrupts.run(estimate_photos(loaded, len(listing.taken)))
    if as_json:
        typer.echo(json.dumps(estimate_as_json(found), indent=2))
    else:
        typer.echo("\n".join(estimate_lines(found)))
    return 0 if listing.all_well else 1


def _check_registry_switches(load: options.Load, backend: Backend) -> None:
    """Refuse switches about a registry that is not used: they would do nothing.

    Raises:
        ConfigurationError: it names the switch that is missing.

    """
    for key in load.given:
        name = key.rpartition(".")[2]
        if name == "registry_role" and not backend.use_registry:
            message = f"{load.flags[key]} does nothing without --use-registry: add it"
            raise ConfigurationError(message)
        if name in {"registry_model", "registry_path"} and not (
            backend.use_registry or backend.use_loader
        ):
            message = (
                f"{load.flags[key]} does nothing without --use-registry or --use-loader: add one"
            )
            raise ConfigurationError(message)


def _paths(named: list[Path], loaded: Configuration) -> tuple[Path, ...]:
    """Return the paths to scan.

    Raises:
        ConfigurationError: none is named, neither here nor in the settings.

    """
    roots = tuple(root.path for root in loaded.settings.arrivals.roots)
    if not named and not roots:
        message = "nothing to scan: name a folder (taggerd scan FOLDER) or set arrivals.roots"
        raise ConfigurationError(message)
    return tuple(named) or roots
