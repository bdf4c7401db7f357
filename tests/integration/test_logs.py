"""What a running service logs at ``info``: one line a photo, one a change of state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from support.program import photo, until

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend, Program, Reply

pytestmark = pytest.mark.slow

PHOTOS = 12


@pytest.mark.long
def test_an_outage_is_two_lines_and_a_photo_is_one(
    taggerd: Program, inbox: Path, backend: CountingBackend
) -> None:
    """Whoever reads the log of a night must see the outage, not each photo that met it."""
    away = False

    def script(path: str, _body: bytes) -> Reply | None:
        if not away:
            return None
        if "models" in path:
            return 502, {}, b"bad gateway"
        return 503, {}, f"loading, {len(backend.bodies)} in the queue".encode()

    backend.script = script
    taggerd.base_url = backend.base_url
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: "backend is usable" in taggerd.log())
    began = len(taggerd.log())
    away = True
    for number in range(PHOTOS):
        photo(inbox / f"{number}.jpg", number)
    until(lambda: taggerd.live().get("queued") == PHOTOS and taggerd.problem("backend"))
    probes = sum(backend.requests.values())
    until(lambda: sum(backend.requests.values()) >= probes + 2)
    away = False
    (inbox / "bad.jpg").write_bytes(b"no picture")
    until(lambda: len(taggerd.records()) == PHOTOS + 1)
    until(lambda: len(re.findall(" (tagged|failed) ", taggerd.log()[began:])) == PHOTOS + 1)
    lines = taggerd.log()[began:].splitlines()
    events = [re.split(r" \w+=", re.sub(r"^\S+ \[\w+\] ", "", line))[0] for line in lines]
    assert sorted(events, key=lambda event: event in {"tagged", "failed"}) == [
        "backend unusable; work waits for it",
        "backend is usable",
        *events[-PHOTOS - 1 :],
    ], lines
    assert sorted(events[-PHOTOS - 1 :]) == ["failed", *["tagged"] * PHOTOS], lines
    assert taggerd.stop(daemon) == 0
