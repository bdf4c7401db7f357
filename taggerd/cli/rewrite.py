"""``taggerd rewrite``: changed settings are applied to photos that are tagged already."""

from __future__ import annotations

import uuid

from taggerd.attempt import RunOptions
from taggerd.cli import interrupts, options
from taggerd.cli.progress import Progress
from taggerd.errors import ConfigurationError
from taggerd.scan import ScanRequest, scan_photos


@options.configured(options.RECURSIVE, options.STATE)
def rewrite(
    load: options.Load,
    paths: options.Paths = None,
    *,
    as_json: options.AsJson = False,
) -> int:
    """Apply changed settings to tagged photos, from stored answers and without a request.

    For metadata.target, metadata.fields, metadata.language, the keyword list and ownership.keyword.
    Your own words, and keywords that you deleted, stay as they are. An existing sidecar keeps its
    name, and text in a property that is no longer in metadata.fields stays there. A photo without
    stored answers is left as it is. Exit code 0: all well; 1: some photos failed; 2: wrong usage or
    settings.
    """
    loaded = load(log_level="error")
    roots = [root.path for root in loaded.settings.arrivals.roots]
    if not (paths or roots):
        message = "nothing to rewrite: name a folder (taggerd rewrite FOLDER) or set arrivals.roots"
        raise ConfigurationError(message)
    request = ScanRequest(
        paths or roots, RunOptions(run=f"rewrite-{uuid.uuid4().hex[:12]}", rewrite=True)
    )
    with Progress(as_json=as_json, writes=True, rewrites=True) as progress:
        tally = interrupts.run(
            scan_photos(loaded, request, progress),
            drain_seconds=loaded.settings.service.drain_seconds,
        )
    progress.conclude(tally, loaded.settings.journal_directory)
    return 0 if tally.all_well else 1
