"""Isolated, limited, replaceable processes for native code. They know nothing about photos.

Why not a pool from the standard library or pebble: all processes of those share one channel with a
lock, so that one killed at the wrong instant breaks the pool for the others, and a process inherits
the whole environment of its parent, secrets included. Here each process is started afresh (`exec`,
never a fork of a threaded process) with an environment and a channel of its own. Losing one affects
only the task that it was working on.

Limits of a process: address space (``workers.memory_megabytes``), processor time, no core dump;
it dies with its parent. The pool enforces the task's deadline. It works below the folders that its
parent has declared (:func:`taggerd.files.work_below`).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pathlib
import pickle
import secrets
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar, cast

import structlog

import taggerd
from taggerd import files
from taggerd.errors import (
    BuildChanged,
    PhotoError,
    PhotoMoved,
    ProgramFault,
    StartError,
    TaggerdError,
    WorkerLost,
    WorkerOverMemory,
    WorkerOverTime,
)
from taggerd.files import OpenFile
from taggerd.photo import printable
from taggerd.workers.build import RUNNING
from taggerd.workers.memory import machine_megabytes, memory_of
from taggerd.workers.process import (
    BEGUN,
    ERROR,
    FILES_PER_PACKET,
    HEAD,
    READY,
    REQUEST,
    SWELLED,
    VALUE,
    Limits,
)
from taggerd.workers.replies import NotAReplyError, Replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from taggerd import settings

    SecondsFor = Callable[[Callable[..., object], tuple[object, ...]], float | None]
    """A function and its arguments → seconds; None: as long as any task may take."""

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_START_SECONDS = 30.0
"""Longest time for a process to start, and then to import a function's module."""
_END_SECONDS = 2.0
"""Longest wait for a process to exit by itself, and again after SIGKILL (disk sleep)."""
_STARTS_PER_TASK = 3
"""Processes that may be lost before a task has begun, until it fails."""
_LARGEST_REPLY = 128 << 20
"""Bytes. A process that announces more is damaged."""
_MOST_VALUES, _MOST_VALUES_CAGED = 10_000_000, 200_000
"""In a reply. Archives list their members."""
_READ_AT_ONCE = 4096
"""Bytes of a reply that are read within milliseconds, whatever they are."""
_LOWEST_PRIORITY = 19
"""As of nice(1)."""
_NO_MEMORY = ("bad_alloc", "failed to allocate", "memory allocation of")
"""How C++, GLib and Rust say it as they abort."""
_STDERR_BYTES = 4096
"""How much is kept of what a process last wrote to its standard error."""

_NO_ANSWER = "its process sent what is no answer, and was killed"
_LONGEST_WORDS = 2000
"""Characters of what a decoder says is wrong."""

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


