"""Several daemons, one database, one backend: its limit is that of all of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from support.hosts import Archive, SharedBackend
from support.program import until

from taggerd.ledger.postgres import opening

if TYPE_CHECKING:
    from pathlib import Path

    from support.postgres import PostgresServer


@pytest.mark.slow
def test_the_limit_of_a_backend_holds_over_all_hosts(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """Three daemons ask one that takes two requests at once: never more, and all of them do."""
    backend = SharedBackend(0.05)
    url = postgres_server.prepared(opening.init)
    archive = Archive(tmp_path / "archive", url, backend, most=2)
    hosts = archive.add("nas", "gpu", "desk")
    try:
        for host in hosts:
            host.begin(ready=True)
        archive.fill(90)
        until(lambda: archive.complete, 300)
        assert backend.most_at_once <= 2
        asked = Counter((each.photo, each.role) for each in backend.questions)
        assert (len(asked), set(asked.values())) == (3 * 90, {1})
        assert len({each.life for each in backend.questions}) == 3
    finally:
        archive.end()
        backend.close()
