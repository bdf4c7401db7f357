"""A person at a terminal of 80 columns: reads what is shown, and types."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.program import SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

COLUMNS = 80
CTRL_C = "\x03"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]")


class Terminal:
    """One program in a pseudo-terminal, which is its controlling one: Ctrl-C is a signal."""

    def __init__(self, master: int, program: subprocess.Popen[bytes]) -> None:
        """Watch *program* at the other end of *master*."""
        self._master = master
        self._program = program
        self._shown = b""
        self._read = 0
        self.keys = 0
        """Keys that were typed."""

    @property
    def text(self) -> str:
        """Everything that was shown, without what moves the cursor or colours."""
        text = _ESCAPE.sub("", self._shown.decode(errors="replace"))
        # What a spinner wrote was replaced by what stands behind the last return of its line.
        lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
        return "\n".join(line.rstrip() for line in lines)

    def answer(self, question: str, typed: str = "") -> None:
        """Wait until *question* is shown, and type an answer and Enter."""
        self.until(question)
        self.type(f"{typed}\r")

    def answer_unseen(self, question: str, typed: str) -> None:
        """Do the same where the answer is not to be shown, once the terminal does not show it."""
        self.until(question)
        until(lambda: not termios.tcgetattr(self._master)[3] & termios.ECHO)
        self.type(f"{typed}\r")

    def until(self, shown: str) -> None:
        """Wait until something is shown that was not waited for yet."""
        assert self.wait_for(shown), f"it ended without {shown!r}:\n{self.text}"

    def wait_for(self, shown: str) -> bool:
        """Wait until something is shown that was not waited for yet; False: it ended without."""
        deadline = time.monotonic() + SECONDS
        while (at := self._shown.find(shown.encode(), self._read)) < 0:
            assert time.monotonic() < deadline, f"{shown!r} is not shown:\n{self.text}"
            if not self._more():
                return False
        self._read = at + len(shown.encode())
        return True

    def type(self, keys: str) -> None:
        """Press *keys*."""
        self.keys += len(keys)
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + SECONDS
        while self._more():
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        return self._program.wait(SECONDS)

    def _more(self) -> bool:
        """Read what is there; False: nothing will come any more."""
        ended = self._program.poll() is not None  # first: what it said last is there by now
        if not select.select([self._master], [], [], 0.2)[0]:
            return not ended
        try:
            read = os.read(self._master, 65536)
        except OSError:  # Linux says so of a terminal that nobody has open any more
            return False
        self._shown += read
        return bool(read)


@contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[Terminal]:
    """Run *command* in a terminal; it is ended at the end."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    program = subprocess.Popen(
        ["setsid", "--ctty", *command],
        env={**environment, "TERM": "xterm"},
        cwd=folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        yield Terminal(master, program)
    finally:
        program.kill()
        program.wait()
        os.close(master)
