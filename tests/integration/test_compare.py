"""``taggerd compare`` as its user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from taggerd.inference import describer
from taggerd.inference.describer.api import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program, Reply

MODELS = ("--model", "small", "--model", "large")


def two_models(backend: CountingBackend) -> None:
    """Let the backend serve two models that say their names, and a third that is away."""

    def script(path: str, body: bytes) -> Reply | None:
        if path.endswith("/models"):
            listed = [{"id": name, "object": "model"} for name in ("small", "large")]
            return 200, {}, json.dumps({"object": "list", "data": listed}).encode()
        asked = json.loads(body or b"{}")
        if (model := asked.get("model")) not in {"small", "large"}:
            return 404, {}, b'{"error": {"message": "no such model"}}'
        asked["model"] = MODEL
        status, answer = describer.respond("POST", path, json.dumps(asked).encode())
        answer["model"] = model
        message = answer["choices"][0]["message"]  # type: ignore[index]  # of the describer's shape
        message["content"] = message["content"].replace("A ", f"{model.title()} says: a ", 1)
        return status, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    backend.script = script


def files(folder: Path) -> dict[Path, bytes]:
    """Return every file below *folder*."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_model_is_asked_about_the_same_photos_and_nothing_else_is_written(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """Words, seconds, tokens and price of each; no sidecar, no record, no setting."""
    two_models(backend)
    taggerd.base_url = backend.base_url
    prices = '{"input_per_million": 1.0, "models": {"large": {"input_per_million": 10.0}}}'
    taggerd.environment["TAGGERD__BACKEND__PRICE"] = prices
    before = files(card)
    done = taggerd("compare", *MODELS, "--sample", "3", "--json", card)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["photos"]) == 3
    for photo in found["photos"]:
        small, large = photo["replies"]
        assert small["caption"].startswith("Small says")
        assert large["caption"].startswith("Large says")
        assert small["keywords"]
        assert small["prompt_tokens"] > 0
        assert large["price"] > 5 * small["price"] > 0
    assert files(card) == before
    assert taggerd.records() == []
    assert not (taggerd.home / "config").exists()
    assert taggerd.status()["counts"]["queued"] == 0
    asked = backend.photo_requests
    assert asked == 3 * 2 * 3
    again = taggerd("compare", *MODELS, "--sample", "3", card)
    assert "small · default: 3 of 3 photos, " in again.stdout
    assert "USD for 1,000 photos" in again.stdout
    assert "/compare/" in again.stdout
    assert backend.photo_requests == asked  # what was paid for is recalled, with what it took
    scanned = taggerd("scan", "--model", "large", card)
    assert scanned.returncode == 0
    assert backend.photo_requests == asked + 2 * 3  # only for the photos that were not shown


def test_a_model_that_cannot_be_asked_is_there_with_the_reason(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """The others go on; if none is left the command says so."""
    two_models(backend)
    taggerd.base_url = backend.base_url
    done = taggerd("compare", "--model", "small", "--model", "gone", "--sample", "2", card)
    assert done.returncode == 1
    assert "small · default: 2 of 2 photos" in done.stdout
    assert "gone · default: 0 of 2 photos" in done.stdout
    assert "failed: " in done.stdout
    none = taggerd("compare", "--model", "gone", "--model", "away", "--sample", "2", card)
    assert none.returncode == 3


def test_one_candidate_is_no_comparison(taggerd: Program, card: Path) -> None:
    """What to write instead is said."""
    done = taggerd("compare", "--model", "small", card)
    assert done.returncode == 2
    assert "--model a --model b" in done.stderr
    assert taggerd("compare", *MODELS, card / "nothing").returncode == 2
