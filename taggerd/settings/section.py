"""The base of every table of the settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator


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
