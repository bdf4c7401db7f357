"""What taggerd prints and writes for programs is as ``taggerd config schema`` says."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from support.program import photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program


def strict(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return *schema* with no room for a property that it does not name."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found["additionalProperties"] = False
    return found


def check(program: Program, output: str, values: list[Any]) -> None:
    """Compare *values* with the schema of an *output*."""
    schema = json.loads(program("config", "schema", output).stdout)
    Draft202012Validator.check_schema(schema)
    assert "description" in json.dumps(schema["properties"])
    validator = Draft202012Validator(strict(schema))
    assert values
    for value in values:
        assert [error.message for error in validator.iter_errors(value)] == []


@pytest.mark.long
def test_the_status_of_a_service_up_down_and_in_trouble(
    taggerd: Program, card: Path, inbox: Path, backend: CountingBackend
) -> None:
    """Each word has its exit code, and each status its schema."""
    shown = [taggerd.status()]
    assert taggerd("status").returncode == 3
    taggerd.base_url = backend.base_url
    shutil.copytree(card, inbox / "card")
    (inbox / "card" / "bad.jpg").write_bytes(b"no picture")
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: (s := taggerd.status())["counts"]["recorded"] == 5 and s["failed"])
    shown.append(taggerd.status())
    assert taggerd("status").stdout.startswith("healthy\n")
    assert taggerd("status").returncode == 0
    backend.die()
    photo(inbox / "new.jpg", 77)
    until(lambda: taggerd.status()["health"]["word"] == "waiting for backend")
    shown.append(taggerd.status())
    assert taggerd("status").returncode == 1
    shutil.rmtree(inbox)
    until(lambda: taggerd.status()["health"]["word"] == "degraded")
    shown.append(taggerd.status())
    assert taggerd("status").returncode == 1
    taggerd.stop(daemon)
    shown.append(taggerd.status())
    assert [each["health"]["word"] for each in shown] == [
        "down",
        "healthy",
        "waiting for backend",
        "degraded",
        "down",
    ]
    check(taggerd, "status", shown)
    check(taggerd, "record", taggerd.records())


@pytest.mark.parametrize("runs", [0, 2])
def test_records_and_metrics(taggerd: Program, card: Path, runs: int) -> None:
    """Without records there are metrics, too: of no day."""
    (card / "bad.jpg").write_bytes(b"no picture")
    for number in range(runs):
        taggerd("scan", *["--retag"] * number, card)
    check(taggerd, "metrics", [json.loads(taggerd("metrics", "--json").stdout)])
    if runs:
        check(taggerd, "record", taggerd.records())
        assert {bool(record["error"]) for record in taggerd.records()} == {True, False}
