"""One worker process as the program sees it: its channels, and what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pickle
import signal
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from taggerd.errors import StartError, WorkerLost, WorkerOverTime
from taggerd.files import OpenFile
from taggerd.workers.endings import LastWords, loss
from taggerd.workers.process import (
    BEGUN,
    ERROR,
    FILES_PER_PACKET,
    HEAD,
    READY,
    REQUEST,
    SWELLED,
    VALUE,
)
from taggerd.workers.template import END_SECONDS, START_SECONDS, TemplateLost

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from taggerd.workers.process import Limits
    from taggerd.workers.template import Fork, Template

NO_ANSWER = "its process sent what is no answer, and was killed"
_LARGEST_REPLY = 128 << 20
"""Bytes. A process that announces more is damaged."""
_READ_AT_ONCE = 1 << 18
"""Bytes."""
_PAGE_MEGABYTES = os.sysconf("SC_PAGE_SIZE") / (1 << 20)


class LostBeforeBegun(Exception):
    """The process was lost before it began the task."""


class _AnotherNumber(Exception):
    """A process answers what it was not asked."""


class Request(NamedTuple):
    """A function and its arguments, ready to be sent."""

    content: bytes
    opened: list[OpenFile]

    @classmethod
    def of(cls, task: tuple[object, ...]) -> Request:
        """Pickle *task*."""
        content = io.BytesIO()
        pickler = _Pickler(content)
        pickler.dump(task)
        return cls(content.getvalue(), pickler.opened)


class _Pickler(pickle.Pickler):
    """Pickles a task; for an open file it writes the number under which its descriptor is sent."""

    def __init__(self, content: io.BytesIO) -> None:
        super().__init__(content, pickle.HIGHEST_PROTOCOL)
        self.opened: list[OpenFile] = []

    def persistent_id(self, value: object) -> tuple[int, pathlib.Path] | None:
        if not isinstance(value, OpenFile):
            return None
        if value not in self.opened:
            self.opened.append(value)
        return self.opened.index(value), value.path


class _Call:
    """What a process is expected to say, and how long that may take."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, number: int, deadline_seconds: float
    ) -> None:
        """Expect the answer to the request *number* within *deadline_seconds* of its beginning."""
        self.number = number
        self.begun = False
        """Whether the process has called the function."""
        self.answer: asyncio.Future[tuple[bytes, bytes]] = loop.create_future()
        """Tag and content; else why there is none: EOFError, OSError, TimeoutError."""
        self._loop = loop
        self._deadline_seconds = deadline_seconds
        self._until = loop.time() + START_SECONDS
        # One timer, which is set again, for both times: most calls end long before either.
        first = min(START_SECONDS, deadline_seconds)
        self._timer = loop.call_later(first, self._check)

    def begin(self) -> None:
        """Note that the process calls the function now."""
        self.begun = True
        self._until = self._loop.time() + self._deadline_seconds
        if self._until < self._timer.when():
            self._timer.cancel()
            self._check()

    def end(self, outcome: tuple[bytes, bytes] | Exception) -> None:
        """Note the *outcome*."""
        self._timer.cancel()
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
            self.answer.exception()  # nobody may be waiting any more
        else:
            self.answer.set_result(outcome)

    def _check(self) -> None:
        if self._loop.time() < self._until:
            self._timer = self._loop.call_at(self._until, self._check)
        else:
            self.end(TimeoutError())


def _numbers() -> Iterator[int]:
    """Yield numbers that no process can know before it is asked."""
    while True:
        yield from struct.unpack("<64Q", os.urandom(512))


_NUMBERS = _numbers()


