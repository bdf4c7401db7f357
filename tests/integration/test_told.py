"""What a user says outranks what is held from before; answers keep the name of who gave them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.program import CountingBackend, Program, Reply, until

from taggerd.inference import describer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROLES = 3


def named(backend: CountingBackend, *models: str) -> None:
    """Have the backend serve *models*, each of which answers in its own name."""

    def script(path: str, body: bytes) -> Reply:
        if not body:
            answer: dict[str, object] = {"data": [{"id": model} for model in models]}
            return 200, {}, json.dumps(answer).encode()
        asked = json.loads(body)
        model, asked["model"] = asked["model"], describer.MODEL
        status, said = describer.respond("POST", path, json.dumps(asked).encode())
        return status, {}, json.dumps({**said, "model": model}).encode()

    backend.script = script


@pytest.fixture
def other(backend: CountingBackend) -> Iterator[CountingBackend]:
    """Return a backend that serves two models, and a second one that serves the same."""
    named(backend, "small-vl", "fake-vl")
    second = CountingBackend()
    named(second, "small-vl", "fake-vl")
    yield second
    second.close()


@pytest.mark.long
def test_the_describer_s_words_are_never_another_model_s(
    taggerd: Program, card: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """A dry run with the describer, then a model and profile by name: the model is asked."""
    assert other
    taggerd.base_url = backend.base_url
    assert taggerd("scan", "--dry-run", "--base-url", "builtin:", card).returncode == 0
    assert backend.photo_requests == 0
    done = taggerd("scan", "--model", "fake-vl", "--prompt-profile", "concise", card)
    assert done.returncode == 0, done.stderr
    assert backend.photo_requests == 5 * ROLES
    record = taggerd.records()[-1]
    assert set(record["models"].values()) == {"fake-vl"}
    assert (record["backend"], record["prompt_profile"]) == (backend.base_url, "concise")
    for sidecar in card.glob("*.xmp"):
        assert "caption=fake-vl" in sidecar.read_text()
        assert "pixels-only" not in sidecar.read_text()


@pytest.mark.long
def test_the_same_question_is_not_paid_for_twice(
    taggerd: Program, card: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """After --no-meta and after an undo the answers are still good, if nothing else was said."""
    assert other
    taggerd.base_url = backend.base_url
    for arguments in (["--no-meta"], []):
        assert taggerd("scan", "--model", "fake-vl", *arguments, card).returncode == 0
    taggerd("undo", card)
    taggerd("retry", card)
    assert taggerd("scan", "--model", "fake-vl", card).returncode == 0
    assert backend.photo_requests == 5 * ROLES
    assert len(list(card.glob("*.xmp"))) == 5


@pytest.mark.long
def test_another_model_answers_what_it_is_asked_after_an_undo(
    taggerd: Program, card: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """Its words in the sidecars are its own, each role's."""
    assert other
    taggerd.base_url = backend.base_url
    assert taggerd("scan", "--model", "small-vl", card).returncode == 0
    taggerd("undo", card)
    taggerd("retry", card)
    assert (
        taggerd("scan", "--caption-model", "fake-vl", "--model", "small-vl", card).returncode == 0
    )
    assert backend.photo_requests == 5 * (ROLES + 1)
    assert taggerd.records()[-1]["models"] == {
        "caption": "fake-vl",
        "keywords": "small-vl",
        "description": "small-vl",
    }


