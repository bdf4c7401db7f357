"""Settings of imageworks' personal tagger are noticed and translated."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING

import pytest

from taggerd.cli import main
from taggerd.settings import imageworks, sources
from taggerd.settings.configuration import load
from taggerd.settings.keys import leaves

if TYPE_CHECKING:
    from pathlib import Path

OLD = """
[tool.imageworks.personal_tagger]
default_base_url = "http://gpu:8100/v1"
base_url = "http://other:8100/v1"
default_model = "qwen2.5-vl-7b-awq"
caption_model = "None"
keyword_model = "tagger"
api_key = "sk-1"
use_registry = true
registry_path = "configs/registry.json"
batch_size = 4
max_workers = 2
max_keywords = 12
timeout = 90
temperature = 0.3
top_p = 0.9
max_new_tokens = 400
recursive = false
image_exts = [".jpg", ".png"]
overwrite_metadata = false
backup_originals = true
preflight = true
prompt_profile = "phototools_v2"
output_jsonl = "outputs/results/personal_tagger.jsonl"
summary_path = "outputs/summaries/personal_tagger.md"
dry_run = false
json_mode = "strict"
"""


@pytest.fixture(autouse=True)
def _no_other_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only what a test makes is there."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TAGGERD__STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "no-system-file.toml")
    for name in [name for name in os.environ if name.startswith(imageworks.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_what_has_an_equivalent_is_printed_as_a_settings_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed is valid, loads, and holds the values; the rest is listed with a reason."""
    (tmp_path / "pyproject.toml").write_text(OLD)
    assert main(["config", "import"]) == 0
    text = capsys.readouterr().out
    (tmp_path / "new.toml").write_text(text)
    settings = load(config=tmp_path / "new.toml").settings
    assert settings.backend.base_url == "http://other:8100/v1"
    assert settings.backend.model == "qwen2.5-vl-7b-awq"
    backend = settings.backend
    assert (backend.temperature, backend.top_p, backend.max_tokens) == (0.3, 0.9, 400)
    assert (settings.roles.caption.model, settings.roles.keywords.model) == ("", "tagger")
    assert settings.backend.registry_path == tmp_path / "configs" / "registry.json"
    assert (settings.queue.photos_in_flight, settings.workers.processes) == (4, 2)
    assert (settings.keywords.max, settings.backend.timeout_seconds) == (12, 90)
    assert settings.arrivals.recursive is False
    assert sorted(settings.arrivals.image_extensions) == ["jpg", "png"]
    assert settings.metadata.backup_originals is True
    assert settings.prompts.profile == "default"
    assert "sk-1" not in text, "a key is not shown on a terminal"
    assert "#   output_jsonl: per scan: taggerd scan --output-jsonl FILE" in text
    assert "#   summary_path: per scan: taggerd scan --summary FILE" in text
    assert "#   prompt_profile = phototools_v2: no such profile here" in text
    assert "#   json_mode: no equivalent" in text
    assert "caption_model" not in text, "None is no model"


def test_the_environment_is_translated_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It wins over the file, its texts become numbers, flags and lists, and a typo is listed."""
    (tmp_path / "pyproject.toml").write_text(OLD)
    monkeypatch.setenv("IMAGEWORKS_PERSONAL_TAGGER__MAX_KEYWORDS", "9")
    monkeypatch.setenv("IMAGEWORKS_PERSONAL_TAGGER__RECURSIVE", "true")
    monkeypatch.setenv("IMAGEWORKS_PERSONAL_TAGGER__CAPTION_MODEL", "7")
    monkeypatch.setenv("IMAGEWORKS_PERSONAL_TAGGER__BATCH_SIZE", "many")
    assert main(["config", "import"]) == 0
    text = capsys.readouterr().out
    table = tomllib.loads(text)
    assert table["keywords"]["max"] == 9
    assert table["arrivals"]["recursive"] is True
    assert table["roles"]["caption"]["model"] == "7"
    assert table["queue"]["photos_in_flight"] == 4, "as in the file"
    assert "#   IMAGEWORKS_PERSONAL_TAGGER__BATCH_SIZE = many: cannot be used: " in text


def test_write_makes_the_settings_file_and_replaces_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the API key, for its owner alone; a file that exists is left as it is."""
    old = tmp_path / "old" / "pyproject.toml"
    old.parent.mkdir()
    old.write_text(OLD)
    assert main(["config", "import", str(old), "--write"]) == 0
    assert "json_mode: no equivalent" in capsys.readouterr().out
    file = tmp_path / "config" / "taggerd" / "taggerd.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    key = load().settings.backend.api_key
    assert key is not None
    assert key.get_secret_value() == "sk-1"
    before = file.read_bytes()
    assert main(["config", "import", str(old), "--write"]) == 2
    assert "already exists" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_old_settings_are_noticed_until_there_are_new_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr; nothing without them, and nothing once taggerd has a settings file."""
    monkeypatch.setenv("TAGGERD__ARRIVALS__ROOTS", f'["{tmp_path}"]')
    monkeypatch.setenv("TAGGERD__BACKEND__BASE_URL", "builtin:")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("IMAGEWORKS_PERSONAL_TAGGER__MODEL", "x")
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err == (
        "settings of imageworks found: `taggerd config import` translates them\n"
    )
    monkeypatch.delenv("IMAGEWORKS_PERSONAL_TAGGER__MODEL")
    (tmp_path / "pyproject.toml").write_text(OLD.replace("use_registry = true", ""))
    assert main(["config", "check"]) == 0
    assert "settings of imageworks found" in capsys.readouterr().err
    assert main(["config", "import", "--write", str(tmp_path / "pyproject.toml")]) == 0
    capsys.readouterr()
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().err == ""


def test_nothing_to_import_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what was looked for."""
    assert main(["config", "import"]) == 2
    assert "[tool.imageworks.personal_tagger]" in capsys.readouterr().err
    other = tmp_path / "other.toml"
    other.write_text("[tool.black]\n")
    assert main(["config", "import", str(other)]) == 2
    assert str(other) in capsys.readouterr().err


def test_every_equivalent_is_a_setting() -> None:
    """A renamed setting does not leave a translation that cannot be used."""
    known = {".".join(keys) for keys, _ in leaves()}
    assert set(imageworks.KEYS.values()) <= known
