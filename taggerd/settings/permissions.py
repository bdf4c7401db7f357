"""Who may write what taggerd trusts: its settings and its state."""

from __future__ import annotations

import grp
import pwd
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os
    from pathlib import Path


def other_writers(status: os.stat_result) -> str:
    """Return who besides its owner may write a file or folder: empty, "its group" or "everybody".

    A group that has its owner's name and no other member is nobody else: Debian and Fedora give
    each user one, and then let it write.
    """
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    return "its group" if status.st_mode & stat.S_IWGRP and not _is_private(status) else ""


def why_not_private(folder: Path) -> str:
    """Return who else may write to *folder*, or exchange it for another; empty if nobody may.

    Raises:
        OSError: it cannot be looked at.
    """
    resolved = folder.resolve()
    if who := other_writers(resolved.stat()):
        return f"{who} may write to it: chmod go-w {resolved}"
    for above in resolved.parents:
        mode = above.stat().st_mode
        # In a sticky folder, like /tmp, everybody renames only what is theirs.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return f"everybody may exchange it, for they may write to {above}: chmod o-w {above}"
    return ""


def _is_private(status: os.stat_result) -> bool:
    """Say whether the group of a file is its owner's alone."""
    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    alone = owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name
    return alone and set(group.gr_mem) <= {owner.pw_name}
