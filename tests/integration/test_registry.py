"""The model registry as its user meets it: listed, resolved, mapped, and told when damaged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.program import REPOSITORY

from taggerd.inference import describer

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program, Reply

EXAMPLE = REPOSITORY / "config" / "models.example.json"


@pytest.fixture
def registry(tmp_path: Path, backend: CountingBackend) -> Path:
    """Three models in two layers, all at one place, which serves them."""

    def entry(name: str, priority: int, **more: object) -> dict[str, object]:
        return {
            "name": name,
            "backend_config": {"base_url": backend.base_url},
            "capabilities": {"vision": True},
            "roles": ["caption", "keywords", "description"],
            "role_priority": {"caption": priority, "keywords": 1, "description": priority},
            "served_model_id": f"org/{name}",
            "model_aliases": [f"{name}-latest"],
            **more,
        }

    layers: dict[str, list[dict[str, Any]]] = {
        "curated": [
            {"name": "old", "deprecated": True},
            {"name": "keys", "role_priority": {"keywords": 5}},
        ],
        "discovered": [entry("eyes", 50), entry("keys", 10), entry("old", 99)],
    }
    served = [f"org/{entry['name']}" for entry in layers["discovered"]]

    def script(path: str, body: bytes) -> Reply:
        if not body:
            return 200, {}, json.dumps({"data": [{"id": model} for model in served]}).encode()
        asked = json.loads(body)
        own = json.dumps(asked | {"model": describer.MODEL}).encode()
        status, answer = describer.respond("POST", path, own)
        return status, {}, json.dumps({**answer, "model": asked["model"]}).encode()

    backend.script = script
    path = tmp_path / "models.json"
    path.write_text(json.dumps(layers))
    return path


def models(taggerd: Program) -> list[dict[str, str]]:
    """Return the models that tagged each photo, once each."""
    found: list[dict[str, str]] = []
    for record in taggerd.records():
        found += [record["models"]] if record["models"] not in found else []
    return found


def listed(taggerd: Program, *arguments: object) -> dict[str, Any]:
    """Return ``list-registry --json``."""
    done = taggerd("list-registry", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_example_is_listed_with_what_each_role_gets_and_why(taggerd: Program) -> None:
    """Entries with their aliases; each role's model; a reason for each of the others."""
    done = taggerd("list-registry", "--registry-path", EXAMPLE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    names = [entry["name"] for layer in json.loads(EXAMPLE.read_text()).values() for entry in layer]
    assert sorted(names) == [line.split()[0].rstrip(":") for line in lines[: len(names)]]
    assert any("(also qwen-vl, default-vision)" in line for line in lines)
    for role in ("caption", "keywords", "description"):
        (at,) = [n for n, line in enumerate(lines) if line.startswith(f"{role}: ")]
        assert "highest priority" in lines[at]
        whys = [line for line in lines[at + 1 : at + len(names)] if line.startswith("  not ")]
        assert len(whys) == len(names) - 1
        assert "  not llava-1.5-7b: deprecated" in whys


def test_one_role_is_listed_alone(taggerd: Program, registry: Path) -> None:
    """--role takes any name; --json gives the same to programs, layers read as one."""
    said = listed(taggerd, "--registry-path", registry, "--role", "caption")
    assert said["roles"] == {
        "caption": {
            "model": "eyes",
            "served": "org/eyes",
            "reason": "highest priority for caption: 50",
            "not": {"keys": "lower priority: 10", "old": "deprecated"},
        }
    }
    by_name = {model["name"]: model for model in said["models"]}
    assert by_name["old"]["deprecated"]
    assert by_name["keys"]["role_priority"] == {"caption": 10, "keywords": 5, "description": 10}
    nobody = listed(taggerd, "--registry-path", registry, "--role", "poetry")["roles"]["poetry"]
    assert (nobody["model"], nobody["reason"]) == (None, "no model can serve poetry")


def test_each_role_is_asked_of_the_model_it_resolves_to(
    taggerd: Program, registry: Path, card: Path
) -> None:
    """--use-registry; a name preferred for a role wins over priority, unless it is deprecated."""
    taggerd.base_url = "auto"
    wanted = ("--use-registry", "--registry-path", registry)
    assert taggerd("scan", *wanted, card).returncode == 0
    assert models(taggerd) == [
        {"caption": "org/eyes", "keywords": "org/keys", "description": "org/eyes"}
    ]
    again = taggerd(
        "scan",
        *wanted,
        "--retag",
        "--caption-registry-model",
        "keys-latest",
        "--description-registry-model",
        "old",
        card,
    )
    assert again.returncode == 0, again.stderr
    assert models(taggerd)[1:] == [
        {"caption": "org/keys", "keywords": "org/keys", "description": "org/eyes"}
    ]


def test_the_loader_maps_the_names_of_roles_to_what_is_served(
    taggerd: Program, registry: Path, card: Path
) -> None:
    """--use-loader asks for what is called so, where it is served, also by an alias."""
    taggerd.base_url = "auto"
    done = taggerd(
        "scan",
        "--use-loader",
        "--registry-path",
        registry,
        "--caption-registry-model",
        "keys",
        "--keyword-registry-model",
        "eyes",
        "--description-registry-model",
        "eyes-latest",
        card,
    )
    assert done.returncode == 0, done.stderr
    assert models(taggerd) == [
        {"caption": "org/keys", "keywords": "org/eyes", "description": "org/eyes"}
    ]


@pytest.mark.long
def test_base_url_wins_over_the_registry(
    taggerd: Program, registry: Path, card: Path, backend: CountingBackend
) -> None:
    """Models come from the registry, the place from the switch."""
    elsewhere = registry.read_text().replace(backend.base_url, "http://127.0.0.1:9/v1")
    registry.write_text(elsewhere)
    taggerd.base_url = "auto"
    wanted = ("scan", "--use-registry", "--registry-path", registry, card)
    assert taggerd(*wanted).returncode == 3
    done = taggerd(*wanted, "--base-url", backend.base_url)
    assert done.returncode == 0, done.stderr
    assert models(taggerd)[0]["caption"] == "org/eyes"
    assert {record["attempts"] for record in taggerd.records()} == {1}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON in line 1"),
        ("[{}]", "model number 1 has no name"),
        (None, "cannot read the model registry"),
    ],
    ids=["torn", "no name", "missing"],
)
@pytest.mark.parametrize("command", ["scan", "list-registry"])
def test_a_damaged_registry_is_one_line(
    taggerd: Program, tmp_path: Path, card: Path, command: str, content: str | None, words: str
) -> None:
    """Which file, and what is wrong with it; exit 2, and nothing was begun."""
    path = tmp_path / "models.json"
    if content is not None:
        path.write_text(content)
    more = ["--use-registry", card] if command == "scan" else []
    done = taggerd(command, "--registry-path", path, *more)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(path) in line
    assert words in line
    assert not list(card.glob("*.xmp"))


def test_a_name_that_the_registry_lacks_is_one_line(
    taggerd: Program, registry: Path, card: Path
) -> None:
    """With the name that is near."""
    name = ("--keyword-registry-model", "eyez")
    done = taggerd("scan", "--use-loader", "--registry-path", registry, *name, card)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "did you mean 'eyes'" in line
