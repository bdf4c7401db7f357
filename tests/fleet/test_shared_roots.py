"""Commands on hosts that mount one tree in different folders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.hosts import Archive, SharedBackend, mounts, numbered
from support.program import until

from taggerd.ledger.postgres import opening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture
def archive(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Archive]:
    """Return a tree that two hosts see by bind mounts, each in another folder."""
    if not mounts():
        pytest.skip("no mount namespaces here")
    url = postgres_server.prepared(opening.init)
    backend = SharedBackend(0.01)
    made = Archive(tmp_path, url, backend)
    made.add("nas", "station")
    yield made
    made.end()
    backend.close()
    postgres_server.drop(url)


def test_commands_take_the_paths_of_their_own_host(archive: Archive) -> None:
    """What one host scanned another does not ask about again, and finds by its own path."""
    nas, station = archive.hosts["nas"], archive.hosts["station"]
    (name,) = archive.fill(1)
    assert nas.mount != station.mount
    nas("scan", nas.mount)
    asked = len(archive.backend.questions)
    assert asked == 3
    station("scan", station.mount)
    assert len(archive.backend.questions) == asked
    (photo,) = archive.tree.rglob(name)
    here, there = (host.mount / photo.relative_to(archive.tree) for host in (station, nas))
    shown = station("show", here).stdout
    assert "made by taggerd" in shown
    assert str(there) not in shown
    station("undo", here)
    assert not [*archive.tree.rglob("*.xmp")]
    assert json.loads(nas("status", "--json").stdout)["counts"]["unwritten"] == 1
    nas("retry", there)
    station("scan", station.mount)
    assert [*archive.tree.rglob("*.xmp")]
    assert len(archive.backend.questions) == asked
    counts = json.loads(station("status", "--json").stdout)["counts"]
    assert counts == {**dict.fromkeys(counts, 0), "recorded": 1}


def test_another_tree_under_a_name_is_said(archive: Archive) -> None:
    """The daemon that came second tags nothing of its other tree, and status and log say why."""
    nas, station = archive.hosts["nas"], archive.hosts["station"]
    archive.fill(4)
    nas("scan", nas.mount)
    asked = len(archive.backend.questions)
    station.tree = archive.folder / "other"
    holiday = numbered(station.tree / "2024" / "holiday.jpg", 99)
    station.begin(ready=True)
    text = until(lambda: station.problem("root"))
    assert "shows another tree here than on nas" in text
    assert str(station.mount / ".taggerd-root") in text
    until(lambda: "shows another tree here than on nas" in station.log())
    assert station("scan", station.mount).returncode != 0
    assert station.stop(station.daemons[-1]) == 0
    assert len(archive.backend.questions) == asked
    assert [*station.tree.rglob("*")] == [holiday.parent, holiday]
