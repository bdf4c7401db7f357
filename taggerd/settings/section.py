"""The base of every table of the settings file."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping


def home(environ: Mapping[str, str]) -> Path:
    """Return the home of this user; a relative or empty ``$HOME`` does not count."""
    named = Path(environ.get("HOME", ""))
    if named.is_absolute():
        return named
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/nonexistent")


def _expanded(value: object) -> object:
    """Expand ``~`` in a path given as text."""
    return Path(value).expanduser() if isinstance(value, str) else value


UserPath = Annotated[Path, BeforeValidator(_expanded)]
"""A file or folder as users write it, with ``~``."""


def without_blanks(table: object, blank: frozenset[str]) -> object:
    """Treat ``key = ""`` as not given where a setting has no default that could be shown."""
    if not isinstance(table, dict):
        return table
    return {key: value for key, value in table.items() if value != "" or key not in blank}


class Section(BaseModel):
    """One table of the settings file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _blank_is_default(cls, table: object) -> object:
        optional = (name for name, field in cls.model_fields.items() if field.default is None)
        return without_blanks(table, frozenset(optional))
