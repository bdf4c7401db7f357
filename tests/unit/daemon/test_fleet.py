"""What is said of hosts that share a ledger: who does what, and what nobody does."""

from __future__ import annotations

from taggerd.daemon.fleet import (
    problems_of,
    problems_of_others,
    statuses_of,
    waiting_for_backend,
)
from taggerd.daemon.health import health_of
from taggerd.ledger import Host

ALL = ("watch", "tag", "journal")


def host(
    name: str,
    *,
    duties: tuple[str, ...] = ALL,
    roots: tuple[str, ...] = ("archive",),
    alive: bool = True,
    version: str = "1.0",
    health: str = "healthy",
) -> Host:
    """Return a host."""
    return Host(
        name=name,
        version=version,
        duties=duties,
        roots=roots,
        seen_seconds=3.0,
        alive=alive,
        photos_an_hour=None,
        health=health,
    )


def _told(*hosts: Host) -> list[str]:
    return [problem.text for problem in problems_of(hosts)]


def test_a_duty_that_no_living_host_has_is_a_problem() -> None:
    """Each is named, and what waits for it; a dead host does nothing."""
    assert _told(host("nas"), host("gpu", duties=("tag",))) == []
    nas = host("nas", duties=("watch",))
    dead = host("gpu", duties=("tag", "journal"), alive=False)
    tag, journal = _told(nas, dead)
    assert "no living host has the duty tag: photos wait" in tag
    assert "no living host has the duty journal: records wait" in journal
    assert health_of(problems_of([nas, dead])).word == "degraded"


def test_a_root_that_no_living_host_watches_is_a_problem() -> None:
    """Who has the root but not the duty does not watch it; nor does who has another root."""
    gpu = host("gpu", duties=("tag", "journal"), roots=("archive", "cards"))
    (text,) = _told(gpu, host("nas", roots=("archive",)))
    assert text.startswith("no living host watches cards")


def test_different_versions_are_noted_and_no_alarm() -> None:
    """Hosts are updated one after the other."""
    hosts = [host("nas"), host("gpu", version="1.1"), host("old", version="0.9", alive=False)]
    (problem,) = problems_of(hosts)
    assert "nas 1.0, gpu 1.1" in problem.text
    assert "0.9" not in problem.text
    assert health_of([problem]).word == "healthy"


def test_what_is_wrong_elsewhere_is_said_here() -> None:
    """Of this host its own problems say more."""
    hosts = [host("nas", health="degraded"), host("gpu", health="degraded", alive=False)]
    (problem,) = problems_of_others(hosts, "")
    assert problem.subject == "nas"
    assert list(problems_of_others(hosts, "nas")) == []


def test_all_that_ask_wait_for_the_backend() -> None:
    """Then the whole waits; while one of them is served, it does not."""
    waits, serves = host("gpu", health="waiting for backend"), host("pc")
    assert [p.subject for p in waiting_for_backend([waits, host("nas", duties=("watch",))])]
    assert not list(waiting_for_backend([waits, serves]))


def test_each_host_is_shown_with_what_it_alone_does() -> None:
    """A lease names its holder."""
    holders = {"journal": "nas", "watch:archive": "nas", "watch:cards": "pc"}
    nas, pc = statuses_of([host("nas"), host("pc")], holders)
    assert (nas.holds, pc.holds) == (("journal", "watch:archive"), ("watch:cards",))