class Workers:
    """At most ``settings.processes`` processes, started when there is work for them."""

    def __init__(
        self,
        settings: settings.Workers,
        *,
        caged: bool = False,
        slow: bool = False,
        seconds_for: SecondsFor | None = None,
        returns: Iterable[type] = (),
    ) -> None:
        """Start nothing yet.

        Args:
            settings: how many, and what they may use.
            caged: they read foreign bytes, from open files that they are lent, and can reach
                nothing else (:mod:`taggerd.workers.cage`).
            slow: it is one, for tasks that took too much memory or time before. It may use more of
                both, and yields the processor to all others.
            seconds_for: says how long a call may take, where that is less than
                ``deadline_seconds``.
            returns: dataclasses and named tuples that functions return, and those in their fields.

        Raises:
            TypeError, NameError: a field of these is of a type that is not among them.
        """
        self._seconds_for = seconds_for
        memory = memory_of(settings, machine_megabytes())
        usual = memory.decode if caged else memory.write
        self._limits = Limits(usual, settings.deadline_seconds, caged)
        if slow:
            self._limits = Limits(memory.slow, settings.slow_deadline_seconds, caged)
        self._settings = settings
        self._slow = slow
        self._caged = caged
        self._replies = Replies(returns, _MOST_VALUES_CAGED if caged else _MOST_VALUES)
        self._reader = ThreadPoolExecutor(1, "replies")
        self._lacking: tuple[str, ...] = ()
        self._slots = asyncio.Semaphore(1 if slow else settings.processes)
        self._processes: set[_Process] = set()
        self._idle: list[_Process] = []
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call *function* in a process and return what it returns.

        The function is found by its module and name, and its arguments are pickled. Open files
        (:class:`~taggerd.files.OpenFile`) may be anywhere in them: the process gets descriptors of
        its own and closes them afterwards; the caller's stay open. They share one position, so a
        file is lent to one task at a time. The function may return plain values, paths, and the
        types that the pool was made for, and nothing but what its annotation says. If the caller
        is cancelled, the process is killed.

        Raises:
            WorkerLost: the process died. WorkerOverTime: it exceeded ``deadline_seconds``.
                WorkerOverMemory: it needed more than ``memory_megabytes``, or the machine had no
                more. Other tasks are not affected. Also for a process that answers what none that
                is sound answers; it is killed.
            StartError: no process can be started. The task is not at fault.
            BuildChanged: processes would start from the files of another version.
            ProgramFault: *function* could not be imported, or does not fit our own code.
            RuntimeError: :meth:`close` was called meanwhile, and the task is not at fault either;
                or *function* raised what is not taggerd's: its type and text.
            TaggerdError: whatever *function* raised of these.
        """
        expected = self._replies.expected(function)
        roots = () if self._caged else files.declared()
        request = _Request.of((roots, function, args, kwargs))
        seconds = self._limits.deadline_seconds
        if self._seconds_for is not None:
            seconds = min(seconds, self._seconds_for(function, args) or seconds)
        async with self._slots:
            for _ in range(_STARTS_PER_TASK):
                process = await self._take()
                try:
                    outcome = await self._ask(process, request, seconds, expected)
                except _LostBeforeBegun:
                    continue
                if isinstance(outcome, _Raised):
                    raise outcome.error
                return cast("T", outcome)
        message = f"{_STARTS_PER_TASK} processes in a row died before they could start"
        raise StartError(message)

    @property
    def lacking(self) -> tuple[str, ...]:
        """Which parts of the cage the kernel does not have, as the last process found out."""
        return self._lacking

    async def check(self) -> tuple[str, ...]:
        """Return :attr:`lacking` once a process has found out.

        Raises:
            StartError: no process can be started.
        """
        await self.run(bool)
        return self._lacking

    async def close(self) -> None:
        """End all processes within four seconds; those with a task are killed."""
        self._closed = True
        for process in tuple(self._processes):
            if process not in self._idle:
                process.kill()
            self._retire(process)
        self._idle.clear()
        self._reader.shutdown(wait=False)
        if self._endings:
            await asyncio.wait(self._endings, timeout=2 * _END_SECONDS)

    async def _take(self) -> _Process:
        """Return a live process: the one used last, or a new one."""
        while self._idle:
            process = self._idle.pop()
            try:
                if await process.kept_silent():
                    return process
            except BaseException:
                process.kill()
                self._retire(process)
                raise
            self._retire(process)
        self._refuse_if_closed()
        process = await _Process.start(self._limits)
        if self._slow:
            process.step_back()
        self._processes.add(process)
        try:
            self._note(await process.ready())
            self._refuse_if_closed()
        except StartError as error:
            process.kill()
            self._retire(process)
            self._refuse_if_closed()
            if RUNNING.changed():
                raise BuildChanged from error
            raise
        except BaseException:
            process.kill()
            self._retire(process)
            self._refuse_if_closed()
            raise
        return process

    def _note(self, lacking: tuple[str, ...]) -> None:
        """Remember what a process lacks, and say it once."""
        for part in lacking if lacking != self._lacking else ():
            log.warning("decoders are not confined as they should be", by=part)
        self._lacking = lacking

    def _refuse_if_closed(self) -> None:
        if self._closed:
            message = "the worker processes are closed"
            raise RuntimeError(message)

    async def _ask(
        self, process: _Process, request: _Request, seconds: float, expected: object
    ) -> object:
        """Send *request* to *process*; afterwards the process is idle again or retired.

        Returns what is *expected*, or what was raised.
        """
        try:
            tag, content = await process.ask(request, seconds)
            if len(content) <= _READ_AT_ONCE:
                outcome = self._outcome(process, tag, content, expected)
            else:
                outcome = await asyncio.get_running_loop().run_in_executor(
                    self._reader, self._outcome, process, tag, content, expected
                )
        except BaseException:
            process.kill()
            self._retire(process)
            self._refuse_if_closed()  # killed by close(): the task is not at fault
            raise
        if self._closed or tag == SWELLED or process.tasks >= self._settings.files_per_process:
            self._retire(process)
        else:
            process.listen()
            self._idle.append(process)
        return outcome

    def _retire(self, process: _Process) -> None:
        """Let *process* end in the background."""
        if process in self._processes:
            self._processes.discard(process)
            ending = asyncio.create_task(process.end(), name=f"end of worker {process.pid}")
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    def _outcome(self, process: _Process, tag: bytes, content: bytes, expected: object) -> object:
        """Return the value that *content* holds, or what it says was raised.

        Raises:
            WorkerLost: it is neither.
        """
        if tag == SWELLED:
            return _Raised(WorkerOverMemory(_more_memory(process.prefix)))
        try:
            if tag == VALUE:
                return self._replies.value(content, expected)
            error = self._replies.error(content)
        except NotAReplyError as fault:
            message = f"{_NO_ANSWER} ({printable(str(fault))})"
            raise WorkerLost(message) from None
        return _Raised(_of_the_photo(error) if self._caged else error)


class _Raised(NamedTuple):
    """What a function raised."""

    error: Exception


def _more_memory(prefix: str) -> str:
    return f"needs more memory than {prefix}memory_megabytes allows: raise it"


def _of_the_photo(error: Exception) -> Exception:
    """Return what a decoder raised, unless no decoder that is sound raises it.

    One that is taken over could stop all work, by a full disk, a damaged ledger or a denied key.
    """
    words = str(error)
    is_ours = isinstance(error, TaggerdError)
    may_say = isinstance(error, PhotoError | PhotoMoved) or type(error) is ProgramFault
    if len(words) <= _LONGEST_WORDS and (may_say or not is_ours):
        return error
    return WorkerLost(f"its process said what is not about the photo: {printable(words[:100])}")


class _LostBeforeBegun(Exception):
    """The process was lost before it began the task."""


class _AnotherNumber(Exception):
    """A process answers what it was not asked."""


class _Request(NamedTuple):
    """A function and its arguments, ready to be sent."""

    content: bytes
    opened: list[OpenFile]

    @classmethod
    def of(cls, task: tuple[object, ...]) -> _Request:
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


class _Process:
    """One process, its channels, and the end of its standard error."""

    def __init__(self, process: asyncio.subprocess.Process, descriptors: socket.socket) -> None:
        self._process = process
        self._descriptors = descriptors
        self._stderr = bytearray()
        self._reading = asyncio.create_task(self._read_stderr(), name=f"stderr of {self.pid}")
        self._unasked: asyncio.Task[bytes] | None = None
        self.tasks = 0
        """Tasks that it was given so far."""
        self.prefix = "workers."
        """What the names of its limits begin with."""

    @classmethod
    async def start(cls, limits: Limits) -> _Process:
        """Start a process; it is not :meth:`ready` yet."""
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(0)
            with theirs, contextlib.ExitStack() as on_failure:
                on_failure.callback(ours.close)
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    # Importing inflect takes 1.2 s, because typeguard instruments its functions; in
                    # optimised mode typeguard does not, and it takes 0.2 s.
                    "-O",
                    "-P",  # no modules from the working directory, which may be a photo folder
                    "-m",
                    "taggerd.workers.process",
                    *limits.arguments(),
                    str(theirs.fileno()),
                    str(os.getpid()),
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    env=environment(os.environ),
                    start_new_session=True,
                )
                on_failure.pop_all()
        except OSError as error:
            message = f"no worker process can be started: {error.strerror}"
            raise StartError(message) from error
        return cls(process, ours)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._replies.at_eof()

    @property
    def _replies(self) -> asyncio.StreamReader:
        return cast("asyncio.StreamReader", self._process.stdout)

    async def ready(self) -> tuple[str, ...]:
        """Wait until it has set its limits; return which of them it lacks.

        Raises:
            StartError: it exited or was silent. BuildChanged: it is of another version.
        """
        try:
            async with asyncio.timeout(_START_SECONDS):
                tag, content = await self._receive(0)
        except (_AnotherNumber, EOFError, TimeoutError, OSError):
            tag, content = b"", b""
        if tag != READY:
            self.kill()
            message = f"a worker process does not start: {await self._death()}"
            raise StartError(message)
        build, *lacking = content.decode().split("\n")
        if build != RUNNING.id:
            raise BuildChanged
        return tuple(lacking)

    async def ask(self, request: _Request, deadline_seconds: float) -> tuple[bytes, bytes]:
        """Send *request* and return the answer's tag and content.

        Raises:
            _LostBeforeBegun: it was lost before it called the function.
            WorkerLost: it was lost inside the function.
        """
        self.tasks += 1
        number = secrets.randbits(64)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._send(request, number)
                tag, content = await self._receive(number)
        except (_AnotherNumber, EOFError, TimeoutError, OSError) as error:
            raise _LostBeforeBegun from error
        if tag in {ERROR, SWELLED}:
            return tag, content
        if tag != BEGUN:
            raise _LostBeforeBegun
        try:
            async with asyncio.timeout(deadline_seconds):
                tag, content = await self._receive(number)
        except TimeoutError:
            message = (
                f"no result after {deadline_seconds:.3g} s ({self.prefix}deadline_seconds, or less "
                "for a small file): its process was killed"
            )
            raise WorkerOverTime(message) from None
        except _AnotherNumber:
            raise WorkerLost(_NO_ANSWER) from None
        except (EOFError, OSError):
            raise await self._death() from None
        if tag not in {VALUE, ERROR, SWELLED}:
            raise WorkerLost(_NO_ANSWER)
        return tag, content

    def listen(self) -> None:
        """Kill it as soon as it says anything, until :meth:`kept_silent`."""
        self._unasked = asyncio.create_task(
            self._replies.read(1), name=f"unasked words of {self.pid}"
        )
        self._unasked.add_done_callback(self._spoke)

    async def kept_silent(self) -> bool:
        """Say whether it is alive and has said nothing."""
        if self._unasked is not None:
            self._unasked.cancel()
            await asyncio.wait((self._unasked,))
            if not self._unasked.cancelled():
                return False
        return self.alive

    def _spoke(self, said: asyncio.Task[bytes]) -> None:
        if not said.cancelled():
            said.exception()
            self.kill()

    def step_back(self) -> None:
        """Leave the processor to every other process that wants it."""
        self.prefix = "workers.slow_"
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, _LOWEST_PRIORITY)
            # Where each session is a group of its own to the scheduler, the group counts.
            group = pathlib.Path(f"/proc/{self.pid}/autogroup")
            group.write_text(str(_LOWEST_PRIORITY), "ascii")

    def kill(self) -> None:
        """Kill it and its children."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Let it exit, kill it if it does not, and abandon it if even that takes too long."""
        if self._unasked is not None:
            self._unasked.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._descriptors.close()
        if not await self._ended():
            self.kill()
            await self._ended()
        self._reading.cancel()

    async def _ended(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                await self._process.wait()
        return self._process.returncode is not None

    async def _send(self, request: _Request, number: int) -> None:
        """Send the descriptors, then the request: whoever reads that has those already.

        Raises:
            OSError: the process is gone, or did not take what it was sent before.
        """
        for start in range(0, len(request.opened), FILES_PER_PACKET):
            descriptors = [
                file.descriptor for file in request.opened[start : start + FILES_PER_PACKET]
            ]
            socket.send_fds(self._descriptors, [b"F"], descriptors)
        requests = cast("asyncio.StreamWriter", self._process.stdin)
        requests.writelines((HEAD.pack(REQUEST, number, len(request.content)), request.content))
        await requests.drain()

    async def _receive(self, asked: int) -> tuple[bytes, bytes]:
        """Return tag and content of what it says next.

        Raises:
            _AnotherNumber: it answers another request than the one *asked*, or none.
            EOFError, OSError: it is gone.
        """
        tag, number, length = HEAD.unpack(await self._replies.readexactly(HEAD.size))
        if number != asked:
            raise _AnotherNumber
        if length > _LARGEST_REPLY:
            raise EOFError
        return tag, await self._replies.readexactly(length)

    async def _read_stderr(self) -> None:
        """Keep the end of what the process and its libraries print."""
        stream = cast("asyncio.StreamReader", self._process.stderr)
        while read := await stream.read(_STDERR_BYTES):
            self._stderr += read
            del self._stderr[:-_STDERR_BYTES]

    async def _death(self) -> WorkerLost:
        """Return how it died, as the error of the task that it had."""
        if not await self._ended():
            self.kill()
            return WorkerLost("its process closed the connection")
        await asyncio.wait((self._reading,), timeout=_END_SECONDS)
        lines = self._stderr.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if any(words in last for words in _NO_MEMORY):
            return WorkerOverMemory(_more_memory(self.prefix))
        last = _printable(last)
        kind, cause = _cause(self._process.returncode or 0)
        return kind(cause + (f" ({last})" if last else ""))


def _printable(text: str) -> str:
    """Return what a process says as the part of a line."""
    return "".join(c if c.isprintable() else "?" for c in text[:200])


def _cause(returncode: int) -> tuple[type[WorkerLost], str]:
    """Return the error that a return code means, and its text; negative: the signal."""
    if returncode >= 0:
        return WorkerLost, f"its process ended with status {returncode}"
    if -returncode == signal.SIGKILL:
        killed = "its process was killed (SIGKILL), perhaps because the machine ran out of memory"
        return WorkerOverMemory, killed
    if -returncode == signal.SIGXCPU:
        return WorkerOverTime, "its process used up its CPU time, twice its deadline"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # a real-time signal
        name = f"signal {-returncode}"
    return WorkerLost, f"its process crashed ({name})"


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a process: *ours* without anything that may be a secret."""
    passed_on = {
        name: value
        for name, value in ours.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return passed_on | _THREADS | {"PYTHONPATH": _MODULES}
