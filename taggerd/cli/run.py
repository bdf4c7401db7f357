"""``taggerd run``: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import faulthandler
from pathlib import Path
from typing import TYPE_CHECKING

from taggerd.cli import options
from taggerd.cli.ending import end_at_once
from taggerd.cli.interrupts import end_after
from taggerd.daemon.daemon import Daemon
from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from taggerd.settings.configuration import Configuration


INPUT = options.Switch(
    "--input-dir",
    "arrivals.roots",
    "Import folder, may be repeated; default: arrivals.roots.",
    "DIR",
    list[Path],
    options.absolute,
)


@options.configured(INPUT, options.BASE_URL, options.MODEL, options.STATE)
def run(load: options.Load) -> int:
    """Watch the import folders and tag what arrives.

    Runs until SIGTERM or Ctrl-C, and ends the photos in flight; a second one leaves them in the
    queue. SIGHUP reloads the settings. Logs go to stderr. While the backend is down, photos wait.
    Exit code 1: something hung, and did not end within service.drain_seconds and two seconds;
    75: an upgrade has replaced its files, and it is to be started again.
    """

    def with_folders() -> Configuration:
        loaded = load()
        settings = loaded.settings
        if settings.service.needs_folders and not settings.arrivals.roots:
            message = "no import folder: set arrivals.roots or add --input-dir DIR"
            raise ConfigurationError(message)
        return loaded

    faulthandler.enable()  # a service manager's watchdog aborts what hangs
    daemon = Daemon(with_folders, end_at_once=end_at_once, end_after=end_after)
    return asyncio.run(daemon.run())
