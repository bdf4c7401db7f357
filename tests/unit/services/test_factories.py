"""What is made of the settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from taggerd.services import read_registry
from taggerd.settings import configuration, sources

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings that name a registry with one model for every role."""
    monkeypatch.setattr(sources, "SYSTEM_FILE", tmp_path / "no-system-file.toml")
    entry = {
        "name": "eyes",
        "roles": ["caption", "keywords", "description"],
        "capabilities": {"vision": True},
        "served_model_id": "org/eyes",
    }
    (tmp_path / "models.json").write_text(json.dumps([entry]))
    path = tmp_path / "t.toml"
    path.write_text(f'[backend]\nregistry_path = "{tmp_path / "models.json"}"\n')
    return path


def models(file: Path, more: str = "", **switches: Any) -> set[str]:  # noqa: ANN401 - any value
    """Return the models that the registry gives, with *switches* for the backend."""
    file.write_text(file.read_text() + more)
    overrides = {"backend": switches}
    return set(read_registry(configuration.load(overrides, config=file, cwd=file.parent)).models)


def test_a_model_named_by_a_switch_wins_over_the_registry(file: Path) -> None:
    """--model says which model is asked, also where the settings use a registry."""
    assert models(file, "use_registry = true\n") == {"caption", "keywords", "description"}
    assert models(file, model="mine") == set()
    assert models(file, model="mine", use_registry=True) == set()


def test_a_registry_named_by_a_switch_wins_over_the_settings_model(file: Path) -> None:
    """--use-registry is said later than backend.model in a file."""
    assert models(file, 'model = "mine"\n') == set()
    assert models(file, use_registry=True) == {"caption", "keywords", "description"}


def test_what_is_said_of_one_role_holds_for_it(file: Path) -> None:
    """A role's registry model, in the same file as a model for all, is taken for this role."""
    more = 'use_registry = true\nmodel = "mine"\n[roles.caption]\nregistry_model = "eyes"\n'
    assert models(file, more) == {"caption"}
    assert models(file, model="other") == set()
