"""Another local user, who exchanges a folder of theirs for a link as fast as the machine can."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65534
"""The other user, and their group."""
RACES = 200

_SWAPPING = """
import ctypes, os, sys
user, *names = sys.argv[1:]
os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
libc, (one, other) = ctypes.CDLL(None, use_errno=True), map(os.fsencode, names)
if libc.renameat2(-100, one, -100, other, 2):
    sys.exit(os.strerror(ctypes.get_errno()))
print("swapping", flush=True)
while True:
    libc.renameat2(-100, one, -100, other, 2)
"""


def needs_root() -> None:
    """Skip the test where nobody can become another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a program as another user")


def give(*paths: Path) -> None:
    """Make *paths* the other user's."""
    for path in paths:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@contextlib.contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    """Have the other user exchange the names *one* and *other*, in one folder, without a pause.

    The folder must be theirs. At the end either may have either name.
    """
    line = [sys.executable, "-I", "-c", _SWAPPING, str(NOBODY), one.name, other.name]
    # By names in the working directory: the other user may not pass through pytest's own folder.
    with subprocess.Popen(line, cwd=one.parent, stdout=subprocess.PIPE, text=True) as theirs:
        try:
            assert theirs.stdout is not None
            assert theirs.stdout.readline() == "swapping\n"
            yield
            assert theirs.poll() is None, "the other user's program ended too early"
        finally:
            theirs.kill()


_STEALING = """
import os, sys
user, prefix, target = sys.argv[1:]
os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
print("stealing", flush=True)
number = 0
while True:
    for name in os.listdir("."):
        if name.startswith(prefix) and not os.path.islink(name):
            try:
                os.rename(name, f"stolen-{number}")
                os.symlink(target, name)
                number += 1
            except OSError:
                pass
"""


@contextlib.contextmanager
def stealing(folder: Path, prefix: str, target: Path) -> Iterator[None]:
    """Have the other user rename whatever in *folder* begins with *prefix*, and link to *target*.

    The folder must be theirs. What they took is called ``stolen-`` and a number.
    """
    line = [sys.executable, "-I", "-c", _STEALING, str(NOBODY), prefix, str(target)]
    with subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, text=True) as theirs:
        try:
            assert theirs.stdout is not None
            assert theirs.stdout.readline() == "stealing\n"
            yield
            assert theirs.poll() is None, "the other user's program ended too early"
        finally:
            theirs.kill()
