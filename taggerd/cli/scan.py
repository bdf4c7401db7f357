"""``taggerd scan``: a one-shot catch-up."""

from __future__ import annotations

import asyncio
import signal
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taggerd.cli import options
from taggerd.cli.progress import Progress, print_listing
from taggerd.errors import ConfigurationError
from taggerd.pipeline import RunOptions
from taggerd.scan import ScanRequest, Tally, list_photos, scan_photos

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from taggerd.settings.configuration import Configuration


def _named(what: str, metavar: str = "NAME") -> Any:  # noqa: ANN401 - what Typer makes of it
    return typer.Option(help=what, metavar=metavar)


def scan(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders or photos; default: arrivals.roots.", show_default=False, readable=False
        ),
    ] = None,
    *,
    input_dir: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of photos; as PATH.", metavar="DIR", readable=False),
    ] = None,
    recursive: Annotated[bool | None, typer.Option(help="Folders below too.")] = None,
    image_exts: Annotated[
        str | None, typer.Option(help='Extensions to take, e.g. "jpg,cr3".', metavar="LIST")
    ] = None,
    list_only: Annotated[
        bool, typer.Option("--list", help="Ask nothing: print what would be taken, and what not.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Ask and record, but write no sidecar.")
    ] = False,
    no_meta: Annotated[
        bool,
        typer.Option("--no-meta", help="Ask and record once; sidecars are left to a later scan."),
    ] = False,
    overwrite_metadata: Annotated[
        bool | None,
        typer.Option(
            "--overwrite-metadata",
            help="Ask again about photos that are tagged; replace texts a human wrote.",
        ),
    ] = None,
    retag: Annotated[
        bool,
        typer.Option(
            "--retag",
            help="Ask again about photos that are tagged; replace only what taggerd wrote.",
        ),
    ] = False,
    backup_originals: Annotated[
        bool | None, typer.Option(help="Keep the bytes of a sidecar before it changes.")
    ] = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    model: options.Model = None,
    caption_model: Annotated[str | None, _named("Model for captions.")] = None,
    keyword_model: Annotated[str | None, _named("Model for keywords.")] = None,
    description_model: Annotated[str | None, _named("Model for descriptions.")] = None,
    use_registry: Annotated[
        bool | None, typer.Option("--use-registry", help="Take models from the registry file.")
    ] = None,
    use_loader: Annotated[
        bool | None,
        typer.Option("--use-loader", help="Send the name that is served for a registry name."),
    ] = None,
    registry_path: Annotated[
        Path | None, typer.Option(help="The registry file.", metavar="FILE", readable=False)
    ] = None,
    caption_role: Annotated[
        str | None, _named("Role looked up in the registry for captions.", "ROLE")
    ] = None,
    keyword_role: Annotated[
        str | None, _named("Role looked up in the registry for keywords.", "ROLE")
    ] = None,
    description_role: Annotated[
        str | None, _named("Role looked up in the registry for descriptions.", "ROLE")
    ] = None,
    caption_registry_model: Annotated[
        str | None, _named("Name preferred in the registry for captions.")
    ] = None,
    keyword_registry_model: Annotated[
        str | None, _named("Name preferred in the registry for keywords.")
    ] = None,
    description_registry_model: Annotated[
        str | None, _named("Name preferred in the registry for descriptions.")
    ] = None,
    prompt_profile: Annotated[str | None, _named("Set of prompts.")] = None,
    max_keywords: Annotated[int | None, _named("Most keywords of a photo.", "N")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Photos in flight at once.", metavar="N")
    ] = None,
    max_workers: Annotated[
        int | None, typer.Option(help="Decoding processes.", metavar="N")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Longest wait for one answer.", metavar="SECONDS")
    ] = None,
    preflight: Annotated[
        bool | None, typer.Option(help="Probe the backend before work starts.")
    ] = None,
    output_jsonl: Annotated[
        Path | None, typer.Option(help="Also add this scan's records to this file.", metavar="FILE")
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help="Also write this scan's summary here (.md or .html).", metavar="FILE"),
    ] = None,
    as_json: options.AsJson = False,
    state_directory: options.StateDirectory = None,
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
) -> int:
    """Tag the photos below PATH that are not tagged yet, then stop.

    It may be stopped at any time and goes on where it was. A backend that goes away meanwhile is
    waited for, five minutes at most. Exit code 0: all tagged; 1: some photos failed; 2: usage;
    3: the backend is not usable.
    """
    loaded = options.load(
        config,
        verbose=verbose,
        log_level="error",
        arrivals__recursive=recursive,
        arrivals__image_extensions=image_exts,
        metadata__overwrite=overwrite_metadata,
        metadata__backup_originals=backup_originals,
        backend__base_url=base_url,
        backend__api_key=api_key,
        backend__model=model,
        backend__use_registry=use_registry,
        backend__use_loader=use_loader,
        backend__registry_path=registry_path,
        backend__timeout_seconds=timeout,
        backend__preflight=preflight,
        roles__caption__model=caption_model,
        roles__keywords__model=keyword_model,
        roles__description__model=description_model,
        roles__caption__registry_role=caption_role,
        roles__keywords__registry_role=keyword_role,
        roles__description__registry_role=description_role,
        roles__caption__registry_model=caption_registry_model,
        roles__keywords__registry_model=keyword_registry_model,
        roles__description__registry_model=description_registry_model,
        prompts__profile=prompt_profile,
        keywords__max=max_keywords,
        queue__photos_in_flight=batch_size,
        workers__processes=max_workers,
        state_directory=state_directory,
    )
    job = RunOptions(
        run=f"scan-{uuid.uuid4().hex[:12]}",
        dry_run=dry_run,
        sidecars=not no_meta,
        anew=retag or bool(overwrite_metadata),
    )
    request = ScanRequest(
        _paths([*(paths or []), *(input_dir or [])], loaded), job, output_jsonl, summary
    )
    if list_only:
        print_listing(asyncio.run(list_photos(loaded, request)), as_json=as_json)
        return 0
    with Progress(as_json=as_json, writes=job.writes) as progress:
        tally = asyncio.run(_until_terminated(scan_photos(loaded, request, progress)))
    progress.conclude(tally, loaded.settings.journal_directory)
    return 0 if tally.all_well else 1


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


async def _until_terminated(scanning: Coroutine[None, None, Tally]) -> Tally:
    """Run the scan; SIGTERM ends it as Ctrl-C does: photos under way go back into the queue.

    Raises:
        KeyboardInterrupt: it was ended.

    """
    task = asyncio.ensure_future(scanning)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except asyncio.CancelledError as cancelled:
        raise KeyboardInterrupt from cancelled
