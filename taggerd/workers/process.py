"""The inside of one worker process: what `taggerd.workers.worker` talks to.

Forked from a process that has imported what it needs (:mod:`.forkserver`). It sets its limits and
goes into its cage before it reads anything, then reads one request after another from a stream and
answers each there. What native libraries print to its file descriptors 1 and 2 goes into a pipe.

A message is a head (:data:`HEAD`: one byte for its kind, the number of the request, and the length
of what follows) and its content. The parent sends ``(roots, function, args, kwargs)`` as a pickle;
the answers are tagged as below, and JSON (:mod:`.replies`): they come from a process that may be
taken over. The number is random, so nothing that is sent before a request is taken for its answer.
Open files among the arguments come before, as descriptors through a socket of their own (SCM_RIGHTS
in `unix(7)`); the pickle holds their numbers. The roots are the folders that the parent works below
(:func:`taggerd.files.work_below`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import math
import os
import pickle
import resource
import signal
import socket
import struct
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from taggerd import files
from taggerd.errors import ProgramFault
from taggerd.files import OpenFile
from taggerd.workers import cage
from taggerd.workers.replies import written, written_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = struct.Struct(">cQQ")
"""Tag, number of the request, and length in bytes."""
FILES_PER_PACKET = 200
"""The kernel takes 253 (SCM_MAX_FD in include/net/scm.h)."""

REQUEST = b"Q"
READY = b"R"
"""The process has set its limits: a line for each part of the cage that it lacks."""
BEGUN = b"B"
"""The function is imported and called now; a process lost earlier is not the task's fault."""
VALUE = b"V"
"""The function's result."""
ERROR = b"E"
"""What the function raised: its type, its text, and where."""
SWELLED = b"M"
"""The function ran out of memory. The process exits after this."""

_LONG_SECONDS = 0.25
"""Of the processor: a task of more has mostly taken much memory, too. To give it back takes 1 to 8
ms; what the process has now is not told by any file that it has open."""
_LOWEST_PRIORITY = 19
"""As of nice(1)."""
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


class Limits(NamedTuple):
    """What a process may use."""

    memory_megabytes: int
    """Address space."""
    deadline_seconds: float
    """Twice this is the limit on processor time of a task."""
    caged: bool
    """Whether it reads foreign bytes and needs nothing but them: see :mod:`.cage`."""
    slow: bool
    """Whether it leaves the processor to every other process that wants it."""


def main(limits: Limits, stream: int, channel: int, parent: int) -> None:
    """Serve the program until it closes the stream, or the process *parent* dies.

    Args:
        limits: what this process may use.
        stream: descriptor of the socket for requests and replies.
        channel: descriptor of the socket that open files come from.
        parent: process id of the fork server, which dies with the program.
    """
    follow_parent(parent)
    os.dup2(2, 1)
    requests, replies = os.fdopen(stream, "rb"), os.fdopen(os.dup(stream), "wb")
    descriptors = socket.socket(fileno=channel)
    descriptors.settimeout(0)
    _limit(limits.memory_megabytes)
    if limits.slow:
        _step_back()
    _show_memory(descriptors)
    lacking = cage.confine(channel) if limits.caged else ()
    _send(replies, READY, 0, "\n".join(lacking).encode())
    while (request := _receive(requests)) is not None:
        _limit_processor_time(limits.deadline_seconds)
        if not _answer(*request, descriptors, replies):
            return


def follow_parent(parent: int) -> None:
    """Die with the parent, also when it is killed."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before prctl took effect
        sys.exit(1)


def leave_signals_to_parent() -> None:
    """Ignore Ctrl-C and a stop of the whole service: the parent finishes what is in flight.

    With empty handlers instead of SIG_IGN, which programs started from here would inherit.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)


def _limit(memory_megabytes: int) -> None:
    """Limit address space, dump no core, and be the first to be killed when memory is short."""
    memory = memory_megabytes << 20
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # not everywhere is /proc writable
        Path("/proc/self/oom_score_adj").write_text("500", "ascii")


