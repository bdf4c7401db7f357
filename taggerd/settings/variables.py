"""The settings in environment variables, as pydantic-settings reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator
from pydantic_settings import BaseSettings, EnvSettingsSource

from taggerd.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class _Variables(Settings, BaseSettings):  # type: ignore[misc]  # two kinds of configuration
    """The settings, in the form that the library asks for."""


class _Environment(EnvSettingsSource):
    """Reads variables; a list of texts may have commas between them, like ``jpg,png``."""

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: str) -> object:
        """Read *value* as JSON or, where the setting is a list of texts, as these."""
        try:
            return super().decode_complex_value(field_name, field, value)  # type: ignore[arg-type]  # pydantic-settings passes None itself
        except ValueError:
            if field is None or value.lstrip().startswith("[") or not _holds_texts(field):
                raise
        if any(isinstance(each, BeforeValidator) for each in field.metadata):
            return value  # the setting takes a text apart by itself
        return [text.strip() for text in value.split(",") if text.strip()]


def _holds_texts(field: FieldInfo) -> bool:
    """Say whether a setting is a list of texts."""
    (item,) = get_args(field.annotation) if get_origin(field.annotation) is list else (None,)
    return item is str or get_origin(item) is Literal


def variables(prefix: str) -> dict[str, Any]:
    """Return what the variables set, nested like the settings.

    Args:
        prefix: what their names begin with.

    Raises:
        SettingsError: one cannot be parsed.
    """
    return _Environment(_Variables, env_prefix=prefix, env_nested_delimiter="__")()
