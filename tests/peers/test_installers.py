"""uv and pipx install the wheel: the command, the units, the manual pages, the completions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.program import REPOSITORY, photo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MINUTES = 600


def run(command: Sequence[str | Path], home: Path) -> str:
    """Run a command for a user with this home, and return what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAGGERD_")}
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=MINUTES,
        check=False,
        env={**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        cwd=home,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run([*build, "--wheel-dir", folder, REPOSITORY], folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.mark.parametrize("installer", ["uv", "pipx"])
def test_an_installer_makes_all_of_it(installer: str, wheel: Path, tmp_path: Path) -> None:
    """From the wheel alone: the command tags, and what ships beside the modules is there."""
    if installer == "uv":
        command = [os.environ.get("TAGGERD_UV", "uv"), "tool", "install"]
    else:
        command = ["pipx", "install"]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{installer} is not installed; scripts/test-peers installs it")
    run([*command, "--python", "/usr/bin/python3", wheel], tmp_path)
    taggerd = tmp_path / ".local" / "bin" / "taggerd"
    path = photo(tmp_path / "photos" / "IMG.jpg")
    run([taggerd, "scan", "--base-url", "builtin:", path.parent], tmp_path)
    assert path.with_name("IMG.jpg.xmp").exists()
    environment = taggerd.resolve().parents[1]
    assert (environment / "share" / "man" / "man1" / "taggerd.1").exists()
    assert (environment / "share" / "bash-completion" / "completions" / "taggerd").exists()
    [shipped] = environment.glob("lib/python3*/site-packages/taggerd/data/systemd")
    units = {str(file.relative_to(shipped)) for file in shipped.rglob("*") if file.is_file()}
    ours = REPOSITORY / "systemd"
    assert units == {str(file.relative_to(ours)) for file in ours.rglob("*") if file.is_file()}
