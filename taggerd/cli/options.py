"""Switches that several commands share, and how a switch becomes a setting.

A switch that gives a setting is a :class:`Switch`: its flag, the setting's key and its help, in one
line. :func:`configured` adds such switches to a command and passes it a :class:`Load`, with which
it reads the settings. A switch that gives no setting is an ordinary parameter of its command.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from taggerd import logs
from taggerd.errors import ConfigurationError
from taggerd.settings import configuration, imageworks
from taggerd.settings.configuration import Configuration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        help="Folders or photos; default: arrivals.roots.",
        metavar="PATH",
        show_default=False,
        readable=False,
    ),
]
"""What a run is about."""


class Switch(NamedTuple):
    """A switch that gives a setting."""

    flags: str
    """``--model``, or ``--recursive/--no-recursive``."""
    key: str
    """The setting: ``backend.model``."""
    help: str
    metavar: str | None = None
    kind: type | object = str
    """Type of the value; the settings check the rest."""
    convert: Callable[[Any], object] = lambda value: value
    """Makes the setting of the value."""

    @property
    def name(self) -> str:
        """Name of the parameter: ``output_jsonl``."""
        return self.flag.strip("-").replace("-", "_")

    @property
    def flag(self) -> str:
        """The switch as it is typed, without the negative form."""
        return self.flags.partition("/")[0]

    @property
    def parameter(self) -> inspect.Parameter:
        """The parameter from which Typer makes the switch; None: not given."""
        option = typer.Option(self.flags, help=self.help, metavar=self.metavar, readable=False)
        return _parameter(self.name, Annotated[self.kind | None, option], None)  # type: ignore[operator]  # a type


def _parameter(name: str, annotation: object, default: object) -> inspect.Parameter:
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=annotation)


BASE_URL = Switch(
    "--base-url", "backend.base_url", 'Backend address up to /v1, "auto" or "builtin:".', "URL"
)
API_KEY = Switch(
    "--api-key",
    "backend.api_key",
    "API key. Other users can see it in the process list; TAGGERD__BACKEND__API_KEY is safer.",
    "KEY",
)
MODEL = Switch("--model", "backend.model", "Model for every role.", "NAME")
RECURSIVE = Switch(
    "--recursive/--no-recursive", "arrivals.recursive", "Include subfolders.", kind=bool
)
REGISTRY = Switch("--registry-path", "backend.registry_path", "Registry file (JSON).", "FILE", Path)
STATE = Switch(
    "--state-directory",
    "state_directory",
    "Folder of the queue, the answers and the outputs.",
    "DIR",
    Path,
)


@dataclass(frozen=True, slots=True)
class Load:
    """Reads the settings under the switches of a command."""

    config: Path | None = None
    """``--config``."""
    verbose: bool = False
    """``--verbose``: log at debug level."""
    given: Mapping[str, object] = field(default_factory=dict)
    """Values of the switches that were given, by setting."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """The switch of each setting that has one."""

    def __call__(self, *, log_level: str | None = None) -> Configuration:
        """Return the settings in force, and set up logging by them.

        Args:
            log_level: lowest level shown where the settings name none; default: theirs.

        Raises:
            ConfigurationError: a setting is wrong; one given by a switch is named by it.

        """
        try:
            loaded = configuration.load(nested(self.given), config=self.config)
        except ConfigurationError as error:
            complaints = str(error)
            for key, flag in self.flags.items():
                complaints = complaints.replace(f"command line: {key}:", f"{flag}:")
            raise ConfigurationError(complaints) from error
        for notice in loaded.notices:
            typer.echo(f"taggerd: warning: {notice}", err=True)
        if loaded.file is None and imageworks.present():
            typer.echo(imageworks.NOTICE, err=True)
        service = loaded.settings.service
        if loaded.origins["service.log_level"] != "default":
            log_level = None
        level = "debug" if self.verbose else log_level or service.log_level
        logs.set_up(service.log_format, level)  # type: ignore[arg-type]  # one of the Literal's
        return loaded


def nested(values: Mapping[str, object]) -> dict[str, Any]:
    """Make ``{"backend.model": "x"}`` into ``{"backend": {"model": "x"}}``."""
    tree: dict[str, Any] = {}
    for dotted, value in values.items():
        *tables, key = dotted.split(".")
        at = tree
        for table in tables:
            at = at.setdefault(table, {})
        at[key] = value
    return tree


def absolute(paths: Sequence[str | Path]) -> list[Path]:
    """Return *paths* from the root, without following links as ``resolve()`` would."""
    return [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100


_CONFIG = typer.Option(
    "--config",
    help="Settings file; default: ~/.config/taggerd/taggerd.toml, else /etc/taggerd/taggerd.toml.",
    metavar="FILE",
    readable=False,
)
_VERBOSE = typer.Option("--verbose", "-v", help="Log more; show the traceback of an error.")
_COMMON = (
    _parameter("config", Annotated[Path | None, _CONFIG], None),
    _parameter("verbose", Annotated[bool, _VERBOSE], default=False),
)


def configured(*switches: Switch) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Add *switches*, ``--config`` and ``--verbose`` to a command.

    The command's first parameter is a :class:`Load`; Typer sees the rest, with the switches behind.
    """

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        signature = inspect.signature(command, eval_str=True)
        _, *own = signature.parameters.values()
        parameters = [*own, *(switch.parameter for switch in switches), *_COMMON]

        @functools.wraps(command)
        def run(**values: Any) -> T:  # noqa: ANN401 - what Typer read
            config, verbose = values.pop("config"), values.pop("verbose")
            read = ((switch, values.pop(switch.name)) for switch in switches)
            given = {each.key: each.convert(value) for each, value in read if value is not None}
            flags = {switch.key: switch.flag for switch in switches}
            return command(Load(config, verbose, given, flags), **values)

        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect looks for
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate
