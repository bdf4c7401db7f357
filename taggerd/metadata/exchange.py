"""Put one file in the place of another, and notice what was written there in the last instant.

A rename over a file loses what another program wrote into it since it was looked at. So the two
names are exchanged in one step (Linux ``renameat2``), what then lies under the other name is looked
at, and if it is not what it should be, the exchange is taken back.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NO_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY})
"""Network file systems, FAT and old kernels: there the check and the rename are two steps."""


def swap(temporary: Path, path: Path, is_old: Callable[[Path], bool]) -> bool:
    """Put *temporary* in the place of *path*, if what is there is what *is_old* knows.

    Returns:
        False if it is something else: that stays at *path*, and *temporary* is still there.

    Raises:
        OSError: nothing was changed.
    """
    if not exchanged(temporary, path):
        if not is_old(path):
            return False
        temporary.replace(path)
        return True
    mine = path.lstat()
    try:
        replaced = is_old(temporary)
    except BaseException:
        exchanged(temporary, path)
        raise
    if replaced:
        with contextlib.suppress(OSError):  # what stays is cleared the next time
            temporary.unlink()
        return True
    exchanged(temporary, path)
    if not os.path.samestat(temporary.lstat(), mine) or _grew(temporary, mine):
        exchanged(temporary, path)  # they wrote once more in between: the later of theirs stays
        temporary.unlink()
    return False


def _grew(path: Path, before: os.stat_result) -> bool:
    """Say whether the file at *path* was written into since *before*."""
    now = path.lstat()
    return (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where the system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NO_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))
