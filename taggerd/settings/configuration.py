"""Where settings come from: the layers, what each one says, and what is wrong with them.

Highest first: command line, ``TAGGERD__SECTION__KEY`` in the environment, systemd credentials
(files named ``section.key`` in ``$CREDENTIALS_DIRECTORY``), one settings file (``--config``, else
``$XDG_CONFIG_HOME/taggerd/taggerd.toml``, else ``/etc/taggerd/taggerd.toml``), ``[tool.taggerd]``
of the nearest pyproject.toml, defaults.
"""

from __future__ import annotations

import json
import os
import textwrap
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource, SettingsError

from taggerd.errors import ConfigurationError
from taggerd.photo import brief
from taggerd.settings import Role, Settings
from taggerd.settings.credentials import credential, credentials
from taggerd.settings.keys import fields_at, leaves, leaves_of_own, nearest_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_settings import PydanticBaseSettingsSource

SYSTEM_FILE = Path("/etc/taggerd/taggerd.toml")
PREFIX = "TAGGERD__"


@dataclass(frozen=True, slots=True)
class Layer:
    """One place that gives settings."""

    name: str
    """For people: ``"command line"``, ``"environment"``, a file's path."""
    values: Mapping[str, Any]
    """Nested as in the tree; only what the place says."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings in force and where each came from."""

    settings: Settings
    origins: Mapping[str, str]
    """Layer per dotted key, e.g. ``{"backend.base_url": "/etc/taggerd/taggerd.toml"}``."""
    file: Path | None
    """The settings file that was read, if any."""
    layers: tuple[str, ...] = ()
    """The layers that were read, highest first."""

    def outranks(self, one: str, other: str) -> bool | None:
        """Say whether setting *one* comes from a higher layer than *other*; None: the same."""
        order = [*self.layers, "default"]
        ranks = [order.index(self.origins.get(key, "default")) for key in (one, other)]
        return None if ranks[0] == ranks[1] else ranks[0] < ranks[1]

    @property
    def prompts_directory(self) -> Path | None:
        """Folder of the user's own prompt profiles: as set, else ``prompts/`` beside the file."""
        if self.settings.prompts.directory:
            return self.settings.prompts.directory
        beside = self.file.parent / "prompts" if self.file else None
        return beside if beside and beside.is_dir() else None


def user_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the user's own settings file, whether it exists or not."""
    home = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~")).expanduser() / ".config"
    return Path(home) / "taggerd" / "taggerd.toml"


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    cwd: Path | None = None,
) -> Configuration:
    """Read every layer and return the settings in force.

    Args:
        overrides: what the command line says, nested as in the tree.
        config: the settings file; default: the user's, else the system's, if there.
        cwd: where the search for pyproject.toml starts; default: the working directory.

    Raises:
        ConfigurationError: one line per mistake: where, which key, what to write instead.
    """
    file = config or _default_file()
    layers = [
        Layer("command line", overrides or {}),
        Layer("environment", _environment()),
        *_credentials(),
        *([Layer(str(file), _toml(file))] if file else []),
        *_pyproject(cwd),
    ]
    names = tuple(layer.name for layer in layers)
    return Configuration(_validated(layers), dict(_origins(layers)), file, names)


def _default_file() -> Path | None:
    """Return the settings file to read when none is named."""
    for path in (user_file(os.environ), SYSTEM_FILE):
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            message = f"{path}: cannot read the settings: {error.strerror}"
            raise ConfigurationError(message) from error
        return path
    return None


