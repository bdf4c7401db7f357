"""How a process ended, and what it said last."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from taggerd.errors import WorkerLost, WorkerOverMemory, WorkerOverTime

_KEPT_BYTES = 4096
"""How much is kept of what a process last wrote to its standard error."""
_NO_MEMORY = ("bad_alloc", "failed to allocate", "memory allocation of")
"""How C++, GLib and Rust say it as they abort."""


class LastWords:
    """The end of what a process and its libraries print."""

    def __init__(self, descriptor: int) -> None:
        """Read the pipe *descriptor* from now on, and close it at the end."""
        self._descriptor = descriptor
        self._said = bytearray()
        self._loop = asyncio.get_running_loop()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    @property
    def line(self) -> str:
        """The last line, as a part of ours; empty: there is none."""
        while self._read():
            pass
        lines = self._said.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return "".join(c if c.isprintable() else "?" for c in last[:200])

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> bool:
        """Say whether there may be more."""
        read = b""
        if self._descriptor >= 0:
            try:
                read = os.read(self._descriptor, _KEPT_BYTES)
            except BlockingIOError:
                return False
            except OSError:
                read = b""
            if not read:
                self.close()
        self._said += read
        del self._said[:-_KEPT_BYTES]
        return bool(read)


def loss(status: int, last_words: str, prefix: str) -> WorkerLost:
    """Return how a worker ended, as the error of the task that it had.

    Args:
        status: its exit status; negative: the signal.
        last_words: the last line that it printed.
        prefix: what the names of its limits begin with.
    """
    if any(words in last_words for words in _NO_MEMORY):
        return WorkerOverMemory(more_memory(prefix))
    kind, cause = _cause(status)
    return kind(cause + (f" ({last_words})" if last_words else ""))


def more_memory(prefix: str) -> str:
    """Say that a task ran out of memory."""
    return f"needs more memory than {prefix}memory_megabytes allows: raise it"


def is_crash(status: int) -> bool:
    """Say whether *status* is that of a process that met a fault of its own code."""
    return status < 0 and -status not in {signal.SIGKILL, signal.SIGXCPU}


def _cause(status: int) -> tuple[type[WorkerLost], str]:
    """Return the error that an exit status means, and its text."""
    if status >= 0:
        return WorkerLost, f"its process ended with status {status}"
    if -status == signal.SIGKILL:
        killed = "its process was killed (SIGKILL), perhaps because the machine ran out of memory"
        return WorkerOverMemory, killed
    if -status == signal.SIGXCPU:
        return WorkerOverTime, "its process used up its CPU time, twice its deadline"
    name = f"signal {-status}"  # a real-time signal has no name
    with suppress(ValueError):
        name = signal.Signals(-status).name
    return WorkerLost, f"its process crashed ({name})"
