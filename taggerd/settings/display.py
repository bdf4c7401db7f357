"""The settings as text: ``taggerd config show``, and the settings file that explains them all."""

from __future__ import annotations

import json
import textwrap
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from taggerd.settings import Role
from taggerd.settings.keys import fields_at, leaves, leaves_of_own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from taggerd.settings.configuration import Configuration


class Row(NamedTuple):
    """One setting in force."""

    key: str
    value: Any
    """As JSON; of a secret :data:`HIDDEN`."""
    origin: str
    """Name of the source that set it."""

    @property
    def text(self) -> str:
        """The value as TOML; a secret is only said to be set."""
        return HIDDEN if self.value == HIDDEN else literal(self.value)


HIDDEN = "(set, not shown)"


def rows(configuration: Configuration) -> Iterator[Row]:
    """Yield every setting in force."""
    for keys, _ in [*leaves(), *leaves_of_own(configuration.settings.roles.own)]:
        value: Any = configuration.settings
        for key in keys:
            value = getattr(value, key)
        if isinstance(value, SecretStr):
            value = HIDDEN
        if keys[0] == "backend" and keys[-1] in {"base_url", "proxy"} and value:
            value = _without_secrets(str(value))
        if keys[0] == "hooks" and keys[-1] == "url" and value:
            value = _host_alone(value)
        if keys == ("backend", "endpoints"):
            value = [e.model_copy(update={"base_url": _without_secrets(e.base_url)}) for e in value]
        dotted = ".".join(keys)
        yield Row(dotted, _plain(value), configuration.origins[dotted])


def _without_secrets(url: str) -> str:
    """Return an address without user, password and query: some people put keys there."""
    scheme, slashes, rest = url.partition("://")
    user, at, host = rest.partition("?")[0].rpartition("@")
    return f"{scheme}{slashes}{'***@' if at else user}{host}" if slashes else url


def _host_alone(url: str) -> str:
    """Return the address of a webhook without its path, which is the key of many."""
    shown = _without_secrets(url)
    scheme, _, rest = shown.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host}/…" if path else f"{scheme}://{host}{slash}"


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Return *value* as JSON; tables without what is not set."""
    return to_jsonable_python(value, exclude_none=True)


def literal(value: object) -> str:
    """Return *value* as a TOML literal; None, which TOML lacks, as an empty string."""
    match plain := _plain(value):
        case None:
            return '""'
        case dict():
            return "{" + ", ".join(f"{key} = {literal(item)}" for key, item in plain.items()) + "}"
        case list():
            return "[" + ", ".join(literal(item) for item in plain) + "]"
        case _:
            return json.dumps(plain, ensure_ascii=False)


def template() -> str:
    """Return the settings file with every setting, its default and its meaning.

    Every line is commented out, so that a copy does not freeze the defaults of one version.
    """
    lines = [
        "# taggerd: every setting with its default. Remove the # in front of one to change it.",
        "# Generated from the program's own settings; taggerd config init writes this file.",
    ]
    section: tuple[str, ...] = ()
    for keys, field in sorted(leaves(), key=lambda leaf: len(leaf[0]) > 1):
        if keys[:-1] != section:
            section = keys[:-1]
            about = fields_at(list(section[:-1])) or {}
            lines += ["", "", *_comment(about[section[-1]].description or "")]
            lines.append(f"[{'.'.join(section)}]")
        lines += ["", *_comment(field.description or ""), default_line(keys[-1], field)]
        if keys == ("roles", "description", [*Role.model_fields][-1]):
            # The one table whose name the user chooses.
            example = files("taggerd").joinpath("data", "templates", "own_role.toml")
            lines += example.read_text(encoding="utf-8").rstrip().split("\n")
    return "\n".join(lines) + "\n"


def default_line(key: str, field: FieldInfo) -> str:
    """Return the line of :func:`template` that shows a setting's default."""
    default = None if field.default_factory else field.default
    return f"#{key} = {literal(default)}"


def _comment(text: str) -> list[str]:
    """Wrap *text* as comment lines."""
    return textwrap.wrap(text, 96, initial_indent="# ", subsequent_indent="# ")
