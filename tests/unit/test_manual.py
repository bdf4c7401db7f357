"""Manual pages and shell completions: config/share/ says what the program says of itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import manual
import pytest

from taggerd.settings.keys import leaves

REPOSITORY = Path(__file__).parents[2]
SHARE = REPOSITORY / "config" / "share"
PAGES = ("man/man1/taggerd.1", "man/man5/taggerd.toml.5")


def test_what_ships_is_what_would_be_written_today() -> None:
    """A switch or a setting that changed is in the manual as well: run scripts/manual."""
    shipped = {
        str(path.relative_to(SHARE)): path.read_text(encoding="utf-8")
        for path in SHARE.rglob("*")
        if path.is_file()
    }
    assert shipped == manual.documents()


def test_each_command_is_in_the_manual() -> None:
    """``taggerd(1)`` has what ``taggerd COMMAND --help`` says, of commands in commands, too."""
    page = manual.documents()[PAGES[0]]
    assert "\n.SS taggerd scan [OPTIONS] [PATH]...\n" in page
    assert "\n.SS taggerd config check [OPTIONS]\n" in page
    assert "\n\\fB\\-\\-dry\\-run\\fR\nAsk and show what would change; write no sidecars.\n" in page


def test_each_setting_is_in_the_manual() -> None:
    """``taggerd.toml(5)`` has every setting, in the section it belongs to."""
    page = manual.documents()[PAGES[1]]
    for keys, _ in leaves():
        section = page.partition(f"\n.SH [{'.'.join(keys[:-1])}]\n")[2] if keys[1:] else page
        assert f"\n\\fB{keys[-1]} = " in section.partition("\n.SH [")[0], keys


@pytest.mark.parametrize("page", PAGES)
def test_nothing_in_a_text_is_a_request(page: str) -> None:
    """A help text that begins with a dot, or has a backslash, is printed as it is."""
    assert manual._text(".ignore C:\\ -x") == "\\&.ignore C:\\e \\-x"
    requests = set(re.findall(r"^\.\S+", manual.documents()[page], re.MULTILINE))
    assert requests <= {'.\\"', ".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".BR", ".I"}


@pytest.mark.skipif(shutil.which("man") is None, reason="man is missing: apt-get install man-db")
@pytest.mark.parametrize("page", PAGES)
def test_man_shows_it(page: str) -> None:
    """The formatter has no complaint."""
    command = ["man", "--warnings", "--local-file", str(SHARE / page)]
    shown = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
        env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""},
    )
    assert shown.stderr == ""
    assert "taggerd" in shown.stdout


def test_bash_completes() -> None:
    """With the shipped file, Tab completes commands and their switches."""
    script = (
        f". {SHARE}/bash-completion/completions/taggerd\n"
        'complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_taggerd_completion taggerd; echo "${COMPREPLY[@]}"; }\n'
        "complete_words taggerd prefl\ncomplete_words taggerd scan --dry\n"
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-c", script],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
        env={**os.environ, "PATH": path},
    )
    assert done.stdout == "preflight\n--dry-run\n"
