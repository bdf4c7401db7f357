"""``taggerd config``: what it shows and checks."""

from __future__ import annotations

import json
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
    assert run(capsys, "check") == f"settings are valid: environment, {project} [tool.taggerd]\n"
    mine.parent.mkdir(parents=True)
    mine.write_text("[image]\nmax_edge = 800\n")
    said = run(capsys, "check")
    assert said == f"settings are valid: environment, {mine}\n"  # it outranks the other


def test_check_says_so_where_nothing_is_set(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any source the defaults are in force."""
    monkeypatch.delenv("TAGGERD__STATE_DIRECTORY")
    assert run(capsys, "check") == "settings are valid: all defaults\n"


def test_show_as_json_holds_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads numbers, lists and tables, not texts that are TOML; no secret is in it."""
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
