"""What the tests of the review share."""

from __future__ import annotations

import pytest

from taggerd.web import passwords


@pytest.fixture(autouse=True)
def _cheap_passwords(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a hash cost nothing: what is tested is what is done with it."""
    if "costly" not in request.fixturenames:
        monkeypatch.setattr(passwords, "_N", 16)
        monkeypatch.setattr(passwords, "_P", 1)


@pytest.fixture
def costly() -> None:
    """Have hashes cost what they cost."""
