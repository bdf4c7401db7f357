"""The figures that others observe, gathered from the parts."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, cast

from taggerd.arrivals import RootHealth
from taggerd.daemon import figures
from taggerd.daemon.figures import Gatherer
from taggerd.daemon.health import Problem
from taggerd.daemon.status import DaemonStatus
from taggerd.ledger import Counts

if TYPE_CHECKING:
    import pytest
    from support.site import Site

    from taggerd.arrivals import Arrivals

AWAY = DaemonStatus(
    pid=1,
    version="1",
    started_at=0.0,
    updated_at=0.0,
    backend="http://backend.test/v1",
    backend_away=True,
    endpoints=(),
    models={},
    paused="",
    problems=(Problem(kind="backend", subject="http://backend.test/v1", text="cannot connect"),),
    in_flight=0,
    queued=0,
    tagged=0,
    quarantined=0,
    roots=(),
)


class Roots:
    """Import folders that are as they are said to be."""

    def __init__(self, **states: str) -> None:
        """Have a folder for each state."""
        self.states = states

    def health(self) -> tuple[RootHealth, ...]:
        """Say how they are."""
        return tuple(
            RootHealth(
                path=Path(f"/srv/{name}"),
                mode="inotify",
                state=state,  # type: ignore[arg-type]  # one of them
                detail="",
                directories=1,
                watches=1,
                last_reconcile=5.0,
                reconciles=2,
                overflows=1,
            )
            for name, state in self.states.items()
        )


def _answering(
    monkeypatch: pytest.MonkeyPatch, hung: Path, release: threading.Event
) -> Counter[Path]:
    """Let every disk answer but that of *hung*; return how often each was asked."""
    asked: Counter[Path] = Counter()

    def statvfs(path: Path) -> os.statvfs_result:
        asked[path] += 1
        if path == hung:
            release.wait(180)
        return os.statvfs_result((4096, 4096, 100, 50, 40, 9, 9, 9, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    return asked


async def test_each_part_tells_what_it_knows(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledger, endpoints, import folders, disks; what is offline is left alone."""
    asked = _answering(monkeypatch, Path("/none"), threading.Event())
    async with site.services() as services:
        await site.arrive("a.jpg", "b.jpg")
        gatherer = Gatherer(services, cast("Arrivals", Roots(one="watching", two="offline")))
        found = await gatherer.figures(AWAY, await site.ledger.counts())
    assert found.health == "waiting for backend"
    assert [problem.kind for problem in found.problems] == ["backend"]
    assert {problem.kind for problem in found.problems} <= set(found.kinds)
    assert found.queue["queued"] == 2
    assert found.oldest_queued_at == await site.ledger.oldest_queued()
    (endpoint,) = found.endpoints
    assert endpoint.base_url == "http://backend.test/v1"
    assert endpoint.requests["answered"] == 3  # probes
    assert [(root.path, root.state, root.reconciles, root.overflows) for root in found.roots] == [
        ("/srv/one", "watching", 2, 1),
        ("/srv/two", "offline", 2, 1),
    ]
    assert {(d.use, d.free, d.size) for d in found.disks} == {
        (use, 40 * 4096, 100 * 4096) for use in ("state", "outputs", "photos")
    }
    assert Path("/srv/two") not in asked


async def test_a_disk_that_hangs_is_left_out_and_asked_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds one thread, however often somebody looks, and is told again once it answers."""
    monkeypatch.setattr(figures, "DISK_SECONDS", 0.05)
    hung, release = Path("/srv/one"), threading.Event()
    asked = _answering(monkeypatch, hung, release)
    async with site.services() as services:
        gatherer = Gatherer(services, cast("Arrivals", Roots(one="watching", two="watching")))
        try:
            for _ in range(3):
                found = await gatherer.figures(AWAY, Counts())
                assert {disk.path for disk in found.disks if disk.use == "photos"} == {"/srv/two"}
            assert asked[hung] == 1
        finally:
            release.set()
        monkeypatch.setattr(figures, "DISK_SECONDS", 30.0)
        found = await gatherer.figures(AWAY, Counts())
        assert {d.path for d in found.disks if d.use == "photos"} == {"/srv/one", "/srv/two"}
