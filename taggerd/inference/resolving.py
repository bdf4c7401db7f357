"""Resolving: which model each role is asked of, and where, when a registry decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import ConfigurationError
from taggerd.inference.profiles import ROLES
from taggerd.inference.registry import called, load_registry, resolve, served_model
from taggerd.photo import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taggerd import settings
    from taggerd.inference.registry import Entry, Resolution


class Chosen(NamedTuple):
    """What a registry decided."""

    models: dict[str, str]
    """Model id to send, by role."""
    places: dict[str, str]
    """Address that serves it, by role; empty where the registry was not asked for one."""


def entries_of(backend: settings.Backend) -> tuple[Entry, ...]:
    """Read the registry that the settings name.

    Raises:
        ConfigurationError: none is named, or it cannot be read.

    """
    if backend.registry_path is None:
        message = "backend.registry_path is not set: name the registry file (--registry-path FILE)"
        raise ConfigurationError(message)
    return load_registry(backend.registry_path)


def resolutions(entries: Sequence[Entry], roles: settings.Roles) -> dict[str, Resolution]:
    """Resolve every role of taggerd's against the registry."""
    found = {}
    for role in ROLES:
        own = getattr(roles, role)
        found[role] = resolve(entries, own.registry_role or role, own.registry_model)
    return found


def chosen(backend: settings.Backend, roles: settings.Roles) -> Chosen:
    """Return the models and their addresses by role, as the settings want them from the registry.

    ``use_registry`` resolves every role; ``use_loader`` alone only maps the names given as
    ``registry_model`` to what is served. A role with a ``model`` of its own is left alone, and
    ``backend.base_url`` wins over the registry's endpoints.

    Raises:
        ConfigurationError: a role cannot be resolved.

    """
    if not (backend.use_registry or backend.use_loader):
        return Chosen({}, {})
    entries = entries_of(backend)
    taken: dict[str, Entry] = {}
    if backend.use_registry:
        for role, resolution in resolutions(entries, roles).items():
            if resolution.entry is None:
                message = f"{_where(backend)}: {resolution.reason}; see taggerd list-registry"
                raise ConfigurationError(message)
            taken[role] = resolution.entry
    else:
        for role in ROLES:
            name = getattr(roles, role).registry_model
            entry = called(entries, name) if name else None
            if name and entry is None:
                served_model(entries, name)  # says which name is near
            if entry is not None:
                taken[role] = entry
    taken = {role: entry for role, entry in taken.items() if not getattr(roles, role).model}
    models = {role: entry.served for role, entry in taken.items()}
    own_place = backend.base_url != "auto"
    return Chosen(models, {} if own_place else {r: entry.endpoint for r, entry in taken.items()})


def _where(backend: settings.Backend) -> str:
    return printable(backend.registry_path) if backend.registry_path else "registry"
