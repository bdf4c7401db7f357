"""How another program that writes a sidecar at the same moment is waited for."""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PAUSES = (0.0, 0.02, 0.1, 0.3)
"""Seconds between tries."""

_STILL = 1.0
"""Seconds. A sidecar that was written less than so long ago may be half of what it is to be."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Tries to write one sidecar that another program keeps writing; picklable."""

    clock: Callable[[], float] = time.time
    """Seconds since the epoch."""
    wait: Callable[[float], None] = time.sleep

    def tries(self) -> Iterator[int]:
        """Yield the number of each try, with pauses between them."""
        yield 0
        for number, pause in enumerate(_PAUSES, 1):
            self.wait(pause)
            yield number

    def may_grow(self, path: Path) -> bool:
        """Say whether the file at *path* was written just now, so that more of it may come."""
        try:
            found = path.lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and abs(self.clock() - found.st_mtime) < _STILL
