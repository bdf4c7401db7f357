"""The model registry: a JSON file, shared with other tools: which model serves which role.

A list of entries; or ``{"models": [...]}``; or ``{"curated": [...], "discovered": [...]}``, two
layers read as one: what people curated wins, field by field, over what a program discovered.
Fields that taggerd does not need are ignored, for the file has other readers too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from taggerd.errors import ConfigurationError
from taggerd.photo import brief, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

USUAL_PORTS = {"vllm": 24001, "lmdeploy": 24001, "ollama": 11434, "triton": 9000}
"""Port of a backend whose entry names none, by the kind of backend."""
USUAL_PORT_ELSE = 8000


def _nothing_for_null(value: object) -> object:
    """Take a null text as one that is not given."""
    return "" if value is None else value


def _listed(value: object) -> object:
    """Take one text as a list of one, and null as none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def _flags(value: object) -> object:
    """Take ``["vision"]`` as ``{"vision": true}``, and null as none."""
    if isinstance(value, list):
        return {name: True for name in value if isinstance(name, str)}
    return {} if value is None else value


def _table(value: object) -> object:
    """Take null as an empty table."""
    return {} if value is None else value


_Text = Annotated[str, BeforeValidator(_nothing_for_null)]
_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class BackendConfig(BaseModel):
    """Where an entry's model is served."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base_url: _Text = ""
    host: _Text = ""
    port: int | None = Field(None, ge=1, le=65535)
    model_path: _Text = ""


class Entry(BaseModel):
    """One model of the registry."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    name: str = Field(min_length=1)
    """Its logical name, unique."""
    display_name: _Text = ""
    backend: _Text = ""
    """Kind of backend: vllm, lmdeploy, ollama, triton, ..."""
    backend_config: Annotated[BackendConfig, BeforeValidator(_table)] = BackendConfig()
    capabilities: Annotated[dict[str, object], BeforeValidator(_flags)] = {}
    roles: _Names = ()
    role_priority: Annotated[dict[str, FiniteFloat], BeforeValidator(_table)] = {}
    served_model_id: _Text = ""
    model_aliases: _Names = ()
    deprecated: bool = False
    generation_defaults: Annotated[dict[str, object], BeforeValidator(_table)] = {}
    metadata: Annotated[dict[str, object], BeforeValidator(_table)] = {}

    @property
    def served(self) -> str:
        """The model id to send to its backend."""
        return self.served_model_id or self.name

    @property
    def endpoint(self) -> str:
        """Address of its backend: its own, else host and port, else the backend's usual port."""
        config = self.backend_config
        if config.base_url:
            return config.base_url.rstrip("/")
        port = config.port or USUAL_PORTS.get(self.backend.casefold(), USUAL_PORT_ELSE)
        host = config.host or "127.0.0.1"
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"http://{host}:{port}/v1"

    def is_called(self, name: str) -> bool:
        """Say whether *name* is its name or one of its aliases."""
        return name == self.name or name in self.model_aliases


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Which model a role resolves to."""

    role: str
    entry: Entry | None
    """None: no entry can serve the role."""
    reason: str
    """Why this one, or why none."""
    rejected: tuple[tuple[str, str], ...]
    """Every other entry's name, with the reason why it is not taken."""


def load_registry(path: Path) -> tuple[Entry, ...]:
    """Read a registry, its layers as one, by name.

    Raises:
        ConfigurationError: it cannot be read, or is damaged.
    """
    where = printable(path)
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        message = f"cannot read the model registry {where}: {error.strerror}"
        raise ConfigurationError(message) from None
    except json.JSONDecodeError as error:
        message = f"{where}: not valid JSON in line {error.lineno}: {error.msg.lower()}"
        raise ConfigurationError(message) from None
    except (ValueError, RecursionError):
        message = f"{where}: not JSON text"
        raise ConfigurationError(message) from None
    layers = _layers(found)
    if layers is None:
        message = f'{where}: expected a list of models, or "models", or "curated" and "discovered"'
        raise ConfigurationError(message)
    merged: dict[str, dict[str, object]] = {}
    for layer in layers:
        for name, fields in _by_name(layer, where).items():
            merged[name] = _over(fields, merged.get(name, {}))
    return tuple(_entry(merged[name], where) for name in sorted(merged))


def _layers(found: object) -> list[list[object]] | None:
    """Return the layers of a registry, the weakest first; None if it has another shape."""
    if isinstance(found, list):
        return [found]
    if not isinstance(found, dict):
        return None
    layers = [found[key] for key in ("discovered", "models", "curated") if key in found]
    return layers if layers and all(isinstance(layer, list) for layer in layers) else None


