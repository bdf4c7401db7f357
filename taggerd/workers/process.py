"""The inside of one worker process: what `taggerd.workers.pool` starts and talks to.

Started as ``python -m taggerd.workers.process``. It sets its limits before it imports anything
large, then reads one request after another from its standard input and answers each on its original
standard output. File descriptors 0 and 1 are replaced, because native libraries print to them.

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
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from taggerd import files
from taggerd.errors import ProgramFault
from taggerd.files import OpenFile
from taggerd.workers import cage
from taggerd.workers.build import RUNNING
from taggerd.workers.replies import written, written_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = struct.Struct(">cQQ")
"""Tag, number of the request, and length in bytes."""
FILES_PER_PACKET = 200
"""The kernel takes 253 (SCM_MAX_FD in include/net/scm.h)."""

REQUEST = b"Q"
READY = b"R"
"""The process has started and set its limits: a line with its build, and one for each part of the
cage that it lacks."""
BEGUN = b"B"
"""The function is imported and called now; a process lost earlier is not the task's fault."""
VALUE = b"V"
"""The function's result."""
ERROR = b"E"
"""What the function raised: its type, its text, and where."""
SWELLED = b"M"
"""The function ran out of memory. The process exits after this."""

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

    def arguments(self) -> tuple[str, ...]:
        """Return them for the command line."""
        return str(self.memory_megabytes), str(self.deadline_seconds), str(int(self.caged))

    @classmethod
    def of(cls, memory_megabytes: str, deadline_seconds: str, caged: str) -> Limits:
        """Read :meth:`arguments`."""
        return cls(int(memory_megabytes), float(deadline_seconds), bool(int(caged)))


def main(limits: Limits, channel: int, parent: int) -> None:
    """Serve the process *parent* until it closes the channel or dies.

    Args:
        limits: what this process may use.
        channel: descriptor of the socket that open files come from.
        parent: its process id.
    """
    requests, replies = _private_streams()
    descriptors = socket.socket(fileno=channel)
    descriptors.settimeout(0)
    _follow_parent(parent)
    _leave_signals_to_parent()
    _limit(limits.memory_megabytes)
    lacking = cage.confine(channel) if limits.caged else ()
    _send(replies, READY, 0, "\n".join((RUNNING.id, *lacking)).encode())
    while (request := _receive(requests)) is not None:
        _limit_processor_time(limits.deadline_seconds)
        if not _answer(*request, descriptors, replies):
            return


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Move both channels away from file descriptors 0 and 1, where libraries print."""
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return requests, replies


def _follow_parent(parent: int) -> None:
    """Die with the parent, also when it is killed."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:  # it died before prctl took effect
        sys.exit(1)


def _leave_signals_to_parent() -> None:
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
            value = written(function(*args, **kwargs))
    except MemoryError:
        _send(replies, SWELLED, number, b"")
        return False
    except Exception as error:  # noqa: BLE001 - the caller is told whatever was raised
        raised_at = "".join(traceback.format_exception(error))
        _send(replies, ERROR, number, written_error(error, raised_at))
        return True
    _send(replies, VALUE, number, value)
    return True


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


if __name__ == "__main__":
    main(Limits.of(*sys.argv[1:4]), int(sys.argv[4]), int(sys.argv[5]))
