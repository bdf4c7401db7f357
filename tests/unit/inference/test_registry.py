"""The registry: which model serves which role, and why not another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from taggerd import settings
from taggerd.errors import ConfigurationError
from taggerd.inference.registry import Entry, load_registry, resolve, resolve_settings

EXAMPLE = Path(__file__).parents[3] / "config" / "models.example.json"


def entry(name: str, priority: float | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return an entry that can caption."""
    fields: dict[str, Any] = {
        "name": name,
        "backend": "vllm",
        "capabilities": {"vision": True},
        "roles": ["caption"],
    }
    if priority is not None:
        fields["role_priority"] = {"caption": priority}
    return fields | changes


def written(path: Path, content: object) -> Path:
    """Write a registry."""
    file = path / "models.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


CASES = [
    ("highest priority", [entry("a", 1), entry("b", 9)], "", "b"),
    ("no priority counts as 0", [entry("b"), entry("a", -1)], "", "b"),
    ("ties by name", [entry("b", 5), entry("a", 5)], "", "a"),
    ("preferred", [entry("a", 1), entry("b", 9)], "a", "a"),
    ("preferred by alias", [entry("a", 1, model_aliases=["x"]), entry("b", 9)], "x", "a"),
    ("a name before an alias", [entry("a", 1, model_aliases=["b"]), entry("b", 9)], "b", "b"),
    ("preferred unknown", [entry("a", 1), entry("b", 9)], "z", "b"),
    ("preferred deprecated", [entry("a", 1, deprecated=True), entry("b", 9)], "a", "b"),
    ("preferred blind", [entry("a", 1, capabilities={"vision": False}), entry("b")], "a", "b"),
    ("preferred of another role", [entry("a", 1, roles=["narration"]), entry("b")], "a", "b"),
    ("deprecated is passed over", [entry("a", 9, deprecated=True), entry("b", 1)], "", "b"),
    ("no capabilities at all", [entry("a", 9, capabilities={}), entry("b", 1)], "", "b"),
    ("capabilities as a list", [entry("a", 9, capabilities=["vision"]), entry("b", 1)], "", "a"),
    ("vision must be true", [entry("a", 9, capabilities={"vision": "no"}), entry("b", 1)], "", "b"),
    (
        "preferred by the alias of a deprecated one",
        [entry("a", 9, deprecated=True, model_aliases=["x"]), entry("b", 1)],
        "x",
        "b",
    ),
    (
        "an alias of two: the first by name",
        [entry("b", 9, model_aliases=["x"]), entry("a", 1, model_aliases=["x"])],
        "x",
        "a",
    ),
    ("an alias is a name, not a part of one", [entry("ab", 1), entry("c", 9)], "a", "c"),
    (
        "priority for another role is none",
        [entry("b", role_priority={"keywords": 99}), entry("a", 0)],
        "",
        "a",
    ),
    ("ties by name, not by kind", [entry("B", 5), entry("a", 5)], "", "B"),
    ("nobody", [entry("a", roles=[]), entry("b", deprecated=True)], "", None),
    ("nothing", [], "a", None),
]