def _toml(file: Path) -> dict[str, Any]:
    """Read a TOML file."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        message = f"{file}: not valid TOML: {brief(str(error))}"
    except UnicodeDecodeError as error:
        message = f"{file}: not UTF-8 text: {error.reason} at byte {error.start}"
    except (ValueError, RecursionError):  # a number of thousands of digits, a tower of brackets
        message = f"{file}: not TOML that can be read: a value in it is out of all proportion"
    except OSError as error:
        message = f"{file}: cannot read the settings: {error.strerror}"
    raise ConfigurationError(message)


def _pyproject(start: Path | None) -> Iterator[Layer]:
    """Find ``[tool.taggerd]`` in the nearest pyproject.toml at or above *start*.

    One that does not speak of taggerd is somebody else's, and may be as wrong as it likes.
    """
    try:
        start = start or Path.cwd()
        folders = (folder for folder in (start, *start.parents))
        file = next(f for f in (folder / "pyproject.toml" for folder in folders) if f.is_file())
        if b"tool.taggerd" not in file.read_bytes():
            return
    except (OSError, StopIteration):  # also a working directory that was deleted
        return
    tool = _toml(file).get("tool")
    table = tool.get("taggerd") if isinstance(tool, dict) else None
    if isinstance(table, dict):
        yield Layer(f"{file} [tool.taggerd]", table)


def _environment() -> dict[str, Any]:
    """Read ``TAGGERD__…`` variables; a name that leads nowhere is an error, not silence."""
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX):
            keys = name[len(PREFIX) :].lower().split("__")
            _check_key(keys, f"environment variable {name}", "__")
    try:
        return EnvSettingsSource(Settings)()
    except SettingsError as error:
        field = str(error).split('"')[1] if '"' in str(error) else "?"
        message = (
            f"environment: {PREFIX}{field.upper()}…: a list or table is given as JSON, "
            f"""e.g. {PREFIX}ARRIVALS__ROOTS='["/srv/import"]'"""
        )
        raise ConfigurationError(message) from error


def _credentials() -> Iterator[Layer]:
    """Read systemd credentials whose file names are dotted keys, e.g. ``backend.api_key``."""
    for name in credentials(os.environ):
        keys = name.split(".")
        if len(keys) == 1:
            continue  # somebody else's: a setting's name has a dot
        _check_key(keys, f"credential {name}", ".")
        value: Any = (credential(name, os.environ) or "").strip()
        for key in reversed(keys):
            value = {key: value}
        yield Layer(f"credential {name}", value)


def _check_key(keys: list[str], where: str, separator: str) -> None:
    """Refuse a dotted key that is not in the tree."""
    known = fields_at(keys[:-1])
    if known is not None and keys[-1] not in known:
        offered = nearest_to(keys)
        nearest = offered.replace(".", separator)
        hint = f"; did you mean {PREFIX + nearest.upper() if separator == '__' else nearest}?"
        message = f"{where}: no such setting{hint if offered else ''}"
        raise ConfigurationError(message)
    if known is None:
        _check_key(keys[:-1], where, separator)


def _validated(layers: list[Layer]) -> Settings:
    """Merge the layers by pydantic-settings and validate the result."""

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: object, **__: object
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return tuple(InitSettingsSource(settings_cls, dict(lay.values)) for lay in layers)

    try:
        return Layered()
    except ValidationError as error:
        lines = [_complaint(layers, mistake) for mistake in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


_KINDS = {
    "list_type": 'must be a list, like ["…", "…"]',
    "model_type": "must be a table, like {… = …}",
    "path_type": "must be a path",
}
"""What is said instead of pydantic's own words, which are Python's."""


def _complaint(layers: list[Layer], mistake: Mapping[str, Any]) -> str:
    """Say one validation error as: where: key: what (what was given); what to do."""
    keys = [str(key) for key in mistake["loc"]]
    origin = next((layer.name for layer in layers if _says(layer.values, keys)), "settings")
    key = brief(".".join(keys))
    if mistake["type"] == "extra_forbidden":
        nearest = nearest_to([k for k in keys if not k.isdigit()])
        return f"{origin}: {key}: no such setting" + (
            f"; did you mean {nearest}?" if nearest else ""
        )
    said = mistake["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    what = said if said != mistake["msg"] else said[:1].lower() + said[1:]
    if said != mistake["msg"] and mistake["msg"].startswith("Input should be "):
        what = f"must be {said}"
    what = _KINDS.get(mistake["type"], what)
    # Nothing that was given for the backend is repeated: it may hold a key or a password.
    quiet = keys[0] == "backend" or mistake["type"] == "value_error"
    given = "" if quiet else f", not {brief(repr(mistake['input']))}"
    return f"{origin}: {key}: {brief(what, 400)}{given}"


def _says(values: Mapping[str, Any], keys: list[str]) -> bool:
    """Say whether a layer gives the setting at *keys* (or the list it lies in)."""
    at: Any = values
    for key in keys:
        if not isinstance(at, dict):
            return True
        if key not in at:
            return False
        at = at[key]
    return True


def _origins(layers: list[Layer]) -> Iterator[tuple[str, str]]:
    """Name the layer that each setting comes from."""
    own = [leaf for layer in layers for leaf in leaves_of_own(layer.values.get("roles"))]
    for keys, _ in [*leaves(), *own]:
        at = list(keys)
        given = next((layer.name for layer in layers if _says(layer.values, at)), "default")
        if (
            keys == ("state_directory",)
            and given == "default"
            and os.environ.get("STATE_DIRECTORY")
        ):
            given = "$STATE_DIRECTORY"
        yield ".".join(keys), given


def check_folders(configuration: Configuration, *, allow_offline: bool) -> None:
    """Refuse settings that name folders or files which are not there.

    Args:
        configuration: the settings.
        allow_offline: accept import folders that are not there (an unplugged disk).

    Raises:
        ConfigurationError: one line per folder: which layer, which key, which folder.
    """
    settings = configuration.settings
    named: list[tuple[str, Path, bool]] = []
    if not allow_offline:
        named += [("arrivals.roots", root.path, True) for root in settings.arrivals.roots]
    if settings.prompts.directory:
        named.append(("prompts.directory", settings.prompts.directory, True))
    if settings.backend.registry_path and settings.backend.use_registry:
        named.append(("backend.registry_path", settings.backend.registry_path, False))
    lines = []
    for key, path, folder in named:
        if not path.exists():
            what = "there is no such folder; create it, mount it or correct the path"
        elif path.is_dir() != folder:
            what = "not a folder" if folder else "not a file"
        else:
            continue
        lines.append(f"{configuration.origins[key]}: {key}: {path}: {what}")
    if lines:
        raise ConfigurationError("\n".join(lines))


def shown(configuration: Configuration) -> list[tuple[str, str, str]]:
    """Return (key, value as TOML, origin) of every setting; a secret is only said to be set."""
    rows = []
    for keys, _ in [*leaves(), *leaves_of_own(configuration.settings.roles.own)]:
        value: Any = configuration.settings
        for key in keys:
            value = getattr(value, key)
        text = "(set, not shown)" if isinstance(value, SecretStr) else literal(value)
        if keys == ("backend", "base_url"):
            text = literal(_without_secrets(str(value)))
        if keys == ("backend", "endpoints"):
            text = literal(
                [e.model_copy(update={"base_url": _without_secrets(e.base_url)}) for e in value]
            )
        dotted = ".".join(keys)
        rows.append((dotted, text, configuration.origins[dotted]))
    return rows


def _without_secrets(url: str) -> str:
    """Return an address without user, password and query, where keys are sometimes put."""
    scheme, slashes, rest = url.partition("://")
    place = rest.partition("?")[0].rpartition("@")
    return f"{scheme}{slashes}{'***@' if place[1] else ''}{place[2]}" if slashes else url


def literal(value: object) -> str:
    """Write *value* as a TOML literal; None, which TOML does not know, as an empty text."""
    match value:
        case None:
            return '""'
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case BaseModel():
            pairs = value.model_dump(mode="python", exclude_none=True).items()
            return "{" + ", ".join(f"{key} = {literal(item)}" for key, item in pairs) + "}"
        case list() | tuple():
            return "[" + ", ".join(literal(item) for item in value) + "]"
        case _:
            return json.dumps(str(value), ensure_ascii=False)


def template() -> str:
    """Return the settings file with every setting at its default, each with its meaning.

    Every line is commented out, so that a later version's better default is not frozen by a copy.
    """
    lines = [
        "# taggerd: every setting, with its default. Remove the # of a line to change it.",
        "# Generated from the program's own settings: taggerd config init writes this file.",
    ]
    section: tuple[str, ...] = ()
    for keys, field in sorted(leaves(), key=lambda leaf: len(leaf[0]) > 1):
        if keys[:-1] != section:
            section = keys[:-1]
            about = fields_at(list(section[:-1])) or {}
            lines += ["", "", *_comment(about[section[-1]].description or "")]
            lines.append(f"[{'.'.join(section)}]")
        default = None if field.default_factory else field.default
        lines += ["", *_comment(field.description or "")]
        lines.append(f"#{keys[-1]} = {literal(default)}")
        if keys == ("roles", "description", [*Role.model_fields][-1]):
            # The one table whose name the tree cannot know.
            example = files("taggerd.data").joinpath("templates", "own_role.toml")
            lines += example.read_text(encoding="utf-8").rstrip().split("\n")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    """Wrap *text* as comment lines."""
    return textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")
