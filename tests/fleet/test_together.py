"""Several hosts on one tree: what they do together is what one of them would have done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.hosts import LONG_SECONDS, questions_of
from support.program import until

if TYPE_CHECKING:
    from support.hosts import Archive

PHOTOS = 2000
TEN_MINUTES = 600.0


@pytest.mark.slow
def test_four_hosts_tag_a_tree_as_one(archive: Archive) -> None:
    """Each of 2,000 photos has one set of requests, one sidecar and one record, by four hosts."""
    archive.fill(PHOTOS)
    hosts = archive.add("alpha", "beta", "gamma", "delta")
    for host in hosts:
        host.begin()
    archive.finish(LONG_SECONDS)
    archive.stop()
    assert archive.check() == 0
    for host in hosts:
        assert questions_of(archive.backend, host.lives), f"{host.name} did nothing"


@pytest.mark.slow
def test_clocks_may_be_ten_minutes_apart(archive: Archive) -> None:
    """A host that is ten minutes behind and one that is as much ahead take nothing from a third.

    What they wait for and what they hold goes by the database's clock: a lease that is held does
    not look old to the one, nor a photo that was deferred not due to the other.
    """
    archive.fill(60)
    archive.backend.seconds = 0.2
    hosts = [
        *archive.add("alpha", skew=-TEN_MINUTES),
        *archive.add("beta", skew=TEN_MINUTES),
        *archive.add("gamma"),
    ]
    for host in hosts:
        host.begin()
    archive.finish(LONG_SECONDS)
    archive.fill(30, "later")
    archive.finish(LONG_SECONDS)
    archive.stop()
    assert archive.check() == 0
    for host in hosts:
        assert questions_of(archive.backend, host.lives), f"{host.name} did nothing"


@pytest.mark.slow
def test_each_host_does_its_duty(archive: Archive) -> None:
    """A NAS that watches, a workstation that tags and a box that journals do all together."""
    nas, *_ = archive.add("nas", duties=("watch",))
    desk, *_ = archive.add("desk", duties=("tag",))
    box, *_ = archive.add("box", duties=("journal",))
    for host in (nas, desk, box):
        host.begin()
    archive.fill(20)
    archive.finish(LONG_SECONDS)
    archive.stop()
    assert archive.check() == 0
    assert {question.life for question in archive.backend.questions} == {*desk.lives}
    assert len(box.records()) == 20
    assert not nas.records()
    assert not desk.records()


@pytest.mark.slow
def test_a_host_that_stops_hands_on_what_it_holds(archive: Archive) -> None:
    """Of two hosts the first is stopped in the middle: the other does the rest, at once."""
    archive.fill(60)
    archive.backend.seconds = 0.3
    first, second = archive.add("first", "second")
    for host in (first, second):
        host.begin()
    until(lambda: questions_of(archive.backend, first.lives) > 10)
    assert first.stop(first.daemons[-1]) == 0
    archive.finish(LONG_SECONDS)
    archive.stop()
    archive.check()


@pytest.mark.slow
def test_cards_that_arrive_on_two_hosts_at_once(archive: Archive) -> None:
    """Each of two stations has a card of its own, under the same path, besides the archive.

    Photos of a card are taken by the station that it is in alone: the other one has other photos
    there, of the same names.
    """
    stations = archive.add("left", "right")
    cards = [archive.card(station, 20) for station in stations]
    for station in stations:
        station.begin()
    archive.fill(20)
    until(lambda: len(archive.records()) >= 60 or not archive.runs, LONG_SECONDS)
    archive.stop()
    for station, card in zip(stations, cards, strict=True):
        for path, number in card.items():
            asked = {q.life for q in archive.backend.questions if q.photo == number}
            assert asked == {*station.lives}
            assert f"numbered {number} " in Path(f"{path}.xmp").read_text()
    assert len(archive.records()) == 60
    assert len(archive.backend.questions) == 3 * 60
