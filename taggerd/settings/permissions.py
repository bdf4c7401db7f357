"""Who may write what taggerd trusts: its settings and its state."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""


def trusted_users() -> frozenset[int]:
    """Return who may decide what this process does: root and its own user.

    Whoever owns ``/`` counts as root: in a user namespace without root all its files look like
    nobody's.
    """
    return frozenset({0, os.geteuid(), Path("/").stat().st_uid})


def user_name(uid: int) -> str:
    """Return the name of a user, or the number as sudo takes it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def other_writers(status: os.stat_result) -> str:
    """Return who besides its owner may write a file or folder: empty, "its group" or "everybody".

    A group that has its owner's name and no other member is nobody else: Debian and Fedora give
    each user one, and then let it write.
    """
    if status.st_mode & stat.S_IWOTH:
        return "everybody"
    return "its group" if status.st_mode & stat.S_IWGRP and not _is_private(status) else ""


def is_ours_alone(status: os.stat_result) -> bool:
    """Say whether nobody but root and this user may write to what has the *status*."""
    return status.st_uid in trusted_users() and not other_writers(status)


def why_not_private(path: Path, *, group_allowed: bool = False) -> str:
    """Return who else may write to *path*, or exchange it for another; empty if nobody may.

    Every folder that leads there is looked at before what is in it, so nobody can exchange it
    afterwards. What does not exist is nobody's.

    Args:
        path: a folder or a file.
        group_allowed: a group may write: its administrator has chosen so.

    Raises:
        OSError: it cannot be looked at.
    """
    trusted = trusted_users()
    try:
        for at, status, is_last in _lookup(path):
            if why := _why_not(at, status, trusted, is_last=is_last, group_allowed=group_allowed):
                return why
    except FileNotFoundError:
        pass
    return ""


def open_own(path: Path, flags: int = os.O_RDONLY) -> int:
    """Open a file of taggerd's own state, never a link, and never one of another user.

    A file that is made (O_CREAT) is for this user alone.

    Raises:
        PermissionError: it is no regular file, or another user's.
        OSError: the system's reason.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in trusted_users():
        os.close(descriptor)
        raise PermissionError(errno.EPERM, "another user's, or not a regular file", str(path))
    return descriptor


def _why_not(
    at: Path,
    status: os.stat_result,
    trusted: frozenset[int],
    *,
    is_last: bool,
    group_allowed: bool,
) -> str:
    """Return who may write to one step on the way, as :func:`why_not_private` says it."""
    if stat.S_ISLNK(status.st_mode):
        # Not by its owner: whoever may rename things there may have brought it from elsewhere.
        holder = other_writers(at.parent.stat())
        return f"{holder} may exchange the link {at}: name what it leads to" if holder else ""
    if status.st_uid not in trusted:
        who = user_name(status.st_uid)
        why = f"it belongs to {who}" if is_last else f"{who} may exchange it, for {at} is theirs"
        return f"{why}: run taggerd as {who} (sudo -u {who}), or use another"
    who = other_writers(status)
    if not who or (group_allowed and who == "its group"):
        return ""
    sign = "go" if is_last else "o" if who == "everybody" else "g"
    if is_last:
        return f"{who} may write to it: chmod {sign}-w {at}"
    if status.st_mode & stat.S_ISVTX:  # like /tmp: everybody renames only what is theirs
        return ""
    return f"{who} may exchange it, for they may write to {at}: chmod {sign}-w {at}"


def _lookup(path: Path) -> Iterator[tuple[Path, os.stat_result, bool]]:
    """Yield what the kernel meets when it looks *path* up, the top first; True: what it is."""
    at, left, links = Path("/"), list(reversed(path.absolute().parts[1:])), 0
    while left:
        yield at, at.stat(), False
        if (part := left.pop()) == "..":
            at = at.parent
            continue
        step = at / part
        if not step.is_symlink():
            at = step
            continue
        yield step, step.lstat(), False
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        target = step.readlink()
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        at = Path("/") if target.is_absolute() else at
    yield at, at.stat(), True


def _is_private(status: os.stat_result) -> bool:
    """Say whether the group of a file is its owner's alone."""
    try:
        owner, group = pwd.getpwuid(status.st_uid), grp.getgrgid(status.st_gid)
    except KeyError:
        return False
    alone = owner.pw_gid == group.gr_gid and owner.pw_name == group.gr_name
    return alone and set(group.gr_mem) <= {owner.pw_name}
