"""Packages whose public names are imported at first use."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

from taggerd.lazy import at_first_use

PACKAGES = ("inference", "journal", "ledger", "metadata", "relay", "services", "settings")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_there(package: str) -> None:
    """The table of a package names each of them, and no name is a module's own.

    Who imports a module of that name would put it in the place of the public one.
    """
    module = import_module(f"taggerd.{package}")
    for name in module.__all__:
        assert hasattr(module, name), name
    modules = {each.name for each in pkgutil.iter_modules(module.__path__)}
    assert not modules & set(module.__all__)


def test_a_package_imports_nothing_before_it_is_used() -> None:
    """Else a start would wait for all of it."""
    names = ", ".join(f"taggerd.{package}" for package in PACKAGES)
    code = f"import sys, {names}; print(*(m for m in sys.modules if m.startswith('taggerd')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"taggerd", "taggerd.lazy", *names.split(", ")}


def test_a_name_that_does_not_exist_is_refused_as_everywhere() -> None:
    """``from package import Typo`` raises what Python does."""
    with pytest.raises(AttributeError, match="module 'taggerd' has no attribute 'Typo'"):
        at_first_use("taggerd", {"photo": "Photo"})("Typo")
