"""A tree, a database and a backend that several hosts share; what runs is ended with the test."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from support.hosts import Archive, SharedBackend
from support.program import LONGEST_LOG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def shared_backend() -> Iterator[SharedBackend]:
    """Return a backend that takes 50 ms for each answer."""
    serving = SharedBackend(0.05)
    yield serving
    serving.close()


@pytest.fixture
def archive(
    tmp_path: Path, empty_database: str, shared_backend: SharedBackend
) -> Iterator[Archive]:
    """Return an archive without photos and hosts, in a database without tables."""
    made = Archive(tmp_path / "archive", empty_database, shared_backend)
    yield made
    made.end()
    sys.stdout.write(made.told()[-LONGEST_LOG:])  # shown if the test has failed
