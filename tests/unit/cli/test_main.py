"""The command line as a whole: what it takes, and what it answers to a mistake."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from support.terminal import terminal

from taggerd import __version__
from taggerd.cli import main
from taggerd.settings import sources


@pytest.fixture(autouse=True)
def _roots_are_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A scan that nobody asked for would have work to do."""
    (tmp_path / "inbox").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TAGGERD__STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setenv("TAGGERD__ARRIVALS__ROOTS", f'["{tmp_path / "inbox"}"]')
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "no-system-file.toml")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("option", ["-v", "--verbose", "--dry-run", "--input", "-x"])
def test_an_unknown_leading_option_starts_nothing(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``taggerd -v`` is a mistake and no scan of the import folders: one line, exit 2."""
    assert main([option]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"taggerd: No such option: {option}")
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("form", ["{option} {path}", "{option}={path}"])
def test_the_older_tool_s_leading_input_dir_is_a_scan(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--input-dir with its value, in both spellings, and what follows it."""
    words = form.format(option="--input-dir", path=tmp_path / "inbox").split()
    assert main([*words, "--list"]) == 0
    assert capsys.readouterr().out == "0 photos would be tagged\n"


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        (["-h"], "Usage: taggerd [OPTIONS] COMMAND"),
        (["help"], "Usage: taggerd [OPTIONS] COMMAND"),
        (["help", "scan"], "Usage: taggerd scan [OPTIONS]"),
        (["scan", "-h"], "Usage: taggerd scan [OPTIONS]"),
        (["help", "config", "show"], "Usage: taggerd config show [OPTIONS]"),
        (["config", "-h"], "Usage: taggerd config [OPTIONS] COMMAND"),
    ],
    ids=" ".join,
)
def test_help_has_all_its_usual_names(
    words: list[str], usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """-h and help, of the program and of a command."""
    assert main(words) == 0
    assert usage in capsys.readouterr().out


def test_version_is_a_word_too(capsys: pytest.CaptureFixture[str]) -> None:
    """``taggerd version`` says what ``taggerd --version`` says."""
    for words in (["version"], ["--version"]):
        assert main(words) == 0
        assert capsys.readouterr().out == f"taggerd {__version__}\n"


def test_run_names_scan_for_what_only_a_scan_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    """The older tool's ``run --dry-run`` leads to ``taggerd scan --dry-run``."""
    assert main(["run", "--dry-run", "--input-dir", "inbox"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "taggerd: No such option: --dry-run; it belongs to taggerd scan"
    assert main(["run", "--nothing-of-that-name"]) == 2
    assert "taggerd run --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("switch", "missing"),
    [
        ("--caption-role", "--use-registry: add it"),
        ("--keyword-registry-model", "--use-registry or --use-loader: add one"),
        ("--registry-path", "--use-registry or --use-loader: add one"),
    ],
)
def test_a_switch_about_a_registry_that_is_not_used_is_refused(
    switch: str, missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would do nothing; the message says which switch is missing."""
    assert main(["scan", switch, "something", "--list"]) == 2
    assert capsys.readouterr().err == f"taggerd: {switch} does nothing without {missing}\n"
    assert not (tmp_path / "state").exists()


@pytest.mark.skipif(not shutil.which("less"), reason="no less")
def test_a_chapter_in_a_terminal_is_bold_not_escaped(tmp_path: Path) -> None:
    """Without settings of its own, less showed each colour as ESC[1m."""
    environment = {"HOME": os.fspath(tmp_path), "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
    taggerd = os.fspath(Path(sys.executable).with_name("taggerd"))
    with terminal([taggerd, "help", "review"], environment, tmp_path) as shown:
        shown.until("Who wrote what")
        assert "ESC[" not in shown.text
        shown.type("q")
        assert shown.end() == 0
