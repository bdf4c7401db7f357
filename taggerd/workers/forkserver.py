"""The inside of a fork server: what `taggerd.workers.template` starts and talks to.

Started as ``python -m taggerd.workers.forkserver``, by `exec` and with a cleaned environment. It
imports what its workers need, once, and then forks a worker each time that the program asks for
one: that takes milliseconds, where a process that imports all of it takes half a second. It reads
no photo, no sidecar, no name of one, and runs no thread, which would not survive in a worker. A
worker is forked from here, never from a worker, so none finds what another photo left in memory.

One packet on the socket is one message. The program asks for a worker with :data:`FORK` and sends
its channels along (SCM_RIGHTS in `unix(7)`): the stream of requests and replies, the socket that
open files come through, and the pipe for its standard error. The answers are :data:`FORKED`, with a
pidfd, or :data:`REFUSED`; :data:`ENDED` follows when it has ended. A worker that has ended is
waited for at once. The workers die with this process (`PR_SET_PDEATHSIG`), and this with the
program.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import select
import socket
import struct
import sys
import traceback
from typing import TYPE_CHECKING, NamedTuple

from taggerd.workers import process
from taggerd.workers.build import RUNNING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FORK = struct.Struct(">Qqd??")
"""Number of the worker, and its :class:`~taggerd.workers.process.Limits`."""
NOTICE = struct.Struct(">cQq")
"""Tag, number of the worker, and a number: see the tags."""
LONGEST = 256
"""Bytes of a packet."""
CHANNELS = 3
"""Descriptors that come with :data:`FORK`."""

READY = b"R"
"""Everything is imported: with the build."""
FORKED = b"F"
"""The worker runs: with its process id and a pidfd."""
REFUSED = b"N"
"""There is no worker: with the number of the error."""
ENDED = b"E"
"""The worker ended: with its exit status; negative: the signal."""


class _Channels(NamedTuple):
    """The descriptors of one worker."""

    stream: int
    files: int
    stderr: int


class _Server:
    """The one that forks."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._workers: dict[int, tuple[int, int]] = {}
        """pidfd → number and process id."""
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)

    def serve(self) -> Callable[[], None] | None:
        """Fork until the program closes its end.

        Returns:
            In a worker: what it does from now on. In the server: None.
        """
        while True:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._workers:
                    self._wait_for(descriptor)
                    continue
                packet, descriptors, _, _ = socket.recv_fds(self._control, LONGEST, CHANNELS)
                if not packet:
                    return None
                if work := self._fork(packet, descriptors):
                    return work

    def _fork(self, packet: bytes, descriptors: Sequence[int]) -> Callable[[], None] | None:
        number, *limits = FORK.unpack(packet)
        server = os.getpid()
        try:
            channels = _Channels(*descriptors)
            pid = os.fork()
        except (OSError, TypeError) as error:  # TypeError: there was no room for the descriptors
            why = getattr(error, "errno", errno.EMFILE)
            self._control.send(NOTICE.pack(REFUSED, number, why))
        else:
            if not pid:
                self._leave()
                return lambda: _work(process.Limits(*limits), channels, server)
            handle = os.pidfd_open(pid)
            self._workers[handle] = number, pid
            self._poll.register(handle, select.POLLIN)
            socket.send_fds(self._control, [NOTICE.pack(FORKED, number, pid)], [handle])
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _leave(self) -> None:
        """Close, in a worker, what belongs to the server alone."""
        self._control.close()
        for handle in self._workers:
            os.close(handle)

    def _wait_for(self, handle: int) -> None:
        number, pid = self._workers.pop(handle)
        self._poll.unregister(handle)
        os.close(handle)
        _, status = os.waitpid(pid, 0)
        ended = NOTICE.pack(ENDED, number, os.waitstatus_to_exitcode(status))
        self._control.send(ended)


def _work(limits: process.Limits, channels: _Channels, server: int) -> None:
    """Be a worker: in a session of its own, so that it is killed with what it has started."""
    os.setsid()
    os.dup2(channels.stderr, 2)
    os.close(channels.stderr)
    gc.enable()
    process.main(limits, channels.stream, channels.files, server)


def load(names: Sequence[str]) -> None:
    """Import the modules of *names*, and call what is named as ``module:function``.

    What cannot be imported is left to the task that needs it: that one says what is wrong.
    """
    for name in names:
        module, _, function = name.partition(":")
        with contextlib.suppress(Exception):
            loaded = importlib.import_module(module)
            if function:
                getattr(loaded, function)()


def main(control: socket.socket, parent: int, names: Sequence[str]) -> None:
    """Serve the process *parent* until it closes *control* or dies; workers never return."""
    process.follow_parent(parent)
    process.leave_signals_to_parent()
    load(names)
    # Else the first collection in each worker would write to, and so copy, nearly every page.
    gc.disable()
    gc.collect()
    gc.freeze()
    control.send(READY + RUNNING.id.encode())
    work = _Server(control).serve()
    if work is not None:
        os._exit(_status_of(work))


def _status_of(work: Callable[[], None]) -> int:
    """Return the exit status of a worker: the interpreter's own end would copy all its memory."""
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    socket_of_ours = socket.socket(fileno=int(sys.argv[-2]))
    main(socket_of_ours, int(sys.argv[-1]), sys.argv[1:-2])