@pytest.mark.long
def test_a_backend_named_for_a_scan_is_asked_itself(
    taggerd: Program, card: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """Also where the one before served a model of the same name; the record names who answered."""
    taggerd.base_url = backend.base_url
    assert taggerd("scan", "--no-meta", "--model", "fake-vl", card).returncode == 0
    scan = taggerd("scan", "--model", "fake-vl", "--base-url", other.base_url, card)
    assert scan.returncode == 0, scan.stderr
    assert other.photo_requests == 5 * ROLES
    assert taggerd.records()[-1]["backend"] == other.base_url


@pytest.mark.long
def test_answers_are_reused_where_somebody_says_so_and_keep_their_names(
    taggerd: Program, card: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """--reuse-answers sends no request; record and sidecar say whose words they are."""
    assert other
    taggerd.base_url = backend.base_url
    assert taggerd("scan", "--no-meta", "--model", "small-vl", card).returncode == 0
    asked = backend.photo_requests
    scan = taggerd("scan", "--model", "fake-vl", "--reuse-answers", card)
    assert scan.returncode == 0, scan.stderr
    assert backend.photo_requests == asked
    record = taggerd.records()[-1]
    assert set(record["models"].values()) == {"small-vl"}
    assert sum("reused the answer that small-vl gave" in note for note in record["notes"]) == ROLES
    (first, *_) = card.glob("*.xmp")
    assert "caption=small-vl" in first.read_text()
    assert "<taggerd:reused>" in first.read_text()


@pytest.mark.long
def test_a_model_s_path_stays_on_this_machine(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """llama-server names a model by the path of its file: the sidecar has the file's name."""
    path = "/home/somebody/models/qwen2.5-vl-7b-q4.gguf"
    named(backend, path)
    taggerd.base_url = backend.base_url
    assert taggerd("scan", card).returncode == 0
    for sidecar in card.glob("*.xmp"):
        assert "caption=qwen2.5-vl-7b-q4.gguf" in sidecar.read_text()
        assert "somebody" not in sidecar.read_text()


@pytest.mark.long
def test_a_dry_run_leaves_no_trace_on_the_queue(
    taggerd: Program, card: Path, backend: CountingBackend, other: CountingBackend
) -> None:
    """No photo waits, none has failed; its answers are kept for the same question alone."""
    assert other
    taggerd.base_url = backend.base_url
    (card / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture" * 99)
    dry = taggerd("scan", "--dry-run", "--model", "fake-vl", card)
    assert dry.returncode == 1, dry.stderr
    assert "failed 1" in dry.stdout.replace("1 failed", "failed 1")
    assert set(taggerd.status()["counts"].values()) == {0}
    assert not taggerd.status()["failed"]
    assert taggerd("scan", "--dry-run", "--model", "fake-vl", card).returncode == 1
    real = taggerd("scan", "--model", "fake-vl", card)
    assert "tagged 5 of 6 photos" in real.stdout
    assert backend.photo_requests == 5 * ROLES
    assert [record["dry_run"] for record in taggerd.records()].count(True) == 12


@pytest.mark.long
def test_a_dry_run_changes_nothing_for_photos_that_wait(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """They wait as before, for the run that tags them."""
    taggerd.base_url = backend.base_url
    taggerd("scan", "--no-meta", card)
    taggerd("retry", "--failed")
    before = taggerd.status()["counts"]
    assert before["queued"] == 5
    assert taggerd("scan", "--dry-run", card).returncode == 0
    assert taggerd.status()["counts"] == before


def test_no_meta_is_marked_and_never_called_tagged(taggerd: Program, card: Path) -> None:
    """In the record, the summary and the status; a second one says that nothing is written yet."""
    for words in ("got answers for 5 of 5 photos", "5 answered before, not written yet"):
        scan = taggerd("scan", "--no-meta", card)
        assert words in scan.stdout
        assert "tagged" not in scan.stdout
    assert [record["no_meta"] for record in taggerd.records()] == [True] * 5
    (summary,) = (taggerd.outputs / "summaries").glob("*.md")
    assert "5 with --no-meta (no sidecar written)" in summary.read_text()
    shown = taggerd("status").stdout
    assert "5 with --no-meta" in shown
    assert "5 answered, not written (" in shown


@pytest.mark.long
def test_the_describer_says_what_it_is(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """One line before work begins, of a scan and of the service; none about a vision model."""
    line = "builtin: describes colours only; it does not see what is in a photo"
    taggerd.base_url = backend.base_url
    assert "colours only" not in taggerd("scan", "--dry-run", card).stderr
    assert taggerd("scan", "--dry-run", "--base-url", "builtin:", card).stderr.count(line) == 1
    taggerd.base_url = "builtin:"
    done = taggerd("scan", card)
    assert done.returncode == 0
    assert done.stderr.count(line) == 1
    assert line not in taggerd("scan", card).stderr, "nothing to do, nothing to say"
    taggerd.start("--input-dir", card)
    until(lambda: "serving" in taggerd.log())
    assert taggerd.log().count(line) == 1


@pytest.mark.long
def test_a_photo_that_failed_under_one_model_is_tried_with_another(
    taggerd: Program, card: Path, backend: CountingBackend
) -> None:
    """By itself, by a scan and by the daemon; one that is no picture stays failed."""
    (card / "broken.jpg").write_bytes(b"\xff\xd8\xff" + b"no picture" * 99)
    named(backend, "small-vl", "fake-vl")
    usual = backend.script

    def empty(path: str, body: bytes) -> Reply | None:
        status, headers, said = usual(path, body) or (500, {}, b"")
        asked = json.loads(body or b"{}")
        if asked.get("model") == "small-vl" and len(asked["messages"]) > 1:  # not the preflight
            answer = json.loads(said)
            answer["choices"][0]["message"]["content"] = '{"caption": "1234567"}'
            return status, headers, json.dumps(answer).encode()
        return status, headers, said

    backend.script = empty
    taggerd.base_url = backend.base_url
    assert taggerd("scan", "--model", "small-vl", card).returncode == 1
    assert len(taggerd.status()["failed"]) > 0
    assert taggerd.status()["counts"]["quarantined"] == 6
    again = taggerd("scan", "--model", "small-vl", card)
    assert "6 failed before" in again.stdout
    listed = taggerd("scan", "--list", "--model", "fake-vl", card).stdout
    assert listed.count("failed before") == 1
    better = taggerd("scan", "--model", "fake-vl", card)
    assert "tagged 5 of 5 photos" in better.stdout
    assert taggerd.status()["counts"]["quarantined"] == 1
