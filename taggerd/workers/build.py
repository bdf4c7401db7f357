"""Which build of taggerd runs: whether its files are still those that it was started from.

`pip install` replaces files under a running daemon. Processes that start from then on are of
another version, and so is every module that the daemon itself has not imported yet.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import taggerd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WANT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""This process, or the machine, lacks something; the files may be as they were."""
_CHECK_SECONDS = 1.0
"""Between two checks of the files, which take two milliseconds."""


class Build:
    """The files of a package, as they were when this was made."""

    def __init__(self, package: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember the files below *package*; *clock*: monotonic seconds."""
        self._package = package
        self._clock = clock
        self._checked_at = clock()
        self._changed = False
        self.id = build_id(package)
        """Equal for all processes that were started from the same files."""

    def changed(self) -> bool:
        """Say whether other files lie there now; once they do, for ever."""
        now = self._clock()
        if not self._changed and now >= self._checked_at + _CHECK_SECONDS:
            self._checked_at = now
            with suppress(OSError):  # it says nothing about the files
                self._changed = build_id(self._package) != self.id
        return self._changed


def build_id(package: Path) -> str:
    """Return a digest of the names and stamps of the files of *package*.

    With inodes: a Debian package sets all times to that of its changelog. Without what Python
    compiles as it goes.

    Raises:
        OSError: there are no file descriptors, or no memory, to find out.
    """
    stamps = "\n".join(sorted(_stamps(os.fspath(package), "")))
    return hashlib.blake2b(stamps.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _stamps(folder: str, prefix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name == "__pycache__":
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from _stamps(entry.path, f"{prefix}{entry.name}/")
                else:
                    is_now = entry.stat(follow_symlinks=False)
                    stamp = is_now.st_size, is_now.st_mtime_ns, is_now.st_ino
                    yield f"{prefix}{entry.name} {stamp}"
    except OSError as error:
        if error.errno in _WANT:
            raise
        # In the middle of an upgrade, or it was removed: another build in any case.
        yield f"{prefix} cannot be read"


PACKAGE = Path(taggerd.__file__).parent
RUNNING = Build(PACKAGE)
"""The build of this process."""
