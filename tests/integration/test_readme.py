"""The README: every command in it runs as printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.program import REPOSITORY, Program, photo, until

if TYPE_CHECKING:
    import subprocess

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MACHINE_WIDE = ("sudo ", "uv tool", "scripts/", "taggerd service ", "rm -f ledger")
"""Commands that install something, and scripts; scripts/demo has a test of its own."""


def commands() -> list[str]:
    """Return every command line of the README's shell blocks, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def home(taggerd: Program) -> Program:
    """Return the program with photos and another tagger's records where the README has them."""
    record = {"image": "elsewhere.jpg", "caption": "Boats", "keywords": [], "description": ""}
    (taggerd.home / "tagger.jsonl").write_text(f"{json.dumps(record)}\n")
    for number in range(3):
        photo(taggerd.home / "Pictures" / "import" / f"IMG_{number}.jpg", number)
    roots = [str(taggerd.home / "Pictures" / "import")]  # "taggerd service install" sets them
    taggerd.environment["TAGGERD__ARRIVALS__ROOTS"] = json.dumps(roots)
    return taggerd


def run(program: Program, line: str) -> subprocess.CompletedProcess[str]:
    """Run one line as a shell would."""
    first, *words = shlex.split(line)
    assert first == "taggerd"
    return program(*(word.replace("~", str(program.home)) for word in words))


def test_the_commands_for_photographers_run_as_printed(home: Program) -> None:
    """One after the other, as a reader would type them, each ends well and does what it says."""
    lines = [line for line in commands() if not line.startswith(MACHINE_WIDE)]
    assert len(lines) >= 9
    for line in lines:
        if line.startswith("taggerd run") or line.endswith("--watch"):
            continue  # the daemon: tried below; what lasts until it is stopped
        done = run(home, line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    assert len(list((home.home / "Pictures" / "import").glob("*.xmp"))) == 3


def test_the_daemon_runs_as_printed(home: Program) -> None:
    """``taggerd run`` with the README's switches tags the folder."""
    (line,) = [line for line in commands() if line.startswith("taggerd run")]
    words = shlex.split(line)[2:]
    home.start(*(word.replace("~", str(home.home)) for word in words))
    until(lambda: len(list((home.home / "Pictures" / "import").glob("*.xmp"))) == 3)


def test_what_it_says_in_passing_is_there(home: Program) -> None:
    """Switches, subcommands, files and units that the text names exist."""
    helps = (["scan"], ["status"], ["service", "install"])
    shown = "".join(home(*command, "--help").stdout for command in helps)
    shown += home("--help").stdout
    for switch in set(re.findall(r"`(--[a-z-]+)", README)):
        assert switch in shown, switch
    for unit in set(re.findall(r"`(systemd/[\w/@.-]+\.service)`", README)):
        assert (REPOSITORY / unit).exists(), unit
    for link in set(re.findall(r"\]\(([\w/.-]+)\)", README)):
        assert Path(REPOSITORY / link).exists(), link
    for subcommand in set(re.findall(r"`taggerd ([a-z-]+)", README)):
        assert home(subcommand, "--help").returncode == 0, subcommand


def test_its_settings_are_settings(home: Program) -> None:
    """Every ``section.key`` that the text names is in the settings file."""
    shown = home("config", "show").stdout
    for key in set(re.findall(r"`((?:arrivals|backend|journal|sidecar)\.[a-z_]+)`", README)):
        assert f"{key} = " in shown, key