class Worker:
    """One process, its channels, and the end of its standard error."""

    def __init__(
        self,
        template: Template,
        fork: Fork,
        stream: socket.socket,
        descriptors: socket.socket,
        stderr: int,
    ) -> None:
        """Talk to what was forked; see :meth:`start`."""
        self.template = template
        self._fork = fork
        self._stream = stream
        self._descriptors = descriptors
        self._last_words = LastWords(stderr)
        self._loop = asyncio.get_running_loop()
        self._memory = -1
        self._first_megabytes = 0.0
        self._said = bytearray()
        """What it has said that is no whole message yet."""
        self._ended_talking = False
        self._start = _Call(self._loop, 0, START_SECONDS)
        self._call: _Call | None = self._start
        """None: it has nothing to say."""
        # By its number: of a socket that it does not know the selector makes a text first. And for
        # as long as it lives: each change costs a system call.
        self._loop.add_reader(self._stream.fileno(), self._hear)
        self.tasks = 0
        """Tasks that it was given so far."""
        self.idle_since = 0.0
        """By the event loop's clock."""
        self.prefix = "workers."
        """What the names of its limits begin with."""

    @classmethod
    async def start(cls, template: Template, limits: Limits) -> Worker:
        """Fork a process; it is not :meth:`ready` yet.

        Raises:
            TemplateLost: there is nothing to fork from. StartError: the machine has no room.
        """
        with contextlib.ExitStack() as at_end, contextlib.ExitStack() as on_failure:
            try:
                stream, theirs = socket.socketpair()
                at_end.callback(theirs.close)
                on_failure.callback(stream.close)
                descriptors, lent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                at_end.callback(lent.close)
                on_failure.callback(descriptors.close)
                reading, writing = os.pipe()
                at_end.callback(os.close, writing)
                on_failure.callback(os.close, reading)
            except OSError as error:
                message = f"no worker process can be started: {error.strerror}"
                raise StartError(message) from error
            stream.settimeout(0)
            descriptors.settimeout(0)
            fork = await template.fork(limits, (theirs.fileno(), lent.fileno(), writing))
            on_failure.pop_all()
        return cls(template, fork, stream, descriptors, reading)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._fork.pid

    @property
    def grown_megabytes(self) -> float:
        """How much more memory it has than when it was new."""
        return self._resident_megabytes() - self._first_megabytes

    async def ready(self) -> tuple[str, ...]:
        """Wait until it has set its limits; return which of them it lacks.

        Raises:
            StartError: it exited or was silent. TemplateLost: its fork server died.
        """
        tag, content = b"", b""
        with contextlib.suppress(_AnotherNumber, EOFError, OSError):  # TimeoutError is one
            tag, content = await self._start.answer
        if tag != READY:
            self.kill()
            why = await self._death()
            if self._went_with_template():
                raise TemplateLost
            message = f"a worker process does not start: {why}"
            raise StartError(message)
        with contextlib.suppress(OSError, ValueError):  # ValueError: there was no room for it
            _, (self._memory,), _, _ = socket.recv_fds(self._descriptors, 1, 1)
        self._first_megabytes = self._resident_megabytes()
        return tuple(content.decode().split("\n")) if content else ()

    async def ask(self, request: Request, deadline_seconds: float) -> tuple[bytes, bytes]:
        """Send *request* and return the answer's tag and content.

        Raises:
            LostBeforeBegun: it was lost before it called the function.
            WorkerLost: it was lost inside the function.
            StartError: so was its fork server, which is not the task's fault.
        """
        self.tasks += 1
        call = self._call = _Call(self._loop, next(_NUMBERS), deadline_seconds)
        try:
            await self._send(request, call.number)
            tag, content = await call.answer
        except TimeoutError as error:
            if not call.begun:
                raise LostBeforeBegun from error
            message = (
                f"no result after {deadline_seconds:.3g} s ({self.prefix}deadline_seconds, or less "
                "for a small file): its process was killed"
            )
            raise WorkerOverTime(message) from None
        except _AnotherNumber as error:
            if not call.begun:
                raise LostBeforeBegun from error
            raise WorkerLost(NO_ANSWER) from None
        except (EOFError, OSError) as error:
            if not call.begun:
                raise LostBeforeBegun from error
            why = await self._death()
            if self._went_with_template():
                message = "the process that workers are forked from was killed, and they with it"
                raise StartError(message) from None
            raise why from None
        finally:
            self._end_call(EOFError())
        if not call.begun and tag not in {ERROR, SWELLED}:
            raise LostBeforeBegun
        if tag not in {VALUE, ERROR, SWELLED}:
            raise WorkerLost(NO_ANSWER)
        return tag, content

    def lay_down(self) -> None:
        """Note that it has nothing to do; if it says anything now it is killed."""
        self.idle_since = self._loop.time()

    def kept_silent(self) -> bool:
        """Say whether it is alive and has said nothing since it was laid down."""
        if not self._ended_talking:
            self._hear()  # what has come since the last callback
        return not self._ended_talking and not self._fork.ended.done()

    def kill(self) -> None:
        """Kill it and its children."""
        if not self._fork.ended.done():
            with contextlib.suppress(ProcessLookupError):
                # Raises if it has been waited for: then its number may be another's.
                signal.pidfd_send_signal(self._fork.handle, signal.SIGKILL)
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Let it exit, kill it if it does not, and abandon it if even that takes too long."""
        self._hear_no_more(EOFError())
        self._stream.close()
        self._descriptors.close()
        if not await self._ended():
            self.kill()
            await self._ended()
        self._last_words.close()
        os.close(self._fork.handle)
        if self._memory >= 0:
            os.close(self._memory)
            self._memory = -1

    async def _ended(self) -> bool:
        await asyncio.wait((self._fork.ended,), timeout=END_SECONDS)
        return self._fork.ended.done()

    def _went_with_template(self) -> bool:
        return self._fork.ended.done() and self._fork.ended.result() is None

    async def _send(self, request: Request, number: int) -> None:
        """Send the descriptors, then the request: whoever reads that has those already.

        Raises:
            OSError: the process is gone, or did not take what it was sent before.
        """
        for start in range(0, len(request.opened), FILES_PER_PACKET):
            descriptors = [
                file.descriptor for file in request.opened[start : start + FILES_PER_PACKET]
            ]
            socket.send_fds(self._descriptors, [b"F"], descriptors)
        message = HEAD.pack(REQUEST, number, len(request.content)) + request.content
        try:
            sent = self._stream.send(message)
        except BlockingIOError:
            sent = 0
        if sent < len(message):
            async with asyncio.timeout(START_SECONDS):
                await self._loop.sock_sendall(self._stream, memoryview(message)[sent:])

    def _hear(self) -> None:
        """Take in what it says; it is killed if nobody asked."""
        try:
            read = self._stream.recv(_READ_AT_ONCE)
        except BlockingIOError:
            return
        except OSError as error:
            self._hear_no_more(error)
            return
        if not read:
            self._hear_no_more(EOFError())
        elif self._call is None:
            self.kill()
            self._hear_no_more(EOFError())
        else:
            self._said += read
            while self._call is not None and self._take_message(self._call):
                pass
            if self._call is None and self._said:
                self.kill()
                self._hear_no_more(EOFError())

    def _take_message(self, call: _Call) -> bool:
        """Take the next message from what it has said; False: there is no whole one."""
        said = self._said
        if len(said) < HEAD.size:
            return False
        tag, number, length = HEAD.unpack_from(said)
        end = HEAD.size + length
        if number != call.number:
            self._end_call(_AnotherNumber())
        elif length > _LARGEST_REPLY:
            self._end_call(EOFError())
        elif len(said) < end:
            return False
        elif tag == BEGUN and not call.begun:
            call.begin()
        else:
            self._end_call((tag, bytes(memoryview(said)[HEAD.size : end])))
        del said[:end]
        return True

    def _end_call(self, outcome: tuple[bytes, bytes] | Exception) -> None:
        """Note the *outcome* of what it was asked; it has nothing more to say."""
        if self._call is not None:
            self._call.end(outcome)
            self._call = None

    def _hear_no_more(self, why: Exception) -> None:
        if not self._ended_talking:
            self._ended_talking = True
            self._loop.remove_reader(self._stream.fileno())
        self._end_call(why)

    async def _death(self) -> WorkerLost:
        """Return how it died, as the error of the task that it had."""
        if not await self._ended():
            self.kill()
            return WorkerLost("its process closed the connection")
        return loss(self._fork.ended.result() or 0, self._last_words.line, self.prefix)

    def _resident_megabytes(self) -> float:
        """Return the memory that it has now; 0: unknown."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(os.pread(self._memory, 100, 0).split()[1]) * _PAGE_MEGABYTES
        return 0.0
