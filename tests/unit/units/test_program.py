"""The command that a unit starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd.errors import ConfigurationError
from taggerd.units.program import program

if TYPE_CHECKING:
    from pathlib import Path


def executable(path: Path) -> Path:
    """Make a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_it_is_the_one_that_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a path or by its name: the very taggerd that was run to install it."""
    there = executable(tmp_path / "bin" / "taggerd")
    assert program(str(there)) == there
    monkeypatch.setenv("PATH", str(there.parent))
    assert program("taggerd") == there
    monkeypatch.chdir(tmp_path)
    assert program("bin/taggerd") == there


def test_a_link_stays_one(tmp_path: Path) -> None:
    """pipx, uv and versioned environments lead to the new version by the same link."""
    real = executable(tmp_path / "taggerd-1" / "bin" / "taggerd")
    link = tmp_path / "taggerd"
    link.symlink_to(real)
    assert program(str(link)) == link


def test_a_module_has_the_command_of_its_environment(tmp_path: Path) -> None:
    """``python -m taggerd`` is no command for a unit; the one beside its Python is."""
    there = executable(tmp_path / "bin" / "taggerd")
    assert program("/somewhere/taggerd/__main__.py", tmp_path) == there


def test_without_a_command_there_is_no_service(tmp_path: Path) -> None:
    """A checkout that was never installed cannot be started by systemd."""
    with pytest.raises(ConfigurationError, match="install taggerd"):
        program("/somewhere/taggerd/__main__.py", tmp_path)