def _by_name(layer: list[object], where: str) -> dict[str, dict[str, object]]:
    """Return one layer's entries by name."""
    entries: dict[str, dict[str, object]] = {}
    for number, fields in enumerate(layer, 1):
        name = fields.get("name") if isinstance(fields, dict) else None
        if not isinstance(fields, dict) or not isinstance(name, str) or not name:
            message = f"{where}: model number {number} has no name"
            raise ConfigurationError(message)
        if name in entries:
            message = f"{where}: two models are called {brief(repr(name))}"
            raise ConfigurationError(message)
        entries[name] = fields
    return entries


def _over(upper: dict[str, object], lower: dict[str, object]) -> dict[str, object]:
    """Lay one entry over another: tables field by field, everything else whole."""
    laid = dict(lower)
    for key, value in upper.items():
        below = laid.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        laid[key] = {**below, **value} if both else value  # type: ignore[dict-item]
    return laid


def _entry(fields: dict[str, object], where: str) -> Entry:
    """Check one entry."""
    try:
        return Entry.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = brief(".".join(map(str, first["loc"])))
        name = brief(repr(fields["name"]))
        message = f"{where}: model {name}: {place}: {first['msg'].lower()}"
        raise ConfigurationError(message) from None


def resolve(
    entries: Sequence[Entry], role: str, preferred: str = "", *, capability: str = "vision"
) -> Resolution:
    """Choose the model for *role*, the same for the same registry, always.

    The *preferred* name or alias if that entry has the role and the capability and is not
    deprecated; else the highest ``role_priority``, ties by name.
    """
    barred = {entry.name: _bar(entry, role, capability) for entry in entries}
    fit = sorted(
        (entry for entry in entries if not barred[entry.name]),
        key=lambda entry: (-_priority(entry, role), entry.name),
    )
    wished = called(entries, preferred) if preferred else None
    chosen = wished if wished in fit else next(iter(fit), None)
    reason = _reason(role, preferred, wished, chosen, barred)
    rejected = tuple(
        (entry.name, barred[entry.name] or _passed_over(entry, chosen, wished, role))
        for entry in sorted(entries, key=lambda entry: entry.name)
        if chosen is None or entry.name != chosen.name
    )
    return Resolution(role=role, entry=chosen, reason=reason, rejected=rejected)


def _priority(entry: Entry, role: str) -> float:
    """Return an entry's rank for a role; 0 where it gives none."""
    return entry.role_priority.get(role, 0.0)


def _bar(entry: Entry, role: str, capability: str) -> str:
    """Return why an entry cannot serve a role at all; empty if it can."""
    if entry.deprecated:
        return "deprecated"
    if role not in entry.roles:
        return f"lacks the role {role}"
    return "" if entry.capabilities.get(capability) is True else f"lacks {capability}"


def _reason(
    role: str,
    preferred: str,
    wished: Entry | None,
    chosen: Entry | None,
    barred: dict[str, str],
) -> str:
    """Say why an entry was chosen."""
    if chosen is None:
        return f"no model can serve {role}"
    if chosen is wished:
        alias = "" if preferred == chosen.name else f" (alias {preferred})"
        return f"preferred{alias}"
    why = f"highest priority for {role}: {_priority(chosen, role):g}"
    if preferred and wished is None:
        return f"{why}; the preferred {preferred!r} is not in the registry"
    return f"{why}; the preferred {preferred!r} {_as_verb(barred[wished.name])}" if wished else why


def _as_verb(bar: str) -> str:
    """Make a bar fit after a name."""
    return f"is {bar}" if bar == "deprecated" else bar


def _passed_over(entry: Entry, chosen: Entry | None, wished: Entry | None, role: str) -> str:
    """Return why an entry that could serve was not taken."""
    if chosen is None or chosen is wished:
        return "another is preferred"
    own, taken = _priority(entry, role), _priority(chosen, role)
    if own < taken:
        return f"lower priority: {own:g}"
    return f"same priority, {chosen.name} comes first by name"


def called(entries: Sequence[Entry], name: str) -> Entry | None:
    """Return the entry of that name, else the first by name with that alias; None without one."""
    ordered = sorted(entries, key=lambda entry: entry.name)
    exact = next((entry for entry in ordered if entry.name == name), None)
    return exact or next((entry for entry in ordered if entry.is_called(name)), None)


def served_model(entries: Sequence[Entry], name: str) -> str:
    """Return the model id that is served for a logical name or alias.

    Raises:
        ConfigurationError: no entry is called so.
    """
    entry = called(entries, name)
    if entry is not None:
        return entry.served
    names = [known for e in entries for known in (e.name, *e.model_aliases)]
    close = get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    message = f"no model {name!r} in the registry{hint}"
    raise ConfigurationError(message)
