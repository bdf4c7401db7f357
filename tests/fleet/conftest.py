"""A tree, a database and a backend that several hosts share; what runs is ended with the test."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from support.hosts import Archive, SharedBackend
from support.program import LONGEST_LOG

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import PostgresServer


@pytest.fixture
def archives(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[tuple[Archive, Archive]]:
    """Return two archives that have nothing in common but the server and the machine."""
    with ExitStack() as ended:
        made = []
        for number in range(2):
            url = postgres_server.empty()
            ended.callback(postgres_server.drop, url)
            backend = SharedBackend(0.05)
            ended.callback(backend.close)
            archive = Archive(tmp_path / f"archive-{number}", url, backend)
            ended.callback(_end, archive)
            made.append(archive)
        yield made[0], made[1]


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
    _end(made)


def _end(archive: Archive) -> None:
    archive.end()
    sys.stdout.write(archive.told()[-LONGEST_LOG:])  # shown if the test has failed
