"""The lock files: what the scripts install is what pyproject.toml asks for."""

from __future__ import annotations

import re
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
    "scripts/requirements-package.txt": PROJECT["project"]["dependencies"],
    **{
        f"scripts/requirements-{group}.txt": lines
        for group, lines in PROJECT["dependency-groups"].items()
    },
    "scripts/requirements-torch.txt": ["torch"],
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
        fits = [wanted.specifier.contains(version) for version in versions]
        assert any(fits) if wanted.marker else all(fits), f"{lock}: {line}"


def test_what_scripts_install_is_locked() -> None:
    """No script has pip take what an index offers that day; Debian signs its packages itself."""
    for script in (path for path in (REPOSITORY / "scripts").iterdir() if path.is_file()):
        if script.suffix in {".txt", ".png", ".py"}:
            continue
        text = script.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^(?!\s*#).*pip\"? install.*$", text, re.MULTILINE):
            assert "--require-hashes" in line or "--no-deps --no-build-isolation" in line, script


def test_what_the_service_of_ci_runs_is_pinned() -> None:
    """An action is named by its commit: whoever moves a tag changes nothing here."""
    for workflow in (REPOSITORY / ".github" / "workflows").iterdir():
        for action in re.findall(r"uses: *(\S+)", workflow.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action), f"{workflow.name}: {action}"


BUNDLES = ("pillow", "pillow-heif", "pillow-jxl-plugin", "pyexiv2", "pyvips-binary", "rawpy")


@pytest.mark.parametrize("name", BUNDLES)
def test_the_lower_bound_of_a_decoder_says_what_it_mends(name: str) -> None:
    """Nobody lowers it without reading which hole comes back."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf'"{name}>=[\d.]+", +# .*CVE-\d{{4}}-\d+', text)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_hashes_and_no_index(lock: str) -> None:
    """It installs the same files wherever they come from."""
    for entry in _entries(lock):
        assert " --hash=sha256:" in entry
        assert "://" not in entry
        assert not entry.startswith("-")
