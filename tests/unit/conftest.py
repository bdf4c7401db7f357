"""What the unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.site import Site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests' daemons out of the machine's runtime folders."""
    monkeypatch.setenv("TAGGERD_RUNTIME_DIRECTORY", str(tmp_path / "runtime"))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty import folder with all that serves it."""
    return Site.below(tmp_path)
