"""The sources of settings: files, environment variables and systemd credentials, as layers."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from taggerd.errors import ConfigurationError
from taggerd.photo import brief
from taggerd.settings.keys import fields_at, leaves, nearest_to
from taggerd.settings.section import UserPath, home

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SYSTEM_FILE = Path("/etc/taggerd/taggerd.toml")
PREFIX = "TAGGERD__"


@dataclass(frozen=True, slots=True)
class Layer:
    """One source of settings."""

    name: str
    """For people: ``"command line"``, ``"environment"``, a file's path."""
    values: Mapping[str, Any]
    """Nested like the settings; only what the source sets."""


def user_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the user's own settings file, whether it exists or not.

    A relative ``$XDG_CONFIG_HOME`` or ``$HOME`` does not count, as the XDG specification wants: it
    would be a folder of the memory card that one is in.
    """
    config = Path(environ.get("XDG_CONFIG_HOME", ""))
    config = config if config.is_absolute() else home(environ) / ".config"
    return config / "taggerd" / "taggerd.toml"


def default_file() -> Path | None:
    """Return the settings file to read when none is named: the user's, else the system's.

    Raises:
        ConfigurationError: it is not known whether one exists.
    """
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


def toml(file: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigurationError: it cannot be read, or is not TOML.
    """
    try:
        return parsed(file, file.read_bytes())
    except OSError as error:
        message = f"{file}: cannot read the settings: {error.strerror}"
        raise ConfigurationError(message) from error


def parsed(file: Path, content: bytes) -> dict[str, Any]:
    """Return what a TOML file says.

    Args:
        file: its name in messages.
        content: its bytes.

    Raises:
        ConfigurationError: it is not TOML.
    """
    try:
        return tomllib.loads(content.decode())
    except tomllib.TOMLDecodeError as error:
        message = f"{file}: not valid TOML: {brief(str(error))}"
    except UnicodeDecodeError as error:
        message = f"{file}: not UTF-8 text: {error.reason} at byte {error.start}"
    except (ValueError, RecursionError):  # a number of thousands of digits, a tower of brackets
        message = f"{file}: cannot be read as TOML: a value in it is too long or nested too deeply"
    raise ConfigurationError(message)


def anchored(values: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return a file's *values* with relative paths below *folder*, the file's own.

    From the working directory they would be a memory card's files: a registry names addresses.
    """
    for keys, field in leaves():
        if {Path, UserPath} & {field.annotation, *get_args(field.annotation)}:
            values = _with_path(values, keys, folder)
    return values


def _with_path(values: Mapping[str, Any], keys: tuple[str, ...], folder: Path) -> Mapping[str, Any]:
    """Return *values* with the path at *keys*, if it is there, below *folder*."""
    key, *rest = keys
    value = values.get(key)
    if rest:
        return (
            {**values, key: _with_path(value, (*rest,), folder)}
            if isinstance(value, dict)
            else values
        )
    if not isinstance(value, str) or not value:
        return values
    return {**values, key: str(folder / Path(value).expanduser())}


def environment() -> Layer:
    """Read the ``TAGGERD__…`` variables.

    Raises:
        ConfigurationError: one names no setting, or cannot be parsed.
    """
    given = [name for name in sorted(os.environ) if name.upper().startswith(PREFIX)]
    for name in given:
        keys = name[len(PREFIX) :].lower().split("__")
        _check_key(keys, f"environment variable {name}", "__")
    if not given:
        return Layer("environment", {})
    from pydantic_settings import SettingsError  # noqa: PLC0415 - 50 ms that few starts need

    from taggerd.settings.variables import variables  # noqa: PLC0415 - likewise

    try:
        return Layer("environment", variables(PREFIX))
    except SettingsError as error:
        field = str(error).split('"')[1] if '"' in str(error) else "?"
        message = (
            f"environment: {PREFIX}{field.upper()}…: write a list of tables, or a table, as JSON, "
            f"""e.g. {PREFIX}ARRIVALS__ROOTS='["/srv/import"]'"""
        )
        raise ConfigurationError(message) from error


def credentials() -> Iterator[Layer]:
    """Read the systemd credentials whose file names are dotted keys, e.g. ``backend.api_key``.

    Raises:
        ConfigurationError: one names no setting, or cannot be read.
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        for path in sorted(Path(entry) for entry in os.scandir(folder or "") if entry.is_file()):
            keys = path.name.split(".")
            if len(keys) == 1:
                continue  # another program's: the name of a setting has a dot
            _check_key(keys, f"credential {path.name}", ".")
            value: Any = path.read_bytes().decode().strip()
            for key in reversed(keys):
                value = {key: value}
            yield Layer(f"credential {path.name}", value)
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"cannot read the credential {error.filename}: {error.strerror}"
        raise ConfigurationError(message) from error
    except UnicodeDecodeError:  # no message quotes it
        message = f"the credential {path} is not UTF-8 text; write it again"
        raise ConfigurationError(message) from None


def _check_key(keys: list[str], where: str, separator: str) -> None:
    """Refuse a dotted key that is not a setting: a typing error must not pass in silence."""
    known = fields_at(keys[:-1])
    if known is not None and keys[-1] not in known:
        offered = nearest_to(keys)
        nearest = offered.replace(".", separator)
        hint = f"; did you mean {PREFIX + nearest.upper() if separator == '__' else nearest}?"
        message = f"{where}: no such setting{hint if offered else ''}"
        raise ConfigurationError(message)
    if known is None:
        _check_key(keys[:-1], where, separator)
