"""Several hosts share a ledger: who does what, and what each of them tells of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.hosts import TAKEOVER_SECONDS, Archive, Host, SharedBackend
from support.program import until

from taggerd.ledger.postgres import opening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.postgres import PostgresServer

pytestmark = pytest.mark.slow


@pytest.fixture
def archive(tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Archive]:
    """Return a tree of photos that hosts share."""
    url = postgres_server.prepared(opening.init)
    backend = SharedBackend(0.01)
    made = Archive(tmp_path / "archive", url, backend)
    yield made
    made.end()
    backend.close()
    postgres_server.drop(url)


def _hosts(host: Host) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in host.status()["hosts"]}


def _problems(host: Host) -> str:
    return "; ".join(problem["text"] for problem in host.status()["health"]["problems"])


def test_each_host_does_its_duties_and_tells_of_the_whole(archive: Archive) -> None:
    """One watches, one tags, one writes the journal; any of them knows, and one that is stopped."""
    (nas,) = archive.add("nas", duties=("watch",))
    (gpu,) = archive.add("gpu", duties=("tag",))
    (desk,) = archive.add("desk", duties=("journal",))
    (idle,) = archive.add("idle", duties=("tag",))
    nas.begin(ready=True)
    until(lambda: "no living host has the duty tag" in _problems(nas))
    assert nas.status()["health"]["word"] == "degraded"
    gpu.begin(ready=True)
    desk.begin(ready=True)
    archive.fill(6)
    until(lambda: len(desk.records()) == 6)
    assert nas.records() == gpu.records() == [], "others write no day files"
    assert len(list(archive.tree.rglob("*.xmp"))) == 6
    until(lambda: nas.status()["health"]["word"] == "healthy")

    shown = idle.status()
    assert (shown["running"], shown["health"]["word"]) == (False, "healthy")
    assert shown["counts"]["recorded"] == shown["today"]["tagged"] == 6
    seen = {each["name"]: each for each in shown["hosts"]}
    assert seen["nas"]["holds"] == ["watch:archive"]
    assert seen["desk"]["holds"] == ["journal"]
    assert (seen["gpu"]["holds"], seen["gpu"]["duties"]) == ([], ["tag"])
    assert all(each["alive"] and each["seen_seconds"] < 30 for each in seen.values())
    until(lambda: (_hosts(idle)["gpu"]["photos_an_hour"] or 0) == 6)
    text = idle.status_text()
    assert "daemon   not running on idle" in text
    assert "it runs on desk, gpu, nas" in text
    assert "host     nas: watch; version" in text

    report = idle("report")
    assert report.returncode == 0, report.stderr
    (jsonl,) = (line for line in report.stdout.splitlines() if line.endswith(".jsonl"))
    assert len(Path(jsonl).read_text().splitlines()) == 6
    paused = idle("pause", "for", "lunch")
    assert paused.returncode == 0, paused.stderr
    assert "no taggerd is running" not in paused.stderr
    until(lambda: "lunch" in gpu.status()["live"]["paused"])
    assert idle("resume").returncode == 0
    archive.stop()


def test_another_host_takes_over_what_a_dead_one_held(archive: Archive) -> None:
    """What came while nobody watched is found; each record stands once in the whole."""
    first, second = archive.add("first", "second")
    first.begin(ready=True)
    second.begin(ready=True)
    assert set(archive.holders().values()) == {"first"}
    archive.fill(4)
    until(lambda: len(first.records()) == 4)
    first.kill()
    archive.fill(4)
    until(lambda: len(second.records()) == 4, TAKEOVER_SECONDS)
    assert archive.holders() == {"watch:archive": "second", "journal": "second"}
    assert len(list(archive.tree.rglob("*.xmp"))) == 8
    assert not _hosts(second)["first"]["alive"]
    first.begin(ready=True)  # what it had begun to journal, it ends
    until(lambda: second.status()["today"]["tagged"] == 8)  # of the whole
    until(lambda: len(archive.records()) == 8)
    archive.check()
    archive.stop()
    assert archive.holders() == {}, "whoever ends leaves nothing behind"


def test_a_second_host_of_the_same_name_is_refused(archive: Archive) -> None:
    """It says what to set, and ends with the exit code of a wrong setting; the first goes on."""
    (nas,) = archive.add("nas")
    nas.begin(ready=True)
    home = archive.folder / "other"
    home.mkdir()
    other = Host(home, nas.base_url, name="nas", tree=archive.tree, settings=nas.settings)
    ended = other("run")
    assert ended.returncode == 2, ended.stderr
    assert "another living host is called nas" in ended.stderr
    assert "service.host" in ended.stderr
    assert "Traceback" not in ended.stderr
    archive.fill(1)
    until(lambda: len(nas.records()) == 1)
    nas.kill()
    nas.begin(ready=True)  # at once: it is the same host
    archive.stop()


def test_a_host_that_does_not_tag_needs_no_backend(archive: Archive) -> None:
    """Neither its status nor the check of its settings speaks of one."""
    (nas,) = archive.add("nas", duties=("watch", "journal"))
    nas.base_url = "http://127.0.0.1:9/v1"
    nas.begin(ready=True)
    checked = nas("config", "check")
    assert (checked.returncode, checked.stderr) == (0, "")
    live = nas.status()["live"]
    assert live["endpoints"] == []
    assert {problem["kind"] for problem in live["problems"]} <= {"hosts", "confinement"}
    archive.stop()
