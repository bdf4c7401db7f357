"""The model registry: which model serves which role, and the addresses that are asked.

The registry is a JSON file shared with other tools: a list of entries; or ``{"models": [...]}``; or
``{"curated": [...], "discovered": [...]}``, two layers read as one, in which what people curated
wins, field by field, over what a program discovered. Fields that taggerd does not need are ignored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from taggerd.errors import ConfigurationError
from taggerd.inference.client import storable_json
from taggerd.inference.profiles import ROLES
from taggerd.photo import brief, printable

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence
    from pathlib import Path

    from taggerd import settings

USUAL_PORTS = {"vllm": 24001, "lmdeploy": 24001, "ollama": 11434, "triton": 9000}
"""Port of an entry that names none, by its kind of backend."""
USUAL_PORT_ELSE = 8000


_NOTHING = frozenset({"", "none", "null"})
"""Texts that stand for no value: some programs write Python's None as text."""


def _is_absent(value: object) -> bool:
    """Say whether *value* stands for none."""
    return value is None or (isinstance(value, str) and value.strip().casefold() in _NOTHING)


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    """Return *fields*, and the tables in them, without those that have no value."""
    return {
        name: _present(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if not _is_absent(value)
    }


def _listed(value: object) -> object:
    """Read one text as a list of one."""
    listed = [value] if isinstance(value, str) else value
    return [v for v in listed if not _is_absent(v)] if isinstance(listed, list) else listed


def _flags(value: object) -> object:
    """Read ``["vision"]`` as ``{"vision": true}``."""
    if isinstance(value, list):
        return {name: True for name in value if isinstance(name, str)}
    return value


_Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Table(BaseModel):
    """A table of the file: fields that other programs added are ignored, and so is null."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: object) -> object:
        return _present(fields) if isinstance(fields, dict) else fields


class BackendConfig(_Table):
    """Where an entry's model is served."""

    base_url: str = ""
    host: str = ""
    port: int | None = Field(None, ge=1, le=65535)
    model_path: str = ""


class Entry(_Table):
    """One model of the registry."""

    name: str = Field(min_length=1)
    """Its logical name, unique."""
    display_name: str = ""
    backend: str = ""
    """Kind of backend: vllm, lmdeploy, ollama, triton, ..."""
    backend_config: BackendConfig = BackendConfig()
    capabilities: Annotated[dict[str, object], BeforeValidator(_flags)] = {}
    roles: _Names = ()
    role_priority: dict[str, FiniteFloat] = {}
    served_model_id: str = ""
    model_aliases: _Names = ()
    deprecated: bool = False
    generation_defaults: dict[str, object] = {}
    metadata: dict[str, object] = {}

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

    def priority(self, role: str) -> float:
        """Return its priority for *role*; 0 where it gives none."""
        return self.role_priority.get(role, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """Which model a role resolves to."""

    role: str
    entry: Entry | None
    """None: no entry can serve the role."""
    reason: str
    """Why this one, or why none."""
    rejected: tuple[tuple[str, str], ...]
    """Every other entry's name and why it is not taken."""


def load_registry(path: Path) -> tuple[Entry, ...]:
    """Read a registry, its layers as one, by name.

    Raises:
        ConfigurationError: it cannot be read, or is damaged.
    """
    where = printable(path)
    try:
        found = storable_json(json.loads(path.read_bytes()))
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
            message = f"{where}: two models are named {brief(repr(name))}"
            raise ConfigurationError(message)
        entries[name] = _present(fields)
    return entries


def _over(upper: dict[str, object], lower: dict[str, object]) -> dict[str, object]:
    """Return *lower* overlaid with *upper*: tables field by field, everything else whole."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = {**below, **value} if both else value  # type: ignore[dict-item]
    return merged


def _entry(fields: dict[str, object], where: str) -> Entry:
    """Check one entry."""
    try:
        return Entry.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = brief(".".join(map(str, first["loc"])))
        name = brief(repr(fields["name"]))
        message = f"{where}: model {name}: {field}: {first['msg'].lower()}"
        raise ConfigurationError(message) from None


def resolve(entries: Sequence[Entry], role: str, preferred: str = "") -> Resolution:
    """Choose the model for *role*; the same registry always gives the same one.

    It is the *preferred* name or alias if that entry has the role, sees pictures and is not
    deprecated; else the highest ``role_priority``, ties by name.
    """
    unfit = {entry.name: _why_unfit(entry, role) for entry in entries}
    fit = sorted(
        (entry for entry in entries if not unfit[entry.name]),
        key=lambda entry: (-entry.priority(role), entry.name),
    )
    wished = entry_called(entries, preferred) if preferred else None
    chosen = wished if wished in fit else next(iter(fit), None)
    reason = _reason(role, preferred, wished, chosen, unfit)
    rejected = tuple(
        (entry.name, unfit[entry.name] or _passed_over(entry, chosen, wished, role))
        for entry in sorted(entries, key=lambda entry: entry.name)
        if chosen is None or entry.name != chosen.name
    )
    return Resolution(role=role, entry=chosen, reason=reason, rejected=rejected)


def _why_unfit(entry: Entry, role: str) -> str:
    """Return why an entry cannot serve a role at all; empty if it can."""
    if entry.deprecated:
        return "deprecated"
    if role not in entry.roles:
        return f"lacks the role {role}"
    return "" if entry.capabilities.get("vision") is True else "lacks vision"


def _reason(
    role: str, preferred: str, wished: Entry | None, chosen: Entry | None, unfit: dict[str, str]
) -> str:
    """Return why an entry was chosen."""
    if chosen is None:
        return f"no model can serve {role}"
    if chosen is wished:
        alias = "" if preferred == chosen.name else f" (alias {preferred})"
        return f"preferred{alias}"
    why = f"highest priority for {role}: {chosen.priority(role):g}"
    if preferred and wished is None:
        return f"{why}; the preferred {preferred!r} is not in the registry"
    if wished is None:
        return why
    bar = "is deprecated" if wished.deprecated else unfit[wished.name]
    return f"{why}; the preferred {preferred!r} {bar}"


def _passed_over(entry: Entry, chosen: Entry | None, wished: Entry | None, role: str) -> str:
    """Return why an entry that could serve was not taken."""
    if chosen is None or chosen is wished:
        return "another is preferred"
    own, taken = entry.priority(role), chosen.priority(role)
    if own < taken:
        return f"lower priority: {own:g}"
    return f"same priority, {chosen.name} comes first by name"


def entry_called(entries: Sequence[Entry], name: str) -> Entry | None:
    """Return the entry of that name, else the first by name with that alias; None without one."""
    ordered = sorted(entries, key=lambda entry: entry.name)
    exact = next((entry for entry in ordered if entry.name == name), None)
    return exact or next((entry for entry in ordered if name in entry.model_aliases), None)


def _entry_serving(entries: Sequence[Entry], model: str) -> Entry | None:
    """Return the first entry by name that is served as *model*; None without one."""
    ordered = sorted(entries, key=lambda entry: entry.name)
    return next((entry for entry in ordered if entry.served == model), None)


def _unknown(entries: Sequence[Entry], name: str) -> str:
    """Return the message for an unknown *name*, with a similar one."""
    names = [known for e in entries for known in (e.name, *e.model_aliases)]
    close = get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"no model {name!r} in the registry{hint}"


# What the settings make of it.


class Resolved(NamedTuple):
    """The models and addresses that a registry names, by role."""

    models: dict[str, str]
    """Model id to send."""
    base_urls: dict[str, str]
    """Where it is served; empty where ``backend.base_url`` decides."""


def configured_entries(backend: settings.Backend) -> tuple[Entry, ...]:
    """Read the registry that the settings name.

    Raises:
        ConfigurationError: none is named, or it cannot be read.

    """
    if backend.registry_path is None:
        message = "backend.registry_path is not set: name the registry file (--registry-path FILE)"
        raise ConfigurationError(message)
    return load_registry(backend.registry_path)


def resolve_all(entries: Sequence[Entry], roles: settings.Roles) -> dict[str, Resolution]:
    """Resolve every role that is asked."""
    found = {}
    for role in (*ROLES, *roles.own):
        own = roles.named(role)
        found[role] = resolve(entries, own.registry_role or role, own.registry_model)
    return found


def resolve_settings(
    backend: settings.Backend, roles: settings.Roles, *, named: Container[str] = ()
) -> Resolved:
    """Return what the settings take from the registry.

    ``use_registry`` resolves the roles whose model nobody names; ``use_loader`` maps names to what
    is served: a ``registry_model``, a ``model``. A model that is named wins over the registry, and
    ``backend.base_url`` wins over its addresses.

    Args:
        backend: the settings' table.
        roles: the settings' tables.
        named: the roles for which ``backend.model`` outranks the registry.

    Raises:
        ConfigurationError: a role cannot be resolved.

    """
    if not (backend.use_registry or backend.use_loader):
        return Resolved({}, {})
    entries = configured_entries(backend)
    taken: dict[str, Entry] = {}
    models: dict[str, str] = {}
    for role in (*ROLES, *roles.own):
        own = roles.named(role)
        if model := own.model or (backend.model if role in named else ""):
            entry = entry_called(entries, model) or _entry_serving(entries, model)
            asked_as_served = backend.use_loader
        else:
            entry = _entry_for(entries, role, own, backend)
            asked_as_served = True
        if entry is not None:
            taken[role] = entry
        if entry is not None and asked_as_served:
            models[role] = entry.served
    if backend.base_url != "auto":
        return Resolved(models, {})
    return Resolved(models, {role: entry.endpoint for role, entry in taken.items()})


def _entry_for(
    entries: Sequence[Entry], role: str, own: settings.Role, backend: settings.Backend
) -> Entry | None:
    """Return the entry for a role whose model nobody names; None where only names are mapped.

    Raises:
        ConfigurationError: the registry has none.

    """
    if backend.use_registry:
        resolution = resolve(entries, own.registry_role or role, own.registry_model)
        if resolution.entry is None:
            where = printable(backend.registry_path or "")
            message = f"{where}: {resolution.reason}; see taggerd list-registry"
            raise ConfigurationError(message)
        return resolution.entry
    if not own.registry_model:
        return None
    entry = entry_called(entries, own.registry_model)
    if entry is None:
        raise ConfigurationError(_unknown(entries, own.registry_model))
    return entry


def backend_per_address(
    backend: settings.Backend, base_urls: Mapping[str, str], *, alone: bool
) -> dict[str, settings.Backend]:
    """Return the settings of each address that is asked.

    An address that the registry resolved a role to wins over ``backend.endpoints``, whose tables
    then give the keys and limits of these addresses.

    Args:
        backend: the settings' table.
        base_urls: addresses that a registry resolved, by role; empty: none did.
        alone: ``backend.base_url`` is asked and ``backend.endpoints`` are not.

    Raises:
        ConfigurationError: it is not clear which of several addresses ``backend.api_key`` is for.
    """
    tables = {} if alone else {table.base_url: table for table in backend.endpoints}
    urls = list(dict.fromkeys(base_urls.values())) or list(tables) or [backend.base_url]
    if backend.api_key is not None and (len(urls) > 1 or tables):
        missing = [url for url in urls if url not in tables or tables[url].api_key is None]
        if missing:
            message = (
                "backend.api_key is sent to one address only, and there are several: give each "
                "endpoint that needs a key its own, backend.endpoints = "
                '[{base_url = "...", api_key = "..."}], and remove backend.api_key'
            )
            raise ConfigurationError(message)
    return {url: _backend_at(backend, url, tables.get(url)) for url in urls}


def _backend_at(
    backend: settings.Backend, url: str, table: settings.Endpoint | None
) -> settings.Backend:
    """Return the settings of one address."""
    update: dict[str, object] = {"base_url": url, "endpoints": []}
    if table is not None:
        update["api_key"] = table.api_key
        update["model"] = table.model or backend.model
        update["max_concurrency"] = table.max_concurrency or backend.max_concurrency
    return backend.model_copy(update=update)
