"""A lease on a file, which its owner may take at any time, holds up nobody but that file."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.program import photo

from taggerd import files, imaging
from taggerd.errors import PhotoUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.program import Program

_HOLDING = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
held = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def _lease(path: Path) -> Iterator[None]:
    """Have another process hold a lease on *path*, and answer no request to give it up."""
    pipe = subprocess.PIPE
    line = [sys.executable, "-I", "-c", _HOLDING, str(path)]
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() != "held\n":
            pytest.skip("this file system knows no leases")
        try:
            yield
        finally:
            holder.kill()


def test_a_file_with_a_lease_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's "try again" is believed so many times, not for as long as the owner likes."""
    path = photo(tmp_path / "held.jpg", 1)
    asked = []
    call = files._syscall()

    def counted(*arguments: object) -> object:
        asked.append(arguments)
        assert len(asked) < 10 * files._TRIES, "it is opened without end"
        return call(*arguments)

    with _lease(path):
        monkeypatch.setattr(files, "_syscall", lambda: counted)
        with pytest.raises(PhotoUnreadable, match="lease"):
            imaging.open_photo(path)


def test_the_other_photos_are_tagged(taggerd: Program, card: Path) -> None:
    """Photos beside one with a lease are tagged, and its own line names what is the matter."""
    with _lease(card / "IMG_0000.jpg"):
        done = taggerd("scan", card)
    assert "tagged 4 of 5 photos" in done.stdout + done.stderr
    assert "lease" in done.stdout + done.stderr
