"""What a running daemon shows to Prometheus and to whoever asks how it is."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest
from support.observing import address, get, samples
from support.program import photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program

pytestmark = pytest.mark.slow


def told(at: str, name: str) -> dict[str, float]:
    """Return the samples, with *name* among them: what takes too long is left out of an answer."""
    return until(lambda: found if name in (found := samples(get(f"{at}/metrics")[1])) else None)


def test_the_daemon_shows_what_it_does(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """Photos, requests, tokens, the folder, the disks; a backend that is away is named."""
    taggerd.base_url = backend.base_url
    taggerd.environment["TAGGERD__METRICS__LISTEN"] = "127.0.0.1:0"
    daemon = taggerd.start("--input-dir", inbox)
    at = address(taggerd)
    for number in range(3):
        photo(inbox / f"{number}.jpg", number)
    (inbox / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    until(
        lambda: samples(get(f"{at}/metrics")[1]).get('taggerd_queue_photos{state="recorded"}') == 3
    )
    until(lambda: 'taggerd_failures_total{error="PhotoUndecodable"} 1' in get(f"{at}/metrics")[1])
    disk = f'taggerd_disk_free_bytes{{path="{inbox}",use="photos"}}'
    found = told(at, disk)
    here = f'endpoint="{backend.base_url}"'
    assert found["taggerd_ready"] == 1
    assert found['taggerd_health{state="healthy"}'] == 1
    assert found['taggerd_attempts_total{outcome="tagged"}'] == 3
    assert found['taggerd_stage_duration_seconds_count{stage="caption"}'] == 3
    assert found[f'taggerd_backend_requests_total{{{here},outcome="answered"}}'] == len(
        backend.bodies
    )
    assert found[f'taggerd_backend_tokens_total{{{here},kind="prompt"}}'] > 0
    assert found[f'taggerd_root_state{{root="{inbox}",state="watching"}}'] == 1
    assert found[disk] > 0
    assert str(inbox / "0.jpg") not in get(f"{at}/metrics")[1]

    backend.die()
    photo(inbox / "later.jpg", 4)
    away = f"taggerd_backend_breaker_open{{{here}}}"
    until(lambda: samples(get(f"{at}/metrics")[1]).get(away) == 1)
    status, body = get(f"{at}/readyz")
    said = json.loads(body)
    assert (status, said["ready"], said["health"]) == (200, True, "waiting for backend")
    assert "cannot connect" in said["backends"][backend.base_url]
    oldest = "taggerd_queue_oldest_timestamp_seconds"
    found = told(at, oldest)
    assert found[oldest] > 1.7e9
    assert found[f"taggerd_backend_outages_total{{{here}}}"] == 1
    assert taggerd.stop(daemon) == 0
    assert get(f"{at}/healthz")[0] == 0


def test_a_reload_turns_them_on_and_off(taggerd: Program, inbox: Path) -> None:
    """An address that cannot be listened at is a problem of the settings, and photos are tagged."""
    settings = taggerd.home / "config" / "taggerd" / "taggerd.toml"
    settings.parent.mkdir(parents=True)
    text = f'[arrivals]\nroots = ["{inbox}"]\n[metrics]\nlisten = "{{}}"\n'
    settings.write_text(text.format(""))
    daemon = taggerd.start()
    settings.write_text(text.format("127.0.0.1:0"))
    daemon.send_signal(signal.SIGHUP)
    at = address(taggerd)
    assert get(f"{at}/healthz") == (200, "ok\n")
    settings.write_text(text.format(f"unix:{taggerd.home}/missing/m.sock"))
    daemon.send_signal(signal.SIGHUP)
    until(lambda: "m.sock" in taggerd.problem("settings"))
    assert get(f"{at}/healthz")[0] == 0
    photo(inbox / "a.jpg", 1)
    until((inbox / "a.jpg.xmp").exists)
    assert taggerd.stop(daemon) == 0
