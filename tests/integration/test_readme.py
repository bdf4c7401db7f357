"""The README and the chapters: every command in them runs as printed."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from support.program import REPOSITORY, Program, photo, until

from taggerd.docs import chapters

if TYPE_CHECKING:
    import subprocess

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {"README": README, **chapters()}
ELSEWHERE = {
    "sudo ": "tests/systemd/booted",
    "uv tool": "tests/peers/test_installers.py",
    "scripts/": "tests/integration/test_demo.py, tests/systemd/booted",
    "taggerd report --": "tests/unit/cli/test_report.py",
    "taggerd service ": "tests/systemd/booted/test_service.py",
    "taggerd setup": "tests/integration/test_setup.py",
    "taggerd web": "tests/browser",
    "rm -f ledger": "tests/integration/test_backup.py",
    "taggerd ledger ": "tests/fleet",
    "systemctl ": "tests/systemd/booted",
    "ollama ": "a person: the tests install no model of several gigabytes",
    "vllm ": "a person, likewise",
    "llama-server ": "a person, likewise",
}
"""Commands that change the machine, ask, or need another program; and what runs them."""


def commands(text: str) -> list[str]:
    """Return every command line of the shell blocks in *text*, without its comment."""
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if text is README else pytest.mark.long)
        for name, text in DOCUMENTS.items()
        if commands(text)
    ],
)
def test_the_commands_run_as_printed(home: Program, name: str) -> None:
    """One after the other, as a reader would type them, each ends well."""
    for line in commands(DOCUMENTS[name]):
        if line.startswith(tuple(ELSEWHERE)):
            continue
        if line.startswith("taggerd run") or line.endswith("--watch"):
            continue  # the daemon: tried below; what lasts until it is stopped
        done = run(home, line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


@pytest.mark.long
def test_the_scan_in_the_readme_tags(home: Program) -> None:
    """Whoever types the first recipe has sidecars."""
    for line in commands(README):
        if line.startswith("taggerd scan"):
            run(home, line)
    assert len(list((home.home / "Pictures" / "import").glob("*.xmp"))) == 3


def test_the_daemon_runs_as_printed(home: Program) -> None:
    """``taggerd run`` with the README's switches tags the folder."""
    (line,) = [line for line in commands(README) if line.startswith("taggerd run")]
    words = shlex.split(line)[2:]
    home.start(*(word.replace("~", str(home.home)) for word in words))
    until(lambda: len(list((home.home / "Pictures" / "import").glob("*.xmp"))) == 3)
