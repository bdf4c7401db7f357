"""Killed at every step and at random instants: nothing is lost, doubled or left behind."""

from __future__ import annotations

import os
import random
import threading
from typing import TYPE_CHECKING

import pytest
from support.crashing import Trial, fill
from support.dying import BOUNDARIES, IN_AN_ATTEMPT

from taggerd.retry import MOST_CRASHES

if TYPE_CHECKING:
    from pathlib import Path

    from support.program import CountingBackend

KILLS = 100
"""At random instants, of each command."""
PARTS = 5
"""These run beside each other."""


@pytest.fixture
def chance() -> random.Random:
    """Return chance, from a seed that is told and can be given again."""
    seed = int(os.environ.get("TAGGERD_TEST_SEED") or random.randrange(1 << 32))  # noqa: S311 - instants, no secrets
    print(f"TAGGERD_TEST_SEED={seed}")  # noqa: T201 - to be tried again
    return random.Random(seed)  # noqa: S311 - likewise


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Return a folder of 60 photos that no program touches."""
    folder = tmp_path / "origin"
    fill(folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("command", ["run", "scan"])
def test_a_kill_at_every_step(
    origin: Path, backend: CountingBackend, chance: random.Random, command: str
) -> None:
    """Wherever it dies, the end is that of an undisturbed run.

    Dies at each boundary of `dying`: before, after and within each transaction, before and after
    each task of the worker processes, at each point of a sidecar's replacement, and with half of a
    batch of records in the day file.
    """
    trial = Trial(origin, backend, command)
    for where in BOUNDARIES:
        times = chance.randint(1, 2) if where in IN_AN_ATTEMPT else 1
        if not trial.die_at(where, times):
            trial.check()
            trial = Trial(origin, backend, command)
            assert trial.die_at(where, 1), f"{where} is never reached"
    trial.finish()
    trial.check()


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("command", ["run", "scan"])
def test_kills_at_random_instants(
    origin: Path, backend: CountingBackend, chance: random.Random, command: str, part: int
) -> None:
    """A hundred kills, from the first line of the program to its last, with requests on their way.

    At each, at most one request of each photo in flight is asked again.
    """
    hasty = threading.Event()

    def think(_path: str, body: bytes) -> None:
        hasty.wait(0.15 if b'"system"' in body else 0)

    backend.script = think
    kills = again = 0
    enough = KILLS // PARTS
    while kills < enough:
        trial = Trial(origin, backend, command)
        # Fewer than ten a trial: after ten in a row a photo is given up, as it should be.
        while kills < enough and not trial.complete and len(trial.kills) < MOST_CRASHES - 1:
            if chance.random() < 0.2:
                died = trial.die_after(chance.uniform(0.0, 0.8), lambda: True)
            else:
                calls = backend.requests.total()
                died = trial.die_after(
                    chance.uniform(0.0, 1.2),
                    lambda: backend.requests.total() > calls,  # noqa: B023 - called at once
                )
            kills += died
        hasty.set()
        trial.finish()
        again += trial.check()
        hasty.clear()
    print(f"part {part}: {kills} kills, {again} requests asked again")  # noqa: T201 - to be judged
