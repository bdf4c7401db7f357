"""The commands by name: listed without being imported, called as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from taggerd.cli.commands import COMMANDS, loaded

if TYPE_CHECKING:
    from pathlib import Path

LISTED = """
import sys
before = set(sys.modules)  # measured for coverage, a process begins with sqlite3
from taggerd.cli import main
main({})
print(*set(sys.modules) - before)
"""


def _imports(*words: str) -> set[str]:
    """Return the modules that ``taggerd WORDS`` has imported at its end."""
    code = LISTED.format(list(words))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_command_s_own(name: str) -> None:
    """``taggerd --help`` says of a command what ``taggerd help COMMAND`` begins with."""
    first = (loaded(name).help or "").strip().split("\n\n")[0]
    assert COMMANDS[name].help == " ".join(first.split())


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("help",)], ids=" ".join)
def test_a_list_of_the_commands_imports_none(words: tuple[str, ...]) -> None:
    """They load most of the program: a second that nobody who asks for help should wait."""
    imported = _imports(*words)
    assert not imported & {f"taggerd.cli.{each.where.split(':')[0]}" for each in COMMANDS.values()}
    assert not imported & {"pydantic", "sqlite3", "httpx", "taggerd.services", "taggerd.settings"}
    assert not imported & {"asyncio", "rich", "structlog"}


def test_a_status_imports_what_it_reads(tmp_path: Path) -> None:
    """No client, no decoder, no page: a status is asked for every few seconds, by scripts too."""
    imported = _imports("status", "--state-directory", os.fspath(tmp_path / "state"))
    assert not imported & {"httpx", "jinja2", "watchdog", "pydantic_settings", "taggerd.arrivals"}
    assert not imported & {"asyncio", "rich", "structlog"}
    ours = {name for name in imported if name.startswith("taggerd.metadata.")}
    assert not ours, "the words of photos are none of its business"


def test_a_command_collects_garbage_though_its_start_does_not(tmp_path: Path) -> None:
    """What is imported stays for good and is not looked through; a daemon's own garbage is."""
    code = (
        "import gc, taggerd.__main__ as main\n"
        "assert not gc.isenabled()\n"
        f"main.main(['status', '--state-directory', {os.fspath(tmp_path / 'state')!r}])\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True True"
