"""What the settings take from a registry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from taggerd import settings
from taggerd.errors import ConfigurationError
from taggerd.inference import resolve_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    """Two models at one place, one elsewhere."""

    def entry(name: str, port: int, roles: list[str]) -> dict[str, object]:
        return {
            "name": name,
            "backend_config": {"host": "10.0.0.9", "port": port},
            "capabilities": {"vision": True},
            "roles": roles,
            "served_model_id": f"org/{name}",
            "model_aliases": [f"{name}-alias"],
        }

    path = tmp_path / "models.json"
    path.write_text(
        json.dumps(
            [
                entry("eyes", 8000, ["caption", "description"]),
                entry("words", 8000, ["keywords"]),
                entry("far", 9000, ["far-caption"]),
            ]
        )
    )
    return path


def backend(registry: Path, **given: object) -> settings.Backend:
    """Make the settings' table."""
    return settings.Backend.model_validate({"registry_path": registry, **given})


def test_without_a_switch_the_registry_is_not_even_read(tmp_path: Path) -> None:
    """A registry that is not used may be missing."""
    assert resolve_settings(backend(tmp_path / "none.json"), settings.Roles()) == ({}, {})


def test_each_role_gets_its_model_and_its_place(registry: Path) -> None:
    """Models by role, as they are served, and the addresses that serve them."""
    models, base_urls = resolve_settings(backend(registry, use_registry=True), settings.Roles())
    assert models == {"caption": "org/eyes", "keywords": "org/words", "description": "org/eyes"}
    assert base_urls == dict.fromkeys(models, "http://10.0.0.9:8000/v1")


def test_base_url_wins_over_the_registry(registry: Path) -> None:
    """Whoever names an address means it."""
    _, base_urls = resolve_settings(
        backend(registry, use_registry=True, base_url="http://here/v1"), settings.Roles()
    )
    assert base_urls == {}


def test_a_model_named_in_the_settings_is_left_alone(registry: Path) -> None:
    """A role with a model of its own does not take the registry's."""
    roles = settings.Roles(caption=settings.Role(model="mine"))
    models, _ = resolve_settings(backend(registry, use_registry=True), roles)
    assert "caption" not in models


def test_roles_may_be_served_in_two_places(registry: Path) -> None:
    """Each role keeps the address that its own entry names."""
    roles = settings.Roles(caption=settings.Role(registry_role="far-caption"))
    models, base_urls = resolve_settings(backend(registry, use_registry=True), roles)
    assert (models["caption"], base_urls["caption"]) == ("org/far", "http://10.0.0.9:9000/v1")
    assert base_urls["keywords"] == "http://10.0.0.9:8000/v1"


def test_a_role_that_nothing_serves_is_named(registry: Path) -> None:
    """There is no silent fall-back to another model."""
    roles = settings.Roles(keywords=settings.Role(registry_role="poetry"))
    with pytest.raises(ConfigurationError, match="no model can serve poetry"):
        resolve_settings(backend(registry, use_registry=True), roles)


def test_the_loader_maps_names_to_what_is_served(registry: Path) -> None:
    """--use-loader with a logical name or alias sends the served name, for that role alone."""
    roles = settings.Roles(caption=settings.Role(registry_model="eyes-alias"))
    models, base_urls = resolve_settings(backend(registry, use_loader=True), roles)
    assert (models, base_urls) == (
        {"caption": "org/eyes"},
        {"caption": "http://10.0.0.9:8000/v1"},
    )
    roles = settings.Roles(caption=settings.Role(registry_model="eye"))
    with pytest.raises(ConfigurationError, match="did you mean 'eyes'"):
        resolve_settings(backend(registry, use_loader=True), roles)


def test_no_path_is_one_line() -> None:
    """--use-registry without a file says which setting is missing."""
    with pytest.raises(ConfigurationError, match=r"backend\.registry_path"):
        resolve_settings(settings.Backend(use_registry=True), settings.Roles())


def test_own_roles_are_resolved_too(registry: Path) -> None:
    """By their own name or the role they name; one with a model of its own need not be known."""
    table: dict[str, object] = {"fields": []}
    own = {
        "alt": {**table, "registry_role": "caption"},
        "apart": {**table, "model": "mine"},
    }
    models, base_urls = resolve_settings(
        backend(registry, use_registry=True), settings.Roles.model_validate(own)
    )
    assert models["alt"] == models["caption"]
    assert base_urls["alt"] == base_urls["caption"]
    assert "apart" not in models
    lost = settings.Roles.model_validate({"lost": table})
    with pytest.raises(ConfigurationError, match="no model can serve lost"):
        resolve_settings(backend(registry, use_registry=True), lost)


def test_a_model_named_for_every_role_wins(registry: Path) -> None:
    """It is asked as it is called, where the registry serves it; an unknown one anywhere."""
    every = frozenset({"caption", "keywords", "description"})
    named = backend(registry, use_registry=True, model="org/eyes")
    models, base_urls = resolve_settings(named, settings.Roles(), named=every)
    assert (models, set(base_urls.values())) == ({}, {"http://10.0.0.9:8000/v1"})
    unknown = backend(registry, use_registry=True, model="mine")
    assert resolve_settings(unknown, settings.Roles(), named=every) == ({}, {})


def test_the_loader_maps_a_model_named_for_every_role(registry: Path) -> None:
    """--use-loader --model NAME asks for what NAME is served as, and so for a role's own."""
    every = frozenset({"caption", "keywords", "description"})
    loader = backend(registry, use_loader=True, model="eyes-alias")
    roles = settings.Roles(keywords=settings.Role(model="words"))
    models, base_urls = resolve_settings(loader, roles, named=every)
    assert models == {"caption": "org/eyes", "keywords": "org/words", "description": "org/eyes"}
    assert set(base_urls) == every
