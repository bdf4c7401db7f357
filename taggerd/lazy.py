"""Public names of a package that are imported at first use (PEP 562).

A command that shows something, and a service that starts, need a few modules of a package; loading
the others takes most of a second.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PACKAGES: dict[str, tuple[str, ...]] = {}
"""The public names of the packages that were imported so far."""


def import_the_rest() -> None:
    """Import all that those packages have not been asked for yet.

    A service does this once it serves: a module that it imported after an upgrade would be of
    another version than the others.

    Raises:
        ImportError: a module is damaged, or being replaced.
    """
    for package, names in tuple(_PACKAGES.items()):
        for name in names:
            getattr(sys.modules[package], name)


def at_first_use(package: str, modules: Mapping[str, str]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a *package*.

    Args:
        package: its name.
        modules: the public names in each of its modules, with spaces between them. None is the
            name of a module: who imports the module would find it in the place of what it holds.

    """
    homes = {name: module for module, names in modules.items() for name in names.split()}
    _PACKAGES[package] = tuple(homes)

    def imported(name: str) -> object:
        if name not in homes:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        found: object = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)  # asked for once
        return found

    return imported
