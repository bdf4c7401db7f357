"""The line that systemd shows."""

from __future__ import annotations

from typing import Any

import pytest

from taggerd.daemon.status import Live


def live(**changes: Any) -> Live:  # noqa: ANN401 - fields of several types
    """Say how a daemon is that is well, but for *changes*."""
    fields: dict[str, Any] = {
        "pid": 1,
        "version": "1",
        "started_at": 0.0,
        "updated_at": 0.0,
        "backend": "http://gpu/v1",
        "backend_error": "",
        "endpoints": [],
        "models": {},
        "paused": "",
        "resting": "",
        "outputs_error": "",
        "in_flight": 0,
        "queued": 7,
        "tagged": 5,
        "quarantined": 0,
    }
    return Live(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "state", "said"),
    [
        ({}, "ok", ""),
        ({"resting": "paused: goes on at 22:00"}, "resting", ", paused: goes on at 22:00"),
        ({"backend_error": "away"}, "degraded", "; away"),
        ({"resting": "paused", "outputs_error": "disk full"}, "degraded", ", paused; disk full"),
    ],
)
def test_the_line_says_whether_it_works_rests_or_needs_somebody(
    changes: dict[str, Any], state: str, said: str
) -> None:
    """Rest is as wanted and not degraded; it says when it is over."""
    counts = "7 queued, 0 under way, 5 tagged, 0 set aside"
    assert live(**changes).one_line == f"{state}: {counts}{said}"
