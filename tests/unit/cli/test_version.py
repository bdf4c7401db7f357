"""``taggerd version``: what a report of a fault should name."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from taggerd import __version__
from taggerd.cli import main, version
from taggerd.metadata.versions import exiftool_version

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).parents[3]
MENDED_NOWHERE = {"Exiv2", "LibRaw"}
"""Their holes are in the newest release that there is; SECURITY.md says so."""
DECODERS = {
    "libheif",
    "libde265",
    "LibRaw",
    "libjxl",
    "libwebp",
    "libavif",
    "libtiff",
    "libvips",
    "Exiv2",
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """Return what the program says of itself."""
    command = [sys.executable, "-m", "taggerd", "version", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _inside(found: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {d["name"]: d for library in found["libraries"] for d in library["decoders"]}


def test_every_library_that_is_asked_for_is_named(found: dict[str, Any]) -> None:
    """A dependency that is new is in the table without further ado."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {Requirement(line).name for line in project["project"]["dependencies"]}
    having = {library["name"]: library["version"] for library in found["libraries"]}
    assert having == {name: metadata.version(name) for name in wanted}


def test_the_decoders_in_the_libraries_are_named(found: dict[str, Any]) -> None:
    """Holes are published for libheif and Exiv2, not for the packages that bring them."""
    inside = _inside(found)
    assert set(inside) >= DECODERS
    assert [d for d in inside.values() if not d["version"][:1].isdigit()] == []


def test_nothing_installed_has_a_hole_that_a_release_mends(found: dict[str, Any]) -> None:
    """The lock keeps what pyproject.toml promises, and SECURITY.md names what is left."""
    entries = [*found["libraries"], *_inside(found).values()]
    noted = {entry["name"] for entry in entries if entry["note"]}
    assert noted == MENDED_NOWHERE
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    for name in noted:
        assert all(hole in text for hole in version.HOLES[name].named.split(", "))


@pytest.mark.parametrize(
    ("name", "having", "note"),
    [
        ("libheif", "1.19.8", "has GHSA-v8qw-hwjv-44hw"),
        ("libheif", "1.23.10", ""),
        ("libheif", "2.0", ""),
        ("libheif", "missing", ""),
        ("no such library", "0.1", ""),
    ],
)
def test_an_old_library_says_what_is_known_about_it(name: str, having: str, note: str) -> None:
    """As where a distribution links a package to libraries of its own."""
    assert version._note(name, having) == note


def test_the_table_is_for_people(
    found: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row each, decoders indented below the package that brings them."""
    monkeypatch.setattr(version, "_found", lambda: found)
    assert main(["version", "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["taggerd", __version__]
    for label in ("Python", "system", "expat", "exiftool", "decoders"):
        assert any(line.startswith(f"{label} ") for line in lines), label
    at = next(n for n, line in enumerate(lines) if line.startswith("pyexiv2 "))
    assert lines[at + 1].startswith("  Exiv2 ")


def test_what_the_kernel_lacks_to_confine_decoders_is_named() -> None:
    """All of it is the rule; what is lacking comes with what follows from that."""
    assert version._confinement([]) == version.PARTS
    said = version._confinement(["Landlock (switched off at boot): files can be read"])
    assert said.endswith("this kernel lacks Landlock (switched off at boot): files can be read")


def test_the_main_process_loads_no_decoder() -> None:
    """They are asked in a process that has nothing to lose."""
    code = (
        "import sys; from taggerd.cli import main; main(['version', '--verbose']);"
        "sys.exit(bool({'PIL', 'rawpy', 'pillow_heif', 'pyexiv2'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def _broken() -> list[tuple[str, str]]:
    message = "libx.so: no such\nfile"
    raise ImportError(message)


def test_a_library_that_cannot_be_loaded_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a system whose libc is too old the others are still named."""
    from taggerd.imaging import versions  # noqa: PLC0415

    asked: dict[str, Callable[[], list[tuple[str, str]]]] = {
        "a": _broken,
        "b": lambda: [("c", "1")],
    }
    monkeypatch.setattr(versions, "_PACKAGES", asked)
    assert versions.versions() == [
        ("a", "", "cannot be loaded: libx.so: no such file"),
        ("b", "c", "1"),
    ]


def test_exiftool_is_named_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first in PATH is the one that writes; without any it is missing."""
    program = tmp_path / "exiftool"
    program.write_text("#!/bin/sh\necho 13.50\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert exiftool_version() == f"13.50 ({program})"
    program.unlink()
    assert exiftool_version() == "missing"
