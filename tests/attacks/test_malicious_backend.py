"""A backend of more than sixty kinds of malice: ``run`` tags the rest, and stays up."""

from __future__ import annotations

import xml.dom.minidom
from typing import TYPE_CHECKING

import pytest
from support.malice import KINDS, MaliciousBackend
from support.program import Program, photo, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = 20
STUBBORN = ("denied", "forbidden", "html", "redirect", "wait-long", "wait-date", "gone", "empty")
"""Kinds that look like a fault of the whole backend."""
LONG = 240.0
"""Seconds; it takes some thirty."""


@pytest.fixture
def malicious() -> Iterator[MaliciousBackend]:
    """Return a backend that answers as nobody should."""
    serving = MaliciousBackend()
    yield serving
    serving.close()


def prepared(taggerd: Program, backend: MaliciousBackend) -> None:
    """Have the program ask *backend*, and name the folder of each photo."""
    taggerd.base_url = backend.base_url
    taggerd.environment |= {
        "TAGGERD__PROMPTS__CONTEXT": '["folder"]',
        "TAGGERD__BACKEND__TIMEOUT_SECONDS": "3",
        "TAGGERD__BACKEND__MAX_CONCURRENCY": "8",
        "TAGGERD__BACKEND__API_KEY": "sk-never-to-be-seen",
    }


@pytest.mark.slow
@pytest.mark.long
def test_whatever_a_backend_answers_the_rest_is_tagged(
    taggerd: Program, inbox: Path, malicious: MaliciousBackend
) -> None:
    """Each kind once; afterwards every photo has ended, and nothing of the malice is written."""
    prepared(taggerd, malicious)
    for number in range(GOOD):
        photo(inbox / "good" / f"{number:02}.jpg", number)
    for number, kind in enumerate(KINDS):
        photo(inbox / f"kind-{kind}" / "photo.jpg", 100 + number)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: daemon.poll() is not None or len(taggerd.records()) == GOOD + len(KINDS), LONG)
    assert daemon.poll() is None, taggerd.log()[-5000:]
    assert malicious.attacks.keys() == set(KINDS)
    assert (malicious.cookies, malicious.elsewhere) == (0, 0)

    ends = {record["image"]: record["error"] for record in taggerd.records()}
    assert [error for image, error in ends.items() if "/good/" in image] == [""] * GOOD
    for sidecar in inbox.rglob("*.xmp"):
        xml.dom.minidom.parse(str(sidecar))  # noqa: S318 - our own, which expat may read
        assert sidecar.stat().st_size < 100_000
    for output in taggerd.state.rglob("*"):
        assert not output.is_file() or output.stat().st_size < 50 << 20, output
    assert max(len(model) for r in taggerd.records() for model in r["models"].values()) <= 200
    assert "sk-never-to-be-seen" not in taggerd.log()
    assert taggerd.stop(daemon) == 0
    assert taggerd.status()["today"]["photos"] == GOOD + len(KINDS)


@pytest.mark.slow
@pytest.mark.long
def test_photos_that_always_upset_the_backend_do_not_starve_the_others(
    taggerd: Program, inbox: Path, malicious: MaliciousBackend
) -> None:
    """However many come first: those that a provider denies, say, without saying that it does."""
    prepared(taggerd, malicious)
    taggerd.environment["TAGGERD__BACKEND__MAX_CONCURRENCY"] = "2"
    malicious.always = frozenset(STUBBORN)
    for number in range(GOOD):
        photo(inbox / "good" / f"{number:02}.jpg", number)
    for number, kind in enumerate(STUBBORN):
        photo(inbox / f"kind-{kind}" / "photo.jpg", 100 + number)
    daemon = taggerd.start("--input-dir", inbox)
    until(lambda: daemon.poll() is not None or len([*(inbox / "good").glob("*.xmp")]) == GOOD, LONG)
    assert daemon.poll() is None, taggerd.log()[-5000:]
