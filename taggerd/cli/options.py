"""Switches that several commands share, and how they become settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taggerd import logs
from taggerd.errors import ConfigurationError
from taggerd.settings import configuration

if TYPE_CHECKING:
    from taggerd.settings.configuration import Configuration

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Settings file; default: ~/.config/taggerd/taggerd.toml, else "
        "/etc/taggerd/taggerd.toml.",
        metavar="FILE",
        readable=False,
    ),
]
StateDirectory = Annotated[
    Path | None,
    typer.Option(
        "--state-directory", help="Queue, answers and outputs.", metavar="DIR", readable=False
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log more; show the trace of an error.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        help='Backend address up to /v1, "auto", or "builtin:".',
        metavar="URL",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="API key; other users can see it in the process list: better set "
        "TAGGERD__BACKEND__API_KEY.",
        metavar="KEY",
    ),
]
Model = Annotated[str | None, typer.Option("--model", help="Model for every role.", metavar="NAME")]


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Make ``{"backend.model": "x"}`` into ``{"backend": {"model": "x"}}``, without the Nones."""
    tree: dict[str, Any] = {}
    for dotted, value in values.items():
        if value is None:
            continue
        *tables, key = dotted.split(".")
        at = tree
        for table in tables:
            at = at.setdefault(table, {})
        at[key] = value
    return tree


SWITCHES = {
    "arrivals.image_extensions": "--image-exts",
    "arrivals.roots": "--input-dir",
    "backend.base_url": "--base-url",
    "backend.timeout_seconds": "--timeout",
    "keywords.max": "--max-keywords",
    "queue.photos_in_flight": "--batch-size",
    "workers.processes": "--max-workers",
}
"""The switch by which a setting is given whose name says something else."""


def _by_switch(complaints: str) -> str:
    """Name the switch where a complaint about the command line names a setting."""
    for key, switch in SWITCHES.items():
        complaints = complaints.replace(f"command line: {key}:", f"{switch}:")
    return complaints


def load(
    config: Path | None,
    *,
    verbose: bool = False,
    log_level: str | None = None,
    **dotted: Any,  # noqa: ANN401 - any setting's value, validated by the tree
) -> Configuration:
    """Load the settings under the command line's and set up logging by them.

    Args:
        config: ``--config``.
        verbose: ``--verbose``: log at debug level.
        log_level: least level shown where the settings do not say; default: theirs.
        dotted: settings by name, dots as double underscores: ``backend__model="x"``.

    """
    overrides = nested({key.replace("__", "."): value for key, value in dotted.items()})
    try:
        loaded = configuration.load(overrides, config=config)
    except ConfigurationError as error:
        raise ConfigurationError(_by_switch(str(error))) from error
    service = loaded.settings.service
    set_by_user = loaded.origins["service.log_level"] != "default"
    level = service.log_level if set_by_user or log_level is None else log_level
    logs.set_up(service.log_format, "debug" if verbose else level)  # type: ignore[arg-type]  # one of the Literal's
    return loaded
