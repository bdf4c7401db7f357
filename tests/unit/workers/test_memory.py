"""The memory of worker processes: a share of the machine's, divided among all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taggerd import settings
from taggerd.workers import memory

if TYPE_CHECKING:
    from pathlib import Path

GIGABYTE = 1024


@pytest.mark.parametrize("gigabytes", [4, 8, 16, 24, 64, 256])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_all_together_take_at_most_their_share(gigabytes: int, processes: int) -> None:
    """Those that decode, those that write and the one for slow photos, beyond the libraries."""
    limits = memory.memory_of(settings.Workers(processes=processes), gigabytes * GIGABYTE)
    decode, write, slow = (limit - memory.LIBRARIES_MEGABYTES for limit in limits)
    used = processes * (decode + write) + slow
    assert used <= memory.SHARE * gigabytes * GIGABYTE or limits.write == memory.LEAST_MEGABYTES
    assert memory.LEAST_MEGABYTES <= limits.decode <= memory.MOST_TO_DECODE_MEGABYTES
    assert memory.LEAST_MEGABYTES <= limits.write <= memory.MOST_MEGABYTES
    assert memory.MOST_TO_DECODE_MEGABYTES >= limits.slow >= limits.decode


@pytest.mark.parametrize(
    ("gigabytes", "limits"),
    [
        (2, (512, 512, 512)),
        (4, (529, 529, 768)),
        (8, (768, 802, 768)),
        (24, (768, 1894, 768)),
        (64, (768, 2048, 768)),
    ],
)
def test_what_that_is(gigabytes: int, limits: tuple[int, int, int]) -> None:
    """Megabytes, on machines as people have them. What needs more to decode is a slow photo."""
    assert memory.memory_of(settings.Workers(), gigabytes * GIGABYTE) == limits


def test_what_the_settings_say_counts() -> None:
    """Slow photos never get less than ordinary ones."""
    given = settings.Workers(memory_megabytes=3000)
    assert memory.memory_of(given, 4 * GIGABYTE) == (3000, 3000, 3000)
    given = settings.Workers(slow_memory_megabytes=700)
    assert memory.memory_of(given, 2 * GIGABYTE) == (512, 512, 700)


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    """Its own, that of a unit above it, and the machine's: the least of them."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal:        8388608 kB\nMemFree: 1 kB\n")
    assert memory.machine_megabytes(tmp_path) == 8 * GIGABYTE
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/taggerd.service\n")
    unit = tmp_path / "sys/fs/cgroup/system.slice/taggerd.service"
    unit.mkdir(parents=True)
    (unit / "memory.max").write_text("max\n")
    assert memory.machine_megabytes(tmp_path) == 8 * GIGABYTE
    (unit.parent / "memory.max").write_text(f"{3 << 30}\n")
    assert memory.machine_megabytes(tmp_path) == 3 * GIGABYTE


def test_a_machine_that_says_nothing_is_a_small_one(tmp_path: Path) -> None:
    """Without /proc the least is taken."""
    assert memory.machine_megabytes(tmp_path) == 2 * GIGABYTE
