"""``taggerd config``: what it shows and checks."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from taggerd.cli import main
from taggerd.settings import sources

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _only_these_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the sources that a test makes are there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TAGGERD__STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "no-system-file.toml")
    (tmp_path / "inbox").mkdir()
    monkeypatch.setenv("TAGGERD__ARRIVALS__ROOTS", f'["{tmp_path / "inbox"}"]')
    monkeypatch.setenv("TAGGERD__BACKEND__BASE_URL", "builtin:")
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """Run ``taggerd config`` with *arguments* and return what it prints."""
    assert main(["config", *arguments]) == code
    return capsys.readouterr().out


def test_check_names_every_source_in_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table in some project's pyproject.toml changes settings: the reader must learn of it."""
    assert run(capsys, "check") == "settings are valid: environment\n"
    project, mine = tmp_path / "pyproject.toml", tmp_path / "config" / "taggerd" / "taggerd.toml"
    project.write_text("[tool.taggerd.image]\nmax_edge = 900\n")
    run(capsys, "trust")
    assert run(capsys, "check") == f"settings are valid: environment, {project} [tool.taggerd]\n"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("[image]\nmax_edge = 800\n")
    said = run(capsys, "check")
    assert said == f"settings are valid: environment, {mine}\n"  # it outranks the other


def test_show_as_json_holds_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program reads numbers, lists and tables, not texts that are TOML; no secret is in it."""
    monkeypatch.delenv("TAGGERD__ARRIVALS__ROOTS")
    monkeypatch.delenv("TAGGERD__BACKEND__BASE_URL")
    file = tmp_path / "t.toml"
    file.write_text(
        '[backend]\napi_key = "sk-1"\n'
        'endpoints = [{base_url = "http://u:p@gpu/v1", api_key = "sk-2"}]\n'
        f'[arrivals]\nroots = ["{tmp_path}"]\n[keywords]\nmax = 7\n'
    )
    said = run(capsys, "show", "--json", "--config", str(file))
    values: dict[str, Any] = {key: row["value"] for key, row in json.loads(said).items()}
    assert values["keywords.max"] == 7
    assert values["backend.preflight"] is True
    assert values["queue.photos_in_flight"] is None
    assert values["arrivals.roots"][0]["path"] == str(tmp_path)
    assert values["backend.endpoints"][0]["base_url"] == "http://***@gpu/v1"
    assert values["backend.api_key"] == "(set, not shown)"
    assert values["state_directory"] == str(tmp_path / "state")
    assert "sk-" not in said
    assert "keywords.max = 7 " in run(capsys, "show", "--config", str(file))


def test_check_wants_an_import_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one ``taggerd run`` does not start, so the settings are not ready."""
    monkeypatch.delenv("TAGGERD__ARRIVALS__ROOTS")
    assert main(["config", "check"]) == 2
    assert capsys.readouterr().err == (
        "taggerd: no import folder: set arrivals.roots (only taggerd scan FOLDER needs none)\n"
    )


@pytest.mark.parametrize(
    ("right", "reason"),
    [(os.R_OK, "cannot be read"), (os.W_OK, "cannot be written"), (os.X_OK, "cannot be entered")],
)
def test_check_finds_a_folder_that_taggerd_may_not_use(
    right: int,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The service would watch nothing, or write no sidecars: permissions show it beforehand."""
    monkeypatch.setattr(os, "access", lambda _path, asked: not asked & right)
    assert main(["config", "check"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"environment: arrivals.roots: {tmp_path / 'inbox'}: {reason}" in line
    assert main(["config", "check", "--allow-offline"]) == 0


def test_check_warns_of_a_backend_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service waits for one, so it is no mistake in the settings; what to do is said."""
    monkeypatch.setenv("TAGGERD__BACKEND__BASE_URL", "http://127.0.0.1:9/v1")
    assert main(["config", "check"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("settings are valid")
    assert said.err.startswith("taggerd: warning: ")
    assert "http://127.0.0.1:9/v1" in said.err
    assert said.err.endswith("; see taggerd preflight\n")
    assert main(["config", "check", "--allow-offline"]) == 0
    assert capsys.readouterr().err == ""


def test_init_sets_the_import_folders_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One command makes a file that can be used; a file that names no folder gets them as well."""
    monkeypatch.delenv("TAGGERD__ARRIVALS__ROOTS")
    new, old = tmp_path / "new.toml", tmp_path / "old.toml"
    text = '# mine\n[backend]\nbase_url = "builtin:"  # for now\n'
    old.write_text(text)
    old.chmod(0o640)
    inbox = str(tmp_path / "inbox")
    for file in (new, old):
        run(capsys, "init", str(file), "--input-dir", "inbox")
        shown = json.loads(run(capsys, "show", "--json", "--config", str(file)))
        assert [root["path"] for root in shown["arrivals.roots"]["value"]] == [inbox]
    assert old.read_text() == f'{text}\n[arrivals]\nroots = ["{inbox}"]\n'
    assert old.stat().st_mode & 0o777 == 0o640
    run(capsys, "init", str(old), "--input-dir", "other", code=2)
    assert "other" not in old.read_text()
