"""``taggerd run``: the daemon, in the foreground."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated

import typer

from taggerd.cli import options
from taggerd.daemon.daemon import Daemon
from taggerd.errors import ConfigurationError

if TYPE_CHECKING:
    from taggerd.settings.configuration import Configuration


def run(
    input_dir: Annotated[
        list[str] | None,
        typer.Option(help="An import folder; default: arrivals.roots.", metavar="DIR"),
    ] = None,
    *,
    base_url: options.BaseUrl = None,
    model: options.Model = None,
    state_directory: options.StateDirectory = None,
    config: options.ConfigFile = None,
    verbose: options.Verbose = False,
) -> int:
    """Watch the import folders and tag what arrives, until SIGTERM or Ctrl-C; SIGHUP reloads.

    Logs go to stderr. A backend that is down is waited for; photos keep their turn.
    """

    def load() -> Configuration:
        loaded = options.load(
            config,
            verbose=verbose,
            arrivals__roots=[os.path.abspath(path) for path in input_dir or ()] or None,  # noqa: PTH100 - resolve() would follow links
            backend__base_url=base_url,
            backend__model=model,
            state_directory=state_directory,
        )
        if not loaded.settings.arrivals.roots:
            message = (
                "no import folder: set arrivals.roots, or name one: taggerd run --input-dir DIR"
            )
            raise ConfigurationError(message)
        return loaded

    return asyncio.run(Daemon(load).run())
