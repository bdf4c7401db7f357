"""The program's side of a fork server: starts it, asks it for workers, hears how they end."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import pathlib
import socket
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

import taggerd
from taggerd.errors import BuildChanged, StartError
from taggerd.workers.build import RUNNING
from taggerd.workers.endings import LastWords, is_crash, loss
from taggerd.workers.forkserver import ENDED, FORK, FORKED, LONGEST, NOTICE, READY, REFUSED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taggerd.workers.process import Limits

START_SECONDS = 30.0
"""Longest time for a process to start, and then to import a function's module."""
END_SECONDS = 2.0
"""Longest wait for a process to exit by itself, and again after SIGKILL (disk sleep)."""

_MODULES = os.pathsep.join(
    str(pathlib.Path(folder).absolute())
    for folder in (
        str(pathlib.Path(taggerd.__file__).parent.parent),
        *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
    )
)
"""Where processes find modules: as at the start, whatever folder this process is in later."""
_PASSED_ON = frozenset({"PATH", "LANG", "TZ", "HOME", "TMPDIR"})
_PASSED_ON_PREFIXES = ("LC_", "PYTHON")
_THREADS = {
    # The processes are the parallelism. Threads of libraries would come on top of them, and each
    # takes address space (8 MB of stack, 64 MB for an arena of malloc) from the limit.
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class TemplateLost(Exception):
    """A fork server died, or does not answer."""


class Fork(NamedTuple):
    """A worker that was forked."""

    pid: int
    handle: int
    """A pidfd, which the caller closes: unlike *pid* it never means another process."""
    ended: asyncio.Future[int | None]
    """Its exit status, negative: the signal; None: its fork server died before it."""


class Template:
    """A process that has imported what workers need, and from which they are forked."""

    def __init__(
        self, process: subprocess.Popen[bytes], handle: int, control: socket.socket, stderr: int
    ) -> None:
        """Talk to *process* through *control*; *handle*: its pidfd."""
        self._process = process
        self._handle = handle
        self._control = control
        self._last_words = LastWords(stderr)
        self._loop = asyncio.get_running_loop()
        self._build: asyncio.Future[str] = self._loop.create_future()
        self._numbers = count()
        self._forks: dict[int, asyncio.Future[tuple[int, int]]] = {}
        self._ends: dict[int, asyncio.Future[int | None]] = {}
        self.sound = True
        """Whether workers may be forked from it."""
        self._loop.add_reader(control, self._hear)
        # Not by asyncio's way to wait for children: in Python 3.11 that is a thread for each, which
        # complains of one that ends after the loop.
        self._exit: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(handle, self._reap)

    @classmethod
    def start(cls, names: Sequence[str]) -> Template:
        """Start a process that loads *names*; it is not :meth:`ready` yet.

        Raises:
            StartError: it cannot be started.
        """
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(0)
            with theirs, contextlib.ExitStack() as at_end, contextlib.ExitStack() as on_failure:
                on_failure.callback(ours.close)
                reading, writing = os.pipe()
                on_failure.callback(os.close, reading)
                at_end.callback(os.close, writing)
                process = subprocess.Popen(  # noqa: S603 - our own module
                    [
                        sys.executable,
                        # Importing inflect takes 1.2 s, because typeguard instruments its
                        # functions; in optimised mode typeguard does not, and it takes 0.2 s.
                        "-O",
                        "-P",  # no modules from the working directory, which may be a photo folder
                        "-m",
                        "taggerd.workers.forkserver",
                        *names,
                        str(theirs.fileno()),
                        str(os.getpid()),
                    ],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=writing,
                    env=environment(os.environ),
                    start_new_session=True,
                )
                on_failure.callback(process.wait)
                on_failure.callback(process.kill)
                handle = os.pidfd_open(process.pid)
                on_failure.pop_all()
        except OSError as error:
            message = f"no worker process can be started: {error.strerror}"
            raise StartError(message) from error
        return cls(process, handle, ours, reading)

    async def ready(self) -> None:
        """Wait until it has loaded what it should.

        Raises:
            StartError: it exited or was silent. BuildChanged: it is of another version.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._build
        except (TemplateLost, TimeoutError):
            exited, said = await self._exited(), self._last_words.line
            why: object = "it does not answer"
            if exited:
                why = loss(self._process.returncode or 0, said, "workers.")
            self.kill()
            message = f"a worker process does not start: {why}"
            raise StartError(message) from None
        except BaseException:
            self.kill()
            raise
        if self._build.result() != RUNNING.id:
            self.kill()
            raise BuildChanged

    async def fork(self, limits: Limits, channels: Sequence[int]) -> Fork:
        """Fork a worker with *limits*; it has copies of *channels* then.

        Raises:
            TemplateLost: this process is gone, or was silent. StartError: the machine has no room
                for another process.
        """
        number = next(self._numbers)
        forked = self._forks[number] = self._loop.create_future()
        ended = self._ends[number] = self._loop.create_future()
        ended.add_done_callback(lambda _: self._ends.pop(number, None))
        try:
            async with asyncio.timeout(START_SECONDS):
                request = FORK.pack(number, *limits)
                socket.send_fds(self._control, [request], channels)
                pid, handle = await forked
                return Fork(pid, handle, ended)
        except (OSError, TimeoutError):
            self.kill()
            raise TemplateLost from None
        except asyncio.CancelledError:
            if forked.done() and not forked.cancelled() and forked.exception() is None:
                os.close(forked.result()[1])  # it came at the same moment
            raise
        finally:
            self._forks.pop(number, None)

    async def end(self) -> None:
        """End it once the last of its workers has ended."""
        self.sound = False
        if self._ends:
            await asyncio.wait(tuple(self._ends.values()))
        self.kill()
        await self._exited()

    def kill(self) -> None:
        """Kill it and its workers; it has nothing to lose itself."""
        self._process.kill()
        self._close()

    def _close(self) -> None:
        """Hear no more: whoever waits is told that it is lost."""
        self.sound = False
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control)
            self._control.close()
        waiting: list[asyncio.Future[Any]] = [self._build, *self._forks.values()]
        for each in waiting:
            if not each.done():
                each.set_exception(TemplateLost())
                each.exception()  # nobody may be waiting any more
        for ended in tuple(self._ends.values()):
            if not ended.done():
                ended.set_result(None)
        self._last_words.close()

    async def _exited(self) -> bool:
        await asyncio.wait((self._exit,), timeout=END_SECONDS)
        return self._exit.done()

    def _reap(self) -> None:
        """Wait for it, which has ended."""
        self._process.poll()
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        self._exit.set_result(None)

    def _hear(self) -> None:
        """Take in what it has said."""
        while self._control.fileno() >= 0:
            try:
                packet, descriptors, _, _ = socket.recv_fds(self._control, LONGEST, 1)
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                self._gone()
            elif packet[:1] == READY:
                if not self._build.done():  # cancelled by whoever waited
                    self._build.set_result(packet[1:].decode())
            else:
                tag, number, value = NOTICE.unpack(packet)
                self._note(tag, number, value, descriptors)

    def _gone(self) -> None:
        """Note that it has ended; what it said last is kept for :meth:`ready`."""
        _ = self._last_words.line
        self._close()

    def _note(self, tag: bytes, number: int, value: int, descriptors: Sequence[int]) -> None:
        forked, ended = self._forks.get(number), self._ends.get(number)
        if tag == ENDED:
            # Others share where its memory lay: what failed there once is not tried again.
            self.sound = self.sound and not is_crash(value)
            if ended is not None and not ended.done():
                ended.set_result(value)
            return
        if forked is None or forked.done():  # nobody waits for it any more: it ends by itself
            for descriptor in descriptors:
                os.close(descriptor)
        elif tag == FORKED and descriptors:
            forked.set_result((value, descriptors[0]))
        else:
            error = errno.EMFILE if tag == FORKED else value
            message = f"no worker process can be started: {os.strerror(error)}"
            forked.set_exception(StartError(message))
        if tag == REFUSED and ended is not None:
            ended.cancel()


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process: *ours* without anything that may be a secret."""
    passed_on = {
        name: value
        for name, value in ours.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return passed_on | _THREADS | {"PYTHONPATH": _MODULES}
