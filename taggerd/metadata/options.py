"""How sidecars are written, and how often a write is tried."""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from taggerd import files, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Naming = Literal["auto", "full", "stem"]
"""How a new sidecar is named: ``IMG.ext.xmp``, ``IMG.xmp``, or by the photo's format."""

_PAUSES = (0.0, 0.02, 0.1, 0.3)
"""Seconds between tries."""

_STILL = 1.0
"""Seconds. A sidecar that was written less than this ago may still be growing."""


@dataclass(frozen=True, slots=True)
class Retries:
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
            found = files.lstat(path)
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and abs(self.clock() - found.st_mtime) < _STILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How sidecars are written; picklable."""

    target: Literal["sidecar", "embed", "both"] = "sidecar"
    """Where tags go."""
    fields: settings.Fields = field(default_factory=settings.Fields)
    """Which answer goes into which property."""
    own: frozenset[settings.TextField] = frozenset()
    """The properties that take the answers of the user's own roles."""
    naming: Naming = "auto"
    """How a new sidecar is named."""
    overwrite: bool = False
    """Replace texts that a human wrote."""
    backup_originals: bool = False
    """Keep the bytes of a sidecar before it changes, beside it."""
    language: str = ""
    """The texts' language, BCP 47; empty: not given."""
    root: str = ""
    """Machine keywords are listed a second time below this keyword."""
    retries: Retries = field(default_factory=Retries)
    """Where another program writes at the same moment."""
