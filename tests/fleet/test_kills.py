"""Hosts that die at any instant: what they had in hand is done by others, once."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest
from support.hosts import LONG_SECONDS, TAKEOVER_SECONDS
from support.program import until

if TYPE_CHECKING:
    from support.hosts import Archive

PHOTOS = 40
KILLS = 3
SEEDS = 50


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=pytest.mark.slow if seed == 1 else pytest.mark.long)
        for seed in range(1, SEEDS + 1)
    ],
)
def test_random_hosts_die_at_random_instants(archive: Archive, seed: int) -> None:
    """Three hosts, three kills: each photo has one sidecar and one record, and is charged nothing.

    Some come back at once, others when the rest have gone on. What a kill found on its way is asked
    again, and nothing else.
    """
    chance = random.Random(seed)  # noqa: S311 - the same each time
    archive.fill(PHOTOS)
    hosts = archive.add("alpha", "beta", "gamma")
    for host in hosts:
        host.begin()
    questions = archive.backend.questions
    for at in sorted(chance.sample(range(3 * PHOTOS), KILLS)):
        until(lambda: len(questions) >= at or archive.complete, LONG_SECONDS)  # noqa: B023 - called at once
        threading.Event().wait(chance.uniform(0.0, 0.3))  # not always while a request comes
        chance.choice([host for host in hosts if host.running]).kill()
        for host in hosts:
            if host.running is None and (chance.random() < 0.5 or not archive.runs):
                host.begin()
    for host in hosts:
        if host.running is None:
            host.begin()
    archive.finish(LONG_SECONDS)
    archive.stop()
    again = archive.check()
    print(f"{again} requests asked again")  # noqa: T201 - to be judged


@pytest.mark.slow
def test_the_work_of_a_dead_host_is_taken_over(archive: Archive) -> None:
    """A host dies with photos in hand and never returns: the other one does them, after a while."""
    archive.backend.seconds = 1.0
    archive.fill(24)
    dying, other = archive.add("dying", "other")
    for host in (dying, other):
        host.begin()
    until(lambda: any(q.life in dying.lives for q in archive.backend.questions))
    dying.kill()
    archive.backend.seconds = 0.05
    archive.finish(TAKEOVER_SECONDS)
    archive.stop()
    archive.check()


@pytest.mark.slow
@pytest.mark.parametrize("lease", ["watch:archive", "journal"])
def test_another_host_takes_over_what_one_alone_does(archive: Archive, lease: str) -> None:
    """The host that watches, or that journals, dies: another does so after a while."""
    hosts = archive.add("alpha", "beta")
    for host in hosts:
        host.begin()
    holder = until(lambda: archive.holders().get(lease))
    archive.fill(4)
    archive.finish(LONG_SECONDS)
    archive.settle()  # what it had begun to journal would wait for it
    archive.hosts[holder].kill()
    archive.fill(4, "later")
    (other,) = {host.name for host in hosts} - {holder}
    until(lambda: archive.holders().get(lease) == other, TAKEOVER_SECONDS)
    archive.finish(TAKEOVER_SECONDS)
    archive.stop()
    archive.check()
