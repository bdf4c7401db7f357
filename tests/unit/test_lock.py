"""The lock files: what the scripts install is what pyproject.toml asks for."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = {
    "scripts/requirements.txt": [
        *PROJECT["project"]["dependencies"],
        *(line for extra in PROJECT["project"]["optional-dependencies"].values() for line in extra),
    ],
    "scripts/requirements-release.txt": PROJECT["dependency-groups"]["release"],
}


def _entries(lock: str) -> list[str]:
    """Return each requirement of a lock file with its hashes, as one line."""
    text = (REPOSITORY / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_dependency_of_the_project(lock: str) -> None:
    """A dependency that is new or asks for more makes the lock stale: run scripts/lock."""
    pinned: dict[str, list[str]] = {}
    for entry in _entries(lock):
        requirement = Requirement(entry.split(" --hash=")[0])
        [exact] = requirement.specifier
        assert exact.operator == "==", entry
        pinned.setdefault(canonicalize_name(requirement.name), []).append(exact.version)
    for line in LOCKS[lock]:
        wanted = Requirement(line)
        versions = pinned.get(canonicalize_name(wanted.name), [])
        assert versions, f"{lock} has no {wanted.name}: run scripts/lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{lock}: {line}"


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_hashes_and_no_index(lock: str) -> None:
    """It installs the same files wherever they come from."""
    for entry in _entries(lock):
        assert " --hash=sha256:" in entry
        assert "://" not in entry
        assert not entry.startswith("-")
