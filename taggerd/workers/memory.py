"""How much memory worker processes may take: together a share of the machine's.

On a machine of 2 GB a fixed limit of 2 GB for each of several processes is none: the kernel ends
whatever it likes, perhaps the program itself.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from taggerd import settings

SHARE = 0.4
"""Of the machine's memory, for all worker processes together."""
LIBRARIES_MEGABYTES = 256
"""Address space that the decoders' libraries take (measured: 217 MB, of which 33 MB are memory of
the process alone). It counts against the limit of a process, but not against its share."""
LEAST_MEGABYTES = 512
"""Enough for nearly every photo: most formats are decoded in strips. Also on a machine so small
that these are more than its share: below 3.8 GB for the processes that there are by default."""
MOST_TO_DECODE_MEGABYTES = LIBRARIES_MEGABYTES + 512
"""What more would let in is rarely a photo: a tiny AVIF of 164 megapixels wants 1.2 GB, and holds
up the others for ten seconds. It bounds the process for slow photos as well, unless a setting says
more; :mod:`taggerd.imaging.limits` holds a picture to the 512 MB."""
MOST_MEGABYTES = 2048
"""More than writing into any ordinary photo needs; exiftool holds one whole in memory."""


class Memory(NamedTuple):
    """Limits on address space, megabytes."""

    decode: int
    """Of each process that decodes."""
    write: int
    """Of each process that writes."""
    slow: int
    """Of the one that decodes slow photos: no less than of the others that decode."""


def memory_of(settings: settings.Workers, machine_megabytes: float) -> Memory:
    """Divide the share: *settings.processes* decode, as many write, and one decodes slow photos."""
    share = SHARE * machine_megabytes
    fair = int(share / (2 * settings.processes + 2)) + LIBRARIES_MEGABYTES
    write = settings.memory_megabytes or min(max(fair, LEAST_MEGABYTES), MOST_MEGABYTES)
    decode = settings.memory_megabytes or min(write, MOST_TO_DECODE_MEGABYTES)
    others = settings.processes * (decode + write - 2 * LIBRARIES_MEGABYTES)
    rest = int(share - others) + LIBRARIES_MEGABYTES
    slow = max(decode, min(rest, MOST_TO_DECODE_MEGABYTES))
    return Memory(decode, write, settings.slow_memory_megabytes or slow)


def machine_megabytes(root: Path = Path("/")) -> float:
    """Return the memory of this machine, or of the container or unit that limits this process."""
    limits = [_total(root / "proc/meminfo"), *_control_groups(root)]
    return min(limits) / (1 << 20)


def _total(meminfo: Path) -> float:
    """Return ``MemTotal``, bytes; where it cannot be read, that of a small machine."""
    with suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemTotal:"):
                return float(line.split()[1]) * 1024
    return 2.0 * (1 << 30)


def _control_groups(root: Path) -> list[float]:
    """Return the limits of this process's control group and of those above it (cgroup v2)."""
    limits: list[float] = []
    with suppress(OSError, IndexError):
        lines = (root / "proc/self/cgroup").read_text("utf-8", "replace").splitlines()
        path = next(line for line in [*lines, "0::/"] if line.startswith("0::"))[3:]
        group = PurePosixPath(path.lstrip("/"))
        for above in (group, *group.parents):
            with suppress(OSError, ValueError):  # "max": no limit
                limit = root / "sys/fs/cgroup" / above / "memory.max"
                limits.append(float(limit.read_text("ascii")))
    return limits
