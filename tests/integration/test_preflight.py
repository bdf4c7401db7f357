"""Preflight: what the program says of a backend, and that it never waits with open hands."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

from taggerd.inference import describer

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program, Reply


def test_probes_latencies_lessons_and_another_model_are_told(
    taggerd: Program, backend: CountingBackend
) -> None:
    """Three probes with their seconds, what was learnt, and who really answered."""

    def script(path: str, body: bytes) -> Reply | None:
        if "chat" not in path:
            return None
        if b'"temperature"' in body:
            return 400, {}, b'{"error": {"message": "temperature is not supported"}}'
        threading.Event().wait(0.02)  # a latency, to be seen
        status, answer = describer.respond("POST", path, body)
        return status, {}, json.dumps({**answer, "model": "some-other-model"}).encode()

    backend.script = script
    taggerd.base_url = backend.base_url
    done = taggerd("preflight", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(probe["name"], probe["ok"]) for probe in report["probes"]] == [
        ("models", True),
        ("text", True),
        ("vision", True),
    ]
    seconds = {probe["name"]: probe["seconds"] for probe in report["probes"]}
    assert seconds["text"] >= 0.02
    assert seconds["vision"] >= 0.04
    assert report["learnt"] == {describer.MODEL: "no temperature"}
    assert report["probes"][2]["model"] == "some-other-model"
    told = f"asked for '{describer.MODEL}', but 'some-other-model' answers"
    assert report["warnings"] == [told]
    shown = " ".join(taggerd("preflight").stdout.split())
    assert f"note: {told}" in shown
    assert f"learnt: {describer.MODEL} takes no temperature" in shown


def test_a_probe_that_fails_tells_how_long_it_took(
    taggerd: Program, backend: CountingBackend
) -> None:
    """A backend that answers nothing in time has taken that time; one step is given, exit 3."""
    over = threading.Event()

    def script(path: str, _body: bytes) -> None:
        if "chat" in path:
            over.wait(180)

    backend.script = script
    taggerd.base_url = backend.base_url
    # The first probe, which is answered, needs some of it on a busy machine.
    taggerd.environment["TAGGERD__BACKEND__TIMEOUT_SECONDS"] = "3"
    done = taggerd("preflight", "--json")
    over.set()
    report = json.loads(done.stdout)
    assert done.returncode == 3
    assert [probe["ok"] for probe in report["probes"]] == [True, False, False]
    assert report["probes"][1]["seconds"] >= 3
    assert report["next_step"].startswith("Wait until the model is loaded")


def test_a_backend_that_hangs_keeps_nothing_from_arriving(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """While the first probe is silent, the daemon is ready, photos are queued, status answers."""
    over = threading.Event()

    def script(_path: str, _body: bytes) -> None:
        over.wait(180)

    backend.script = script
    taggerd.base_url = backend.base_url
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: backend.requests)
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
    until(lambda: taggerd.status()["counts"]["queued"] == 3)
    assert not taggerd.records()
    assert not over.is_set()
    over.set()
    until(lambda: len(taggerd.records()) == 3)
    assert {record["attempts"] for record in taggerd.records()} == {1}
    assert taggerd.stop(daemon) == 0


@pytest.mark.long
def test_a_daemon_probes_from_time_to_time_and_says_what_it_finds(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """With no photo about: trouble shows in the status with what to do, and so does its end."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__BACKEND__PREFLIGHT_MINUTES"] = "0.01"
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: taggerd.live().get("endpoints", [{}])[0].get("error") == "")
    backend.key = "another"
    until(lambda: "check backend.api_key" in taggerd.problem("backend"))
    assert "refuses the API key" in taggerd.status_text()
    backend.key = ""

    def other_model(path: str, body: bytes) -> Reply | None:
        if "chat" not in path:
            return None
        status, answer = describer.respond("POST", path, body)
        return status, {}, json.dumps({**answer, "model": "some-other-model"}).encode()

    backend.script = other_model
    until(lambda: not taggerd.problem("backend"))
    until(lambda: taggerd.live()["endpoints"][0]["warnings"])
    assert "but 'some-other-model' answers" in taggerd.status_text()
    assert backend.photo_requests == 0
    taggerd.stop(daemon)