def _step_back() -> None:
    """Leave the processor to others; the cage lets nobody but root say so of this process later."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY)
        # Where each session is a group of its own to the scheduler, the group counts.
        Path("/proc/self/autogroup").write_text(str(_LOWEST_PRIORITY), "ascii")


def _show_memory(channel: socket.socket) -> None:
    """Lend the parent the file that says how much memory this process has.

    Where /proc hides processes (ProtectProc= in systemd.exec(5)) the parent could not open it.
    """
    with contextlib.suppress(OSError), Path("/proc/self/statm").open("rb") as file:
        socket.send_fds(channel, [b"M"], [file.fileno()])


def _limit_processor_time(deadline_seconds: float) -> None:
    """Allow the next task twice its deadline in processor time (decoders have threads).

    The parent enforces the deadline; this limit still works when the parent is stopped or stuck.
    """
    usage = resource.getrusage(resource.RUSAGE_SELF)
    allowed = math.ceil(usage.ru_utime + usage.ru_stime + 2 * deadline_seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard == resource.RLIM_INFINITY or allowed < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


class _Unpickler(pickle.Unpickler):
    """Unpickles a task with its open files."""

    def __init__(self, request: bytes, opened: Sequence[OpenFile]) -> None:
        super().__init__(io.BytesIO(request))
        self._opened = opened

    def persistent_load(self, known_as: tuple[int, Path]) -> OpenFile:
        number, path = known_as
        file = self._opened[number]
        file.path = path
        os.lseek(file.descriptor, 0, os.SEEK_SET)  # a process may have died reading it
        return file


@contextlib.contextmanager
def _received(channel: socket.socket) -> Iterator[Sequence[OpenFile]]:
    """Receive the files that were sent with the next request; they are closed at the end.

    Raises:
        OSError: the process has no room for them.
    """
    with contextlib.ExitStack() as stack:
        opened: list[OpenFile] = []
        packet = b"more"
        while packet:
            try:
                packet, descriptors, flags, _ = socket.recv_fds(
                    channel, 1, FILES_PER_PACKET, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                break
            more = [OpenFile(descriptor, Path()) for descriptor in descriptors]
            opened += [stack.enter_context(file) for file in more]
            if flags & socket.MSG_CTRUNC:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        yield opened


def _task(request: bytes, opened: Sequence[OpenFile]) -> tuple[Any, ...]:
    """Return roots, function and arguments, whose modules are imported for that.

    Raises:
        ProgramFault: they cannot be: the program is not of one piece.
    """
    try:
        task: tuple[Any, ...] = _Unpickler(request, opened).load()
    except (MemoryError, OSError):
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise ProgramFault(message) from error
    return task


def _answer(number: int, request: bytes, channel: socket.socket, replies: BinaryIO) -> bool:
    """Execute *request* and send the outcome. False: this process should be replaced."""
    try:
        with _received(channel) as opened:
            roots, function, args, kwargs = _task(request, opened)
            files.work_below(*roots)
            _send(replies, BEGUN, number, b"")
            began = time.process_time()
            value = written(function(*args, **kwargs))
        if time.process_time() - began > _LONG_SECONDS:
            _give_memory_back()
    except MemoryError:
        _send(replies, SWELLED, number, b"")
        return False
    except Exception as error:  # noqa: BLE001 - the caller is told whatever was raised
        raised_at = "".join(traceback.format_exception(error))
        _send(replies, ERROR, number, written_error(error, raised_at))
        return True
    _send(replies, VALUE, number, value)
    return True


def _give_memory_back() -> None:
    """Have malloc return what is free to the kernel.

    It keeps blocks of up to 32 MB that decoders have freed: after a HEIC or an AVIF the process was
    so large that it was replaced.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim:
        trim(0)


def _send(replies: BinaryIO, tag: bytes, number: int, content: bytes) -> None:
    replies.write(HEAD.pack(tag, number, len(content)))
    replies.write(content)
    replies.flush()


def _receive(requests: BinaryIO) -> tuple[int, bytes] | None:
    """Return the next request and its number, or None when the parent has closed the channel."""
    head = requests.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    _, number, length = HEAD.unpack(head)
    return number, requests.read(length)