@pytest.mark.parametrize(
    ("entries", "preferred", "name"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_role_resolves_to_the_same_model_always(
    tmp_path: Path, entries: list[dict[str, Any]], preferred: str, name: str | None
) -> None:
    """The order of the file does not matter, and every other model is told with its reason."""
    for order in (entries, entries[::-1]):
        read = load_registry(written(tmp_path, order))
        found = resolve(read, "caption", preferred)
        assert resolve(read[::-1], "caption", preferred) == found
        assert (found.entry.name if found.entry else None) == name
        assert {n for n, _ in found.rejected} == {e["name"] for e in entries} - {name}
        assert all(why for _, why in found.rejected)
        assert found.reason


def test_the_reasons_say_what_is_missing(tmp_path: Path) -> None:
    """Deprecated, another role, no vision, lower priority, second by name."""
    entries = load_registry(
        written(
            tmp_path,
            [
                entry("a", 9),
                entry("b", 9),
                entry("c", 3),
                entry("d", deprecated=True),
                entry("e", roles=["narration"]),
                entry("f", capabilities={}),
            ],
        )
    )
    found = resolve(entries, "caption", "d")
    assert found.reason == "highest priority for caption: 9; the preferred 'd' is deprecated"
    assert dict(found.rejected) == {
        "b": "same priority, a comes first by name",
        "c": "lower priority: 3",
        "d": "deprecated",
        "e": "lacks the role caption",
        "f": "lacks vision",
    }


@pytest.mark.parametrize(
    ("backend", "config", "endpoint"),
    [
        ("vllm", {}, "http://127.0.0.1:24001/v1"),
        ("lmdeploy", {}, "http://127.0.0.1:24001/v1"),
        ("Ollama", {}, "http://127.0.0.1:11434/v1"),
        ("triton", {}, "http://127.0.0.1:9000/v1"),
        ("sglang", {}, "http://127.0.0.1:8000/v1"),
        ("vllm", {"host": "gpu.lan"}, "http://gpu.lan:24001/v1"),
        ("vllm", {"host": "gpu.lan", "port": 5}, "http://gpu.lan:5/v1"),
        ("vllm", {"port": 5}, "http://127.0.0.1:5/v1"),
        ("vllm", {"host": "fd00::1"}, "http://[fd00::1]:24001/v1"),
        ("vllm", {"base_url": "https://x/v1/", "host": "y", "port": 5}, "https://x/v1"),
        ("vllm", {"base_url": None, "port": None}, "http://127.0.0.1:24001/v1"),
    ],
)
def test_the_endpoint_follows_from_the_entry(
    backend: str, config: dict[str, Any], endpoint: str
) -> None:
    """Its address, else host and port, else the backend's usual port."""
    assert (
        Entry.model_validate(entry("a", backend=backend, backend_config=config)).endpoint
        == endpoint
    )


def test_layers_are_read_as_one_curated_over_discovered(tmp_path: Path) -> None:
    """A curated field wins, a discovered one fills what curation left open."""
    layers = {
        "curated": [{"name": "a", "deprecated": False, "role_priority": {"caption": 7}}],
        "discovered": [
            entry("a", 1, deprecated=True, backend_config={"port": 5}),
            entry("b", 5),
        ],
    }
    read = load_registry(written(tmp_path, layers))
    assert [e.name for e in read] == ["a", "b"]
    found = resolve(read, "caption").entry
    assert found is not None
    assert (found.name, found.role_priority["caption"]) == ("a", 7)
    assert found.endpoint == "http://127.0.0.1:5/v1"


LAYERS = [
    ("curated deprecates", [{"name": "a", "deprecated": True}], [entry("a", 9), entry("b")], "b"),
    (
        "curated revives",
        [{"name": "a", "deprecated": False}],
        [entry("a", 9, deprecated=True)],
        "a",
    ),
    ("curated alone", [entry("c", 99)], [entry("a", 9)], "c"),
    ("discovered alone", [], [entry("a", 9)], "a"),
    ("curated takes the role away", [{"name": "a", "roles": []}], [entry("a", 9)], None),
    (
        "curated knows it is blind",
        [{"name": "a", "capabilities": {"vision": False}}],
        [entry("a")],
        None,
    ),
    (
        "curated tells it can see",
        [{"name": "a", "capabilities": {"vision": True}}],
        [entry("a", capabilities={"text": True})],
        "a",
    ),
    (
        "curated ranks",
        [{"name": "b", "role_priority": {"caption": 10}}],
        [entry("a", 9), entry("b", 1)],
        "b",
    ),
    ("ranked over layers", [entry("b", 5)], [entry("a", 5)], "a"),
]


@pytest.mark.parametrize(
    ("curated", "discovered", "name"), [c[1:] for c in LAYERS], ids=[c[0] for c in LAYERS]
)
def test_what_people_curated_is_laid_over_what_was_discovered(
    tmp_path: Path,
    curated: list[dict[str, Any]],
    discovered: list[dict[str, Any]],
    name: str | None,
) -> None:
    """Whichever layer stands first in the file."""
    layers = {"curated": curated, "discovered": discovered}
    for order in (layers, dict(reversed(layers.items()))):
        found = resolve(load_registry(written(tmp_path, order)), "caption").entry
        assert (found.name if found else None) == name


def test_other_readers_fields_and_nulls_are_no_errors(tmp_path: Path) -> None:
    """The file is shared: unknown fields are left alone, null is as good as absent."""
    nulls = dict.fromkeys(
        [
            "display_name",
            "backend_config",
            "role_priority",
            "model_aliases",
            "served_model_id",
            "generation_defaults",
            "metadata",
        ]
    )
    path = written(tmp_path, {"models": [entry("a", **nulls, vram_gb=24)], "version": 2})
    assert load_registry(path)[0].served == "a"


def test_a_name_for_nothing_is_as_good_as_absent(tmp_path: Path) -> None:
    """Other tools write Python's None as text, into fields, lists and nested tables alike."""
    for nothing in ("None", "null", "NULL", " none ", ""):
        blank: dict[str, Any] = {
            "served_model_id": nothing,
            "backend": nothing,
            "model_aliases": [nothing, "b"],
            "backend_config": {"base_url": nothing, "host": nothing, "port": nothing},
        }
        (found,) = load_registry(written(tmp_path, [entry("a", **blank)]))
        assert (found.served, found.endpoint) == ("a", "http://127.0.0.1:8000/v1")
        assert found.model_aliases == ("b",)
        over = {"curated": [{"name": "a", "served_model_id": nothing}]}
        below = {"discovered": [entry("a", served_model_id="org/a")]}
        (found,) = load_registry(written(tmp_path, {**over, **below}))
        assert found.served == "org/a"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON in line 1"),
        ("[" * 100_000, "not JSON|not valid JSON"),
        ('"models"', "expected a list"),
        ({"other": []}, "expected a list"),
        ({"models": {}}, "expected a list"),
        ([{"roles": []}], "number 1 has no name"),
        ([entry("a"), 7], "number 2 has no name"),
        ([entry("a"), entry("a")], "two models are named 'a'"),
        ([entry("a", backend_config={"port": "x"})], r"'a': backend_config\.port"),
        ([entry("a", roles=3)], "'a': roles"),
    ],
)
def test_a_damaged_registry_is_one_clear_line(tmp_path: Path, content: object, words: str) -> None:
    """The line names the file and the place in it."""
    path = written(tmp_path, content)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_registry(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_registry_is_one_clear_line(tmp_path: Path) -> None:
    """No file: the line says which."""
    with pytest.raises(
        ConfigurationError, match=r"cannot read the model registry .*none\.json: No such"
    ):
        load_registry(tmp_path / "none.json")


def test_logical_names_and_aliases_map_to_what_is_served(tmp_path: Path) -> None:
    """The loader's names become the ids that the backend knows; an unknown one has a hint."""
    path = written(
        tmp_path, [entry("qwen", served_model_id="Qwen/Qwen2.5-VL", model_aliases=["q"])]
    )
    backend = settings.Backend(use_loader=True, registry_path=path)

    def models(name: str) -> dict[str, str]:
        roles = settings.Roles.model_validate({"caption": {"registry_model": name}})
        return resolve_settings(backend, roles).models

    assert models("qwen") == models("q") == {"caption": "Qwen/Qwen2.5-VL"}
    with pytest.raises(ConfigurationError, match="did you mean 'qwen'"):
        models("qven")


def test_the_example_that_ships_is_a_registry() -> None:
    """It resolves every role of the program, and shows a deprecated and a blind model."""
    read = load_registry(EXAMPLE)
    for role in ("caption", "keywords", "description"):
        found = resolve(read, role).entry
        assert found is not None
        assert not found.deprecated
    whys = [why for _, why in resolve(read, "caption").rejected]
    assert "deprecated" in whys
    assert any(why.startswith("lacks") for why in whys)
